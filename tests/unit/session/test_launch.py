"""The launch of a session: mounts, names, labels, terminal, secrets; and the directories made for it."""

from __future__ import annotations

import csv
import grp
import io
import json
import os
import re
import subprocess
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confined_claude import environment
from confined_claude.egress.network import plan_egress
from confined_claude.egress.ports import Published
from confined_claude.engine import labels
from confined_claude.engine.mount import Mount
from confined_claude.errors import ConfinedError
from confined_claude.guard import records
from confined_claude.guard.repository import Alternates, Repository
from confined_claude.host import Host
from confined_claude.image.recipe import ImageChain, Recipe
from confined_claude.project import IGNORED, Project
from confined_claude.project.mounts import HostMount
from confined_claude.session import planning, start
from confined_claude.session.git import SessionGit, plan_git
from confined_claude.session.handover import SECRETS_FILE, VARIABLES_FILE
from confined_claude.session.host_facts import HostFacts
from confined_claude.session.launch import Launch, plan_launch
from confined_claude.session.mounts import kept_groups, make_directories, replaceable
from confined_claude.session.privileges import CAPABILITIES, SUDO_CAPABILITIES
from confined_claude.settings import Settings
from confined_claude.state.facts import EngineFacts
from confined_claude.state.store import records_of
from confined_claude.workspace import Workspace

from ..conftest import as_plain_user, full_disk, host_below, mode_of, tree
from ..guarding import put

