"""``run --dry-run``: what it prints, pasted into shells, against the session that ``run`` itself starts."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import API_KEY, LABEL, REPOSITORY, User, docker, sessions_of, wait_until
from terminals import terminal

from confined_claude.project import IGNORED

pytestmark = pytest.mark.timeout(300)

# Debian and Ubuntu have the first two; where there is more, it is tried.
SHELLS = [shell for shell in ("bash", "dash", "zsh") if shutil.which(shell)]
ODD = 'x, y="1" $HOME\n\x1b[31mit\'s!\nEND-OF-SESSION\ntouch escaped\n'
KEY = API_KEY + " with 'quotes', \"more\" and\nlines\n\n"


@pytest.fixture(scope="module")
def host_api() -> Iterator[str]:
    """A fake API on this machine, by its URL on the loopback, with a password in it."""
    with socket.create_server(("", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, str(REPOSITORY / "tests/fake_api.py"), "--host", "0.0.0.0", "--port", str(port)]
    with subprocess.Popen(command) as process:
        wait_until(lambda: _listens(port))
        yield f"http://made-up-user:made-up-pw@localhost:{port}"
        process.terminate()


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@pytest.fixture
def plain(make_user: Callable[..., User]) -> User:
    """Nobody special: not root, where the tests can act as others."""
    return make_user(12345, 12345) if os.geteuid() == 0 else make_user()


@pytest.fixture
def folder(plain: User, place: Path) -> Path:
    return plain.folder(place / "project")


def everything(*folders: Path) -> str:
    """A hash of all that is in ``folders``."""
    digest = hashlib.sha256()
    for path in (inner for folder in folders for inner in (folder, *sorted(folder.rglob("*")))):
        status = path.lstat()
        digest.update(f"{path}|{status.st_mode}|{status.st_uid}|{status.st_ino}|{status.st_mtime_ns}".encode())
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()


def sidecars(user: User) -> list[str]:
    """The sidecars of this user's sessions: only their owner tells whose they are."""
    state = os.path.realpath(user.home / ".local/state/confined-claude")
    owner = hashlib.sha256(b"%d\0%b" % (user.uid, state.encode())).hexdigest()[:12]
    label = ["--filter", f"label={LABEL}=sidecar", "--filter", f"label={LABEL}.owner={owner}"]
    return docker("ps", "--all", "--format", "{{.Names}}", *label).split()


def dry(user: User, cwd: Path, *words: str, **extra: str) -> str:
    """What a dry run prints, having changed nothing."""
    before = everything(user.home, cwd), sessions_of(cwd), sidecars(user)
    done = user.run("confined-claude", *words[:1], "--dry-run", *words[1:], cwd=cwd, **extra)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert (everything(user.home, cwd), sessions_of(cwd), sidecars(user)) == before
    assert all(character.isprintable() for character in done.stdout.replace("\n", ""))
    return done.stdout


def nothing_is_left(user: User, project: Path) -> None:
    assert sessions_of(project) == sidecars(user) == []
    egress = (user.home / ".local/state/confined-claude/projects").glob("*/egress/*")
    assert [path for path in egress if path.is_dir()] == []


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("mode", ["docker", "open", "internet", "allowlist"])
def test_a_question_is_answered_and_the_file_is_the_callers(
    plain: User, folder: Path, host_api: str, mode: str, shell: str
) -> None:
    plain.run("git", "init", "--quiet", cwd=folder)
    given = {"ANTHROPIC_API_KEY": API_KEY}
    if mode != "docker":
        given |= {"CONFINED_CLAUDE_NETWORK": mode, "ANTHROPIC_BASE_URL": host_api}
    text = dry(plain, folder, "run", "--yolo", "--", "-p", "RUN: touch 'it is made'; pwd -P", **given)
    assert API_KEY not in text
    assert "made-up-pw" not in text
    done = plain.run(shell, "-c", text, cwd=folder.parent, **given)
    assert done.stdout == f"TOOL SAID: {folder}\n", done.stderr
    said = [line for line in done.stderr.splitlines() if not line.startswith("WARNING: Localhost DNS")]
    assert (done.returncode, said) == (0, [])
    assert (folder / "it is made").stat().st_uid == plain.uid
    assert {path.lstat().st_uid for path in (*folder.rglob("*"), *plain.home.rglob("*"))} == {plain.uid}
    assert not (folder / ".git/commondir").exists()
    nothing_is_left(plain, folder)


@pytest.mark.parametrize("shell", SHELLS)
def test_a_terminal_gets_a_session_with_one(plain: User, folder: Path, shell: str) -> None:
    text = dry(plain, folder, "shell", CONFINED_CLAUDE_NETWORK="none")
    bare = [shell, *{"bash": ["--norc"], "zsh": ["-f"]}.get(shell, [])]
    with terminal(plain, folder, *bare, "-i", PS1="outside> ", CONFINED_CLAUDE_NETWORK="none") as opened:
        opened.wait_for("outside>")
        opened.send(text.replace("\n", "\r"))
        opened.wait_for("claude@")
        opened.send("tty; whoami; ls /sys/class/net; exit 7\r")
        wait_until(lambda: opened.wait_for("") is not None and not sessions_of(folder))
        opened.send("echo it gave $?\r")
        assert "it gave 7" in opened.wait_for("it gave 7")
        opened.send("exit\r")
        assert "/dev/pts/0" in opened.everything
    nothing_is_left(plain, folder)


