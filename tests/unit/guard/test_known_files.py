"""Files that are as they were in a branch, or at the project's root, before the session are no news."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from confined_claude.guard.findings import Finding

from ..guarding import commit, git, put
from .test_guard import Place, in_git, place

__all__ = ["place"]
FILES = ("Makefile", ".envrc", "sub/.envrc", ".vscode/tasks.json", ".claude/settings.json", "package.json", "setup.py")


@pytest.fixture
def at_work(place: Place) -> Place:
    """A project with files of each colour, and another branch in which they differ."""
    for name in FILES:
        place.put(name, '{"scripts": 1}')
    commit(place.root)
    git(place.root, "checkout", "--quiet", "-b", "other")
    for name in FILES:
        place.put(name, '{"scripts": 2}')
    commit(place.root)
    git(place.root, "checkout", "--quiet", "main")
    return place


def paths(findings: list[Finding]) -> list[str]:
    return [finding.path for finding in findings]


TREE = ".claude/worktrees/f"


@pytest.mark.parametrize("branch", ["main", "other"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_worktree_is_no_news(branch: str, packed: bool, at_work: Place) -> None:
    if packed:
        git(at_work.root, "gc", "--quiet")
    assert paths(at_work.session(in_git(at_work, "worktree", "add", "-q", "-b", "f", TREE, branch))) == []
    assert (at_work.root / TREE / ".envrc").exists()
    assert paths(at_work.session()) == []


def test_a_branch_switch_is_no_news(at_work: Place) -> None:
    assert paths(at_work.session(in_git(at_work, "checkout", "-q", "other"))) == []


@pytest.mark.parametrize(
    ("path", "change"),
    [
        (f"{TREE}/.envrc", lambda path: path.write_text("evil")),
        (f"{TREE}/setup.py", lambda path: path.chmod(0o755)),
        (f"{TREE}/deep/.envrc", lambda path: put(path, '{"scripts": 1}')),  # another path
        (f"{TREE}/pom.xml", put),
        ("deep/.envrc", lambda path: put(path, '{"scripts": 1}')),
        (".git/worktrees/f/commondir", lambda path: path.write_text("../../../deep\n")),
    ],
)
def test_what_differs_in_a_worktree_is_news(path: str, change: Callable[[Path], object], at_work: Place) -> None:
    add = in_git(at_work, "worktree", "add", "-q", "-b", "f", TREE)
    assert path in paths(at_work.session(add, lambda: change(at_work.root / path)))


def test_what_a_session_commits_is_news_wherever_it_is_checked_out(at_work: Place) -> None:
    def make_branch() -> None:
        git(at_work.root, "checkout", "-q", "-b", "evil")
        at_work.put("sub/.envrc", "evil")
        commit(at_work.root)
        git(at_work.root, "checkout", "-q", "main")

    add = in_git(at_work, "worktree", "add", "-q", TREE, "evil")
    beside = at_work.start()  # ends last
    assert paths(at_work.session(make_branch)) == ["evil:sub/.envrc"]
    assert paths(at_work.session(add)) == [f"{TREE}/sub/.envrc"]
    at_work.put("x")
    git(at_work.root, "worktree", "remove", "--force", TREE)
    beside.finish()
    assert paths(at_work.session(add)) == [f"{TREE}/sub/.envrc"]


def test_what_an_interrupted_session_committed_is_news(at_work: Place) -> None:
    one = at_work.start()
    git(at_work.root, "checkout", "-q", "-b", "evil")
    at_work.put("sub/.envrc", "evil")
    commit(at_work.root)
    git(at_work.root, "checkout", "-q", "main")
    one.close()
    assert at_work.reviewed() == ["evil:sub/.envrc"]
    assert paths(at_work.session(in_git(at_work, "worktree", "add", "-q", TREE, "evil"))) == [f"{TREE}/sub/.envrc"]


def test_a_worktree_where_tools_look_is_news(at_work: Place) -> None:
    add = in_git(at_work, "worktree", "add", "-q", "-b", "f", ".claude/commands/f")
    assert ".claude/commands/f/Makefile" in paths(at_work.session(add))


def test_a_branch_that_moves_on_outside_is_known_again(at_work: Place) -> None:
    def work() -> None:
        at_work.put("pom.xml")
        commit(at_work.root)

    assert paths(at_work.session(work)) == ["pom.xml"]
    git(at_work.root, "commit", "-q", "--allow-empty", "-m", "mine")
    assert paths(at_work.session(in_git(at_work, "worktree", "add", "-q", "-b", "f", TREE))) == []
