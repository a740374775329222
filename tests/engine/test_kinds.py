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
from terminals import PROMPT, terminal

pytestmark = pytest.mark.timeout(300)

QUESTIONS = ("Choose the text style", "Select login method", "Do you trust", "custom API key", "login")
AWS_CREDENTIALS = {
    "Version": 1,
    "AccessKeyId": "ASIAMADEUP",
    "SecretAccessKey": "made-up",
    "SessionToken": "of-the-profile",
}


def program(user: User, name: str, script: str) -> Path:
    """A program of the user's, in the directory that comes first on their PATH."""
    folder = user.folder(user.home / "programs")
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    user.own(file)
    return file


def settings(user: User, **values: Any) -> None:
    file = user.folder(user.home / ".claude") / "settings.json"
    file.write_text(json.dumps(values))
    user.own(file)


def sent(api: Api, text: str) -> dict[str, str]:
    """The sign-in headers of the last request."""
    return json.loads(api.log().splitlines()[-1])["headers"]


@pytest.fixture
def someone(make_user: Callable[..., User]) -> User:
    user = make_user(12345, 12345, ANTHROPIC_API_KEY="")
    user.variables["PATH"] = f"{user.home / 'programs'}:{user.bin}:{SYSTEM_PATH}"
    return user


def ask(user: User, project: Path, text: str) -> str:
    """What the screen shows once the prompt has appeared at once, and a message is answered."""
    with terminal(user, project, "confined-claude") as opened:
        screen = opened.wait_for(PROMPT)
        assert not [question for question in QUESTIONS if question in screen]
        opened.send(text)
        opened.wait_for(text)
        opened.send("\r")
        opened.wait_for(f"FAKE ANSWER: {text}")
        return opened.everything


def test_a_helper_of_the_users_settings_signs_in_and_is_renewed_while_the_session_runs(
    someone: User, place: Path, api: Api
) -> None:
    key = someone.home / "key"
    key.write_text("sk-first\n")
    someone.own(key)
    script = program(someone, "get-key", f'[ "$PWD" = / ] && cat {key}')
    settings(someone, apiKeyHelper=f"{script} --quiet", env={"CLAUDE_CODE_API_KEY_HELPER_TTL_MS": "1000"})
    project = someone.folder(own_name(place))
    with terminal(someone, project, "confined-claude") as opened:
        screen = opened.wait_for(PROMPT)
        assert not [question for question in QUESTIONS if question in screen]
        opened.send("hello")
        opened.wait_for("hello")
        opened.send("\r")
        opened.wait_for("FAKE ANSWER: hello")
        assert sent(api, "hello") == {"authorization": "Bearer sk-first", "x-api-key": "sk-first"}
        [session] = up(project)
        # Nowhere that others look.
        shown = (
            docker("inspect", session)
            + subprocess.run(["ps", "axeww"], capture_output=True, text=True, check=True).stdout
        )
        assert "sk-first" not in shown.replace("cat /run", "")
        kept = [file for file in someone.home.rglob("*") if file.is_file() and b"sk-first" in file.read_bytes()]
        assert kept == [key]
        value = "/run/confined-claude/sign-in/value"
        assert docker("exec", session, "stat", "-c", "%a %u", value) == "400 12345\n"
        key.write_text("sk-second\n")
        wait_until(lambda: docker("exec", session, "cat", value) == "sk-second")
        assert docker("exec", session, "stat", "-c", "%a %u", value) == "400 12345\n"
        docker("exec", api.container, "sh", "-c", "echo sk-first >>/tmp/revoked")
        opened.send("once more")
        opened.wait_for("once more")
        opened.send("\r")
        opened.wait_for("FAKE ANSWER: once more")
        assert sent(api, "")["authorization"] == "Bearer sk-second"


@pytest.mark.parametrize("kind", ["settings", "bedrock", "vertex", "foundry"])
def test_the_first_screen_is_the_prompt_for(someone: User, place: Path, api: Api, kind: str) -> None:
    url = api.variables["ANTHROPIC_BASE_URL"]
    project = someone.folder(own_name(place))
    variables: dict[str, str] = {}
    if kind == "settings":
        del someone.variables["ANTHROPIC_BASE_URL"]
        headers = "x-made-up: of-the-settings"
        env = {
            "ANTHROPIC_BASE_URL": url,
            "ANTHROPIC_AUTH_TOKEN": "of-the-settings",
            "ANTHROPIC_CUSTOM_HEADERS": headers,
        }
        settings(someone, env=env)
        wanted = {"authorization": "Bearer of-the-settings", "x-made-up": "of-the-settings"}
        # Control: the same, with a project that leads requests elsewhere.
        inner = someone.folder(project / ".claude")
        (inner / "settings.json").write_text(json.dumps({"env": {"ANTHROPIC_BASE_URL": "http://elsewhere.invalid"}}))
    elif kind == "bedrock":
        folder = someone.folder(someone.home / ".aws")
        (folder / "config").write_text("[profile work]\nregion = eu-north-1\n")
        program(someone, "aws", f"""[ "$AWS_PROFILE" = work ] && echo '{json.dumps(AWS_CREDENTIALS)}'""")
        variables = {"CLAUDE_CODE_USE_BEDROCK": "1", "AWS_PROFILE": "work", "ANTHROPIC_BEDROCK_BASE_URL": url}
        wanted = {"x-amz-security-token": "of-the-profile"}
    elif kind == "vertex":
        program(someone, "gcloud", 'test "$*" = "auth application-default print-access-token" && echo ya29.made-up')
        variables = {
            "CLAUDE_CODE_USE_VERTEX": "1",
            "ANTHROPIC_VERTEX_PROJECT_ID": "made-up",
            "CLOUD_ML_REGION": "us-east5",
            "ANTHROPIC_VERTEX_BASE_URL": url,
        }
        wanted = {"authorization": "Bearer ya29.made-up"}
    else:
        program(someone, "az", 'test "$1 $2" = "account get-access-token" && echo of-entra')
        variables = {"CLAUDE_CODE_USE_FOUNDRY": "1", "ANTHROPIC_FOUNDRY_BASE_URL": url}
        wanted = {"authorization": "Bearer of-entra"}
    someone.variables.update(variables)
    ask(someone, project, f"by {kind}")
    headers_sent = sent(api, kind)
    if kind == "bedrock":
        assert "Credential=ASIAMADEUP/" in headers_sent.pop("authorization")
        assert "/eu-north-1/" in json.loads(api.log().splitlines()[-1])["headers"]["authorization"]
    assert headers_sent == wanted
