"""``login``: a token, the client's own sign-in at a terminal, and back to the host's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import Api, User, docker, own_name, sessions_of
from terminals import terminal

TOKEN = "sk-ant-oat01-made-up-of-setup-token"
REVOKED = "sk-ant-oat01-made-up-and-revoked"


def test_a_token_is_tried_and_stored_and_signs_in_until_it_is_deleted(
    make_user: Callable[..., User], place: Path, api: Api
) -> None:
    user = make_user(12345, 12345, ANTHROPIC_API_KEY="", CLAUDE_CODE_MAX_RETRIES="0")
    user.sign_in(token="sk-ant-oat01-of-the-host")
    project = user.folder(own_name(place))
    stored = user.home / ".local/state/confined-claude/tokens.json"
    docker("exec", api.container, "sh", "-c", f"echo {REVOKED} >>/tmp/revoked")
    for wrong, said in ((REVOKED, "is not stored"), ("sk-ant-api03-made-up", "not a token of")):
        refused = user.run("confined-claude", "login", "--token", cwd=project, input=wrong)
        assert (refused.returncode != 0, said in refused.stderr, stored.exists()) == (True, True, False), refused.stderr
    # As a terminal breaks it.
    done = user.run("confined-claude", "login", "--token", cwd=project, input=f"{TOKEN[:20]}\n{TOKEN[20:]}\n")
    assert done.returncode == 0, done.stderr
    assert "FAKE ANSWER" in done.stdout
    assert stored.stat().st_mode & 0o777 == 0o600
    assert [file for file in user.home.rglob("*") if file.is_file() and TOKEN in file.read_text(errors="replace")] == [
        stored
    ]
    assert user.run("confined-claude", "--", "-p", "hello", cwd=project).stdout == "FAKE ANSWER: hello\n"
    assert api.headers("hello")["authorization"] == f"Bearer {TOKEN}"
    back = user.run("confined-claude", "login", "--from-host", cwd=user.home)
    assert (back.returncode, stored.exists()) == (0, False), back.stderr
    user.run("confined-claude", "--", "-p", "hello", cwd=project)
    assert api.headers("hello")["authorization"] == "Bearer sk-ant-oat01-of-the-host"


@pytest.mark.parametrize("option", [(), ("--token",)])
def test_at_a_terminal_the_clients_own_sign_in_runs_and_a_way_out_changes_nothing(
    make_user: Callable[..., User], place: Path, option: tuple[str, ...]
) -> None:
    user = make_user(12345, 12345)
    project = user.folder(own_name(place))
    with terminal(user, project, "confined-claude", "login", *option) as opened:
        opened.wait_for("/oauth/authorize?")
        opened.wait_for("Paste")
        if option:  # the client's `setup-token` takes no Ctrl-C
            assert "`confined-claude stop`" in opened.screen
            user.run("confined-claude", "stop", cwd=project)
        else:
            opened.send("\x03")
        assert opened.wait_for_end() != 0
    assert sessions_of(project) == []
    assert not (user.home / ".local/state/confined-claude/tokens.json").exists()
    assert not (user.home / ".local/share/confined-claude/shared/claude-config/.credentials.json").exists()


def test_without_a_terminal_it_says_what_works(user: User, project: Path) -> None:
    done = user.run("confined-claude", "login", cwd=project)
    assert (done.returncode, "--token" in done.stderr) == (2, True)
