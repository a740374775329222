"""What doctor reports of engines, machines and records: each fault in its own line, beside a healthy control."""

from __future__ import annotations

import grp
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from confined_claude.commands.doctor import engines, examination, machine, owners, records, results, vulnerabilities
from confined_claude.commands.doctor.engines import Answers
from confined_claude.commands.doctor.results import OK, PROBLEM, WARNING, Result, ok, problem, warning
from confined_claude.engine import context
from confined_claude.engine.image import Image
from confined_claude.errors import ConfinedError
from confined_claude.guard.records import locked
from confined_claude.host import Host
from confined_claude.image.recipe import ImageChain, Recipe
from confined_claude.project import Project
from confined_claude.settings import Settings
from confined_claude.state.projects import remember
from confined_claude.state.store import records_of
from confined_claude.workspace import shared_data

from ..conftest import PLAIN_ID, as_plain_user, host_below, tree
from ..guarding import Scanned, put

SECRET = "sk-ant-made-up-secret"

# Answers as engines gave them, shortened.
DEBIAN: dict[str, Any] = {
    "version": {
        "Platform": {"Name": ""},
        "Components": [
            {"Name": "Engine", "Version": "20.10.24+dfsg1"},
            {"Name": "containerd", "Version": "1.6.20~ds1"},
            {"Name": "runc", "Version": "1.1.5+ds1"},
            {"Name": "docker-init", "Version": "0.19.0"},
        ],
        "Version": "20.10.24+dfsg1",
        "ApiVersion": "1.41",
    },
    "info": {
        "OperatingSystem": "Debian GNU/Linux 12 (bookworm)",
        "SecurityOptions": ["name=seccomp,profile=default"],
        "Plugins": {"Volume": ["local"], "Authorization": None},
        "DockerRootDir": "/var/lib/docker",
        "CgroupVersion": "1",
        "MemoryLimit": True,
        "SwapLimit": True,
        "CpuCfsQuota": True,
        "PidsLimit": True,
        "Warnings": None,
    },
}
DOCKER_CE: dict[str, Any] = {
    "version": {
        "Platform": {"Name": "Docker Engine - Community"},
        "Components": [
            {"Name": "Engine", "Version": "29.9.0"},
            {"Name": "containerd", "Version": "v2.2.5"},
            {"Name": "runc", "Version": "1.3.6"},
        ],
        "Version": "29.9.0",
        "ApiVersion": "1.52",
    },
    "info": {
        "OperatingSystem": "Ubuntu 24.04.3 LTS",
        "SecurityOptions": ["name=apparmor", "name=seccomp,profile=builtin", "name=cgroupns"],
        "CgroupVersion": "2",
    },
}
ROOTLESS: dict[str, Any] = {
    "version": {"Platform": {"Name": "Docker Engine - Community"}, "Components": [{"Name": "rootlesskit"}]},
    "info": {
        "OperatingSystem": "Fedora Linux 41",
        "SecurityOptions": ["name=seccomp,profile=builtin", "name=rootless", "name=cgroupns"],
        "DockerRootDir": "/home/someone/.local/share/docker",
        "CgroupVersion": "2",
        "MemoryLimit": True,
        "SwapLimit": True,
        "CpuCfsQuota": False,
        "PidsLimit": True,
    },
}
REMAPPED: dict[str, Any] = {
    "version": DOCKER_CE["version"],
    "info": {"SecurityOptions": ["name=seccomp,profile=builtin", "name=userns"], "CgroupVersion": "2"},
}
DESKTOP: dict[str, Any] = {
    "version": {
        "Platform": {"Name": "Docker Desktop 4.33.0 (160616)"},
        "Components": [{"Name": "Engine", "Version": "27.1.1"}, {"Name": "runc", "Version": "1.1.13"}],
    },
    "info": {
        "OperatingSystem": "Docker Desktop",
        "SecurityOptions": ["name=seccomp,profile=unconfined", "name=cgroupns"],
        "DockerRootDir": "/var/lib/docker",
    },
}
PODMAN: dict[str, Any] = {
    "version": {
        "Platform": {"Name": "linux/amd64/debian-12"},
        "Components": [
            {"Name": "Podman Engine", "Version": "4.3.1"},
            {"Name": "Conmon", "Version": "conmon version 2.1.6, commit: unknown"},
            {"Name": "OCI Runtime (crun)", "Version": "crun version 1.8.1"},
        ],
        "Version": "4.3.1",
        "ApiVersion": "1.41",
    },
    "info": {
        "OperatingSystem": "debian",
        "SecurityOptions": ["name=apparmor", "name=seccomp,profile=default", "name=rootless"],
        "BuildahVersion": "1.28.2",
    },
}


