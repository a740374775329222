"""What an engine is asked for an image: its name in parts, and the user's sign-in to its registry."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from confined_claude.engine.sdk import request_of

HELPER = """#!/bin/sh
read registry
[ "$1 $registry" = "get registry.example:5000" ] || { echo "credentials not found in native keychain"; exit 1; }
echo '{"Username": "ann", "Secret": "made-up"}'
"""


def config(home: Path, text: str) -> None:
    home.joinpath(".docker").mkdir(parents=True)
    home.joinpath(".docker/config.json").write_text(text)


def sign_in(name: str) -> dict[str, str] | None:
    """Who the registry of the image is told to ask for it."""
    _, headers = request_of(name)
    if not headers:
        return None
    (line,) = headers
    found = json.loads(base64.urlsafe_b64decode(line.removeprefix("X-Registry-Auth: ")))
    return {key.lower(): found[key] for key in found if key.lower() in ("username", "password")}


ANN = {"username": "ann", "password": "made-up"}
AUTH = base64.b64encode(b"ann:made-up").decode()


@pytest.mark.parametrize(
    ("name", "repository", "tag"),
    [
        ("debian:bookworm-slim", "debian", "bookworm-slim"),
        ("registry.example:5000/team/base", "registry.example:5000/team/base", "latest"),
        ("debian@sha256:0123", "debian", "sha256:0123"),
    ],
)
@pytest.mark.usefixtures("tmp_path")
def test_a_name_has_two_parts(name: str, repository: str, tag: str) -> None:
    assert request_of(name) == ({"fromImage": repository, "tag": tag}, [])


def test_a_sign_in_that_the_docker_command_has_stored(tmp_path: Path) -> None:
    config(tmp_path / "home", json.dumps({"auths": {"registry.example:5000": {"auth": AUTH}}}))
    assert sign_in("registry.example:5000/base:1") == ANN
    assert sign_in("other.example/base:1") is None
    assert sign_in("debian:12") is None


def test_a_sign_in_that_a_credential_helper_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config(tmp_path / "home", '{"credsStore": "made-up"}')
    helper = tmp_path / "docker-credential-made-up"
    helper.write_text(HELPER)
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert sign_in("registry.example:5000/base:1") == ANN
    assert sign_in("debian:12") is None


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "7", '{"credsStore": "missing"}', '{"auths": {"debian.example": 7}}', '{"auths": 7}']
)
def test_what_cannot_be_read_is_no_sign_in_as_it_is_for_the_docker_command(text: str, tmp_path: Path) -> None:
    config(tmp_path / "home", text)
    assert sign_in("debian.example/base:12") is None
