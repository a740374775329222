"""Every kind of sign-in beside credentials and plain variables: the first screen is the prompt, and the API gets it.

The programs ``aws``, ``gcloud`` and ``az`` are made up: they stand for the user's own.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers import SYSTEM_PATH, Api, User, docker, own_name, up, wait_until
from terminals import PROMPT, Terminal, terminal

QUESTIONS = ("Choose the text style", "Select login method", "Do you trust", "custom API key", "Not logged in")
VALUE = "/run/confined-claude/sign-in/value"
GATEWAYS = {
    "bedrock": {"CLAUDE_CODE_USE_BEDROCK": "1", "AWS_PROFILE": "work", "CLAUDE_CODE_API_KEY_HELPER_TTL_MS": "1000"},
    "vertex": {"CLAUDE_CODE_USE_VERTEX": "1", "ANTHROPIC_VERTEX_PROJECT_ID": "p", "CLOUD_ML_REGION": "us-east5"},
    "foundry": {"CLAUDE_CODE_USE_FOUNDRY": "1"},
}


@pytest.fixture
def someone(make_user: Callable[..., User]) -> User:
    user = make_user(12345, 12345, ANTHROPIC_API_KEY="")
    user.variables["PATH"] = f"{user.home / 'programs'}:{user.bin}:{SYSTEM_PATH}"
    return user


def program(user: User, name: str, script: str) -> Path:
    """A program of the user's, in the directory that comes first on their PATH."""
    file = user.folder(user.home / "programs") / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    user.own(file)
    return file


def settings(user: User, **values: Any) -> None:
    file = user.folder(user.home / ".claude") / "settings.json"
    file.write_text(json.dumps(values))
    user.own(file)


def ask(opened: Terminal, api: Api, text: str) -> dict[str, str]:
    """The sign-in headers of the request that answers ``text``, typed at the prompt."""
    opened.send(text)
    opened.wait_for(text)
    opened.send("\r")
    opened.wait_for(f"FAKE ANSWER: {text}")
    return api.headers(text)


def at_once(opened: Terminal) -> None:
    """The first screen is the prompt."""
    screen = opened.wait_for(PROMPT)
    assert not [question for question in QUESTIONS if question in screen]


def holds(user: User, text: str) -> list[Path]:
    """The files below the user's HOME that have ``text`` in them."""
    return [file for file in user.home.rglob("*") if file.is_file() and text.encode() in file.read_bytes()]


def test_a_helper_of_the_users_settings_signs_in_and_is_renewed_while_the_session_runs(
    someone: User, place: Path, api: Api
) -> None:
    key = someone.home / "key"
    key.write_text("sk-first\n")
    script = program(someone, "get-key", f'[ "$PWD" = / ] && cat {key}')
    settings(someone, apiKeyHelper=f"{script} --quiet", env={"CLAUDE_CODE_API_KEY_HELPER_TTL_MS": "1000"})
    project = someone.folder(own_name(place))
    with terminal(someone, project, "confined-claude") as opened:
        at_once(opened)
        assert ask(opened, api, "hello") == {"authorization": "Bearer sk-first", "x-api-key": "sk-first"}
        [session] = up(project)
        processes = subprocess.run(["ps", "axeww"], capture_output=True, text=True, check=True).stdout
        assert "sk-first" not in docker("inspect", session) + processes
        assert holds(someone, "sk-first") == [key]
        assert docker("exec", session, "stat", "-c", "%a %u", VALUE) == "400 12345\n"
        key.write_text("sk-second\n")
        wait_until(lambda: docker("exec", session, "cat", VALUE) == "sk-second")
        assert docker("exec", session, "stat", "-c", "%a %u", VALUE) == "400 12345\n"
        docker("exec", api.container, "sh", "-c", "echo sk-first >>/tmp/revoked")
        assert ask(opened, api, "once more")["authorization"] == "Bearer sk-second"


