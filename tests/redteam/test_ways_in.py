"""What is mounted beside the project, by its user alone: not what a clone asks for, not where a session leads it."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attacks import REVIEW, SECRET, Field
from helpers import PATIENCE, User, docker, sessions_of, wait_until
from relay import PASS, relayed


@pytest.fixture
def field(private: Field) -> Field:
    """A project with something private beside it, and a library that its user mounts."""
    private.user.write(library(private) / "data", "data\n")
    private.prepare("mkdir ~/.ssh; cp OUTSIDE/key ~/.ssh/key")
    return private


def library(field: Field) -> Path:
    return field.project.parent / "library"


def other(field: Field) -> Field:
    """Another project of the same user."""
    return Field(field.user, field.user.folder(field.project.parent / "other"), field.outside)


def test_only_what_the_user_names_is_there_and_as_they_say(field: Field) -> None:
    script = f"cat {library(field)}/data; touch {library(field)}/new; cat OUTSIDE/key; true"
    assert field.session(script).stdout == ""
    read = field.session(script, "--mount", str(library(field)))
    assert (read.returncode, read.stdout) == (0, "data\n"), read.stderr
    assert "Read-only file system" in read.stderr
    written = field.session(script, "--mount", f"{library(field)}:rw")
    assert written.stdout == "data\n"
    assert (library(field) / "new").stat().st_uid == field.user.uid
    for source in (library(field), library(field) / "data"):
        inside = field.session("cat /data/data || cat /data", "--mount", f"{source}:/data")
        assert inside.stdout == "data\n", inside.stderr


@pytest.mark.parametrize("entry", ["~/.ssh/key", "~/.ssh:/data", "STATE", "../library/link"])
def test_what_no_session_may_see_is_refused_before_the_start(field: Field, entry: str) -> None:
    field.prepare(f"ln -s ~/.ssh {library(field)}/link")
    field.session("true")  # so that there is state
    where = entry.replace("STATE", f"{field.user.home}/.local/state/confined-claude")
    done = field.session("cat ~/.ssh/key /data/key", "--mount", where)
    assert done.returncode == 2
    assert SECRET not in done.stdout
    assert re.search("No session may see|is a link|No such file", done.stderr)
    assert sessions_of(field.project) == []


def greet(server: socket.socket) -> None:
    for _ in range(2):
        with server.accept()[0] as client:
            client.send(b"hello")


SPEAK = "python3 -c 'import socket; s = socket.socket(1); s.connect(\"{}\"); print(s.recv(99).decode())'"


def test_no_session_speaks_to_a_terminal(field: Field) -> None:
    """Like tmux, which runs what it is told. A read-only mount keeps nobody from connecting."""
    place = field.user.folder(library(field) / f"tmux-{field.user.uid}")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(place / "default"))
        server.listen()
        field.user.own(place / "default")
        threading.Thread(target=greet, args=(server,), daemon=True).start()
        flags = ("--mount", f"{place}:/there")
        done = field.session(SPEAK.format("/there/default"), *flags, TMUX_TMPDIR=str(library(field)))
        assert (done.returncode, done.stdout) == (2, "")
        assert "acts as you" in done.stderr
        # The controls: it is reached where nothing says that it is a terminal's, and by a plain container.
        assert field.session(SPEAK.format("/there/default"), *flags).stdout == "hello\n"
        assert "hello" in field.unguarded(SPEAK.format(place / "default"), place)


SWAPPING = """
import os, time
os.chdir("OTHER")
os.symlink("OUTSIDE", "link")
for turn in ("first", "second"):
    open(f"{turn}-on", "w")
    while not os.path.exists(turn):
        time.sleep(0.01)
    os.rename("data", "kept")
    os.rename("link", "data")
    open(f"{turn}-done", "w")
    while not os.path.exists(f"{turn}-over"):
        time.sleep(0.01)
    os.rename("data", "link")
    os.rename("kept", "data")
