"""What a session leaves so that ``clean`` deletes something else: it does not, where simple scripts would."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from attacks import Field

from confined_claude.fs.directory import Location
from confined_claude.fs.removal import remove_tree

SECONDS = 3.0
# A folder that is a link every other moment, for as long as its input is open.
FLIP = """
import contextlib, os, select, sys
place, precious = sys.argv[1:]
while not select.select([sys.stdin], [], [], 0)[0]:
    with contextlib.suppress(OSError):
        os.makedirs(place + "/d")
    for name in ("a", "b", "c"):
        with contextlib.suppress(OSError):
            open(f"{place}/d/{name}", "x").close()
    with contextlib.suppress(OSError):
        os.rename(place + "/d", place + "/e")
    with contextlib.suppress(OSError):
        os.symlink(precious, place + "/d")
    with contextlib.suppress(OSError):
        os.unlink(place + "/d")
    with contextlib.suppress(OSError):
        os.rename(place + "/e", place + "/d")
"""


def clean(field: Field, *words: str, code: int = 0) -> str:
    done = field.user.run("confined-claude", "clean", "--yes", *words, cwd=field.project)
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def precious(field: Field) -> None:
    """Something outside that must stay as it is: ``OUTSIDE/a``, ``b`` and ``c``."""
    field.prepare("cd OUTSIDE && echo precious | tee a b >c && chmod 444 a")


def assert_unharmed(field: Field) -> None:
    for name in "abc":
        assert (field.outside / name).read_text() == "precious\n"
    assert (field.outside / "a").stat().st_mode & 0o777 == 0o444
    assert field.escaped() == ["a", "b", "c"]


LINKS = """
    ln -s OUTSIDE ~/venvs/x; ln -s OUTSIDE/a ~/venvs/a; ln -s OUTSIDE ~/.local/bin/x
    mkdir ~/venvs/dir; ln -s ../../../.. ~/venvs/dir/up; ln -s / ~/venvs/dir/root
"""


def test_m09_links_in_what_sessions_have_made(field: Field) -> None:
    precious(field)
    done = field.session(LINKS)
    assert done.returncode == 0, done.stderr
    clean(field, "--all")
    assert_unharmed(field)
    assert list(field.project.iterdir()) == []


def test_m09_without_it(field: Field) -> None:
    precious(field)
    field.session(LINKS)
    field.host("rm -rf .confined-claude/venvs/*/*")
    assert field.escaped() == []


@pytest.mark.parametrize("name", ["venvs", "local-bin", "local-bin/.lib"])
def test_m09_a_link_in_place_of_a_folder(name: str, field: Field) -> None:
    precious(field)
    field.session("true")
    # No session can: the host itself does.
    field.prepare(f"rm -r .confined-claude/{name}; ln -s OUTSIDE .confined-claude/{name}")
    assert "is a link" in clean(field, "--all", code=2)
    assert_unharmed(field)


def test_names_of_files_that_others_have_too(field: Field) -> None:
    precious(field)
    field.session("true")
    field.prepare("ln OUTSIDE/a .confined-claude/venvs/hard; ln OUTSIDE/b .confined-claude/local-bin/hard")
    clean(field)
    assert_unharmed(field)


def test_whatever_a_session_makes_of_its_folders_can_be_deleted(field: Field) -> None:
    precious(field)
    done = field.session(r"""
        cd ~/venvs; mkfifo pipe; touch "$(printf 'a\nb\033[2J')" "$(printf '\377\376')" -- -rf '*' ' '
        mkdir -p a/b/c; touch a/b/c/file; chmod 000 a/b/c; chmod 100 a/b; chmod 000 a
        python3 -c '
import os
for _ in range(5000):
    os.mkdir("deep"); os.chdir("deep")'
        chmod 000 ~/venvs
    """)
    assert done.returncode == 0, done.stderr
    clean(field)
    assert_unharmed(field)
    assert list(field.project.iterdir()) == []


@pytest.mark.root
def test_what_is_mounted_in_it_stays(field: Field) -> None:
    precious(field)
    field.session("mkdir -p ~/venvs/a/mounted ~/venvs/b; touch ~/venvs/b/file")
    place = field.project / ".confined-claude/venvs/a/mounted"
    subprocess.run(["mount", "--bind", field.outside, place], check=True)
    try:
        told = clean(field, code=2)
        assert "a/mounted: something is mounted there" in told
    finally:
        left = next((field.project / ".confined-claude").glob(".removed-*/a/mounted"), place)
        subprocess.run(["umount", left], check=True)
    assert_unharmed(field)
    assert not list((field.project / ".confined-claude").glob(".removed-*/b"))
    clean(field)
    assert list(field.project.iterdir()) == []


@contextlib.contextmanager
def flipping(field: Field) -> Iterator[Path]:
    """A folder in which ``d`` is a folder and a link to what is precious, in turns."""
    place = field.project / "venvs"
    flip = subprocess.Popen([sys.executable, "-c", FLIP, place, field.outside], stdin=subprocess.PIPE)
    try:
        yield place
    finally:
        flip.communicate()


def test_a_folder_that_becomes_a_link_meanwhile(field: Field) -> None:
    precious(field)
    until, rounds = time.monotonic() + SECONDS, 0
    with flipping(field), Location(field.project).open() as directory:
        while time.monotonic() < until or rounds <= 100:
            remove_tree(directory, "venvs")
            rounds += 1
    assert_unharmed(field)


def test_a_folder_that_becomes_a_link_meanwhile_without_it(field: Field) -> None:
    precious(field)
    until = time.monotonic() + 100 * SECONDS
    with flipping(field) as place:
        while time.monotonic() < until and len(field.escaped()) == 3:
            with contextlib.suppress(OSError):
                if not (place / "d").is_symlink():
                    for name in os.listdir(place / "d"):
                        (place / "d" / name).unlink()
    assert len(field.escaped()) < 3