@pytest.mark.parametrize("kind", GATEWAYS)
def test_a_cloud_signs_in_by_what_the_users_program_prints(someone: User, place: Path, api: Api, kind: str) -> None:
    del someone.variables["ANTHROPIC_BASE_URL"]
    someone.variables.update(GATEWAYS[kind])
    someone.variables[f"ANTHROPIC_{kind.upper()}_BASE_URL"] = api.variables["ANTHROPIC_BASE_URL"]
    credential = someone.home / "credential"

    def write(token: str) -> None:
        aws = {"Version": 1, "AccessKeyId": "ASIAMADEUP", "SecretAccessKey": "made-up", "SessionToken": token}
        credential.write_text(json.dumps(aws) if kind == "bedrock" else token)

    write("first-made-up")
    program(someone, "gcloud", f'[ "$*" = "auth application-default print-access-token" ] && cat {credential}')
    program(someone, "az", f'[ "$1 $2" = "account get-access-token" ] && cat {credential}')
    program(someone, "aws", f'[ "$2 $AWS_PROFILE" = "export-credentials work" ] && cat {credential}')
    someone.folder(someone.home / ".aws")
    (someone.home / ".aws/config").write_text("[profile work]\nregion = eu-north-1\n")
    project = someone.folder(own_name(place))
    with terminal(someone, project, "confined-claude") as opened:
        at_once(opened)
        headers = ask(opened, api, f"by {kind}")
        if kind != "bedrock":
            assert headers == {"authorization": "Bearer first-made-up"}
            return
        assert "Credential=ASIAMADEUP/" in headers["authorization"]
        assert "/eu-north-1/" in headers["authorization"]
        assert headers["x-amz-security-token"] == "first-made-up"
        write("second-made-up")
        [session] = up(project)
        wait_until(lambda: "second-made-up" in docker("exec", session, "cat", VALUE))
        # The client keeps what it has read for its time to live.
        again = (ask(opened, api, f"once more {turn}") for turn in range(60))
        assert any(headers["x-amz-security-token"] == "second-made-up" for headers in again)


def test_variables_of_the_users_settings_sign_in_and_lead_to_their_gateway(
    someone: User, place: Path, api: Api
) -> None:
    url = someone.variables.pop("ANTHROPIC_BASE_URL")
    token = "of-the-settings"
    env = {"ANTHROPIC_BASE_URL": url, "ANTHROPIC_AUTH_TOKEN": token, "ANTHROPIC_CUSTOM_HEADERS": f"x-made-up: {token}"}
    settings(someone, env=env)
    project = someone.folder(own_name(place))
    with terminal(someone, project, "confined-claude") as opened:
        at_once(opened)
        assert ask(opened, api, "hello") == {"authorization": f"Bearer {token}", "x-made-up": token}
        [session] = up(project)
        assert token not in docker("inspect", session)
        assert holds(someone, token) == [someone.home / ".claude/settings.json"]


def test_a_helper_that_fails_is_named_and_is_tried_again_behind_the_prompt(
    someone: User, place: Path, api: Api
) -> None:
    script = f"cat {someone.home}/vault || {{ echo 'sign in to the vault' >&2; exit 3; }}"
    env = {"CLAUDE_CODE_API_KEY_HELPER_TTL_MS": "1000"}
    settings(someone, apiKeyHelper=str(program(someone, "get-key", script)), env=env)
    project = someone.folder(own_name(place))
    with terminal(someone, project, "confined-claude") as opened:
        at_once(opened)
        assert "No credential from apiKeyHelper: sign in to the vault." in " ".join(opened.everything.split())
        (someone.home / "vault").write_text("sk-of-the-vault")
        [session] = up(project)
        wait_until(lambda: docker("exec", session, "cat", VALUE, check=False) == "sk-of-the-vault")
        assert ask(opened, api, "hello")["authorization"] == "Bearer sk-of-the-vault"
