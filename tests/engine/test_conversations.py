"""Whose conversations a session finds: those of its project, wherever that is by now, and no other's."""

from __future__ import annotations

import json
from pathlib import Path

from helpers import User

from confined_claude.project import Project


def test_a_session_finds_its_projects_conversations_and_no_others(user: User, place: Path) -> None:
    one, two = user.folder(place / "one"), user.folder(place / "two")
    user.folder(one / "sub")

    def ask(project: Path, *words: str, code: int = 0) -> str:
        done = user.run("confined-claude", "--", "-p", *words, cwd=project)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout.strip() + done.stderr

    session = json.loads(ask(one, "--output-format", "json", "alpha"))["session_id"]
    assert "No conversation found" in ask(two, "--resume", session, "beta", code=1)
    assert ask(two, "--continue", "beta") == "FAKE ANSWER: beta"
    look = "cd ~/.claude && ls projects && ! grep -rl alpha projects"
    assert user.run("confined-claude", "shell", "--", "sh", "-c", look, cwd=two).returncode == 0
    assert ask(one, "--resume", session, "gamma") == "FAKE ANSWER: gamma AFTER 1 MESSAGES"
    in_sub = "cd sub && claude -p --continue delta"
    answers = [user.run("confined-claude", "shell", "--", "sh", "-c", in_sub, cwd=one).stdout for _ in range(2)]
    assert answers == ["FAKE ANSWER: delta\n", "FAKE ANSWER: delta AFTER 1 MESSAGES\n"]

    # As earlier versions kept them: beside those of all other projects.
    data = user.home / ".local/share/confined-claude"
    own = data / "projects" / Project(one).id / "conversations"
    for held in list(own.iterdir()):
        held.rename(data / "shared/claude-config/projects" / held.name)
    assert ask(one, "--continue", "epsilon") == "FAKE ANSWER: epsilon AFTER 2 MESSAGES"
    assert list((data / "shared/claude-config/projects").iterdir()) == []

    user.run("confined-claude", "shell", "--", "sh", "-c", "echo x >.envrc", cwd=one)
    moved = one.rename(place / "three")
    # What is open goes along as well.
    refused = user.run("confined-claude", "shell", "--", "true", cwd=moved)
    assert (refused.returncode, ".envrc" in refused.stderr) == (4, True)
    assert f"This project was at {one}." in refused.stderr
    assert user.run("confined-claude", "review", "--accept", ".envrc", cwd=moved).returncode == 0
    said = ask(moved, "--resume", session, "zeta")
    assert said.startswith("FAKE ANSWER: zeta AFTER 3 MESSAGES")
    assert ask(moved, "--continue", "eta") == "FAKE ANSWER: eta AFTER 4 MESSAGES"
    # Without anything open.
    again = moved.rename(place / "four")
    assert f"This project was at {moved}: its conversations" in ask(again, "--continue", "theta")