"""


@contextlib.contextmanager
def swapping(there: Field) -> Iterator[Callable[[str], str]]:
    """A session of ``there`` that puts a link in the place of `data`, just before the engine starts a container.

    Yields what prepares a turn, and returns the engine's address.
    """
    script = there.text(SWAPPING).replace("OTHER", str(there.project))
    turns: list[str] = []

    def swap_before_start(request: str) -> str:
        if turns and re.match(r"POST \S*/containers/[^/ ]+/start", request):
            (there.project / turns[0]).touch()
            wait_until((there.project / f"{turns[0]}-done").exists)
        return PASS

    with relayed(there.user.folder(there.project.parent / "relay"), swap_before_start) as (address, _):

        def turn(name: str) -> str:
            if turns:
                (there.project / f"{turns[0]}-over").touch()
            turns[:] = [name]
            wait_until((there.project / f"{name}-on").exists)
            return address

        command = ("confined-claude", "shell", "--", "python3", "-c", script)
        with there.user.running(*command, cwd=there.project) as session:
            yield turn
            (there.project / f"{turns[0]}-over").touch()
            session.communicate(timeout=PATIENCE)


def test_a_session_cannot_swap_a_link_in_between_the_check_and_the_engines_mount(field: Field) -> None:
    """It is in another project, whose running session swaps it. The entrypoint has the last look."""
    there = other(field)
    field.prepare(f"mkdir -p {there.project}/data; cp {library(field)}/data {there.project}/data/key")
    flags = ("--mount", f"{there.project}/data:/data")
    with swapping(there) as turn:
        assert field.session("cat /data/key", *flags).stdout == "data\n"
        done = field.session("cat /data/key", *flags, DOCKER_HOST=turn("first"))
        assert SECRET not in done.stdout
        assert "is not what the start checked" in done.stderr
        assert done.returncode == 3
        # The control: what a plain mount of that path shows at that moment.
        address = turn("second")
        assert SECRET in docker("-H", address, "run", "--rm", "--volume", f"{there.project}/data:/data",
                                "--entrypoint", "cat", "confined-claude:latest", "/data/key")  # fmt: skip


def test_a_session_cannot_swap_a_link_in_for_a_project_inside_its_own(field: Field) -> None:
    there = other(field)
    inner = Field(field.user, there.project / "data", field.outside)
    field.prepare(f"git init -q {inner.project}; echo data >{inner.project}/key")
    with swapping(there) as turn:
        assert inner.session("cat key").stdout == "data\n"
        # What is private has all that is mounted of the project, or the engine refuses it before that is looked at.
        field.prepare(f"cp -an {inner.project}/. OUTSIDE; echo . >OUTSIDE/.git/commondir")
        address = turn("first")
        done = inner.session("cat key; echo x >new", DOCKER_HOST=address)
        assert SECRET not in done.stdout
        assert "is not what the start checked" in done.stderr
        assert done.returncode == 3
        assert not (field.outside / "new").exists()
        address = turn("second")  # the control
        assert SECRET in docker("-H", address, "run", "--rm", "--volume", f"{inner.project}:/data",
                                "--entrypoint", "cat", "confined-claude:latest", "/data/key")  # fmt: skip


def test_a_link_swapped_in_by_an_earlier_session_is_refused(field: Field) -> None:
    there = other(field)
    field.prepare(f"mkdir {there.project}/data")
    flags = ("--mount", f"{there.project}/data:/data")
    assert field.session("ls /data", *flags).returncode == 0
    there.session(f"rmdir data; ln -s {field.user.home}/.ssh data")
    done = field.session("cat /data/key", *flags)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{there.project}/data is a link, to {field.user.home}/.ssh" in done.stderr


def test_what_is_planted_beside_the_project_is_reported_and_stops_the_next_start(field: Field) -> None:
    flags = ("--mount", f"{library(field)}:rw")
    done = field.session(f"echo 'touch CANARY' >{library(field)}/.envrc", *flags)
    assert f"red {library(field)}/.envrc" in " ".join(done.stderr.split())
    again = field.session("true", *flags)
    assert again.returncode == REVIEW, again.stderr
    there = Field(field.user, library(field), field.outside)
    assert there.session("true").returncode == REVIEW
    assert field.session("true").returncode == 0  # without the mount
    reviewed = field.review()
    assert reviewed.returncode == REVIEW
    assert f"{library(field)}/.envrc" in reviewed.stdout
    assert field.review("--restore", f"{library(field)}/.envrc").returncode == 0
    assert not (library(field) / ".envrc").exists()
    assert field.session("true", *flags).returncode == 0
    # The control: it is there for the shell when nobody looks.
    field.unguarded(f"echo 'touch CANARY' >{library(field)}/.envrc", library(field))
    field.prepare(f"cd {library(field)} && . ./.envrc")
    assert field.escaped() == ["canary", "key"]


@pytest.mark.parametrize("target", ["", ":/library"])
def test_what_stands_there_is_protected_as_in_the_project(field: Field, target: str) -> None:
    place = target[1:] or str(library(field))
    field.prepare(f"cd {library(field)}; git init -q; git commit -qm x --allow-empty; echo >.envrc")
    attack = "echo evil >.envrc; rm .envrc; git config core.fsmonitor evil; mv .git .g; touch .git/hooks/x; true"
    done = field.session(f"cd {place}; {attack}", "--mount", f"{library(field)}{target}:rw")
    assert done.returncode == 0, done.stderr
    assert (library(field) / ".envrc").read_text() == "\n"
    assert "evil" not in (library(field) / ".git/config").read_text()
    assert sorted(path.name for path in library(field).iterdir()) == [".envrc", ".git", "data"]
    assert not (library(field) / ".git/commondir").exists()
    field.unguarded(f"cd {library(field)}; echo evil >.envrc", library(field))  # the control
    assert (library(field) / ".envrc").read_text() == "evil\n"


@pytest.mark.parametrize(
    "entries", ["PROJECT:/copy", "PROJECT/sub", "..:ro", "../library:rw,../library/sub:ro", "../library:PROJECT/x"]
)
def test_mounts_over_each_other_or_the_project_are_refused(field: Field, entries: str) -> None:
    field.prepare(f"mkdir sub {library(field)}/sub")
    done = field.session("true", "--mount", field.text(entries))
    assert done.returncode == 2
    assert "overlaps with" in done.stderr
    assert sessions_of(field.project) == []


def test_a_project_gets_a_mount_only_by_trust_and_only_that_place(field: Field) -> None:
    config = field.project / ".confined-claude/config.toml"
    field.user.folder(config.parent)

    def asks(entry: str) -> int:
        config.write_text(f'mounts = ["{entry}"]\n')
        field.user.own(config)
        done = field.session(f"cat ~/.ssh/key {library(field)}/data /data/key")
        assert done.stdout == ""
        return done.returncode

    def trust(*words: str) -> tuple[int, str]:
        done = field.user.run("confined-claude", "trust", *words, cwd=field.project)
        return done.returncode, done.stdout + done.stderr

    for entry in ("~/.ssh", "~/.ssh:/data", "/", f"/{field.user.home}"):
        assert asks(entry) == 2
        code, said = trust()
        assert code == 2
        assert "No session may see" in said
    assert asks("../library") == REVIEW
    code, said = trust()
    assert code == REVIEW
    assert f"which is {library(field)} (read-only)" in said
    assert trust("--hash", said.rpartition("--hash ")[2].strip())[0] == 0
    script = f"cat {library(field)}/data {library(field)}/key"
    assert field.session(script).stdout == "data\n"
    # Swapped between trust and start.
    field.prepare(f"mv {library(field)} {library(field)}2; ln -s OUTSIDE {library(field)}")
    done = field.session(script)
    assert (done.returncode, done.stdout) == (2, "")
    assert "is a link" in done.stderr
    assert SECRET in field.unguarded(script, library(field))  # the control


def test_a_start_killed_beside_its_mounts_is_recovered_there_too(field: Field) -> None:
    flags = ("--mount", f"{library(field)}:rw")
    script = f"touch {library(field)}/.envrc on; sleep 600"
    user: User = field.user
    words = ("confined-claude", "shell", *flags, "--", "sh", "-c", script)
    with user.running(*words, cwd=field.project) as session:
        wait_until((field.project / "on").exists)
        session.kill()
        session.wait()
    done = field.session("true")
    assert f"red {library(field)}/.envrc" in " ".join(done.stderr.split())
    assert sessions_of(field.project) == []
