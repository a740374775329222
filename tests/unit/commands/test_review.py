"""``review`` as its user sees it: nothing is closed unseen, and a terminal is asked about one after the other."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pytest

from confined_claude.command_line import rewrite
from confined_claude.guard.records import locked
from confined_claude.project import Project
from confined_claude.state.projects import remember
from confined_claude.state.store import records_of

from ..guarding import Scanned, made_repository, put

COMMAND = str(Path(sys.executable).with_name("confined-claude"))
Left = Callable[..., None]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = made_repository(tmp_path / "project")
    put(root / "Makefile", "all:\n")
    (root / "rules.mk").symlink_to("src/main.py")
    return root


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(tmp_path / "home"), "TERM": "xterm", "LC_ALL": "C.UTF-8"}


@pytest.fixture
def left(root: Path, tmp_path: Path, environ: dict[str, str]) -> Left:
    """Put on record what a session has left that does what is given."""
    state = tmp_path / "home/.local/state/confined-claude"

    def leave(*works: Callable[[], object]) -> None:
        scanned = Scanned(root)
        for work in works:
            work()
        location = records_of(
            scanned.project.workspace.host.__class__(1000, 1000, tmp_path / "home", {}, tmp_path, state, tmp_path),
            Project(root).id,
        )
        remember(location, root)
        with locked(location) as records:
            records.save_findings(scanned.findings())

    (tmp_path / "home").mkdir()
    return leave


@pytest.fixture
def run(root: Path, environ: dict[str, str]) -> Iterator[Callable[..., tuple[int, str]]]:
    def run_review(*words: str) -> tuple[int, str]:
        output, code = pexpect.run(
            f"sh -c 'exec {COMMAND} review \"$@\" </dev/null' review " + " ".join(words),
            cwd=str(root), env=environ, withexitstatus=True, encoding="utf-8",
        )  # fmt: skip
        assert "Traceback" not in output
        return code, output.replace("\r\n", "\n")

    yield run_review


def open_paths(output: str) -> list[str]:
    return re.findall(r"^  (?:red   |yellow)  (.*)$", output, re.MULTILINE)


def test_what_is_cut_off_is_not_accepted_with_the_rest(
    root: Path, left: Left, run: Callable[..., tuple[int, str]]
) -> None:
    long = "".join(f"{number}\n" for number in range(500))
    left(
        lambda: put(root / ".envrc", "short\n"),
        lambda: put(root / "long/.envrc", long),
        lambda: put(root / "wide/.envrc", "x" * 5000),
        lambda: put(root / "binary/.envrc", b"\xff"),
        lambda: put(root / "Makefile", "x" * (1 << 17)),
    )
    code, output = run("--accept")
    assert code == 4
    assert "Still open, as not all of it is shown: binary/.envrc, long/.envrc, wide/.envrc and 1 more." in output
    assert "`confined-claude review --accept PATH` still closes one of these; `confined-claude review` shows" in output
    code, output = run()
    assert (code, open_paths(output)) == (4, ["binary/.envrc", "long/.envrc", "wide/.envrc", "Makefile"])
    code, output = run("--accept", "long/.envrc", "wide/.envrc", "--accept", "binary/.envrc")
    assert (code, open_paths(output)) == (0, [])
    assert "Still open: 1 file that your tools may run (yellow).\n" in output
    assert open_paths(run()[1]) == ["Makefile"]
    assert run("--accept", "./Makefile")[1].endswith("Nothing is open any more.\n")


def test_what_is_beyond_the_findings_shown_is_not_accepted(
    root: Path, left: Left, run: Callable[..., tuple[int, str]]
) -> None:
    left(*(lambda number=number: put(root / f"{number:03}/.envrc") for number in range(201)))
    code, output = run("--accept")
    assert code == 4
    assert "Accepted, as they are now: 200. Still open, as not all of it is shown: 200/.envrc." in output
    assert run("--accept")[0] == 0


def test_paths_are_accepted_and_restored(root: Path, left: Left, run: Callable[..., tuple[int, str]]) -> None:
    def link_elsewhere() -> None:
        (root / "rules.mk").unlink()
        (root / "rules.mk").symlink_to("/etc/passwd")

    left(lambda: put(root / ".envrc"), lambda: put(root / "a/.envrc"), lambda: put(root / "b/.envrc"), link_elsewhere)
    code, output = run("--restore", "a/.envrc", "rules.mk", "--accept", ".envrc")
    assert code == 4
    assert "Still open: 1 file that your machine runs by itself (red).\n" in output
    assert open_paths(output) == []
    assert open_paths(run()[1]) == ["b/.envrc"]
    assert not (root / "a/.envrc").exists()
    assert (root / "rules.mk").readlink() == Path("src/main.py")
    assert run("--accept", "nothing")[0] == 2
    code, output = run("--accept", "b/")
    assert (code, "Name what is in it: b/.envrc." in output) == (2, True)


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("--accept", "--accept"),
        ("--accept a b", "--accept a\0b"),
        ("--restore a b --accept c", "--restore a\0b --accept c"),
        ("--accept a --restore c --accept b", "--accept a\0b --restore c"),
        ("--help", "--help"),
        ("--accept a --odd", "--accept a --odd"),
    ],
)
def test_a_flag_may_have_several_paths(typed: str, expected: str) -> None:
    assert rewrite(["review", *typed.split()]) == ["review", *expected.split(" ")]


def test_a_terminal_is_asked_about_one_after_the_other(root: Path, left: Left, environ: dict[str, str]) -> None:
    left(
        lambda: put(root / ".envrc", "one\n"),
        lambda: put(root / "a/.envrc", "two\n"),
        lambda: put(root / "b/.envrc", "x" * 5000),
        lambda: put(root / "c/.envrc", "four\n"),
        lambda: put(root / "Makefile", "evil:\n"),
    )

    def answered(*answers: tuple[str, str]) -> tuple[int, str]:
        with pexpect.spawn(COMMAND, ["review"], cwd=str(root), env=environ, encoding="utf-8", timeout=30) as child:
            seen = ""
            for awaited, answer in answers:
                child.expect_exact(awaited)
                seen += child.before
                child.expect(r"uit\? |\[y/N\] ")
                seen += child.before
                child.sendline(answer)
            child.expect(pexpect.EOF)
            seen += child.before
            child.close()
            return child.exitstatus, seen

    code, seen = answered(
        ("1 of 5", "a"),
        ("2 of 5", "r"),
        ("3 of 5", "a"),
        ("Accept it anyway?", "n"),
        ("4 of 5", "l"),
        ("5 of 5", "q"),
    )
    assert code == 4
    assert "\x1b[32m          +one\x1b[0m" in seen
    assert "\x1b[31m          -all:\x1b[0m" in seen
    assert not (root / "a/.envrc").exists()
    assert (seen.count("[r]emove, "), seen.count("[r]estore, ")) == (4, 1)
    assert "Open: 2 files that your machine runs by itself (red) and 1 that your tools may run (yellow)." in " ".join(
        seen.split()
    )
    lines = re.sub(r"\x1b\[[0-9;]*m|\S{60,}", "", seen).splitlines()  # a long word stays whole
    assert [line for line in lines if len(line) > 80] == []
    code, seen = answered(("1 of 3", "a"), ("Accept it anyway?", "y"), ("2 of 3", "x"), ("", "a"), ("3 of 3", "r"))
    assert (code, "Nothing is open any more." in seen) == (0, True)
    assert (root / "Makefile").read_text() == "all:\n"
