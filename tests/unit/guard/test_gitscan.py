"""Which lists of a rebase run commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from confined_claude.guard.gitscan import runs_commands

from ..guarding import run_git


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
