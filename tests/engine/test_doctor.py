"""doctor on a real machine: each thing broken on purpose changes its own line, and no other."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from helpers import ALONE, API_KEY, LABEL, REPOSITORY, SYSTEM_PATH, User, docker, sessions_of, wait_until

OF_THE_ENGINE = (
    "mode",
    "runtimes",
    "versions",
    "system calls",
    "limits",
    "users",
    "space for engine",
    "image",
    "files",
    "sessions",
)
GONE = dict.fromkeys(OF_THE_ENGINE)
EVERYTHING = {
    *("tool", "docker", "context", "engine", *OF_THE_ENGINE, "space for data", "space for state", "space for project"),
    *("sign-in", "your config", "variables", "project", "project config", "records", "review", "PATH", "git"),
}


@pytest.fixture
def someone(place: Path, installed: Path) -> User:
    """A user who is signed in by credentials on this machine; sessions have no network, as that starts fastest."""
    user = User(place / "home", installed, variables={"CONFINED_CLAUDE_NETWORK": "none"})
    user.folder(user.home)
    user.sign_in()
    return user


@pytest.fixture
def directory(place: Path, someone: User) -> Path:
    return someone.folder(place / "project")


def examined(user: User, cwd: Path, *, docker_group: bool = True, **extra: str) -> dict[str, str]:
    """The status of each line, by its name; the worst counts."""
    done = user.run("confined-claude", "doctor", "--json", cwd=cwd, docker_group=docker_group, **extra)
    assert done.stderr == ""
    assert "made-up" not in done.stdout
    answer = json.loads(done.stdout)
    assert answer["version"] == 1
    found: dict[str, str] = {}
    for line in sorted(answer["checks"], key=lambda line: ["ok", "warning", "problem"].index(line["status"])):
        assert line["what"]
        assert bool(line["cure"]) == (line["status"] != "ok"), line
        found[line["name"]] = line["status"]
    assert done.returncode == ("problem" in found.values())
    return found


@pytest.fixture
def healthy(someone: User, directory: Path) -> dict[str, str]:
    """The control."""
    found = examined(someone, directory)
    assert set(found) == EVERYTHING
    assert "problem" not in found.values()
    # The engine of this machine may have known vulnerabilities, and its user may be root; the rest is well.
    assert {name for name, status in found.items() if status != "ok"} <= {"versions", "users", "limits"}
    return found


def changed(before: dict[str, str], after: dict[str, str]) -> dict[str, str | None]:
    """What has changed; None for lines that are gone."""
    assert set(after) <= set(before)
    return {name: after.get(name) for name in before if before[name] != after.get(name)}


def test_for_people_in_a_pipe_of_forty_columns(someone: User, directory: Path) -> None:
    done = someone.run(
        "confined-claude", "doctor", cwd=directory, COLUMNS="40", NO_COLOR="1", ANTHROPIC_API_KEY=API_KEY
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\x1b" not in done.stdout
    assert API_KEY not in done.stdout
    lines = done.stdout.splitlines()
    assert any(line.startswith("ok       sign-in: by ANTHROPIC_API_KEY") for line in lines)
    assert [line for line in lines if len(line) > 40 and len(line.split()) > 1 and not line.startswith(" " * 9)] == []


@ALONE
def test_the_version_of_claude_code_is_the_images_own(someone: User, directory: Path) -> None:
    output = someone.run("confined-claude", "doctor", cwd=directory).stdout
    inside = docker("run", "--rm", "--entrypoint", "claude", "confined-claude:latest", "--version").split()[0]
    assert f"Claude Code {inside}," in output


def test_by_inv_as_well(someone: User, directory: Path) -> None:
    shutil.copy(REPOSITORY / "template/tasks.py", directory)
    assert someone.run("inv", "doctor", cwd=directory).returncode == 0
    broken = someone.run("inv", "doctor", cwd=directory, DOCKER_HOST="unix:///nonexistent.sock")
    assert broken.returncode == 1
    assert "problem  engine" in broken.stdout


def test_nothing_is_made(someone: User, directory: Path, healthy: dict[str, str]) -> None:
    assert [path.name for path in directory.iterdir()] == []
    assert sorted(path.name for path in someone.home.iterdir()) == [".claude"]


def test_the_engine_is_out_of_reach(someone: User, directory: Path, place: Path, healthy: dict[str, str]) -> None:
    for address in ("unix:///nonexistent.sock", "tcp://127.0.0.1:1"):
        assert changed(healthy, examined(someone, directory, DOCKER_HOST=address)) == {"engine": "problem", **GONE}
    elsewhere = examined(someone, directory, DOCKER_HOST="ssh://host.invalid")
    assert changed(healthy, elsewhere) == {"context": "problem", "engine": None, **GONE}
    wrong = examined(someone, directory, DOCKER_CONTEXT="nope")
    assert changed(healthy, wrong) == {"context": "problem", "engine": None, **GONE}


def test_an_engine_that_never_answers(someone: User, directory: Path, place: Path, healthy: dict[str, str]) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(place / "silent.sock"))
        silent.listen()
        found = examined(someone, directory, DOCKER_HOST=f"unix://{place}/silent.sock")
    assert changed(healthy, found) == {"engine": "problem", **GONE}


def test_commands_that_are_missing(someone: User, directory: Path, place: Path, healthy: dict[str, str]) -> None:
    def without(missing: str) -> str:
        tools = someone.folder(place / f"without-{missing}")
        for name in {"git", "docker"} - {missing}:
            (tools / name).symlink_to(shutil.which(name) or "")
        return f"{someone.bin}:{tools}"

    no_docker = examined(someone, directory, PATH=without("docker"))
    assert changed(healthy, no_docker) == {"docker": "problem", "engine": None, **GONE}
    assert changed(healthy, examined(someone, directory, PATH=without("git"))) == {"git": "warning"}


def test_a_path_without_the_commands(someone: User, directory: Path, healthy: dict[str, str]) -> None:
    done = someone.run(str(someone.bin / "confined-claude"), "doctor", "--json", cwd=directory, PATH=SYSTEM_PATH)
    found = {line["name"]: line for line in json.loads(done.stdout)["checks"]}
    assert changed(healthy, {name: line["status"] for name, line in found.items()}) == {"PATH": "warning"}
    # This user has no links to them at home, so the hint names their own directory.
    assert f"{(someone.bin / 'confined-claude').resolve().parent}:$PATH" in found["PATH"]["cure"]


def test_broken_configs(someone: User, directory: Path, healthy: dict[str, str]) -> None:
    assert changed(healthy, examined(someone, directory, CONFINED_CLAUDE_GIT="nope")) == {"variables": "problem"}
    for text in ("network = ", "nope = 1", 'network = "open"'):
        config = someone.folder(directory / ".confined-claude") / "config.toml"
        config.write_text(text)
        assert changed(healthy, examined(someone, directory)) == {"project config": "problem"}, text
    config.write_text('network = "none"')
    assert changed(healthy, examined(someone, directory)) == {}
    (someone.folder(someone.home / ".config/confined-claude") / "config.toml").write_text("network = ")
    assert changed(healthy, examined(someone, directory)) == {"your config": "problem"}


def test_a_directory_that_can_be_no_project(someone: User, directory: Path, healthy: dict[str, str]) -> None:
    found = examined(someone, Path("/"))
    gone = {"space for project": None, "project config": None}
    assert changed(healthy, found) == {"project": "warning", **gone}
    (directory / ".confined-claude").symlink_to(directory)
    assert changed(healthy, examined(someone, directory)) == {"project": "problem", **gone}


def test_sign_ins(someone: User, directory: Path, healthy: dict[str, str]) -> None:
    file = someone.sign_in(expires=1)
    assert changed(healthy, examined(someone, directory)) == {"sign-in": "warning"}
    file.write_text("{broken made-up")
    assert changed(healthy, examined(someone, directory)) == {"sign-in": "warning"}
    file.unlink()
    assert changed(healthy, examined(someone, directory)) == {"sign-in": "warning"}
    assert changed(healthy, examined(someone, directory, ANTHROPIC_API_KEY=API_KEY)) == {}


@pytest.mark.root
def test_no_space(someone: User, directory: Path, full_disk: Path, healthy: dict[str, str]) -> None:
    for what, variable in (("data", "XDG_DATA_HOME"), ("state", "XDG_STATE_HOME")):
        found = examined(someone, directory, **{variable: str(full_disk)})
        assert changed(healthy, found) == {f"space for {what}": "problem"} | (
            {"files": None} if what == "state" else {}
        )
    project = someone.folder(full_disk / "project")
    assert changed(healthy, examined(someone, project)) == {"space for project": "problem"}


def test_a_missing_image(someone: User, directory: Path, healthy: dict[str, str]) -> None:
    found = examined(someone, directory, CONFINED_CLAUDE_CLAUDE_VERSION="0.0.1")
    assert changed(healthy, found) == {"image": "warning"}


def test_records_that_cannot_be_read(someone: User, directory: Path, healthy: dict[str, str]) -> None:
    record = someone.home / ".local/state/confined-claude/projects/other-01234567/project.json"
    for text in ('{"version": 1000, "root": "/x"}', "{"):
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(text)
        assert changed(healthy, examined(someone, directory)) == {"records": "warning"}
    record.write_text('{"version": 1, "root": "/x"}')
    assert changed(healthy, examined(someone, directory)) == {}


def test_what_a_killed_tool_leaves(someone: User, directory: Path, healthy: dict[str, str]) -> None:
    def only_sessions() -> bool:
        return changed(healthy, examined(someone, directory)) == {"sessions": "warning"}

    tool = subprocess.Popen(
        someone.command("confined-claude", "shell", "--", "sh", "-c", "echo export > .envrc; sleep 300"),
        cwd=directory,
        env=someone.environ(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    made: list[str] = []
    try:
        wait_until((directory / ".envrc").exists)
        name = sessions_of(directory)[0]
        assert changed(healthy, examined(someone, directory)) == {}  # a running session is nothing to report
        tool.send_signal(signal.SIGKILL)
        tool.wait()
        assert only_sessions()
        # One that the same tool created and never started.
        shown = json.loads(docker("inspect", name))[0]["Config"]
        labels = [word for label, value in shown["Labels"].items() for word in ("--label", f"{label}={value}")]
        made.append(docker("create", *labels, shown["Image"]).strip())
        docker("rm", "--force", name)
        assert only_sessions()
        assert someone.run("confined-claude", "stop", cwd=directory).returncode == 0
        assert made[0] not in docker("ps", "--all", "--quiet", "--no-trunc")
        assert changed(healthy, examined(someone, directory)) == {"review": "problem"}
        (directory / ".envrc").unlink()
        assert changed(healthy, examined(someone, directory)) == {}
    finally:
        tool.kill()
        tool.wait()
        for container in (*sessions_of(directory), *made):
            docker("rm", "--force", container, check=False)
    assert docker("ps", "--all", "--quiet", "--filter", f"label={LABEL}.path={directory}") == ""