@pytest.mark.parametrize(
    ("answers", "status", "words"),
    [
        (DEBIAN, OK, "rootful"),
        (DOCKER_CE, OK, "rootful"),
        (REMAPPED, OK, "rootful, with userns-remap, which does not apply to sessions"),
        (
            {**DEBIAN, "info": {**DEBIAN["info"], "SecurityOptions": ["name=selinux"]}},
            OK,
            "rootful, with SELinux; sessions run without labels, so none of your files is relabelled",
        ),
        (
            {**DEBIAN, "info": {**DEBIAN["info"], "DockerRootDir": "/var/snap/docker/common/var-lib-docker"}},
            WARNING,
            "rootful, from a snap: it sees only part of your machine's files",
        ),
        (ROOTLESS, OK, "rootless"),
        (DESKTOP, WARNING, "Docker Desktop, rootful: not tested"),
        (PODMAN, OK, "Podman, rootless"),
    ],
)
def test_the_mode_follows_from_the_engines_answers(answers: dict[str, Any], status: str, words: str) -> None:
    found = engines.mode(Answers(**answers))
    assert (found.status, found.what) == (status, words)
    assert bool(found.hint) == (status != OK)


def test_an_engine_that_says_nothing_of_itself_is_taken_for_an_ordinary_one() -> None:
    assert engines.mode(Answers({}, {})).status == OK
    assert engines.versions(Answers({}, {})).status == OK
    assert engines.kernel(Answers({}, {}), Settings()).status == OK


@pytest.mark.parametrize(
    ("answers", "status", "words"),
    [
        (DEBIAN, OK, "this tool's own"),
        (ROOTLESS, OK, "this tool's own"),
        (DESKTOP, OK, "this tool's own"),
        (PODMAN, WARNING, "this engine's own"),
        ({**DEBIAN, "info": {"SecurityOptions": ["name=seccomp,profile=/etc/x.json"]}}, WARNING, "this engine's own"),
        ({**DEBIAN, "info": {"SecurityOptions": ["name=apparmor"]}}, WARNING, "filters no system calls"),
        ({"version": {}, "info": {}}, WARNING, "filters no system calls"),
    ],
)
def test_whose_seccomp_profile_sessions_have(answers: dict[str, Any], status: str, words: str) -> None:
    found = engines.system_calls(Answers(**answers))
    assert (found.status, bool(found.hint)) == (status, status != OK)
    assert words in found.what


# Vulnerabilities


def with_version(component: str, version: str, authorization: list[str] | None = None) -> list[tuple[str, str, str]]:
    asked = {"Components": [{"Name": component, "Version": version}]}
    return list(vulnerabilities.known_vulnerabilities(asked, {"Plugins": {"Authorization": authorization}}))


