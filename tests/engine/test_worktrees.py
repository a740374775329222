"""Worktrees in guarded sessions: the client's own, agents', and those that other sessions and the host know of."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import GITCONFIG, User, own_name

WHERE = "RUN: pwd; git rev-parse --git-common-dir; git status --porcelain; git log --format=%s"
COMMIT = "echo y > new; git add new; git commit -qm new"


@pytest.fixture
def repository(user: User, place: Path) -> Path:
    """A project with a commit, of a user whom git knows."""
    return user.repository(user.folder(own_name(place)), {".gitignore": ".confined-claude/\n.claude/worktrees/\n"})


def claude(user: User, project: Path, *words: str) -> str:
    """What Claude Code answers in a guarded session; it must succeed."""
    done = user.run("confined-claude", "run", "--yolo", "--", *words, cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def inside(user: User, project: Path, script: str) -> str:
    """What a script prints in a guarded session; it must succeed."""
    done = user.run("confined-claude", "shell", "--", "sh", "-euc", script, cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def trees(user: User, project: Path) -> list[str]:
    listed = user.git(project, "worktree", "list", "--porcelain").splitlines()
    return [line.removeprefix("worktree ") for line in listed if line.startswith("worktree ")]


def test_claude_works_in_a_worktree_of_its_own(user: User, repository: Path) -> None:
    made = repository / ".claude/worktrees/feat"
    said = claude(user, repository, "--worktree", "feat", "-p", f"{WHERE}; {COMMIT}")
    assert said == f"TOOL SAID: {made}\n{repository}/.git\none\n"
    assert trees(user, repository) == [str(repository), str(made)]
    assert user.git(made, "log", "--format=%s").splitlines() == ["new", "one"]
    assert user.git(repository, "log", "--format=%s").splitlines() == ["one"]
    # The next session goes on in it.
    assert claude(user, repository, "--worktree", "feat", "-p", "RUN: cat new") == "TOOL SAID: y\n"


def test_claude_enters_and_leaves_a_worktree(user: User, repository: Path) -> None:
    enter, leave = ('TOOL: EnterWorktree {"name": "w"}', 'TOOL: ExitWorktree {"action": "remove"}')
    said = claude(user, repository, "-p", f"{enter} THEN RUN: pwd THEN {leave} THEN RUN: pwd")
    assert f"TOOL SAID: {repository}/.claude/worktrees/w\n" in said, said
    assert said.endswith(f"TOOL SAID: {repository}\n"), said
    assert trees(user, repository) == [str(repository)]


def test_agents_work_in_worktrees(user: User, repository: Path) -> None:
    asked = {
        "description": "x",
        "prompt": f"RUN: pwd; {COMMIT}",
        "subagent_type": "general-purpose",
        "isolation": "worktree",
    }
    said = claude(user, repository, "-p", f"TOOL: Agent {json.dumps({**asked, 'run_in_background': False})}")
    assert f"TOOL SAID: {repository}/.claude/worktrees/agent-" in said, said
    assert len(trees(user, repository)) == 2
    assert user.git(repository, "log", "--format=%s").splitlines() == ["one"]


@pytest.mark.root
@pytest.mark.parametrize("ids", [(501, 20), (0, 0)], ids=["anybody", "root"])
def test_in_a_linked_worktree_git_makes_more_and_claude_does_not(
    ids: tuple[int, int], make_user: Callable[..., User], place: Path
) -> None:
    """The client puts them into the main checkout, which the session does not see: root's would be lost with it."""
    user = make_user(*ids)
    (user.home / ".gitconfig").write_text(GITCONFIG)
    repository, linked = user.folder(own_name(place)), own_name(place, "linked")
    user.own(place)
    user.git(repository, "init", "--quiet")
    user.git(repository, "commit", "--quiet", "--allow-empty", "--message=one")
    user.git(repository, "worktree", "add", "--quiet", str(linked))
    done = user.run("confined-claude", "run", "--yolo", "--", "--worktree", "feat", "-p", "RUN: pwd", cwd=linked)
    assert done.returncode != 0
    assert f"EROFS: read-only file system, mkdir '{repository}/.claude'" in done.stdout + done.stderr
    assert trees(user, repository) == [str(repository), str(linked)]
    inside(user, linked, "git worktree add -q inner; git -C inner commit -q --allow-empty -m inner")
    assert str(linked / "inner") in trees(user, repository)
    assert user.git(linked / "inner", "log", "-1", "--format=%s") == "inner\n"


def test_worktrees_are_removed_pruned_and_made_again_by_later_sessions_and_the_host(
    user: User, repository: Path
) -> None:
    make = "git worktree add -q wt/a; git worktree add -q wt/b; git worktree add -q wt/c"
    inside(user, repository, make)
    user.git(repository, "worktree", "add", "--quiet", "wt/host")
    inside(user, repository, f"git worktree remove wt/a; rm -r wt/b wt/host; git worktree prune; {COMMIT}")
    assert trees(user, repository) == [str(repository), str(repository / "wt/c")]
    inside(user, repository, "git worktree add -q wt/a a; git worktree move wt/c wt/d; git branch -q -D b host")
    user.git(repository, "worktree", "remove", "wt/a")
    user.git(repository, "worktree", "add", "--quiet", "wt/a", "a")
    assert sorted(trees(user, repository)) == [str(repository), str(repository / "wt/a"), str(repository / "wt/d")]
    inside(user, repository, "git worktree remove wt/a; git worktree remove wt/d")
    assert trees(user, repository) == [str(repository)]


def test_a_session_takes_no_worktree_away_that_it_does_not_see(user: User, repository: Path) -> None:
    elsewhere = repository.parent / "elsewhere"
    user.git(repository, "worktree", "add", "--quiet", str(elsewhere))
    (elsewhere / "new").write_text("x\n")
    user.git(elsewhere, "add", "new")
    inside(user, repository, f"git worktree prune; {COMMIT}; git gc -q --prune=now; ! git worktree remove ../elsewhere")
    assert user.git(elsewhere, "status", "--porcelain") == "A  new\n"
    assert not (repository / ".git/worktrees/elsewhere/locked").exists()
    # The control: git takes away what it cannot find.
    elsewhere.rename(repository.parent / "moved")
    user.git(repository, "worktree", "prune")
    assert trees(user, repository) == [str(repository)]
