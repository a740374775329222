"""Two accounts on one machine: their configs, sign-ins and conversations are never mixed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from helpers import FAR_FUTURE_MS, Api, User


def account(user: User, name: str) -> Path:
    """Sign the host's client in, with ``~/NAME`` as its config; return that."""
    user.folder(user.home / name)
    oauth = {
        "accessToken": f"sk-ant-oat01-{name.lstrip('.')}",
        "refreshToken": "sk-ant-ort01-made-up",
        "expiresAt": FAR_FUTURE_MS,
        "scopes": ["user:inference"],
    }
    files = {
        ".credentials.json": {"claudeAiOauth": oauth},
        ".claude.json": {"oauthAccount": {"emailAddress": f"{name.lstrip('.')}@example.invalid"}},
    }
    for file, content in files.items():
        (user.home / name / file).write_text(json.dumps(content))
        user.own(user.home / name / file)
    return user.home / name


def test_each_account_has_a_config_of_its_own(make_user: Callable[..., User], place: Path, api: Api) -> None:
    user = make_user(ANTHROPIC_API_KEY="")
    private, work = account(user, ".claude"), account(user, ".claude-work")
    before = {file: file.read_bytes() for file in (*private.iterdir(), *work.iterdir())}
    folder = user.folder(place / "project")

    def ask(text: str, *flags: str, **environ: str) -> tuple[str, str, str]:
        """What is answered, the token that was sent, and what is printed beside it."""
        done = user.run("confined-claude", *flags, "--", "-p", "--continue", text, cwd=folder, **environ)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip(), api.tokens()[-1].removeprefix("sk-ant-oat01-"), done.stderr

    assert ask("one") == ("FAKE ANSWER: one", "claude", "")
    answer, token, printed = ask("two", CLAUDE_CONFIG_DIR=str(work))
    assert (answer, token) == ("FAKE ANSWER: two", "claude-work")
    assert "the profile work, signed in as claude-work@example.invalid. It is new" in printed
    assert ask("three", "--profile", "work") == ("FAKE ANSWER: three AFTER 1 MESSAGES", "claude-work", "")
    assert ask("four") == ("FAKE ANSWER: four AFTER 1 MESSAGES", "claude", "")
    assert {file: file.read_bytes() for file in (*private.iterdir(), *work.iterdir())} == before

    shown = user.run("confined-claude", "status", cwd=folder).stdout
    assert "work     claude-work@example.invalid" in shown
    (folder / ".confined-claude/config.toml").write_text('profile = "work"')
    refused = user.run("confined-claude", "--", "-p", "five", cwd=folder)
    assert refused.returncode == 2
    assert "a project cannot ask for profile" in refused.stderr