@pytest.mark.parametrize(
    ("component", "version", "names"),
    [
        ("runc", "1.1.11", ["2024-21626", "2025-31133"]),
        ("runc", "1.1.12", ["2025-31133"]),
        ("runc", "1.1.5+ds1", ["2024-21626", "2025-31133"]),
        ("runc", "1.2.7", ["2025-31133"]),
        ("runc", "1.2.8", []),
        ("runc", "1.3.2", ["2025-31133"]),
        ("runc", "1.3.3", []),
        ("runc", "1.3.3-0ubuntu1", []),
        ("runc", "1.4.0-rc.2", ["2025-31133"]),
        ("runc", "1.4.0", []),
        ("runc", "2.0", []),
        ("containerd", "v1.3.8", ["2020-15257"]),
        ("containerd", "1.4.3", []),
        ("containerd", "1.6.20~ds1", []),
        ("Engine", "28.5.2", ["2026-41567"]),
        ("Engine", "29.5.0", ["2026-41567"]),
        ("Engine", "29.5.1", []),
        ("runc", "", []),
        ("runc", "unknown", []),
        ("docker-init", "0.1", []),
    ],
)
def test_versions_with_known_vulnerabilities(component: str, version: str, names: list[str]) -> None:
    found = with_version(component, version)
    found_names = " ".join(names_ for _, _, names_ in found)
    assert all(name in found_names for name in names)
    assert bool(found) == bool(names)
    if "2024-21626" not in names:
        assert "2024-21626" not in found_names


@pytest.mark.parametrize(("version", "is_open"), [("27.1.0", True), ("24.0.9", True), ("26.1.5", False)])
def test_a_vulnerability_of_plug_ins_needs_them(version: str, is_open: bool) -> None:
    assert "2024-41110" not in str(with_version("Engine", version))
    assert ("2024-41110" in str(with_version("Engine", version, ["made-up"]))) == is_open


def test_vulnerabilities_are_a_warning_that_mentions_distributions() -> None:
    found = engines.versions(Answers(**DEBIAN))
    assert found.status == WARNING
    assert "runc 1.1.5+ds1 has CVE-2024-21626" in found.what
    assert "Docker 20.10.24+dfsg1 has" in found.what
    assert "distribution" in found.hint
    assert engines.versions(Answers(**DOCKER_CE)) == ok("no known vulnerabilities, containerd v2.2.5, runc 1.3.6")


def test_podman_has_none_of_dockers_vulnerabilities_but_those_of_its_runtime() -> None:
    assert engines.versions(Answers(**PODMAN)).status == OK
    runtime = {"Name": "OCI Runtime (runc)", "Version": "runc version 1.1.5+ds1\ncommit: 1\nspec: 1.2.0"}
    found = engines.versions(Answers({"Components": [runtime]}, PODMAN["info"]))
    assert "runc 1.1.5+ds1 has CVE-2024-21626" in found.what


def test_every_vulnerability_names_its_source() -> None:
    for known in vulnerabilities.VULNERABILITIES:
        for name in known.name.split(", "):
            assert name in str(vulnerabilities.__doc__)


# Limits and users


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("PidsLimit", "pids"),
        ("MemoryLimit", "memory"),
        ("SwapLimit", "swap"),
    ],
)
def test_what_the_kernel_cannot_limit(missing: str, words: str) -> None:
    assert engines.kernel(Answers(**DEBIAN), Settings()).status == OK
    found = engines.kernel(Answers(DEBIAN["version"], {**DEBIAN["info"], missing: False}), Settings())
    assert found.status == WARNING
    assert found.what.endswith(f"cannot limit {words}")
    assert "cgroup" in found.hint


def test_processors_are_missed_only_where_they_are_limited() -> None:
    assert engines.kernel(Answers(**ROOTLESS), Settings()).status == OK
    found = engines.kernel(Answers(**ROOTLESS), Settings(cpus=("2",)))
    assert found.what.endswith("cannot limit cpus")
    assert "systemd" in found.hint


def test_whose_the_files_are(host: Host, tmp_path: Path) -> None:
    here = Project(tmp_path)
    own = host._replace(uid=os.getuid(), gid=77)
    ordinary = own._replace(uid=1000)
    assert (
        engines.users(Answers(**DEBIAN), ordinary, None).what == "sessions are uid 1000, gid 77; their files are yours"
    )
    assert "which is you" in engines.users(Answers(**ROOTLESS), own, here).what
    assert "sessions are uid 1000" in engines.users(Answers(**PODMAN), ordinary, None).what


