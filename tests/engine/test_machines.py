"""What machines have that sessions must work with, or without: terminals, users, settings of the engine's client.

The rows of the tables in docs/reference/machines.md are the parameters of these tests, which show that each is so. With
CONFINED_CLAUDE_WRITE_MACHINES=1 these tables are written anew.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from helpers import PATIENCE, REPOSITORY, User, builder_variables, docker, own_name, sidecars_of, up, wait_until
from terminals import Terminal, terminal

PAGE = REPOSITORY / "docs/reference/machines.md"

# Terminals: which of them, and what each calls itself.
TERMINALS = {
    "kitty": "xterm-kitty",
    "Ghostty": "xterm-ghostty",
    "Alacritty": "alacritty",
    "foot": "foot",
    "WezTerm": "wezterm",
    "GNOME Terminal and others of VTE": "vte-256color",
    "Konsole": "konsole-256color",
    "st": "st-256color",
    "rxvt-unicode": "rxvt-unicode-256color",
    "iTerm2": "iterm2",
    "Windows Terminal": "ms-terminal",
    "Rio": "rio",
    "Contour": "contour",
    "tmux": "tmux-256color",
    "GNU Screen": "screen-256color",
    "the Linux console": "linux",
    "most others": "xterm-256color",
    "one that nobody knows": "no-such-terminal",
}
# How a file is opened, and left.
PROGRAMS = {"nano": "\x18", "less": "q", "vim": ":q\r"}


def leaves(it: Terminal, key: str, after: str) -> None:
    """Press a key until the text ``after`` is there: on a busy machine a program drops what comes while it starts."""
    it.send(key)
    try:
        it.wait_for(after, 20)
    except AssertionError:
        it.send(key)
        it.wait_for(after)


def opens(user: User, project: Path, name: str, *around: str) -> None:
    """Each program shows its file in a terminal of that name, inside what the words ``around`` start."""
    for program in PROGRAMS:
        (project / program).write_text(f"opened by {program}\n")
    script = "; ".join(f"{program} {project}/{program}" for program in PROGRAMS)
    with terminal(user, project, *around, "--", "sh", "-c", f"{script}; echo colours: $(tput colors)", TERM=name) as it:
        it.wait_for("opened by nano")
        shown = (*(f"opened by {program}" for program in PROGRAMS), f"colours: {8 if name == 'linux' else 256}")
        for leave, after in zip(PROGRAMS.values(), shown[1:], strict=True):
            leaves(it, leave, after)
        assert it.wait_for_end() == 0
        assert not [word for word in ("fully functional", "terminfo", "unknown") if word in it.everything]


@pytest.fixture(scope="module")
def session(installed: Path, ground: Path, request: pytest.FixtureRequest) -> Iterator[tuple[User, Path]]:
    """A session that does nothing, for ``exec``; its user and project."""
    home = ground / f"home-{os.getpid()}"
    user = User(home, installed, variables={"CONFINED_CLAUDE_NETWORK": "none"})
    project = user.folder(own_name(user.folder(home) / "12345678"))
    with user.running("confined-claude", "shell", "--", "sleep", "infinity", cwd=project):
        wait_until(lambda: up(project) and "sleep" in docker("top", up(project)[0], check=False))
        yield user, project


@pytest.mark.parametrize("name", TERMINALS.values())
def test_programs_open_in_every_terminal(session: tuple[User, Path], name: str) -> None:
    opens(*session, name, "confined-claude", "exec")


@pytest.mark.parametrize("name", ["xterm-kitty", "xterm-ghostty"])
def test_programs_open_in_a_sessions_own_terminal(user: User, project: Path, name: str) -> None:
    opens(user, project, name, "confined-claude", "shell")


def test_control_in_an_unknown_terminal_nothing_opens(session: tuple[User, Path]) -> None:
    user, project = session
    words = ("docker", "exec", "-it", "-e", "TERM=no-such-terminal", up(project)[0], "nano", "x")
    with terminal(user, project, *words) as it:
        assert it.wait_for_end() != 0
        assert "Error opening terminal" in it.everything


def test_a_reader_that_has_enough_ends_a_session_in_silence(user: User, project: Path) -> None:
    script = "confined-claude shell -- sh -c 'yes \"$0\"' word | head -n 1; echo ${PIPESTATUS[@]}"
    done = user.run("bash", "-c", script, cwd=project)
    assert (done.stdout, done.stderr) == ("word\n141 0\n", "")
    assert up(project) == []


# Users: what each may do in whose project.

TEAM, OTHERS = 54321, 54322
WRITE = 'umask; id -G; echo x >"$0/new" && stat -c "%u:%g %a" "$0/new"'


@dataclass(frozen=True)
class Case:
    """A user 12345:12345 with ``groups`` and ``umask``, and a project with ``mode`` of ``owner``, a uid and a gid.

    ``said`` is what a session says of its umask, its groups and a file it makes; nothing where none starts.
    """

    result: str
    owner: tuple[int, int] = (12345, 12345)
    mode: int = 0o755
    groups: tuple[int, ...] = ()
    umask: str = "022"
    said: tuple[str, ...] = ()


CASES = {
    "the project is yours": Case("has your uid, gid and umask", umask="027", said=("0027", "12345", "12345:12345 640")),
    "it is root's, of a group of yours (2770)": Case(
        "makes files that are yours and the group's", (0, TEAM), 0o2770, (TEAM, OTHERS), "002",
        ("0002", f"12345 {TEAM}", f"12345:{TEAM} 664"),
    ),
    "it is yours, of root's group": Case(
        "does not have that group", (12345, 0), 0o2775, (0, TEAM), "022", ("0022", "12345", "12345:0 644")
    ),
    "it is yours, of the engine's group": Case(
        "does not have that group", (12345, -1), 0o775, (TEAM,), "022", ("0022", "12345", "12345:12345 644")
    ),
    "it is root's, of a group that is not yours": Case("does not start, and says why", (0, TEAM), 0o2770, (OTHERS,)),
}  # fmt: skip


def written(user: User, project: Path, *around: str, umask: str = "022") -> tuple[tuple[str, ...], str]:
    """What a session in a project says of its umask, its groups and a file it makes; and what is wrong."""
    project.joinpath("new").unlink(missing_ok=True)
    words = ("bash", "-c", f'umask {umask}; exec "$@"', "bash", *around, "--", "bash", "-c", WRITE, str(project))
    done = user.run(*words, cwd=project)
    return tuple(done.stdout.splitlines()), done.stderr


def made_for(case: Case, make_user: Callable[..., User], place: Path, network: str = "none") -> tuple[User, Path]:
    """The user and the project of a case."""
    user = replace(make_user(12345, 12345, CONFINED_CLAUDE_NETWORK=network, ANTHROPIC_BASE_URL=""), groups=case.groups)
    project = own_name(place)
    project.mkdir()
    uid, gid = case.owner
    os.chown(project, uid, Path("/var/run/docker.sock").stat().st_gid if gid == -1 else gid)
    project.chmod(case.mode)
    return user, project


@pytest.mark.root
@pytest.mark.parametrize("what", CASES)
def test_a_session_has_its_users_groups_and_umask(make_user: Callable[..., User], place: Path, what: str) -> None:
    case = CASES[what]
    user, project = made_for(case, make_user, place)
    said, why = written(user, project, "confined-claude", "shell", umask=case.umask)
    assert said == case.said, why
    assert (str(project) in why and "Permission denied" in why) == (not case.said)


@pytest.mark.root
@pytest.mark.parametrize("is_member", [True, False])
def test_a_session_writes_in_a_mount_of_its_users_group(
    make_user: Callable[..., User], place: Path, is_member: bool
) -> None:
    case = replace(CASES["the project is yours"], groups=(TEAM if is_member else OTHERS,))
    user, project = made_for(case, make_user, place)
    team = place / "team"
    team.mkdir()
    os.chown(team, 0, TEAM)
    team.chmod(0o2775)
    words = ("shell", "--mount", f"{team}:rw", "--", "touch", f"{team}/new")
    done = user.run("confined-claude", *words, cwd=project)
    assert (done.returncode == 0, team.joinpath("new").exists()) == (is_member, is_member), done.stderr
    assert not is_member or team.joinpath("new").stat().st_gid == TEAM


@pytest.mark.root
@pytest.mark.parametrize("network", ["internet", "allowlist"])
def test_it_has_them_with_rules_and_with_a_sidecar(make_user: Callable[..., User], place: Path, network: str) -> None:
    case = CASES["it is root's, of a group of yours (2770)"]
    user, project = made_for(case, make_user, place, network)
    said, why = written(user, project, "confined-claude", "shell", umask=case.umask)
    assert said == case.said, why


@pytest.mark.root
def test_exec_has_the_group_and_its_own_callers_umask(make_user: Callable[..., User], place: Path) -> None:
    user, project = made_for(CASES["it is root's, of a group of yours (2770)"], make_user, place)
    with user.running("confined-claude", "shell", "--", "sleep", "600", cwd=project):
        wait_until(lambda: up(project) and "sleep" in docker("top", up(project)[0], check=False))
        expected = ("0077", f"12345 {TEAM}", f"12345:{TEAM} 600")
        assert written(user, project, "confined-claude", "exec", umask="077") == (expected, "")


def test_a_kept_group_writes_nothing_in_the_image_that_root_runs(session: tuple[User, Path]) -> None:
    """A project may have the group of something in the image as well: `www-data`, `staff`."""
    user, project = session
    script = "find / -xdev -perm -g=w ! -group 0 ! -type l ! -user $(id -u) 2>/dev/null | sort"
    done = user.run("docker", "exec", "-u", "65534", up(project)[0], "sh", "-c", script, cwd=project)
    assert done.stdout.split() == ["/var/local", "/var/mail"], done.stderr


@pytest.mark.root
def test_what_its_user_may_not_read_does_not_prevent_a_session(plain_user: User, place: Path) -> None:
    project = plain_user.folder(own_name(place))
    for name in ("pgdata", "lost+found", ".idea", ".vscode", ".claude", ".venv", "node_modules/p", "a/b"):
        (project / name).mkdir(parents=True)
        (project / name).chmod(0o700)
    for name in (".mcp.json", ".envrc", "tasks.py", "CLAUDE.md", "a/b/.envrc"):
        (project / name).touch(0o600)
    for path in (".git/hooks", ".git/info", ".git/worktrees/one"):
        (project / path).mkdir(parents=True)
        (project / path).chmod(0o700)
    for _ in range(2):
        done = plain_user.run("confined-claude", "shell", "--", "echo", "works", cwd=project)
        assert (done.returncode, done.stdout, done.stderr) == (0, "works\n", "")


@pytest.mark.mount
def test_an_engine_that_sees_other_files_is_recognized(user: User, place: Path) -> None:
    """The project is on a file system that only its user's processes see."""
    project = own_name(place)
    project.mkdir()
    inside = 'mount -t tmpfs none "$0" && mkdir "$0/app" && cd "$0/app" && "$@"'

    def there(*words: str) -> subprocess.CompletedProcess[str]:
        return user.run("unshare", "--mount", "sh", "-c", inside, str(project), *words, cwd=place)

    done = there("confined-claude", "shell", "--", "true")
    assert done.returncode == 3
    said, hint = done.stderr.splitlines()
    assert "bind source path does not exist" in said
    assert "The engine sees other files than you do" in hint
    checks = json.loads(there("confined-claude", "doctor", "--json").stdout)["checks"]
    (found,) = [check for check in checks if check["name"] == "files"]
    assert (found["status"], found["cure"]) == ("problem", hint)
    assert up(project / "app") == []


