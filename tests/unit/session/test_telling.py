"""Where a line is said while a session runs: printed, or where Claude has the screen in its own, and at the end."""

from __future__ import annotations

from pathlib import Path

import pytest

from confined_claude.claude import managed
from confined_claude.engine.mount import FileInside
from confined_claude.errors import EngineError
from confined_claude.host import Host
from confined_claude.session import telling
from confined_claude.session.telling import Teller

from .test_launch import planned


class Told:
    def __init__(self, root: Path, host: Host, *, terminal: bool, command: tuple[str, ...]) -> None:
        self.printed: list[str] = []
        self.put: list[FileInside] = []
        self.teller = Teller(planned(root, host, command=command)._replace(terminal=terminal))
        self.teller.container = "identity"

    def __call__(self, line: str) -> Told:
        self.teller.tell(line)
        return self


@pytest.mark.parametrize(
    ("terminal", "command", "printed", "kept"),
    [
        (True, ("claude",), [], ["a", "b"]),
        (True, ("claude", "-p", "x"), ["a\r", "b\r"], []),
        (True, ("bash",), ["a\r", "b\r"], []),
        (False, ("claude", "-p", "x"), ["a", "b"], []),
    ],
)
def test_a_line_is_printed_unless_claude_has_the_screen(
    terminal: bool,
    command: tuple[str, ...],
    printed: list[str],
    kept: list[str],
    *,
    tmp_path: Path,
    host: Host,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = Told(tmp_path, host, terminal=terminal, command=command)
    monkeypatch.setattr(telling, "say", told.printed.append)
    monkeypatch.setattr(telling.containers, "put", lambda _identity, file: told.put.append(file))
    told("a")("b")
    assert (told.printed, told.teller.kept) == (printed, kept)
    texts = [managed.notice(kept[: count + 1]).encode() for count in range(len(kept))]
    assert told.put == [FileInside(managed.NOTICE_FILE, text, 0o644) for text in texts]


def test_a_line_that_is_said_again_and_again_is_kept_once(
    tmp_path: Path, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told(tmp_path, host, terminal=True, command=("claude",))
    monkeypatch.setattr(telling.containers, "put", lambda _identity, file: told.put.append(file))
    told("a")("b")("b")("b")("a")
    assert told.teller.kept == ["b", "a"]
    assert len(told.put) == 3
    for number in range(1000):
        told(str(number))
    assert told.teller.kept[-1] == "999"
    assert len(told.teller.kept) <= 50


def test_an_engine_that_fails_loses_no_line(tmp_path: Path, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise EngineError("It is gone.")

    told = Told(tmp_path, host, terminal=True, command=("claude",))
    monkeypatch.setattr(telling.containers, "put", fail)
    assert told("a").teller.kept == ["a"]
    told.teller.container = ""
    assert told("b").teller.kept == ["a", "b"]
