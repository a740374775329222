"""Which project a start is a session of, and where in it: the one that was meant."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import User, sessions_of, up, wait_until
from terminals import PROMPT, terminal


@pytest.fixture
def app(project: Path, user: User) -> Path:
    """A repository with a scaffold, and a branch."""
    return user.repository(project, {".confined-claude/config.toml": "", ".gitignore": ".worktrees/\n"})


def inside(user: User, directory: Path, script: str, *flags: str) -> tuple[str, str]:
    done = user.run("confined-claude", "shell", *flags, "--", "sh", "-euc", script, cwd=directory)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def test_a_worktree_in_a_project_is_a_project_and_its_commits_are_on_its_branch(app: Path, user: User) -> None:
    user.git(app, "worktree", "add", "-q", "-b", "feature", ".worktrees/feature")
    tree = app / ".worktrees/feature"
    user.folder(tree / "src")
    script = "pwd; test ! -e ../../../.gitignore; echo x > new; git add new; git commit -qm second"
    assert inside(user, tree / "src", script) == (f"{tree}/src\n", "")
    assert user.git(app, "log", "-1", "--format=%s", "feature") == "second\n"
    assert user.git(app, "log", "-1", "--format=%s", "main") == "one\n"


def test_what_a_session_makes_does_not_take_the_next_one_out_of_its_project(app: Path, user: User) -> None:
    (app / ".confined-claude/config.toml").write_text('sudo = "off"\n')
    assert inside(user, app, "git init -q part")[1] == ""
    where = "pwd; git rev-parse --show-toplevel; command -v sudo || echo none; ls -d ../.git"
    part = app / "part"
    assert inside(user, part, where)[0].splitlines()[0] == str(part)
    shown = user.run("confined-claude", "run", "--dry-run", cwd=part).stdout
    assert f"# What a start in {app} would do now" in shown
    assert "confined-claude review --accept part" in shown.replace("\n# ", " ")
    assert user.run("confined-claude", "review", "--accept", "part", cwd=part).returncode == 0
    shown = user.run("confined-claude", "run", "--dry-run", cwd=part).stdout
    assert f"# What a start in {part} would do now" in shown
    assert user.run("confined-claude", "shell", "--", "ls", "../.git", cwd=part).returncode != 0


def test_a_start_in_a_subdirectory_has_git_and_names_the_project(app: Path, user: User) -> None:
    src = user.folder(app / "src")
    script = "pwd; echo x > new; git add new; git commit -qm second; git log -1 --format=%s"
    assert inside(user, src, script)[0] == f"{src}\nsecond\n"
    assert user.git(app, "status", "--porcelain") == ""
    with terminal(user, src, "confined-claude") as opened:
        opened.wait_for(PROMPT)
        wait_until(lambda: up(app))
        joined = user.run("confined-claude", "exec", "--", "pwd", cwd=src)
        assert joined.stdout == f"{src}\n"
        assert user.run("confined-claude", "exec", "--", "pwd", cwd=app).stdout == f"{app}\n"
        assert "Do you trust" not in opened.screen
        assert f"The project is {app}" in " ".join(opened.everything.split())
        assert user.run("confined-claude", "stop", cwd=src).returncode == 0
    assert sessions_of(app) == []


def test_a_start_in_a_hidden_directory_begins_at_the_root(app: Path, user: User) -> None:
    hidden = user.folder(app / ".venv/lib")
    assert inside(user, hidden, "pwd")[0] == f"{app}\n"


def test_continue_finds_the_conversation_of_the_directory_first_and_then_that_of_the_root(
    app: Path, user: User
) -> None:
    src = user.folder(app / "src")

    def ask(directory: Path, *words: str) -> str:
        done = user.run("confined-claude", *words, "-p", "hello", cwd=directory)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    assert ask(app) == "FAKE ANSWER: hello"
    assert ask(src, "--continue") == "FAKE ANSWER: hello AFTER 1 MESSAGES"
    assert ask(app, "--continue") == "FAKE ANSWER: hello AFTER 2 MESSAGES"
    assert ask(src) == "FAKE ANSWER: hello"
    assert ask(src, "-c") == "FAKE ANSWER: hello AFTER 1 MESSAGES"


def test_what_a_directory_has_as_a_project_of_its_own_stays_there_and_a_start_says_how_it_is_found(
    app: Path, user: User
) -> None:
    src = user.folder(app / "src")
    inside(user, src, "mkdir -p ~/venvs/mine", "--here")
    assert user.run("confined-claude", "--here", "-p", "hello", cwd=src).returncode == 0
    with terminal(user, src, "confined-claude", "shell", "--", "ls", "/home/claude/venvs") as opened:
        assert opened.wait_for_end() == 0
        said = " ".join(opened.everything.split())
    assert "mine" not in said
    assert "`--here` goes on with the environments and conversations of earlier sessions there" in said
    assert inside(user, src, "ls ~/venvs", "--here")[0] == "mine\n"
    done = user.run("confined-claude", "--here", "--continue", "-p", "hello", cwd=src)
    assert done.stdout == "FAKE ANSWER: hello AFTER 1 MESSAGES\n"