def inspected(identity: str, project: Path) -> dict[str, Any]:
    """What makes a container what it is, without what is another's in each."""
    (found,) = json.loads(docker("inspect", identity))
    config, host_config = found["Config"], found["HostConfig"]
    key = config["Labels"]["confined-claude.key"]
    config["Env"].sort()  # the docker command puts them in an order of chance
    if host_config["NetworkMode"].startswith("container:"):
        config["Hostname"] = ""
    kept = {
        "name": found["Name"],
        "config": config,
        "host": host_config,
        "mounts": sorted(found["Mounts"], key=lambda mount: str(mount["Destination"])),
        "networks": sorted(found["NetworkSettings"]["Networks"]),
        "ports": found["NetworkSettings"]["Ports"],
        "path": [found["Path"], *found["Args"]],
        "profile": found["AppArmorProfile"],
    }
    text = re.sub(r"\b[0-9a-f]{64}\b", "ID", json.dumps(kept).replace(key, "KEY"))
    # Without a network of its own, a host's name is the short form of the id.
    return json.loads(text.replace(found["Id"][:12], "ID"))  # type: ignore[no-any-return]


def as_they_are(folder: Path) -> dict[Path, tuple[int, bytes]]:
    """The mode and content of what is in ``folder``."""
    return {
        path: (path.stat().st_mode, path.read_bytes() if path.is_file() else b"") for path in sorted(folder.rglob("*"))
    }


@contextlib.contextmanager
def running(user: User, project: Path, *words: str, **extra: str) -> Iterator[list[dict[str, Any]]]:
    """What there is of a session and its sidecar while ``words`` run it."""
    with user.running(*words, cwd=project, **extra) as process:
        started = project / "started"
        wait_until(lambda: started.exists() or process.poll() is not None)
        assert process.poll() is None, process.stdout.read() if process.stdout else ""
        names = [*sessions_of(project), *sidecars(user)]
        yield [inspected(name, project) for name in names]
        docker("kill", *sessions_of(project))
        process.wait(60)
    started.unlink()


@pytest.mark.parametrize("mode", ["none", "internet", "allowlist", "open"])
def test_the_containers_are_the_same_as_those_of_a_run(plain: User, folder: Path, host_api: str, mode: str) -> None:
    plain.run("git", "init", "--quiet", cwd=folder)
    (folder / ".envrc").write_text("")
    (folder / ".venv").mkdir()
    given = {
        "ANTHROPIC_API_KEY": KEY,
        "CONFINED_CLAUDE_NETWORK": mode,
        "ANTHROPIC_BASE_URL": host_api,
        "https_proxy": host_api,
        "no_proxy": "example.invalid,\n\t\"x\" \\ 'y'",
        "COLORTERM": "true color's",
        "CONFINED_CLAUDE_HOST_PORTS": "5432",
        "CONFINED_CLAUDE_MEMORY": "2g",
    }
    words = ("shell", "--", "sh", "-c", "touch started; exec sleep 100")
    text = dry(plain, folder, *words, **given)  # the first one, before anything is there
    with running(plain, folder, "confined-claude", *words, **given) as by_run:
        pass
    (record,) = (plain.home / ".local/state/confined-claude/projects").iterdir()
    assert (folder / ".confined-claude/.gitignore").read_bytes() == IGNORED
    made = as_they_are(folder / ".confined-claude")
    shutil.rmtree(folder / ".confined-claude")
    with running(plain, folder, "sh", "-c", text, **given) as by_script:
        config = next(iter(record.glob("egress/*/config.json")), None)
        if config is not None:
            upstream = json.loads(config.read_text())["upstream"]
            assert upstream["https"] == host_api.replace("localhost", "host.docker.internal")
            assert upstream["no_proxy"] == given["no_proxy"]
    assert by_script == by_run
    assert len(by_run) == 1 + (mode in ("internet", "allowlist"))
    assert "made-up" not in json.dumps(by_run)
    assert as_they_are(folder / ".confined-claude") == made
    nothing_is_left(plain, folder)