TEAM = 54321


@pytest.mark.root
@pytest.mark.parametrize(
    ("place", "caller", "status", "words"),
    [
        ((TEAM, 0o2770), ((TEAM,), 0o002), OK, "sessions are members of it"),
        ((TEAM, 0o2770), ((TEAM,), 0o022), WARNING, "your umask 022 keeps that group from"),
        ((TEAM, 0o770), ((TEAM,), 0o002), WARNING, "files of sessions have your own group, 12345"),
        ((0, 0o2770), ((0,), 0o002), WARNING, "a group with power over your machine, which sessions do not get"),
        ((TEAM, 0o2770), ((), 0o022), PROBLEM, "and you may not write in it"),
        ((TEAM, 0o755), ((TEAM,), 0o022), PROBLEM, "and you may not write in it"),
        ((TEAM, 0o757), ((), 0o022), OK, "and you may write in it"),
    ],
)
def test_why_a_session_may_or_may_not_write_in_a_project_of_anothers(
    plain_folder: Path, place: tuple[int, int], caller: tuple[tuple[int, ...], int], status: str, words: str
) -> None:
    (gid, mode), (groups, umask) = place, caller
    here = Project(plain_folder / "app")
    here.root.mkdir()
    os.chown(here.root, 0, gid)
    here.root.chmod(mode)
    host = host_below(plain_folder, PLAIN_ID, PLAIN_ID)._replace(groups=groups, umask=umask)
    found = as_plain_user(lambda: engines.users(Answers(**DEBIAN), host, here))
    assert (found.status, found.what.startswith("the project belongs to uid 0 and the group")) == (status, True)
    assert words in found.what
    assert bool(found.hint) == (status != OK)