SECRETS = {
    "ANTHROPIC_API_KEY": "sk-ant-api03-fake-very-secret",
    "ANTHROPIC_AUTH_TOKEN": "fake-auth-token",
    "CLAUDE_CODE_OAUTH_TOKEN": "sk-ant-oat01-fake",
    "ANTHROPIC_BASE_URL": "https://user:fake-password@gateway.example/x",
    "ANTHROPIC_CUSTOM_HEADERS": "X-Key: fake-header",
    "HTTPS_PROXY": "http://proxy-user:fake-proxy-password@proxy.example:3128",
}
# What the entrypoint reads.
OWN = {f"CONFINED_CLAUDE_{name}" for name in ("GITCONFIG", "SUDO", "PLUGIN_SCRIPTS", "JOIN")}
NO_HOOKS = {
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "core.hooksPath",
    "GIT_CONFIG_VALUE_0": "/opt/confined-claude/git/hooks",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "my app"
    path.mkdir()
    return path


IMAGE = ImageChain((Recipe("an image", {}),))
COMMAND = ("claude", "-p", "a  b")


def place(root: Path, host: Host, settings: Settings | None = None) -> Workspace:
    return Workspace(host, Project(root), settings or Settings(network="none"))


def planned(
    root: Path,
    host: Host,
    settings: Settings | None = None,
    *,
    command: Sequence[str] = COMMAND,
    key: str = "0123",
    **facts: Any,
) -> Launch:
    return plan_launch(place(root, host, settings), HostFacts(**facts), IMAGE, command, key=key)


# Mounts


def test_the_mounts_of_a_session(root: Path, host: Host) -> None:
    shared = host.data / "shared"
    mounts = planned(root, host).mounts
    assert {mount.target: mount.source for mount in mounts} == {
        str(root): root,
        "/home/claude/venvs": root / ".confined-claude/venvs",
        "/home/claude/.local/bin": root / ".confined-claude/local-bin",
        "/home/claude/.local/lib": root / ".confined-claude/local-bin/.lib",
        "/home/claude/.local/bin/.lib": root / ".confined-claude/local-bin/.lib",
        "/home/claude/.claude": shared / "claude-config",
        "/home/claude/.claude/projects": host.data / "projects" / Project(root).id / "conversations",
        "/home/claude/.cache/downloads": shared / "downloads",
    }
    assert mounts[0].target == str(root)
    assert len(mounts) == 8


def test_what_sessions_of_a_project_around_can_replace_is_bound(root: Path, host: Host) -> None:
    workspace = place(root / "inner", host)
    launch = planned(root / "inner", host)
    make_directories(workspace, launch.mounts)
    assert dict(replaceable(launch.mounts, (), host)) == {}  # no session was ever around it
    records_of(host, Project(root).id).make().close()
    bound = dict(replaceable(launch.mounts, (), host))
    scaffold = ("venvs", ".local/bin", ".local/lib", ".local/bin/.lib")
    assert bound.keys() == {str(root / "inner"), *(f"/home/claude/{name}" for name in scaffold)}
    status = (root / "inner").stat()
    assert bound[str(root / "inner")] == (status.st_dev, status.st_ino)
    assert dict(replaceable(launch.mounts, [str(root / "inner")], host)).keys() == bound.keys() - {str(root / "inner")}
    (root / "inner").rename(root / "moved")
    (root / "inner").symlink_to("moved")
    with pytest.raises(ConfinedError, match="Cannot mount"):
        dict(replaceable(launch.mounts, (), host))


def test_what_is_one_projects_is_in_a_directory_of_its_own(root: Path, tmp_path: Path, host: Host) -> None:
    apart = Settings(claude_config="project", caches="project")
    kept = {mount.target: mount.source for mount in planned(root, host, apart).mounts if mount.base == host.data}
    own = host.data / "projects" / Project(root).id
    assert kept == {
        "/home/claude/.claude": own / "claude-config",
        "/home/claude/.cache/downloads": own / "downloads",
    }
    twin = tmp_path / "elsewhere" / root.name
    others = {mount.source for mount in planned(twin, host, apart).mounts}
    assert others.isdisjoint(kept.values())


def test_what_a_project_says_of_the_sign_in_in_vain_is_said(root: Path, host: Host) -> None:
    elsewhere = {"ANTHROPIC_API_KEY": host.data / "settings.json"}
    assert "does not count" not in " ".join(planned(root, host, set_inside=elsewhere).remarks)
    by_project = {**elsewhere, "ANTHROPIC_BASE_URL": root / ".claude/settings.json"}
    launch = planned(root, host, set_inside=by_project)
    assert launch.remarks[0].startswith("ANTHROPIC_BASE_URL in this project's Claude settings")
    settings = json.loads(launch.secrets["CONFINED_CLAUDE_SIGN_IN_SETTINGS"])
    assert settings == {"env": {"ANTHROPIC_API_KEY": "", "ANTHROPIC_BASE_URL": "https://api.anthropic.com"}}


def test_settings_of_a_project_that_cannot_be_read_are_named(root: Path, host: Host) -> None:
    everything = dict.fromkeys(environment.known_to_lead(None), root / ".claude/settings.json")
    launch = planned(root, host, set_inside=everything)
    assert launch.remarks[0].startswith(".claude/settings.json cannot be read here as Claude Code reads it")
    assert set(json.loads(launch.secrets["CONFINED_CLAUDE_SIGN_IN_SETTINGS"])["env"]) == set(everything)


def test_ways_to_push_and_to_sign_in_are_sockets_and_said_to_be_of_no_use(root: Path, host: Host) -> None:
    asks = Settings(push="ask", ssh_agent=("git@forge.example",))
    launch = planned(root, host, asks, has_repository=True, git=SessionGit(pushes=("https://forge.example/x",)))
    assert launch.environment["SSH_AUTH_SOCK"] == "/run/confined-claude-ports/agent"
    assert [mount.read_only for mount in launch.mounts if mount.target == "/run/confined-claude-ports"] == [True]
    assert "has no use" not in " ".join(launch.notes)
    launch = planned(root, host, asks._replace(network="none"), has_repository=True)
    assert " ".join(launch.notes).count("has no use in this session") == 2
    plain = planned(root, host, has_repository=True)
    assert "SSH_AUTH_SOCK" not in plain.environment
    assert "/run/confined-claude-ports" not in {mount.target for mount in plain.mounts}


def test_remarks_are_shown_in_claudes_screen_where_it_takes_one(root: Path, host: Host) -> None:
    terminal = {"stdin_is_terminal": True, "stdout_is_terminal": True}
    for command, is_shown in ((("claude",), True), (("claude", "-p", "x"), False), (("bash",), False)):
        launch = planned(root, host, command=command, **terminal)
        told = launch.telling(["Look."]).environment
        assert ("Look." in told.get("CONFINED_CLAUDE_MANAGED_SETTINGS", "")) is is_shown
        assert told["CONFINED_CLAUDE_MANAGED_MEMORY"] == launch.agent_note != ""
    silent = Settings(network="none", agent_note="off")
    piped = planned(root, host, silent, command=("claude",), stdout_is_terminal=False)
    assert piped.telling(["Look."]) == piped


def test_no_mount_shows_the_hosts_home_its_claude_config_or_the_records(root: Path, host: Host) -> None:
    for settings in (Settings(), Settings(claude_config="project", caches="project")):
        for mount in planned(root, host, settings).mounts:
            for private in (host.home, host.claude_config, host.state, host.config, host.data, host.data / "shared"):
                assert mount.source != private
                assert mount.source not in private.parents
            assert host.claude_config not in mount.source.parents
            assert host.state not in mount.source.parents


# Names, labels, command


def value_of(flag: str, arguments: list[str]) -> str:
    (value,) = values_of(flag, arguments)
    return value


def values_of(flag: str, arguments: list[str]) -> list[str]:
    return [value for word, value in pairwise(arguments) if word == flag]


@pytest.mark.parametrize("name", ["app", "a:b", "a,b", 'q"u', "two\nlines", "trailing ", "readonly", ",source=/"])
def test_a_mount_is_one_csv_record_whatever_the_directory_is_called(name: str, tmp_path: Path, host: Host) -> None:
    plan = planned(tmp_path / name, host)
    mounts = values_of("--mount", plan.create_arguments("x"))
    records = [next(csv.reader(io.StringIO(text, newline=""))) for text in mounts]
    assert records == [["type=bind", f"source={mount.source}", f"target={mount.target}"] for mount in plan.mounts]


def test_what_the_guard_keeps_is_mounted_after_the_rest_and_read_only(root: Path, host: Host) -> None:
    kept = Mount(root, ("tasks.py",), str(root / "tasks.py"), read_only=True, pin=True)
    opened = Mount(root, (".git",), str(root / ".git"), pin=True)
    plan = planned(root, host).with_mounts((kept, opened))
    *_, first, last = values_of("--mount", plan.create_arguments("x"))
    assert plan.mounts[-2:] == (kept, opened)
    assert [text.split(",")[3:] for text in (first, last)] == [['"readonly"'], []]


def test_a_pin_is_never_made(root: Path, host: Host) -> None:
    pin = Mount(root, (".envrc",), str(root / ".envrc"), read_only=True, pin=True)
    make_directories(place(root, host), planned(root, host).with_mounts((pin,)).mounts)
    assert os.listdir(root) == [".confined-claude"]


def test_the_container_is_confined_by_its_arguments(tmp_path: Path, host: Host) -> None:
    arguments = planned(tmp_path / "app", host).create_arguments("confined-claude-app")
    assert value_of("--cap-drop", arguments) == "ALL"
    assert set(values_of("--cap-add", arguments)) == set(CAPABILITIES)
    assert value_of("--security-opt", arguments) == "no-new-privileges"
    assert value_of("--log-driver", arguments) == "none"
    assert value_of("--pull", arguments) == "never"
    for flag in ("--privileged", "--volume", "-v", "--pid", "--ipc", "--device", "--user", "--env-file"):
        assert flag not in arguments


def test_no_secret_is_among_the_arguments(tmp_path: Path, host: Host) -> None:
    host = host._replace(environ={"ANTHROPIC_API_KEY": "sk-made-up", "HTTPS_PROXY": "http://u:made-up-pw@p.invalid"})
    url = "https://u:made-up@forge.example/x"
    git = SessionGit(overrides=(("url.x::y.insteadOf", url), ("a.b", "c")), pushes=(url,))
    plan = planned(tmp_path / "app", host, Settings(network="open", push="ask"), git=git)
    assert all(b"made-up" in file.content for file in plan.private)
    assert plan.environment["GIT_CONFIG_COUNT"] == "1"
    assert (plan.variables["GIT_CONFIG_COUNT"], plan.variables["GIT_CONFIG_VALUE_1"]) == ("2", url)
    assert len(plan.private) == 2
    assert not [word for word in plan.create_arguments("x") if "made-up" in word]


@pytest.mark.parametrize("name", ["app", "a:b", "a,b", "a b", "-x", "a\nb", "日本語", "x" * 200, "A" * 39 + "-" + "B"])
def test_names_are_fit_for_the_engine_whatever_the_directory_is_called(name: str, tmp_path: Path, host: Host) -> None:
    plan = planned(tmp_path / name, host)
    assert re.fullmatch(r"confined-claude-[a-z0-9]+(-[a-z0-9]+)*", plan.name)
    for taken in (plan.name, f"{plan.name}-2", f"{plan.name}-12345678901234567890"):
        hostname = value_of("--hostname", plan.create_arguments(taken))
        assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", hostname)
        assert taken.startswith(hostname)


def test_labels_tell_the_project_by_id_and_path(root: Path, host: Host) -> None:
    assert planned(root, host).labels == {
        "confined-claude": "session",
        "confined-claude.project": Project(root).id,
        "confined-claude.path": str(root),
        "confined-claude.key": "0123",
        "confined-claude.owner": host.owner,
        "confined-claude.user": f"{host.uid}:{host.gid}",
        "confined-claude.network": "none",
        "confined-claude.ports": "",
        "confined-claude.profile": "default",
        "confined-claude.sign-in": "given",
        "confined-claude.enter": "1",
    }
    published = (Published(80, 80, 80), Published(8080, 8081, 8080, "another"))
    labels = planned(root, host, Settings(network="open", ports=("80", "8080")), published=published).labels
    assert (labels["confined-claude.network"], labels["confined-claude.ports"]) == ("open", "80:80,8081:8080")


def test_the_command_follows_the_caller_and_the_project_word_by_word(root: Path, host: Host) -> None:
    words = ["claude", "", "a  b", "--", "$(id)", "ü\n"]
    plan = planned(root, host._replace(uid=501, gid=20), command=words)
    assert (plan.user, plan.root, plan.command) == ("501:20", str(root), tuple(words))
    assert plan.workdir == str(root)
    assert plan.create_arguments("x")[-len(words) - 3 :] == [IMAGE.name, "501:20", str(root), *words]


def test_a_plan_cannot_be_changed(root: Path, host: Host) -> None:
    with pytest.raises(AttributeError):
        planned(root, host).name = "other"  # type: ignore[misc]


def test_the_session_gets_few_capabilities_and_none_that_leads_out() -> None:
    assert set(CAPABILITIES) <= {"CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"}


# Root, terminal, network


def test_a_root_caller_and_nobody_else_has_the_variable_of_a_sandbox(root: Path, host: Host) -> None:
    environ = {"IS_SANDBOX": "yes"}
    assert planned(root, host._replace(uid=0, gid=0)).environment["IS_SANDBOX"] == "1"
    assert planned(root, host._replace(uid=0, gid=5, environ=environ)).environment["IS_SANDBOX"] == "1"
    assert "IS_SANDBOX" not in planned(root, host._replace(uid=1000, gid=0, environ=environ)).environment


@pytest.mark.parametrize(
    ("stdin_is_terminal", "stdout_is_terminal", "gets"),
    [
        (True, True, {"terminal": True, "stdin": True}),
        (True, False, {"terminal": False, "stdin": False}),
        (False, True, {"terminal": False, "stdin": True}),
        (False, False, {"terminal": False, "stdin": True}),
    ],
)
def test_a_terminal_when_there_is_one_and_a_pipe_is_read(
    stdin_is_terminal: bool, stdout_is_terminal: bool, gets: dict[str, bool], root: Path, host: Host
) -> None:
    plan = planned(root, host, stdin_is_terminal=stdin_is_terminal, stdout_is_terminal=stdout_is_terminal)
    assert {"terminal": plan.terminal, "stdin": plan.stdin} == gets


# What the network, the engine and the settings add


def test_the_network_is_the_settings(root: Path, host: Host) -> None:
    plan = planned(root, host._replace(uid=0), Settings(network="internet"))
    assert value_of("--network", plan.create_arguments("x")) == "container:confined-claude-net-0123"
    assert "--hostname" not in plan.create_arguments("x")
    assert plan.environment["CONFINED_CLAUDE_JOIN"] == "internet"
    assert (
        planned(root, host, Settings(network="open")).notes
        == plan_egress(
            place(root, host, Settings(network="open")), key="", image="", sets_rules=True, engine=EngineFacts()
        ).notes
    )


def test_what_the_network_sets_replaces_the_hosts_environment(root: Path, host: Host) -> None:
    plan = planned(root, host._replace(environ=SECRETS), Settings(network="allowlist"))
    assert plan.environment["HTTPS_PROXY"] == "http://127.0.0.1:3128"
    assert plan.secrets == {}
    assert "HTTPS_PROXY" not in plan.variables
    assert plan.variables["ANTHROPIC_API_KEY"] == SECRETS["ANTHROPIC_API_KEY"]


@pytest.mark.parametrize(("sudo", "is_reported"), [("apt", False), ("off", False), ("full", True)])
def test_real_sudo_alone_takes_more_privileges_and_is_reported(
    sudo: str, is_reported: bool, root: Path, host: Host
) -> None:
    plan = planned(root, host, Settings(sudo=sudo))
    more = set(SUDO_CAPABILITIES) if is_reported else set()
    assert set(values_of("--cap-add", list(plan.privileges))) == {*CAPABILITIES, *more}
    assert values_of("--security-opt", list(plan.privileges)) == ([] if is_reported else ["no-new-privileges"])
    assert plan.environment["CONFINED_CLAUDE_SUDO"] == sudo
    assert ["real" in note for note in plan.notes] == [True] * is_reported


def test_no_capability_reaches_beyond_the_container() -> None:
    beyond = {"SYS_ADMIN", "NET_ADMIN", "NET_RAW", "SYS_PTRACE", "MKNOD", "DAC_READ_SEARCH", "SYS_MODULE", "SETFCAP"}
    assert beyond.isdisjoint([*CAPABILITIES, *SUDO_CAPABILITIES])


def test_a_session_is_limited_by_its_settings(root: Path, host: Host) -> None:
    settings = Settings(pids=("64",), memory=("1g",), cpus=("1",))
    arguments = planned(root, host, settings, engine=EngineFacts(cpus=4)).create_arguments("x")
    assert value_of("--pids-limit", arguments) == "64"
    assert value_of("--memory", arguments) == value_of("--memory-swap", arguments) == str(1 << 30)
    assert value_of("--cpus", arguments) == "1.00"


def test_with_a_rootless_podman_the_session_is_the_caller(root: Path, host: Host) -> None:
    plan = planned(root, host, engine=EngineFacts(podman=True, rootless=True))
    assert plan.user == f"{host.uid}:{host.gid}"
    assert "IS_SANDBOX" not in plan.environment
    assert not [remark for remark in plan.remarks if "rootless" in remark]


def test_with_a_rootless_docker_the_caller_is_the_containers_root(root: Path, host: Host) -> None:
    plan = planned(root, host, engine=EngineFacts(rootless=True))
    assert plan.user == "0:0"
    assert plan.environment["IS_SANDBOX"] == "1"


@pytest.mark.parametrize("remaps", [True, False])
def test_an_engine_that_remaps_users_does_not_remap_those_of_sessions(remaps: bool, root: Path, host: Host) -> None:
    arguments = planned(root, host, engine=EngineFacts(remaps_users=remaps)).create_arguments("x")
    assert values_of("--userns", arguments) == ["host"] * remaps


# What a person should know of a session


def remarks(
    root: Path, host: Host, engine: EngineFacts | None = None, settings: Settings | None = None
) -> tuple[str, ...]:
    return planned(root, host, settings, engine=engine or EngineFacts()).remarks


def test_of_an_ordinary_session_nothing_is_said(root: Path, host: Host) -> None:
    assert remarks(root, host) == ()


def test_who_one_is_in_the_session_is_said_where_that_may_surprise(root: Path, host: Host) -> None:
    root_host = host._replace(uid=0)
    for who in (host, root_host):
        (remark,) = remarks(root, who, EngineFacts(rootless=True))
        assert "rootless" in remark
        assert "you on your machine" in remark
    (remark,) = remarks(root, root_host)
    assert "You are root" in remark


def test_limits_that_nobody_keeps_are_said_by_name(root: Path, host: Host) -> None:
    nothing = EngineFacts(limits_pids=False, limits_memory=False, limits_cpus=False)
    (remark,) = remarks(root, host, nothing, Settings(cpus=("100%", "2")))
    assert "cannot limit pids and memory and cpus" in remark


def test_a_directory_without_a_repository_gets_a_line_with_what_to_do(root: Path, host: Host) -> None:
    (remark,) = planned(root, host, has_repository=False, is_versioned=False).remarks
    assert "`git init`" in remark
    assert planned(root, host, has_repository=False, is_versioned=True).remarks == ()  # Mercurial's, say
    (remark,) = planned(root, host, has_repository=False, is_versioned=False, repository_above=root.parent).remarks
    assert "git init" not in remark


def test_without_a_network_it_says_what_that_means_for_claude(root: Path, host: Host) -> None:
    (note,) = planned(root, host, Settings(network="none"), command=("claude",)).notes
    assert "Claude Code cannot reach its model" in note
    assert planned(root, host, Settings(network="none"), command=("bash",)).notes == ()


def test_a_repository_around_the_project_is_reported(root: Path, host: Host) -> None:
    (remark,) = planned(root, host, repository_above=root.parent).remarks
    assert f"repository at {root.parent}," in remark


def test_a_repository_without_all_its_objects_is_reported_with_the_command_that_gets_them(
    root: Path, host: Host
) -> None:
    file = root / ".git/objects/info/alternates"
    place = root.parent / "origin/.git/objects"
    alternates = Alternates(file, (place,))
    (note,) = (note for note in planned(root, host, alternates=alternates).notes if "git lacks objects" in note)
    assert f'`mounts = ["{place}"]`' in note
    seen = HostMount(place.parent, place.parent, writable=False, is_directory=True, identity=(1, 1))
    assert "git lacks" not in " ".join(planned(root, host, alternates=alternates, mounts=(seen,)).notes)
    assert f"`git -C '{root}' repack -a -d && rm '{file}'`" in note
    (note, *_) = planned(root, host, alternates=Alternates(file, (place / "\x1b[2J",))).notes
    assert "\\x1b[2J" in note
    assert note.isprintable()


def test_nothing_that_a_session_on_record_may_have_written_is_proposed_as_a_mount(root: Path, host: Host) -> None:
    workspace, own = place(root, host), Repository(root / ".git", root / ".git")
    put(root / ".git/objects/info/alternates", f"{root.parent}/private/objects\n")
    assert planning.alternates_of(workspace, own).directories == (root.parent / "private/objects",)
    with records.locked(workspace.state) as kept, kept.begin("ab", records.Record()):
        assert planning.alternates_of(workspace, own) == Alternates()
    assert planning.alternates_of(workspace, own) == Alternates()  # it was interrupted, and the start looks it through
    with records.locked(workspace.state) as kept:
        kept.end("ab")
    assert planning.alternates_of(workspace, own).directories


def test_the_project_is_named_where_it_is_not_the_callers_directory(root: Path, host: Host) -> None:
    workspace = Workspace(host, Project(root), directory=root / "src")
    launch = plan_launch(workspace, HostFacts(), IMAGE, COMMAND, key="k")
    assert launch.workdir == str(root / "src")
    assert [f"The project is {root}" in remark for remark in launch.remarks] == [True]
    hidden = Mount(Path("/data"), ("x",), str(root / "src"))
    for one in (hidden, hidden._replace(pin=True)):
        assert launch.with_mounts([one]).workdir == str(root)
    pinned = Mount(root, ("src",), str(root / "src"), pin=True)
    assert launch.with_mounts([pinned]).workdir == str(root / "src")
    launch = plan_launch(workspace, HostFacts(passed_over=root / "src"), IMAGE, COMMAND, key="k")
    assert ["review --accept src" in remark for remark in launch.remarks] == [True]
    for former, where in ((root / "src", "`--here` goes on"), (root / "other", f"`--here` in {root}/other goes on")):
        launch = plan_launch(workspace, HostFacts(former=former), IMAGE, COMMAND, key="k")
        assert [where in remark for remark in launch.remarks] == [False, True]


# Whose the files are


@pytest.mark.root
def test_the_groups_of_what_is_mounted_are_kept_but_not_one_with_power_over_the_machine(
    root: Path, tmp_path: Path, host: Host
) -> None:
    socket = tmp_path / "e.sock"
    socket.touch()
    docker_group = {entry.gr_gid for entry in grp.getgrall() if entry.gr_name == "docker"}
    places = {
        name: tmp_path / name for name in ("mine", "teams", "others", "roots", "engines", "dockers", "pinned", "named")
    }
    gids = {"mine": 1000, "teams": 4001, "others": 4002, "roots": 0, "engines": 4003, "pinned": 4004, "named": 4005}
    gids["dockers"] = min(docker_group, default=4003)
    for name, path in places.items():
        path.mkdir()
        os.chown(path, -1, gids[name])
    os.chown(socket, -1, 4003)
    # What the guard mounts is a part of something; what the user names is mounted as it is too.
    pinned, named = Mount(tmp_path, ("pinned",), "/p", pin=True), Mount(places["named"], (), "/n", pin=True)
    mounts = [*(Mount(path, (), str(path)) for name, path in places.items() if gids[name] < 4004), pinned, named]
    member = (0, 1000, 4001, 4003, 4004, 4005, *docker_group)
    user = host._replace(groups=member, environ={"DOCKER_HOST": f"unix://{socket}"})
    assert kept_groups([*mounts, Mount(tmp_path / "missing", (), "/m")], user) == [4001, 4005]
    launch = planning.in_groups(place(root, user), planned(root, user).with_mounts(mounts))
    words = list(pairwise(launch.create_arguments("n")))
    assert [after for word, after in words if word == "--group-add"] == ["4001", "4005"]


@pytest.mark.root
def test_a_root_session_needs_no_group(root: Path, host: Host) -> None:
    os.chown(root, -1, 4001)
    workspace = place(root, host._replace(uid=0, groups=(4001,)))
    launch = planned(root, workspace.host)
    assert "--group-add" not in planning.in_groups(workspace, launch).privileges


def test_an_unusual_umask_is_handed_over(root: Path, host: Host) -> None:
    assert "CONFINED_CLAUDE_UMASK" not in planned(root, host).environment
    assert planned(root, host._replace(umask=0o2)).environment["CONFINED_CLAUDE_UMASK"] == "002"


# Secrets


def test_no_secret_shows_anywhere_but_in_the_secrets(root: Path, host: Host) -> None:
    plan = planned(root, host._replace(environ={**SECRETS, "TERM": "xterm"}), Settings(network="open"))
    assert dict(plan.variables) == SECRETS
    assert dict(plan.secrets) == {"HTTPS_PROXY": SECRETS["HTTPS_PROXY"]}, "what the entrypoint, as root, needs"
    shown = repr(plan) + repr(plan.private)
    assert "xterm" in shown
    for name, value in SECRETS.items():
        assert value not in shown
        assert name not in shown
    assert "fake" not in shown


def test_without_a_network_no_proxy_is_handed_over(root: Path, host: Host) -> None:
    project = {"HTTPS_PROXY": root / ".claude/settings.json"}
    environ = {**SECRETS, "no_proxy": "x"}
    for network in ("none", "open"):
        plan = planned(root, host._replace(environ=environ), Settings(network=network), set_inside=project)
        given = b"fake-proxy-password" in b"".join(file.content for file in plan.private), "no_proxy" in plan.secrets
        assert given == (network == "open", network == "open")


def test_without_secrets_there_is_nothing_to_hand_over(root: Path, host: Host) -> None:
    assert planned(root, host).private == ()
    assert labels.VARIABLES not in planned(root, host).labels


def entries(launch: Launch) -> dict[str, str]:
    """The variables in the file from which the session's command has them."""
    (file,) = (file for file in launch.private if file.path == VARIABLES_FILE)
    assert (file.mode, file.uid, file.gid) == (0o440, 0, int(launch.user.split(":")[1]))
    pairs = (os.fsdecode(entry).partition("=") for entry in file.content.split(b"\0")[:-1])
    return {name: value for name, _, value in pairs}


def in_a_shell(launch: Launch, directory: Path) -> dict[str, str]:
    """The variables that the secrets bring to what a shell starts after reading them."""
    (file,) = (file for file in launch.private if file.path == SECRETS_FILE)
    assert (file.mode, file.uid, file.gid) == (0o600, 0, 0)
    (directory / "secrets").write_bytes(file.content)
    answer = subprocess.run(
        ["/bin/sh", "-euc", ". ./secrets; exec env -0"],
        cwd=directory,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        check=True,
    )
    pairs = (record.partition(b"=") for record in answer.stdout.split(b"\0") if record)
    found = {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}
    return {name: value for name, value in found.items() if name not in ("PATH", "PWD", "OLDPWD", "SHLVL", "_")}


def test_secrets_reach_the_session_as_they_are(root: Path, host: Host, tmp_path: Path) -> None:
    plan = planned(root, host._replace(environ=SECRETS), Settings(network="open"))
    assert entries(plan) == SECRETS
    assert in_a_shell(plan, tmp_path) == {"HTTPS_PROXY": SECRETS["HTTPS_PROXY"]}
    assert plan.labels[labels.VARIABLES] == "1"


@given(
    value=st.text(
        st.characters(exclude_characters="\0", exclude_categories=["Cs"]) | st.sampled_from("'\"$`\\\n ;&|\udcff"),
        min_size=1,
    )
)
def test_whatever_a_secret_is_the_shell_only_assigns_it(value: str, root: Path, host: Host, tmp_path: Path) -> None:
    plan = planned(root, host._replace(environ={"HTTPS_PROXY": f"k{value}"}), Settings(network="open"))
    assert in_a_shell(plan, tmp_path) == entries(plan) == {"HTTPS_PROXY": f"k{value}"}


@pytest.mark.parametrize("value", ["off", "on"])
def test_the_session_has_the_setting_of_plugin_scripts(value: str, root: Path, host: Host) -> None:
    environ = {"CONFINED_CLAUDE_PLUGIN_SCRIPTS": "nonsense"}
    plan = planned(root, host._replace(environ=environ), Settings(plugin_scripts=value))
    assert plan.environment["CONFINED_CLAUDE_PLUGIN_SCRIPTS"] == value


def test_variables_of_a_parent_session_and_of_the_host_stay_out(root: Path, host: Host) -> None:
    environ = {"CLAUDECODE": "1", "CLAUDE_CODE_SSE_PORT": "1", "HOME": "/home/me", "PATH": "/bin", "TERM": "xterm"}
    plan = planned(root, host._replace(environ=environ))
    assert set(plan.environment) == {"TERM", *OWN, *NO_HOOKS}


@pytest.mark.parametrize(("git", "hooks"), [("guarded", NO_HOOKS), ("isolated", NO_HOOKS), ("open", {})])
def test_the_projects_hooks_do_not_run_in_a_session_unless_git_is_open(
    git: str, hooks: dict[str, str], root: Path, host: Host
) -> None:
    settings = Settings(git=git)
    told = plan_git(host, root, settings)
    environment = planned(root, host._replace(environ=NO_HOOKS), settings, git=told).environment
    assert {name: value for name, value in environment.items() if name.startswith("GIT_")} == hooks


def test_the_git_identity_goes_along(root: Path, host: Host) -> None:
    plan = planned(root, host, git=SessionGit((("user.name", 'A "B" C'), ("user.email", "a@example.invalid"))))
    text = plan.environment["CONFINED_CLAUDE_GITCONFIG"]
    assert '"a@example.invalid"' in text
    assert 'A \\"B\\" C' in text


# The directories


def prepared(root: Path, host: Host) -> Launch:
    workspace = place(root, host._replace(uid=os.getuid()))
    launch = planned(root, host)
    start._prepare_scaffold(workspace)
    make_directories(workspace, launch.mounts)
    return launch


def test_every_mounted_directory_is_there_afterwards(root: Path, host: Host) -> None:
    before = os.umask(0o022)
    try:
        mounts = prepared(root, host).mounts
    finally:
        os.umask(before)
    for mount in mounts[1:]:
        assert mount.source.is_dir()
        assert mode_of(mount.source) == (0o700 if mount.base == host.data else 0o755)
    assert mode_of(root / ".confined-claude") == 0o700
    assert mode_of(host.data / "shared") == 0o700


def test_a_project_without_scaffold_stays_clean_for_git(root: Path, host: Host) -> None:
    subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)
    prepared(root, host)
    for name in ("venvs", "local-bin", ".removed-0123456789ab"):  # the last is what a clean that was cut off leaves
        (root / ".confined-claude" / name / "in it").mkdir(parents=True)
        (root / ".confined-claude" / name / "in it/file").write_text("x")
    status = subprocess.run(["git", "status", "--porcelain"], cwd=root, check=True, capture_output=True, text=True)
    assert status.stdout == ""
    assert mode_of(root / ".confined-claude/.gitignore") == 0o644


