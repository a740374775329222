"""Engines that have other files than their user: recognized before anything is built or changed there."""

from __future__ import annotations

import hashlib
import json
import os
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import LABEL, User, docker, own_name, up
from own_engine import OwnEngine, own_engine
from relay import DROP, PASS, relayed

# In one process, as they share an engine.
pytestmark = [pytest.mark.root, pytest.mark.xdist_group("sight")]


# As on a machine that ssh leads to: the variables of the caller do not follow.
SSH = """#!/bin/sh
echo "$*" >>"{place}/calls"
unset DOCKER_HOST
exec docker system dial-stdio
"""


def requests(lines: list[str], what: str) -> list[str]:
    return [line for line in lines if what in line]


@pytest.fixture(scope="module")
def away(installed: Path, ground: Path) -> Iterator[tuple[OwnEngine, Path]]:
    """An engine whose machine has other files in a directory, and that directory."""
    folder = Path(tempfile.mkdtemp(prefix="elsewhere-", dir=ground))
    folder.chmod(0o755)
    paths = "home/.local/state/confined-claude project bare/.local/state/confined-claude"
    there = f"mkdir -p {paths}; echo other >home/.local/state/confined-claude/engine-check; echo theirs >project/file"
    with own_engine(f"mount -t tmpfs none {folder}; (cd {folder}; {there})") as engine:
        yield engine, folder


def left_over(engine: OwnEngine) -> str:
    """What there is of ours in the engine."""
    return engine.docker("ps", "--all", "--quiet") + engine.docker("images", "--all", "--quiet")


@pytest.mark.parametrize("kind", ["socket", "port"])
@pytest.mark.parametrize("command", ["run", "build"])
def test_a_tunnel_to_a_machine_with_the_same_paths_is_refused_before_anything_is_built(
    away: tuple[OwnEngine, Path], installed: Path, place: Path, kind: str, command: str
) -> None:
    engine, folder = away
    user = User(folder / "home", installed, variables={"ANTHROPIC_API_KEY": "sk-made-up"})
    project = user.folder(folder / "project")
    user.folder(folder / "home")
    lines: list[str] = []
    with relayed(place if kind == "socket" else None, lambda line: lines.append(line) or PASS,  # type: ignore[func-returns-value]
                 engine.address.removeprefix("unix://")) as (address, _):  # fmt: skip
        done = user.run("confined-claude", command, cwd=project, DOCKER_HOST=address)
        file = folder / "home/.local/state/confined-claude/engine-check"
        assert done.returncode == 3, done.stderr
        said, hint = done.stderr.splitlines()
        said = said.removeprefix("confined-claude: ")
        hint = hint.removeprefix("confined-claude: ")
        assert said == f"The engine sees the files of another machine: its {file} is not the one here."
        assert hint.startswith("The engine sees other files than you do")
        checks = json.loads(user.run("confined-claude", "doctor", "--json", cwd=project, DOCKER_HOST=address).stdout)
    (found,) = [check for check in checks["checks"] if check["name"] == "files"]
    assert (found["status"], found["what"], found["cure"]) == ("problem", said, hint)
    assert not requests(lines, "/build")
    assert left_over(engine) == ""
    assert [path.name for path in project.iterdir()] == []


def test_an_engine_without_our_files_is_refused(away: tuple[OwnEngine, Path], installed: Path, place: Path) -> None:
    engine, folder = away
    user = User(folder / "nobody", installed, variables={"ANTHROPIC_API_KEY": "sk-made-up"})
    user.folder(user.home)
    done = user.run("confined-claude", "run", cwd=user.folder(own_name(place)), DOCKER_HOST=engine.address)
    assert done.returncode == 3
    assert "The engine could not look at your machine's files" in done.stderr
    assert "The engine sees other files than you do" in done.stderr
    assert left_over(engine) == ""


def test_an_engine_with_our_directories_and_none_of_our_files_is_one_of_another_machine(
    away: tuple[OwnEngine, Path], installed: Path
) -> None:
    engine, folder = away
    user = User(folder / "bare", installed, variables={"ANTHROPIC_API_KEY": "sk-made-up"})
    user.folder(user.home)
    done = user.run("confined-claude", "run", cwd=user.folder(folder / "project"), DOCKER_HOST=engine.address)
    assert done.returncode == 3
    file = user.home / ".local/state/confined-claude/engine-check"
    assert f"The engine sees the files of another machine: its {file} is not the one here." in done.stderr
    assert "The engine sees other files than you do" in done.stderr
    assert left_over(engine) == ""