# Settings of the docker command: what a user may have, by what it is. None of it is for our containers.

PASSWORD = "made-up-password"
CLIENT = {
    "`DOCKER_DEFAULT_PLATFORM` of another kind of machine": {"DOCKER_DEFAULT_PLATFORM": "linux/s390x"},
    "`DOCKER_CONTENT_TRUST`": {"DOCKER_CONTENT_TRUST": "1"},
    "`DOCKER_API_VERSION` that the engine does not have": {"DOCKER_API_VERSION": "1.99"},
    "`DOCKER_TLS_VERIFY` with an engine at a socket": {"DOCKER_TLS_VERIFY": "1"},
    "`~/.docker/config.json` that is damaged": {"config": '{"proxies": {'},
    "`~/.docker/config.json` that is not readable": {"config": "unreadable"},
    "`~/.docker` of root's": {"directory": "unreadable"},
    "`proxies` in `~/.docker/config.json`": {"config": "proxies"},
}


def configured(user: User, config: str = "", directory: str = "", **variables: str) -> dict[str, str]:
    """Give a user such a configuration; the variables that belong to it."""
    folder = user.folder(user.home / ".docker")
    proxy = f"http://me:{PASSWORD}@proxy.invalid:3128"
    kinds = {"httpProxy": proxy, "httpsProxy": proxy, "noProxy": "docker.invalid", "ftpProxy": proxy}
    (folder / "config.json").unlink(missing_ok=True)
    (folder / "config.json").write_text(json.dumps({"proxies": {"default": kinds}}) if config == "proxies" else config)
    if config == "unreadable":
        (folder / "config.json").chmod(0o600)
    if directory == "unreadable":
        os.chown(folder, 0, 0)
        folder.chmod(0o700)
    return variables