def test_a_scaffold_is_left_as_it_is(root: Path, host: Host) -> None:
    scaffold = root / ".confined-claude"
    scaffold.mkdir()
    (scaffold / "config.toml").write_text("# mine\n")
    before = tree(scaffold)["config.toml"]
    prepared(root, host)
    assert tree(scaffold)["config.toml"] == before
    assert sorted(os.listdir(scaffold)) == [".gitignore", "config.toml", "local-bin", "venvs"]


def test_an_ignore_file_stays_unless_an_earlier_version_wrote_it(root: Path, host: Host) -> None:
    ignore = root / ".confined-claude/.gitignore"
    ignore.parent.mkdir()
    for before, after in ((b"/venvs/\n", b"/venvs/\n"), (b"*\n", IGNORED)):
        ignore.write_bytes(before)
        prepared(root, host)
        assert ignore.read_bytes() == after


def test_a_start_that_was_cut_short_is_made_good(root: Path, host: Host) -> None:
    (root / ".confined-claude/venvs").mkdir(parents=True)
    prepared(root, host)
    assert (root / ".confined-claude/.gitignore").read_bytes() == IGNORED


def test_a_full_disk_in_the_project_is_a_clear_error(root: Path, host: Host) -> None:
    with full_disk(), pytest.raises(ConfinedError) as caught:
        prepared(root, host)
    assert str(root / ".confined-claude") in caught.value.message
    assert os.listdir(root / ".confined-claude") == []