@pytest.mark.parametrize("shell", SHELLS)
def test_odd_names_and_secrets_arrive_as_they_are(plain: User, place: Path, shell: str) -> None:
    odd = plain.folder(place / ODD.replace("/", ""))
    given = {
        "ANTHROPIC_API_KEY": KEY,
        "ANTHROPIC_BASE_URL": 'http://u:p@w@[::1]:8080/it\'s?a="b"',
        "OTEL_ODD": "\\n $HOME `id` 'x' \x1b\n",
        "CONFINED_CLAUDE_NETWORK": "none",
    }
    text = dry(plain, odd, "shell", "--", "sh", "-c", "pwd -P; env -0", **given)
    by_run = plain.run("confined-claude", "shell", "--", "sh", "-c", "pwd -P; env -0", cwd=odd, **given)
    by_script = plain.run(shell, "-c", text, cwd=place, **given)
    assert (by_script.returncode, by_script.stderr) == (0, "")
    assert sorted(by_script.stdout.split("\0")) == sorted(by_run.stdout.split("\0"))
    assert f"ANTHROPIC_API_KEY={KEY}" in by_script.stdout.split("\0")
    assert 'ANTHROPIC_BASE_URL=http://u:p@w@host.docker.internal:8080/it\'s?a="b"' in by_script.stdout.split("\0")
    assert not list(place.rglob("escaped"))
    nothing_is_left(plain, odd)


def test_what_a_pipe_brings_is_read_and_the_exit_code_is_the_sessions(plain: User, folder: Path) -> None:
    text = dry(plain, folder, "shell", "--", "sh", "-c", "cat; exit 42")
    (folder.parent / "script").write_text(text)
    done = plain.run("dash", str(folder.parent / "script"), cwd=folder, input="what the pipe brings\n")
    assert (done.stdout, done.returncode) == ("what the pipe brings\n", 42)
    nothing_is_left(plain, folder)


def test_without_its_secrets_the_script_starts_nothing(plain: User, folder: Path) -> None:
    text = dry(plain, folder, "shell", "--", "touch", "ran")
    done = plain.run("sh", "-c", text, cwd=folder, ANTHROPIC_API_KEY="")
    assert done.returncode != 0
    assert "ANTHROPIC_API_KEY" in done.stderr
    assert not (folder / "ran").exists()
    nothing_is_left(plain, folder)


def test_a_script_pasted_twice_at_once_disturbs_nothing(plain: User, folder: Path) -> None:
    given = {"CONFINED_CLAUDE_NETWORK": "internet", "ANTHROPIC_BASE_URL": ""}
    text = dry(plain, folder, "shell", "--", "sh", "-c", "touch started; exec sleep 100", **given)
    with running(plain, folder, "sh", "-c", text, **given):
        names = (sessions_of(folder), sidecars(plain))
        done = plain.run("sh", "-c", text, cwd=folder, **given)
        assert done.returncode != 0
        assert "already in use" in done.stderr
        assert (sessions_of(folder), sidecars(plain)) == names
        # A start of the tool's own lets it be as well, and gets the next name.
        done = plain.run("confined-claude", "shell", "--", "hostname", cwd=folder)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.endswith("-2\n")
        assert (sessions_of(folder), sidecars(plain)) == names
    nothing_is_left(plain, folder)


def test_a_start_that_would_be_refused_is_refused(plain: User, folder: Path) -> None:
    plain.run("confined-claude", "shell", "--", "sh", "-c", "echo export X=1 >.envrc", cwd=folder)
    before = everything(plain.home, folder)
    done = plain.run("confined-claude", "run", "--dry-run", cwd=folder)
    assert (done.returncode, done.stdout) == (4, "")
    assert ".envrc" in done.stderr
    assert everything(plain.home, folder) == before
    assert plain.run("confined-claude", "run", "--", "-p", "x", cwd=folder).stderr == done.stderr


def test_an_image_that_is_missing_is_said_and_not_built(plain: User, folder: Path) -> None:
    text = dry(plain, folder, "run", CONFINED_CLAUDE_PACKAGES="hello,figlet")
    said = re.search(
        r"^# Its image (confined-claude:\w+) is not built yet\..* confined-claude build$", text, re.MULTILINE
    )
    assert said is not None
    image = said[1]
    done = plain.run("sh", "-c", text, cwd=folder)
    assert done.returncode != 0
    assert image in done.stderr
    assert docker("images", "--quiet", image) == ""
    nothing_is_left(plain, folder)


def test_a_repository_that_is_isolated_is_copied(plain: User, folder: Path) -> None:
    who = ["-c", "user.name=Test", "-c", "user.email=test@example.invalid"]
    plain.run("git", "init", "--quiet", cwd=folder)
    plain.run("git", *who, "commit", "--quiet", "--allow-empty", "--message", "first", cwd=folder)
    words = ("sh", "-c", "git -c user.name=x -c user.email=x@example.invalid commit -q --allow-empty -m inside")
    text = dry(plain, folder, "shell", "--git", "isolated", "--", *words)
    done = plain.run("sh", "-c", text, cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    (fetch,) = re.findall(r"^# (git -C .*)$", text, re.MULTILINE)
    assert plain.run("git", "log", "--format=%s", "--all", cwd=folder).stdout.split() == ["first"]
    plain.run("sh", "-c", fetch, cwd=folder)
    assert "inside" in plain.run("git", "log", "--format=%s", "--all", cwd=folder).stdout.split()
    assert plain.run("confined-claude", "shell", "--git", "isolated", "--", "true", cwd=folder).returncode == 0
    nothing_is_left(plain, folder)