@pytest.mark.root
@pytest.mark.parametrize("kind", CLIENT)
def test_the_docker_commands_own_settings_do_not_matter(make_user: Callable[..., User], place: Path, kind: str) -> None:
    user = make_user(12345, 12345, CONFINED_CLAUDE_NETWORK="allowlist", ANTHROPIC_BASE_URL="")
    variables = configured(user, **CLIENT[kind])
    done = user.run("confined-claude", "shell", "--", "echo", "works", cwd=user.folder(own_name(place)), **variables)
    assert (done.returncode, done.stdout) == (0, "works\n"), done.stderr
    # The tests have no internet.
    assert [line for line in done.stderr.splitlines() if ":443 cannot be reached" not in line] == []


@pytest.mark.root
@pytest.mark.parametrize("builder", ["classic", "buildkit"])
def test_nor_do_they_matter_to_a_build(make_user: Callable[..., User], place: Path, builder: str) -> None:
    user = make_user(12345, 12345, CONFINED_CLAUDE_NETWORK="none")
    project = user.folder(own_name(place))
    text = f"\ufeffARG BASE\r\nFROM ${{BASE}}\r\nRUN echo {project.name} \\\r\n  >/etc/made; env >>/etc/made\r\n"
    user.folder(project / ".confined-claude").joinpath("Dockerfile").write_bytes(text.encode())
    variables = builder_variables(builder, user, place)
    for kind in CLIENT.values():
        variables |= configured(user, **kind)
    configured(user, config="proxies")
    digest = user.run("confined-claude", "trust", cwd=project).stderr.rpartition("--hash ")[2].split("`")[0].strip()
    assert user.run("confined-claude", "trust", "--hash", digest, cwd=project).returncode == 0
    try:
        done = user.run("confined-claude", "shell", "--", "cat", "/etc/made", cwd=project, **variables)
        assert done.stdout.startswith(f"{project.name}\n"), done.stderr
        assert f"https_proxy=http://me:{PASSWORD}@proxy.invalid:3128" in done.stdout.splitlines()
    finally:
        named = docker("images", "--format", "{{.Repository}}:{{.Tag}}", "--filter", "label=confined-claude.on").split()
        shown = {name: docker("history", "--no-trunc", name, check=False) for name in named}
        (own,) = (name for name in named if project.name in shown[name])  # others build meanwhile
        assert PASSWORD not in shown[own] + docker("inspect", own)
        docker("rmi", "--force", own)


