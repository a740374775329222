"""``run --dry-run``: what it prints, pasted into a shell, against the session that ``run`` itself starts."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import API_KEY, LABEL, PATIENCE, REPOSITORY, User, docker, own_name, sessions_of, wait_until
from terminals import terminal

ODD = 'x, y="1" $HOME\n\x1b[31mit\'s!\ntouch escaped\n'
KEY = API_KEY + " with 'quotes', \"more\" and\nlines\n\n"
FILE = r"^# (run/confined-claude/\w+), with mode (\d+), of (\d+):(\d+):\n((?:# .*=\*\*\*\n)*)"
NO_SECRETS = {"ANTHROPIC_API_KEY": "", "ANTHROPIC_BASE_URL": ""}


@pytest.fixture(scope="module")
def host_api() -> Iterator[str]:
    """A fake API on this machine, by its URL on the loopback, with a password in it."""
    command = [sys.executable, str(REPOSITORY / "tests/fake_api.py"), "--host", "0.0.0.0", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"http://made-up-user:made-up-pw@localhost:{int(process.stdout.readline())}"
        process.terminate()


@pytest.fixture
def plain(make_user: Callable[..., User]) -> User:
    """Nobody special: not root, where the tests can act as others."""
    return make_user(12345, 12345) if os.geteuid() == 0 else make_user()


@pytest.fixture
def project(plain: User, place: Path) -> Path:
    return plain.folder(own_name(place))


def everything(*directories: Path) -> str:
    """A hash of all that is in ``directories``."""
    digest = hashlib.sha256()
    for path in (inner for directory in directories for inner in (directory, *sorted(directory.rglob("*")))):
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
    assert (done.returncode, done.stderr) == (0, "")
    assert (everything(user.home, cwd), sessions_of(cwd), sidecars(user)) == before
    assert all(character.isprintable() for character in done.stdout.replace("\n", ""))
    return done.stdout


def filled_in(text: str, cwd: Path, given: dict[str, str]) -> str:
    """A dry run's commands with their secrets: ``secrets.tar`` is in ``cwd``, and the masks are replaced."""
    reachable = {name: value.replace("localhost", "host.docker.internal") for name, value in given.items()}
    names = []
    with tarfile.open(cwd / "secrets.tar", "w") as archive:
        for path, mode, uid, gid, lines in re.findall(FILE, text, re.MULTILINE):
            inside = re.findall(r"(\w+)=", lines)
            form = "{}={}\0" if path.endswith("variables") else "export {}={}\n"
            quote = str if path.endswith("variables") else shlex.quote
            content = "".join(form.format(name, quote(reachable[name])) for name in inside).encode()
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode, entry.uid, entry.gid = len(content), int(mode, 8), int(uid), int(gid)
            archive.addfile(entry, io.BytesIO(content))
            names += inside
    for kind, variable in (("https", "https_proxy"), ("no_proxy", "no_proxy")):
        value = json.dumps(reachable.get(variable, "")).replace("'", "'\\''")
        text = text.replace(f'"{kind}": "***"', f'"{kind}": {value}')
    assert text.count("***") == len(names)
    return text


def nothing_is_left(user: User, project: Path) -> None:
    assert sessions_of(project) == []
    wait_until(lambda: not sidecars(user))


def inspected(identity: str) -> dict[str, Any]:
    """What makes a container what it is, without what is another's in each."""
    (found,) = json.loads(docker("inspect", identity))
    config, host_config = found["Config"], found["HostConfig"]
    key = config["Labels"]["confined-claude.key"]
    config["Env"].sort()  # the docker command puts them in an order of chance
    kind, colon, other = host_config["NetworkMode"].partition(":")
    if kind == "container":
        config["Hostname"] = ""
        # The engine stores the id of what it has by then: a run creates the session while its sidecar starts.
        host_config["NetworkMode"] = kind + colon + docker("inspect", "--format", "{{.Name}}", other).strip()
    # What the docker command states and the tool leaves to the engine comes to the same.
    host_config = {name: value for name, value in host_config.items() if value not in (None, [], {})}
    host_config["CapAdd"] = sorted(name.removeprefix("CAP_") for name in host_config.get("CapAdd", ()))
    host_config["RestartPolicy"]["Name"] = host_config["RestartPolicy"]["Name"] or "no"
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
    # The networks that this machine is in at the moment are those of other tests as well.
    text = re.sub(r'"closed=[0-9a-f.:/]+", |closed=[0-9a-f.:/]+ ?', "", text)
    # Without a network of its own, a host's name is the short form of the id.
    return json.loads(text.replace(found["Id"][:12], "ID"))  # type: ignore[no-any-return]