def test_what_earlier_sessions_left_stays(root: Path, host: Host) -> None:
    prepared(root, host)
    for name in ("venvs/dev/pyvenv.cfg", "local-bin/tool", "local-bin/.lib/node_modules/x"):
        path = root / ".confined-claude" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("kept")
    before = {name: entry for name, entry in tree(root).items() if entry[3]}
    prepared(root, host)
    assert {name: entry for name, entry in tree(root).items() if entry[3]} == before


@pytest.mark.parametrize("name", ["venvs", "local-bin", "local-bin/.lib"])
def test_a_link_planted_since_the_check_is_refused_and_not_followed(
    name: str, root: Path, tmp_path: Path, host: Host
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    link = root / ".confined-claude" / name
    link.parent.mkdir(parents=True)
    link.symlink_to(outside)
    with pytest.raises(ConfinedError, match="is a link"):
        prepared(root, host)
    assert list(outside.iterdir()) == []


def test_directories_of_a_session_belong_to_the_caller(plain_folder: Path) -> None:
    def work() -> set[int]:
        root = plain_folder / "app"
        root.mkdir()
        plan = prepared(root, host_below(plain_folder))
        return {mount.source.stat().st_uid for mount in plan.mounts} - {os.getuid()}

    assert as_plain_user(work) == set()


def test_a_project_that_may_not_be_written_is_a_clear_error(plain_folder: Path) -> None:
    def work() -> None:
        root = plain_folder / "app"
        root.mkdir(mode=0o500)
        prepared(root, host_below(plain_folder))

    with pytest.raises(ConfinedError, match="Permission denied"):
        as_plain_user(work)


# Another runtime


@pytest.mark.parametrize(("runtime", "default"), [("runsc", "runc"), ("engine", "runsc"), ("runc", "kata")])
@pytest.mark.parametrize("network", ["none", "internet", "allowlist", "open"])
def test_a_session_with_another_runtime_proves_its_network_and_sets_no_rules(
    network: str, runtime: str, default: str, root: Path, host: Host
) -> None:
    """The setting chooses it, or it is what the engine takes by default."""
    engine = EngineFacts(kernel="6.1.0")
    usual = planned(root, host, Settings(network=network), engine=engine._replace(default_runtime="runc"))
    settings = Settings(network=network, runtime=runtime)
    other = planned(root, host, settings, engine=engine._replace(default_runtime=default))
    assert (f" --runtime {runtime} " in " ".join(other.privileges)) is (runtime != "engine")
    assert "--runtime" not in usual.privileges
    assert not other.egress.rules
    assert bool(other.egress.sidecar) is (network in ("internet", "allowlist"))
    assert other.environment["CONFINED_CLAUDE_JOIN"].endswith(" kernel=6.1.0" if network != "open" else "")
    # The control: the engine's own needs no proof that it has the kernel's network.
    assert bool(usual.egress.rules) is (network == "internet")
    assert bool(usual.environment["CONFINED_CLAUDE_JOIN"]) is (network == "allowlist")


def test_gpus_are_asked_for_by_name(root: Path, host: Host) -> None:
    assert "--gpus" not in planned(root, host).privileges
    assert " --gpus all " in " ".join(planned(root, host, Settings(gpus="all")).privileges)
    podmans = " ".join(planned(root, host, Settings(gpus="all"), engine=EngineFacts(podman=True)).privileges)
    assert " --device nvidia.com/gpu=all " in podmans
    assert "--gpus" not in podmans
