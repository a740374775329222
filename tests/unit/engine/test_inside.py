"""What the engine is asked for to run a command in a container, and the order in which `exec` asks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from confined_claude.engine import inside

from .answering import answering

MADE = b'HTTP/1.0 201 Created\r\n\r\n{"Id": "made"}'


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def prepare(**more: Any) -> Any:
        with answering(MADE, tmp_path, monkeypatch) as asked:
            options = {"umask": 0o27, "mark": "m", "variables": {"TERM": "xterm"}, "terminal": True, **more}
            assert inside.prepare_command("c", ("vi", "a b"), user="7:8", directory="/p", **options) == "made"
        return json.loads(asked[0].partition(b"\r\n\r\n")[2])

    return prepare


def test_a_command_begins_with_what_drops_capabilities_and_no_shell(prepared: Any) -> None:
    asked = prepared(has_enter=True)
    assert asked["Cmd"] == ["/opt/confined-claude/init/enter", "027", "/p", "vi", "a b"]
    assert (asked["User"], asked["Tty"]) == ("7:8", True)
    assert set(asked["Env"]) == {"CONFINED_CLAUDE_EXEC=m", "TERM=xterm"}


def test_in_an_image_without_that_it_begins_as_with_earlier_versions(prepared: Any) -> None:
    words = prepared(has_enter=False)["Cmd"]
    assert words[:4] == ["/usr/bin/setpriv", "--inh-caps=-all", "--ambient-caps=-all", "--"]
    assert words[4:6] == ["/bin/sh", "-c"]
    assert words[-4:] == ["027", "/p", "vi", "a b"]