def differences(one: Any, other: Any, where: str = "") -> dict[str, tuple[Any, Any]]:
    """Where two values read from JSON differ: the path of each key whose values do, with both."""
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return {} if one == other else {where: (one, other)}
    inner = (differences(one.get(key), other.get(key), f"{where}.{key}") for key in sorted({*one, *other}))
    return {path: both for found in inner for path, both in found.items()}


@contextlib.contextmanager
def running(user: User, project: Path, *words: str, cwd: Path, **extra: str) -> Iterator[list[dict[str, Any]]]:
    """What there is of a session and its sidecar while ``words`` run it."""
    started = project / "started"
    with user.running(*words, cwd=cwd, **extra) as process:
        wait_until(lambda: started.exists() or process.poll() is not None)
        assert process.poll() is None, process.stdout.read() if process.stdout else ""
        names = [*sessions_of(project), *sidecars(user)]
        yield [inspected(name) for name in names]
        docker("kill", *sessions_of(project))
        process.wait(PATIENCE)
    started.unlink()
    nothing_is_left(user, project)


@pytest.mark.parametrize("mode", ["none", "internet", "internet by a sidecar", "allowlist", "open"])
def test_the_printed_commands_start_what_a_run_starts(
    plain: User, project: Path, place: Path, host_api: str, mode: str
) -> None:
    plain.run("git", "init", "--quiet", cwd=project)
    (project / ".envrc").write_text("")
    (project / ".venv").mkdir()
    plain.own(project / ".envrc", project / ".venv")
    given = {
        "ANTHROPIC_API_KEY": KEY,
        "CONFINED_CLAUDE_NETWORK": mode.split(maxsplit=1)[0],
        "CONFINED_CLAUDE_SUDO": "full" if "sidecar" in mode else "apt",
        "ANTHROPIC_BASE_URL": host_api,
        "https_proxy": host_api,
        "no_proxy": "example.invalid,\n\t\"x\" \\ 'y'",
        "COLORTERM": "true color's",
        "CONFINED_CLAUDE_HOST_PORTS": "5432",
        "CONFINED_CLAUDE_MEMORY": "2g",
    }
    words = ("shell", "--", "sh", "-c", 'printf %s "$ANTHROPIC_API_KEY" >seen; touch started; exec sleep 600')
    text = dry(plain, project, *words, **given)  # before anything is there
    for value in (API_KEY, "made-up-pw", "example.invalid"):
        assert value not in text
    # Pasted commands need the image of these settings, which only a start builds.
    plain.run("confined-claude", "shell", "--", "true", cwd=plain.folder(place / "before"), **given)
    wait_until(lambda: not sidecars(plain))
    pasted = plain.folder(place / "pasted")
    with running(plain, project, "bash", "-c", filled_in(text, pasted, given), cwd=pasted) as by_hand:
        assert (project / "seen").read_text() == KEY
        assert (project / "seen").stat().st_uid == plain.uid
    (project / ".git/commondir").unlink()
    with running(plain, project, "confined-claude", *words, cwd=project, **given) as by_run:
        pass
    assert [found["name"] for found in by_hand] == [found["name"] for found in by_run]
    for one, other in zip(by_hand, by_run, strict=True):
        assert differences(one, other) == {}, one["name"]
    assert len(by_run) == 1 + (mode in ("internet by a sidecar", "allowlist"))
    assert "made-up" not in json.dumps(by_run)


def test_a_question_is_answered(plain: User, project: Path, host_api: str) -> None:
    given = {**NO_SECRETS, "ANTHROPIC_API_KEY": API_KEY, "ANTHROPIC_BASE_URL": host_api}
    text = dry(plain, project, "run", "--yolo", "--network", "internet", "--", "-p", "RUN: pwd -P", **given)
    done = plain.run("bash", "-c", filled_in(text, project, given), cwd=project)
    assert f"TOOL SAID: {project}\n" in done.stdout, done.stderr
    nothing_is_left(plain, project)