def test_an_engine_that_has_our_files_is_tried_once(user: User, project: Path, place: Path) -> None:
    """Each start finds no record of the engine's kind, and asks for that. It is still known to have our files."""
    lines: list[str] = []
    words = ("confined-claude", "shell", "--", "echo", "works")
    with relayed(place, lambda line: lines.append(line) or PASS) as (address, _):  # type: ignore[func-returns-value]
        for _ in range(2):
            done = user.run(*words, cwd=project, DOCKER_HOST=address)
            assert (done.stdout, done.stderr) == ("works\n", "")
            (user.home / ".local/state/confined-claude/engine.json").unlink()
    assert len(requests(lines, "POST /images/create")) == 1
    assert len(requests(lines, "GET /info")) == 2
    assert len(requests(lines, "/archive?path=%2Ffile")) == 1


@pytest.mark.parametrize("after", ["POST /images/create", "POST /containers/create", "archive?path=%2Ffile"])
def test_an_engine_that_goes_away_in_the_middle_of_the_check(
    user: User, project: Path, place: Path, after: str
) -> None:
    """What is left there then goes with the next check, and nothing is recorded of the first."""
    gone: list[str] = []

    def decide(line: str) -> str:
        if gone:
            return DROP
        if after in line:
            gone.append(line)
        return PASS

    state = os.path.realpath(bytes(user.home / ".local/state/confined-claude"))
    owner = hashlib.sha256(b"%d\0%b" % (user.uid, state)).hexdigest()[:12]
    containers = (
        "ps",
        "--all",
        "--quiet",
        "--filter",
        f"label={LABEL}=check",
        "--filter",
        f"label={LABEL}.owner={owner}",
    )
    images = ("images", "--quiet", "--filter", f"label={LABEL}.check={owner}")
    with relayed(place, decide) as (address, _):
        done = user.run("confined-claude", "shell", "--", "true", cwd=project, DOCKER_HOST=address)
        assert (done.returncode, "The connection to the engine broke" in done.stderr) == (3, True), done.stderr
        assert docker(*images) != ""
        assert up(project) == []
        gone.clear()
        after = "nothing"
        done = user.run("confined-claude", "shell", "--", "echo", "works", cwd=project, DOCKER_HOST=address)
        assert (done.stdout, done.stderr) == ("works\n", "")
    assert docker(*containers) + docker(*images) == ""


def works(user: User, project: Path, **variables: str) -> None:
    """A build of another image, sessions with their input, output and exit code, and doctor's lines on the engine."""
    variables["CONFINED_CLAUDE_PACKAGES"] = "hello"
    built = user.run("confined-claude", "build", cwd=project, timeout=900, **variables)
    assert built.returncode == 0, built.stderr
    words = ("confined-claude", "shell", "--", "sh", "-c", "hello -g $(cat); exit 7")
    done = user.run(*words, cwd=project, input="there", **variables)
    assert (done.returncode, done.stdout, done.stderr) == (7, "there\n", "")
    told = json.loads(user.run("confined-claude", "doctor", "--json", cwd=project, **variables).stdout)["checks"]
    status = {check["name"]: check["status"] for check in told}
    assert [status[name] for name in ("engine", "image", "files", "sessions")] == ["ok"] * 4, told


def test_an_engine_behind_ssh_to_this_machine_works_from_the_first_build_on(
    user: User, project: Path, place: Path
) -> None:
    folder = user.folder(place / "bin")
    program = user.write(folder / "ssh", SSH.format(place=folder))
    program.chmod(0o755)
    works(user, project, DOCKER_HOST="ssh://localhost", PATH=f"{folder}:{user.environ()['PATH']}")
    assert "localhost" in (folder / "calls").read_text()


def test_an_engine_at_a_port_with_tls_works_with_the_certificates_of_its_context(
    user: User, project: Path, place: Path
) -> None:
    folder = user.folder(place / "keys")
    make = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -keyout key -out certificate -subj /CN=localhost"
    make += " -addext subjectAltName=IP:127.0.0.1"
    subprocess.run(make.split(), cwd=folder, check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder / "certificate", folder / "key")
    tls.load_verify_locations(folder / "certificate")
    tls.verify_mode = ssl.CERT_REQUIRED
    user.own(*folder.iterdir())
    with relayed(None, tls=tls) as (address, _):
        where = f"host={address},ca={folder}/certificate,cert={folder}/certificate,key={folder}/key"
        made = user.run("docker", "context", "create", "locked", "--docker", where, cwd=project)
        assert made.returncode == 0, made.stderr
        works(user, project, DOCKER_CONTEXT="locked")
