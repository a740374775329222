"""What of an operation in progress is dangerous: nothing that git writes itself."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from confined_claude.guard.gitstate import _STATES as STATES
from confined_claude.guard.gitstate import runs_commands, state_of

from ..guarding import WHO, Scanned, commit, git, made_repository, put, run_git


@pytest.mark.parametrize(
    "todo",
    [
        *(b"exec touch x\n", b"x touch x", b"pick 1234\nexec a", b" \t exec\ta", b"exec", b"x\n", b"x\r\n", b"exec\0"),
        *(b"pick 1\r\n  x y\r\n", b"# c\n\n\nx y", b"pick 1\rexec y"),
    ],
)
def test_a_to_do_list_that_runs_commands_is_known(todo: bytes) -> None:
    assert runs_commands(todo)


@pytest.mark.parametrize(
    "todo",
    [
        *(b"", b"pick 1234 exec x\n", b"# exec x\n", b"#exec x", b"label exec\nreset x\n", b"merge -C 12 exec # x\n"),
        *(b"fixup -C 12 x\nbreak\nnoop\n", b"execute x", b"xx y", b"update-ref refs/heads/x\n", b"edit 1 x\ndrop 2 x"),
    ],
)
def test_a_to_do_list_that_runs_none_is_known(todo: bytes) -> None:
    assert not runs_commands(todo)


def test_a_to_do_list_of_git_is_judged(tmp_path: Path) -> None:
    run_git(tmp_path, "init", "--quiet")
    for name in ("one", "two", "three"):
        run_git(tmp_path, "commit", "--quiet", "--allow-empty", "-m", name)
    todo = tmp_path / ".git/rebase-merge/git-rebase-todo"
    run_git(tmp_path, "rebase", "--exec", "false", "--keep-empty", "HEAD~2", code=None)
    assert runs_commands(todo.read_bytes())


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("rebase-merge/strategy", b"x/y\n"),
        ("REBASE-MERGE/Strategy", b"x"),
        ("rebase-apply/strategy", b"x"),
        ("rebase-merge/git-rebase-todo.backup", b"exec x"),
        ("rebase-merge/gpg_sign_opt", b"--exec=x"),
        ("rebase-apply/gpg_sign_opt", b"--directory=.git"),
        ("rebase-merge/author-script", b"GIT_AUTHOR_NAME=$(x)\n"),
        ("rebase-apply/author-script", b"GIT_AUTHOR_NAME='x'; x\n"),
        ("rebase-merge/autostash", b"--index"),
        ("rebase-apply/apply-opt", b" '--build-fake-ancestor=../x'"),
        ("rebase-apply/apply-opt", b" '--directory=../x'"),
        ("rebase-apply/apply-opt", b" '--directory=/x'"),
        ("rebase-apply/apply-opt", b" '-p1' '--unsafe-paths'"),
        ("rebase-apply/apply-opt", b"-p1"),
        ("sequencer/opts", b"[options]\n\tstrategy = x/y\n"),
        ("sequencer/opts", b"[options"),
        ("sequencer/todo", b"exec x"),
        ("MERGE_AUTOSTASH", b"-x"),
        ("MERGE_RR", b"1" * 40 + b"\t../victim\0"),
        ("MERGE_RR", b"1" * 40 + b".1\ta\0" + b"1" * 40 + b"\t.git/config\0"),
        ("BISECT_START", b"--x"),
        ("BISECT_NAMES", b" 'a'; x"),
        ("BISECT_TERMS", b"-x\ngood\n"),
    ],
)
def test_what_is_made_up_is_red(path: str, content: bytes, tmp_path: Path) -> None:
    root = made_repository(tmp_path / "project")
    git(root, "worktree", "add", "--quiet", "-b", "x", "tree")
    before = Scanned(root)
    for directory in (".git", ".git/worktrees/tree"):
        put(root / directory / path, content)
    assert [line.partition(": ")[0] for line in before.red()] == [f".git/{path}", f".git/worktrees/tree/{path}"]


@pytest.mark.parametrize("path", STATES)
@pytest.mark.parametrize(
    "filler", [b"a", b" ", b"'", b"' ", b"a\n", b"--", b"''\\'", b"GIT_AUTHOR_NAME='a'", b"\t", b"\n"]
)
def test_any_content_is_judged_in_time(path: str, filler: bytes) -> None:
    state = state_of(path)
    assert state is not None
    started = time.monotonic()
    for end in (b"", b"!", b"'", b"\xff"):
        state.is_harmless(filler * (200_000 // len(filler)) + end)
    assert time.monotonic() - started < 3


def test_a_state_that_cannot_be_read_is_red(tmp_path: Path) -> None:
    root = made_repository(tmp_path / "project")
    before = Scanned(root)
    put(root / ".git/rebase-merge/strategy", b" " * (5 << 20))
    assert len(before.red()) == 1


def tried(root: Path, *words: str) -> None:
    """Run git, which stops at a conflict."""
    run_git(root, "-c", "commit.gpgsign=false", *words, code=None)


def diverged(root: Path) -> None:
    """Two branches of two commits each that change the same file, and uncommitted work."""
    for branch, text in (("topic", "it's !a\n"), ("main", "b\n")):
        git(root, "checkout", "--quiet", *(("-b",) if branch == "topic" else ()), branch)
        for number in (1, 2):
            put(root / "src/main.py", text * number)
            commit(root)
    put(root / "dirty")
    git(root, "add", "dirty")


def applied(root: Path) -> None:
    git(root, "commit", "--quiet", "-m", "y")
    patches = root.parent / "patches"
    git(root, "format-patch", "--quiet", "-2", "topic", "-o", str(patches))
    options = ("--whitespace=fix", "-C1", "-p1", "--reject", "--exclude=it's", "--directory=x/y")
    tried(root, "am", *options, "-S", *map(str, sorted(patches.iterdir())))
    assert (root / ".git/rebase-apply/apply-opt").exists()


def bisected(root: Path) -> None:
    git(root, "bisect", "start", "--term-old=old-one", "--term-new", "new", "HEAD", "HEAD~2", "--", "src", "it's")


IN_PROGRESS: dict[str, Callable[[Path], None]] = {
    "rebase": lambda root: tried(root, "rebase", "--autostash", "-X", "ours", "-s", "resolve", "-S", "topic"),
    "rebase --apply": lambda root: tried(root, "rebase", "--apply", "--autostash", "--whitespace=nowarn", "topic"),
    "cherry-pick": lambda root: tried(
        root, "cherry-pick", "-x", "--strategy=ort", "-X", "patience", "topic~1", "topic"
    ),
    "revert": lambda root: tried(root, "revert", "--no-edit", "HEAD~2", "HEAD~1"),
    "merge": lambda root: tried(root, "-c", "rerere.enabled=true", "merge", "--autostash", "topic"),
    "am": applied,
    "bisect": bisected,
}


@pytest.mark.parametrize("name", IN_PROGRESS)
def test_what_git_writes_of_an_operation_is_harmless(name: str, tmp_path: Path) -> None:
    root = made_repository(tmp_path / "project")
    diverged(root)
    if name in ("cherry-pick", "revert"):
        git(root, "commit", "--quiet", "-m", "y")
    before = Scanned(root)
    IN_PROGRESS[name](root)
    states = [path for path in (root / ".git").rglob("*") if state_of(str(path.relative_to(root))) is not None]
    assert states
    assert before.findings() == []


@settings(max_examples=25)
@given(name=st.text("abcortresiv/-. ", min_size=1, max_size=8).filter(lambda name: name.strip() == name))
def test_any_strategy_that_git_runs_a_program_for_is_known(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The control: git starts git-merge-NAME, and says so if there is none."""
    root = made_repository(tmp_path_factory.mktemp("x") / "project")
    diverged(root)
    git(root, "commit", "--quiet", "-m", "y")
    tried(root, "cherry-pick", "topic~1", "topic")
    put(root / ".git/sequencer/opts", f'[options]\n\tstrategy = "{name}"\n')
    git(root, "checkout", "--quiet", "--theirs", "src/main.py")
    git(root, "add", "src/main.py")
    said = subprocess.run(
        ["git", "cherry-pick", "--continue"],
        cwd=root,
        env={"PATH": os.environ["PATH"], "HOME": str(root), "GIT_EDITOR": "true", **WHO},
        capture_output=True,
        text=True,
        check=False,
    )
    runs_program = f"'merge-{name}' is not a git command" in said.stderr
    state = state_of(".git/sequencer/opts")
    assert state is not None
    assert not (runs_program and state.is_harmless((root / ".git/sequencer/opts").read_bytes()))