@pytest.mark.root
def test_a_membership_that_this_login_does_not_have_yet(plain_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = Project(plain_folder / "app")
    here.root.mkdir(mode=0o770)
    os.chown(here.root, 0, TEAM)
    here.root.chmod(0o770)
    team = grp.struct_group(("team", "x", TEAM, [str(PLAIN_ID)]))
    monkeypatch.setattr(owners.grp, "getgrgid", lambda _gid: team)
    host = host_below(plain_folder, PLAIN_ID, PLAIN_ID)
    found = as_plain_user(lambda: engines.users(Answers(**DEBIAN), host, here))
    assert (found.status, found.hint) == (PROBLEM, "Log out and in again.")
    team.gr_mem.clear()
    found = as_plain_user(lambda: engines.users(Answers(**DEBIAN), host, here))
    assert "usermod -aG team 12345" in found.hint


@pytest.mark.root
def test_a_project_in_which_another_user_has_sessions(plain_folder: Path) -> None:
    here = Project(plain_folder / "app")
    here.scaffold.mkdir(parents=True)
    os.chown(here.root, 0, TEAM)
    here.root.chmod(0o2770)
    here.scaffold.chmod(0o700)
    host = host_below(plain_folder, PLAIN_ID, PLAIN_ID)._replace(groups=(TEAM,), umask=0o002)
    here.root.chmod(0o2777)  # this process is no member
    found = as_plain_user(lambda: engines.users(Answers(**DEBIAN), host, here))
    assert found.status == PROBLEM
    assert "another user's sessions" in found.what


def test_root_is_warned(host: Host) -> None:
    assert engines.users(Answers(**DEBIAN), host._replace(uid=0), None).status == WARNING


# Context


@pytest.mark.parametrize(
    ("address", "shown"),
    [("unix:///x.sock", "unix:///x.sock"), (f"tcp://me:{SECRET}@127.0.0.1:1", "tcp://127.0.0.1:1")],
)
def test_the_context_without_secrets(host: Host, address: str, shown: str) -> None:
    found = engines.context(host._replace(environ={"DOCKER_HOST": address}))
    assert found == ok(f"DOCKER_HOST, {shown}")


def test_the_context_by_name(host: Host) -> None:
    config = host.home / "docker"
    assert engines.context(host._replace(environ={"DOCKER_CONFIG": str(config)})) == ok(
        f"context default, {context.DEFAULT_ADDRESS}"
    )
    put(config / "config.json", "{")
    found = engines.context(host._replace(environ={"DOCKER_CONFIG": str(config)}))
    assert found.status == WARNING
    assert f"{config}/config.json is damaged, so it is ignored" in found.what
    (config / "config.json").unlink()
    with pytest.raises(ConfinedError, match="no docker context called nope"):
        engines.context(host._replace(environ={"DOCKER_CONFIG": str(config), "DOCKER_CONTEXT": "nope"}))


# The machine


def test_commands_on_path(host: Host, tmp_path: Path) -> None:
    nowhere = host._replace(environ={"PATH": str(tmp_path)})
    assert machine.docker_command(nowhere).status == PROBLEM
    assert machine.git_command(nowhere).status == WARNING
    for name in ("docker", "git"):
        put(tmp_path / name).chmod(0o755)
    assert machine.docker_command(nowhere) == ok(str(tmp_path / "docker"))
    assert machine.git_command(nowhere).status == OK


def test_the_commands_that_a_shell_finds_are_this_installations(host: Host, tmp_path: Path) -> None:
    bin_directory, mine = tmp_path / "bin", Path(os.__file__).parent  # some directory without them
    bin_directory.mkdir()
    there = host._replace(environ={"PATH": f"{bin_directory}:{mine}"})
    missing = machine.own_commands(there)
    assert missing.status == WARNING
    assert missing.what == "confined-claude is not found; inv is not found"
    assert missing.hint.endswith(f'export PATH="{machine.installed("inv")[0].parent}:$PATH"')
    links = host.home / ".local/bin"
    links.mkdir(parents=True)
    for name in ("confined-claude", "inv"):
        (links / name).symlink_to(machine.installed(name)[0])
    assert machine.own_commands(there).hint.endswith('export PATH="$HOME/.local/bin:$PATH"')
    for name in ("confined-claude", "inv"):
        (bin_directory / name).symlink_to(machine.installed(name)[0])
    assert machine.own_commands(there).status == OK
    (bin_directory / "inv").unlink()
    put(bin_directory / "inv").chmod(0o755)
    other = machine.own_commands(there)
    assert other.what == f"inv on PATH is {bin_directory / 'inv'}, from another installation"
    assert str(host.home / ".local/bin") in other.hint


@pytest.mark.parametrize(
    ("mark", "path_command", "option"),
    [
        ("pipx_metadata.json", "pipx ensurepath", "--include-deps"),
        ("uv-receipt.toml", "uv tool update-shell", "--with-executables-from invoke,copier"),
    ],
)
def test_pipx_and_uv_have_their_own_way_to_path(
    mark: str, path_command: str, option: str, host: Host, tmp_path: Path
) -> None:
    put(tmp_path / "venv" / mark)
    bin_directory = put(tmp_path / "bin/x").parent
    there = host._replace(environ={"PATH": str(bin_directory)})
    missing = machine.own_commands(there, tmp_path / "venv")
    assert (missing.what, missing.hint) == (
        "confined-claude is not found",
        f"Run `{path_command}` and open a new shell",
    )
    (bin_directory / "confined-claude").symlink_to(machine.installed("confined-claude")[0])
    for inv in ("missing", "another's"):
        if inv == "another's":
            put(bin_directory / "inv").chmod(0o755)
        found = machine.own_commands(there, tmp_path / "venv")
        assert found.status == OK
        assert option in found.what
    (bin_directory / "inv").unlink()
    (bin_directory / "inv").symlink_to(machine.installed("inv")[0])
    assert machine.own_commands(there, tmp_path / "venv") == ok("confined-claude and inv are this installation's")


def test_space(tmp_path: Path) -> None:
    assert machine.space(tmp_path / "not/yet/there", 1).status == OK
    assert machine.space(tmp_path, 1).what.endswith(f"free at {tmp_path}")
    low = machine.space(tmp_path, 1 << 62)
    assert low.status == WARNING
    assert low.hint


def test_a_directory_that_must_not_be_written(plain_folder: Path) -> None:
    closed = plain_folder / "closed"
    closed.mkdir(mode=0o555)
    if os.geteuid() == 0:
        os.chown(closed, PLAIN_ID, PLAIN_ID)
    assert as_plain_user(lambda: machine.space(closed / "inside", 1).status) == PROBLEM
    assert as_plain_user(lambda: machine.space(closed, 1, must_be_writable=False).status) == OK


NOW = 1_800_000_000.0
CHAIN = ImageChain((Recipe("t", {}),))
DAY = 24 * 3600.0


@pytest.mark.parametrize(
    ("created", "status", "words"),
    [
        (NOW - 60, OK, "of today"),
        (NOW - 10 * DAY, OK, "10 days old"),
        (NOW - 75 * DAY, WARNING, "75 days old"),
        (NOW + DAY, OK, "of today"),
        (0.0, OK, "of unknown age"),
    ],
)
def test_the_age_of_the_image(created: float, status: str, words: str) -> None:
    image = Image("id", (CHAIN.name,), {}, created, (), is_used=False, claude_version="2.1.330")
    found = machine.its_image(image, CHAIN, NOW)
    assert (found.status, found.what) == (status, f"{CHAIN.name}, Claude Code 2.1.330, {words}")


def test_a_missing_image() -> None:
    found = machine.its_image(None, CHAIN, NOW)
    assert found.status == WARNING
    assert "confined-claude build" in found.hint


# Sign-in


def credentials(host: Host, expires: float, **more: str) -> Path:
    oauth = {"accessToken": SECRET, "refreshToken": SECRET, "expiresAt": expires * 1000, **more}
    return put(host.home / ".claude/.credentials.json", json.dumps({"claudeAiOauth": oauth}))


def test_the_sign_in(host: Host) -> None:
    inside = shared_data(host).at("claude-config")

    def look(**environ: str) -> Result:
        before = tree(host.home)
        found = machine.sign_in(inside, host._replace(environ=environ))
        assert tree(host.home) == before
        assert SECRET not in str(found)
        return found

    assert look().status == WARNING
    assert "/login" in look().hint
    assert look(ANTHROPIC_API_KEY=SECRET) == ok("by ANTHROPIC_API_KEY")
    credentials(host, NOW * 2)
    valid = look()
    assert valid.status == OK
    lent = machine.sign_in(inside, host._replace(environ={}), is_lent=True)
    assert lent == ok(f"{valid.what.replace('a copy of ', '')}, lent")
    assert f"until {time.strftime('%Y-', time.localtime(NOW * 2))}" in valid.what
    for odd in ("null", "NaN", "Infinity", "1e30", "-1", '"soon"'):
        text = f'{{"claudeAiOauth": {{"accessToken": "{SECRET}", "expiresAt": {odd}}}}}'
        put(host.home / ".claude/.credentials.json", text)
        unknown = look()
        assert unknown.status == OK
        assert "its end is not known" in unknown.what
    credentials(host, 1000)
    expired = look()
    assert expired.status == WARNING
    assert "has expired" in expired.what
    assert "on your machine" in expired.hint
    assert look(CLAUDE_CODE_OAUTH_TOKEN=SECRET).status == OK
    # Signed in inside, with a refresh token of its own, it is renewed by itself.
    own = {"accessToken": SECRET, "refreshToken": SECRET, "expiresAt": 2000 * 1000}
    put(inside.path / ".credentials.json", json.dumps({"claudeAiOauth": own}))
    assert look().what == "by credentials of its own, which renew themselves"
    put(host.home / ".claude/.credentials.json", "{" + SECRET)
    assert look().status == WARNING
    put(host.home / ".claude/settings.json", json.dumps({"apiKeyHelper": f"echo {SECRET}"}))
    assert "by apiKeyHelper, which prints the credential at each start" in look().what
    (host.home / ".claude/settings.json").unlink()
    (inside.path / ".credentials.json").unlink()
    assert (look().status, "is broken" in look().what) == (WARNING, True)
    assert look(ANTHROPIC_API_KEY=SECRET).status == WARNING


# Config


@pytest.fixture
def here(tmp_path: Path) -> Project:
    root = tmp_path / "project"
    root.mkdir()
    return Project(root)


def test_configs(host: Host, here: Project) -> None:
    assert "fine" in records.user_config(host).what
    put(host.user_config_file, 'network = "open"\n')
    assert records.user_config(host) == ok(str(host.user_config_file))
    put(host.user_config_file, "network = \n")
    with pytest.raises(ConfinedError, match="not valid TOML"):
        records.user_config(host)
    # The others do not depend on it.
    assert records.variables({"CONFINED_CLAUDE_NETWORK": "none"}) == ok("CONFINED_CLAUDE_NETWORK")
    assert records.variables({}) == ok("none set")
    with pytest.raises(ConfinedError, match="the environment"):
        records.variables({"CONFINED_CLAUDE_NETWORK": "nope"})
    assert records.project_config(here, host).status == OK
    put(here.scaffold / "config.toml", 'network = "none"\n')
    assert records.project_config(here, host) == ok(str(here.scaffold))
    put(here.scaffold / "config.toml", 'network = "open"\n')
    waiting = records.project_config(here, host)
    assert (waiting.status, waiting.what) == (PROBLEM, "waits for your trust: network = 'open'")
    assert "confined-claude trust" in waiting.hint


# Records and findings


def states(host: Host, here: Project | None) -> list[tuple[str, str]]:
    return [(line.status, line.what) for line in records.every_record(host, here)]


def test_records_that_cannot_be_read(host: Host, here: Project) -> None:
    assert states(host, here) == [(OK, f"all in {host.state} can be read")]
    remember(records_of(host, here.id), here.root)
    folder = host.state / "projects" / here.id
    assert states(host, here) == [(OK, f"all in {host.state} can be read")]
    good = (folder / "project.json").read_text()
    newer = '{"version": 99, "root": "/x"}'
    for content, expected, words in (
        (newer, PROBLEM, "newer version"),
        ("{", WARNING, "damaged"),
        ("[]", WARNING, "damaged"),
    ):
        put(folder / "project.json", content)
        [(status, what)] = states(host, here)
        assert status == expected
        assert words in what
    put(folder / "project.json", good)
    for name in ("findings.json", "accepted.json", "copies.json", "made.json", "0" * 16 + ".session"):
        put(folder / name, "{")
        assert [status for status, _ in states(host, here)] == [PROBLEM], name
        assert [status for status, _ in states(host, None)] == [WARNING], name
        (folder / name).unlink()
    assert [status for status, _ in states(host, here)] == [OK]


def reviewed(host: Host, here: Project | None) -> list[Result]:
    before = tree(host.home)
    found = list(records.review(host, here))
    assert tree(host.home) == before
    return found


def left(here: Project, host: Host, name: str) -> Path:
    """A file in the project that a session has left, and the finding of it."""
    scanned = Scanned(here.root)
    path = put(here.root / name)
    with locked(records_of(host, here.id)) as records:
        records.save_findings(scanned.findings())
    return path


def test_what_waits_for_a_review(host: Host, here: Project) -> None:
    assert reviewed(host, here) == [ok("nothing waits")]
    remember(records_of(host, here.id), here.root)
    red = left(here, host, ".envrc")
    [found] = reviewed(host, here)
    assert found.status == PROBLEM
    assert "1 file that your machine runs by itself (red)" in found.what
    [elsewhere] = reviewed(host, None)
    assert (elsewhere.status, elsewhere.what) == (WARNING, f"red findings in {here.root}")
    red.unlink()  # put right by hand
    assert [line.status for line in reviewed(host, here)] == [OK]


def test_yellow_is_a_warning(host: Host, here: Project) -> None:
    left(here, host, "Makefile")
    assert [line.status for line in reviewed(host, here)] == [WARNING]


def test_findings_that_cannot_be_read_are_the_records_to_tell(host: Host, here: Project) -> None:
    put(host.state / "projects" / here.id / "findings.json", "{")
    assert reviewed(host, here) == []


# Results


def test_a_check_that_fails_is_a_problem_without_what_it_read() -> None:
    def broken() -> Result:
        raise ValueError(SECRET)

    [found] = results.run_check(broken)
    assert (found.status, found.what) == (PROBLEM, "could not be checked: ValueError")
    assert found.hint
    [found] = results.run_check(lambda: ok(str(Path("/nonexistent/x").stat())))
    assert found.what == "could not be checked: No such file or directory: /nonexistent/x"

    def wrong() -> Result:
        raise ConfinedError("What.", "Do that.")

    assert results.run_check(wrong) == [problem("What.", "Do that.")]
    assert results.run_check(ok, "y") == [ok("y")]


def test_a_check_that_hangs_is_a_problem() -> None:
    end = threading.Event()

    def hangs() -> Result:
        end.wait()
        return ok("late")

    [found] = results.run_check(hangs, seconds=0.05)
    assert found.status == PROBLEM
    assert "no answer" in found.what
    end.set()


def test_results_before_a_failure_do_not_hide_it() -> None:
    def half() -> Any:
        yield ok("first")
        raise LookupError

    assert [found.status for found in results.run_check(half)] == [PROBLEM]


FOUND = [
    ("one", ok("fine")),
    ("two", warning("a rather long sentence that does not fit into forty columns", "Do [bold]that[/bold].")),
    ("three", Result(PROBLEM, "a\x1b[31m\nb")),
]


def test_in_a_pipe_each_line_is_one() -> None:
    assert list(results.as_text(FOUND)) == [
        "ok       one: fine",
        "warning  two: a rather long sentence that does not fit into forty columns",
        "         -> Do [bold]that[/bold].",
        "problem  three: a\\x1b[31m\\nb",
        "1 problem and 1 warning.",
    ]


def test_forty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    lines = list(results.as_text(FOUND))
    assert max(map(len, lines)) <= 40
    assert " ".join(" ".join(lines).split()).startswith("ok one: fine warning two: a rather long sentence that does")


def test_as_json_and_the_exit_code() -> None:
    value = json.loads(results.as_json(FOUND))
    assert value["version"] == 1
    assert value["checks"][0] == {"name": "one", "status": "ok", "what": "fine", "cure": ""}
    assert [results.exit_code(FOUND[:count]) for count in (1, 2, 3)] == [0, 0, 1]
    assert list(results.as_text(FOUND[:1]))[-1] == "All is well."


# All together


def test_without_an_engine_all_else_is_checked(
    host: Host, here: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here.root)
    put(tmp_path / "bin/docker", "#!/bin/sh\n").chmod(0o755)
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    environ = {"DOCKER_HOST": f"unix://{tmp_path}/none.sock", "PATH": path, "ANTHROPIC_API_KEY": SECRET}
    before = tree(tmp_path)
    found = examination.examine(host._replace(environ=environ))
    assert tree(tmp_path) == before
    by_name = {name: result.status for name, result in found}
    assert by_name["engine"] == PROBLEM
    assert {"mode", "versions", "image", "sessions"} & set(by_name) == set()
    assert by_name["sign-in"] == by_name["review"] == by_name["records"] == by_name["project"] == OK
    assert SECRET not in results.as_json(found)
