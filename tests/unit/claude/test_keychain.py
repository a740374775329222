"""The Keychain of macOS, by a made-up ``security`` command: on a Mac it has not been tried."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from confined_claude.claude import keychain
from confined_claude.claude.config import ClaudeConfig
from confined_claude.claude.keychain import Keychain
from confined_claude.host import Host
from confined_claude.workspace import shared_data

from ..conftest import host_below

OAUTH = {"accessToken": "sk-ant-oat01-made-up", "refreshToken": "sk-ant-ort01-made-up", "expiresAt": 4102444800000}
SECURITY = """#!/bin/sh
echo "$*" >>{log}
case "$*" in
    "find-generic-password -a me -w -s {service}") cat {item} ;;
    "find-generic-password -a me -s {service}") stat -c %Y-%i {item} ;;
    *) exit 44 ;;
esac
"""


class Mac:
    """A host with an item in its Keychain."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, service: str, **environ: str) -> None:
        monkeypatch.setattr(keychain, "IS_MAC", True)
        self.item, self.log = folder / "item", folder / "log"
        programs = folder / "programs"
        programs.mkdir()
        program = programs / "security"
        program.write_text(SECURITY.format(log=self.log, service=service, item=self.item))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
        self.program = program
        self.host: Host = host_below(folder)._replace(environ={"USER": "me", **environ})
        self.item.write_text(json.dumps({"claudeAiOauth": OAUTH}))


def test_the_item_is_the_hosts_sign_in_and_a_copy_has_no_refresh_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mac = Mac(tmp_path, monkeypatch, "Claude Code-credentials")
    location = shared_data(mac.host).at("claude-config")
    assert ClaudeConfig(location, mac.host).prepare().kind == "credentials"
    copy = json.loads((location.path / ".credentials.json").read_text())["claudeAiOauth"]
    assert copy == {key: OAUTH[key] for key in ("accessToken", "expiresAt")}
    # It goes as the item goes.
    mac.item.unlink()
    mac.program.write_text("#!/bin/sh\nexit 44\n")
    assert ClaudeConfig(location, mac.host).prepare().kind == ""


def test_another_config_directory_has_another_item(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = str(tmp_path / "work")
    service = f"Claude Code-credentials-{hashlib.sha256(directory.encode()).hexdigest()[:8]}"
    mac = Mac(tmp_path, monkeypatch, service, CLAUDE_CONFIG_DIR=directory)
    found = Keychain(mac.host).read()
    assert found is not None
    assert (found.oauth, found.source) == (OAUTH, f"Keychain: {service}")
    assert Keychain(mac.host._replace(environ={"USER": "me"})).read() is None


@pytest.mark.parametrize(
    ("script", "problem"),
    [("exit 36", "is it locked?"), ("sleep 60", "in time"), ("echo broken", "is not JSON"), ("exit 44", None)],
)
def test_an_item_that_cannot_be_had_is_named_and_prevents_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, problem: str | None
) -> None:
    if script.startswith("sleep"):
        monkeypatch.setattr(keychain, "_SECONDS", 1.0)
    mac = Mac(tmp_path, monkeypatch, "Claude Code-credentials")
    mac.program.write_text(f"#!/bin/sh\nexec {script}\n" if script.startswith("sleep") else f"#!/bin/sh\n{script}\n")
    found = Keychain(mac.host).read()
    assert (found is None) is (problem is None)
    assert found is None or (problem or "") in found.problem


def test_a_change_is_noticed_without_the_secret_and_not_asked_for_all_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mac = Mac(tmp_path, monkeypatch, "Claude Code-credentials")
    item = Keychain(mac.host)
    before = item.identity()
    assert before
    assert item.identity() == before
    assert len(mac.log.read_text().splitlines()) == 1
    assert "-w" not in mac.log.read_text()
    new = tmp_path / "new"
    new.write_text("{}")
    new.rename(mac.item)
    monkeypatch.setattr(keychain, "_AGAIN_SECONDS", 0.0)
    assert item.identity() != before


def test_elsewhere_nothing_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mac = Mac(tmp_path, monkeypatch, "Claude Code-credentials")
    monkeypatch.setattr(keychain, "IS_MAC", False)
    assert (Keychain(mac.host).read(), Keychain(mac.host).identity()) == (None, ())
    assert not mac.log.exists()