@pytest.mark.root
@pytest.mark.parametrize("network", ["internet", "open", "allowlist", "none"])
def test_proxies_of_the_docker_command_are_like_those_of_variables(
    make_user: Callable[..., User], place: Path, network: str
) -> None:
    user = make_user(12345, 12345, CONFINED_CLAUDE_NETWORK=network, ANTHROPIC_BASE_URL="", NO_PROXY="mine.invalid")
    configured(user, config="proxies")
    project = user.folder(own_name(place))
    script = "env -0 | sort -z | grep -zi proxy= | tr '\\0' '\\n'; touch said; sleep 600"
    with user.running("confined-claude", "shell", "--", "sh", "-c", script, cwd=project) as running:
        wait_until((project / "said").exists)
        names = [*up(project), *sidecars_of(project)]
        assert len(names) == (2 if network == "allowlist" else 1)
        assert PASSWORD not in docker("inspect", *names)
        docker("kill", names[0])
        said, _ = running.communicate(timeout=PATIENCE)
    shown = dict(line.partition("=")[::2] for line in said.splitlines() if "roxy=" in line.lower())
    proxy = {"allowlist": "http://127.0.0.1:3128", "none": None}.get(
        network, f"http://me:{PASSWORD}@proxy.invalid:3128"
    )
    assert {shown.get(name) for name in ("HTTP_PROXY", "https_proxy", "HTTPS_PROXY")} == {proxy}
    assert PASSWORD in said or network in ("allowlist", "none")
    direct = {"allowlist": "localhost,127.0.0.1,::1", "none": None}.get(network, "mine.invalid")
    assert shown.get("NO_PROXY") == direct


# The page


def tables() -> Iterator[list[str]]:
    """The lines of each table in docs/reference/machines.md."""
    yield ["| Terminal | `TERM` |", "|---|---|", *(f"| {kind} | `{name}` |" for kind, name in TERMINALS.items())]
    yield ["| Where you start it | A session |", "|---|---|", *(f"| {what} | {CASES[what].result} |" for what in CASES)]
    yield ["| You have | A session |", "|---|---|", *(f"| {what} | works all the same |" for what in CLIENT)]


def test_the_page_lists_what_is_tried_here() -> None:
    text = made = PAGE.read_text()
    for lines in tables():
        pattern = rf"^{re.escape(lines[0])}\n(\|.*\n)*"
        assert re.search(pattern, text, re.MULTILINE), lines[0]
        made = re.sub(pattern, lambda _, lines=lines: "\n".join((*lines, "")), made, flags=re.MULTILINE)  # type: ignore[misc]
    if os.environ.get("CONFINED_CLAUDE_WRITE_MACHINES"):
        PAGE.write_text(made)
    assert PAGE.read_text() == made