def test_in_a_terminal_it_is_a_session_with_one(plain: User, project: Path) -> None:
    words = ("confined-claude", "shell", "--dry-run", "--network", "none")
    with terminal(plain, project, *words, **NO_SECRETS) as printed:
        assert printed.wait_for_end() == 0
    with terminal(plain, project, "bash", "--norc", "-i", PS1="outside> ", **NO_SECRETS) as opened:
        opened.wait_for("outside>")
        opened.send(printed.everything.replace("\r\n", "\r"))
        opened.wait_for("claude@")
        opened.send("tty; whoami; ls /sys/class/net; exit 7\r")
        wait_until(lambda: opened.read() and not sessions_of(project))
        opened.send("echo it gave $?\r")
        assert "it gave 7" in opened.wait_for("it gave 7")
        opened.send("exit\r")
        assert "/dev/pts/0" in opened.everything
    nothing_is_left(plain, project)


def test_odd_names_and_secrets_arrive_as_they_are(plain: User, place: Path) -> None:
    odd = plain.folder(place / ODD.replace("/", ""))
    given = {
        "ANTHROPIC_API_KEY": KEY,
        "ANTHROPIC_BASE_URL": "",
        "OTEL_ODD": "\\n $HOME `id` 'x' \x1b\n",
        "CONFINED_CLAUDE_NETWORK": "none",
    }
    command = ("shell", "--", "sh", "-c", "pwd -P; env -0; cat; exit 42")
    text = dry(plain, odd, *command, **given)
    by_run = plain.run("confined-claude", *command, cwd=odd, input="what the pipe brings", **given)
    pasted = plain.folder(place / "pasted")
    (pasted / "script").write_text(filled_in(text, pasted, given))
    by_hand = plain.run("bash", "script", cwd=pasted, input="what the pipe brings")
    assert (by_hand.returncode, by_run.returncode) == (42, 42), by_hand.stderr
    printed = by_hand.stdout.partition("\n")[2].split("\0")  # after the container's id
    assert sorted(printed) == sorted(by_run.stdout.split("\0"))
    assert f"ANTHROPIC_API_KEY={KEY}" in printed
    assert printed[-1] == "what the pipe brings"
    assert not list(place.rglob("escaped"))
    nothing_is_left(plain, odd)


def test_a_start_leaves_a_session_of_pasted_commands_alone(plain: User, project: Path) -> None:
    given = {**NO_SECRETS, "CONFINED_CLAUDE_NETWORK": "internet"}
    text = dry(plain, project, "shell", "--", "sh", "-c", "touch started; exec sleep 600", **given)
    with running(plain, project, "bash", "-c", text, cwd=project):
        names = (sessions_of(project), sidecars(plain))
        done = plain.run("confined-claude", "shell", "--", "hostname", cwd=project)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.endswith("-2\n")
        assert (sessions_of(project), sidecars(plain)) == names


def test_a_start_that_would_be_refused_is_refused(plain: User, project: Path) -> None:
    plain.run("confined-claude", "shell", "--", "sh", "-c", "echo export X=1 >.envrc", cwd=project)
    before = everything(plain.home, project)
    done = plain.run("confined-claude", "run", "--dry-run", cwd=project)
    assert (done.returncode, done.stdout) == (4, "")
    assert ".envrc" in done.stderr
    assert everything(plain.home, project) == before
    assert plain.run("confined-claude", "run", "--", "-p", "x", cwd=project).stderr == done.stderr


def test_an_image_that_is_missing_is_reported_and_not_built(plain: User, project: Path) -> None:
    text = dry(plain, project, "run", CONFINED_CLAUDE_PACKAGES="hello,figlet")
    found = re.search(r"^# image: +(confined-claude:\w+), which a start builds first", text, re.MULTILINE)
    assert found is not None
    assert docker("images", "--quiet", found[1]) == ""


def test_a_repository_that_is_isolated_is_copied(plain: User, project: Path) -> None:
    who = ["-c", "user.name=Test", "-c", "user.email=test@example.invalid"]
    plain.run("git", "init", "--quiet", cwd=project)
    plain.run("git", *who, "commit", "--quiet", "--allow-empty", "--message", "first", cwd=project)
    words = (
        "sh",
        "-c",
        "git -c user.name=x -c user.email=x@example.invalid commit -q --allow-empty -m inside; git log",
    )
    text = dry(plain, project, "shell", "--git", "isolated", "--network", "none", "--", *words, **NO_SECRETS)
    done = plain.run("bash", "-c", text, cwd=project)
    assert done.returncode == 0, done.stderr
    assert {"first", "inside"} <= set(done.stdout.split())
    assert plain.run("git", "log", "--format=%s", "--all", cwd=project).stdout.split() == ["first"]
    nothing_is_left(plain, project)
