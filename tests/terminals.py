"""A command in a real terminal, and what its user sees there."""

from __future__ import annotations

import contextlib
import itertools
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import pyte
from helpers import PATIENCE, User
from rich.text import Text

ROWS, COLUMNS = 40, 100
PROMPT = "❯"  # noqa: RUF001 - Claude Code's own
# Sequences of current terminals that pyte takes for text: of the kitty keyboard, versions, and the soft reset.
_UNKNOWN = re.compile(r"\x1b\[(?:[<>=][\d;]*[a-zA-Z]|\?\d*[uc]|!p)")
# What its first screen may ask.
QUESTIONS = ("Choose the text style", "Select login method", "Do you trust", "custom API key", "Yes, I accept")


class _Screen(pyte.Screen):
    """A screen that does not stumble over private sequences, such as vim's question about modified keys."""

    def select_graphic_rendition(self, *attributes: int, private: bool = False) -> None:
        if not private:
            super().select_graphic_rendition(*attributes)


class Terminal:
    """A command in a pseudo-terminal, with what its user would see."""

    def __init__(self, child: Any, rows: int = ROWS) -> None:
        self.child = child
        self._screen = _Screen(COLUMNS, rows)
        self._stream = pyte.Stream(self._screen)
        # As it arrives. A client that draws over what stands there leaves out what is the same.
        self.everything = ""

    def read(self, seconds: float = 0.2) -> bool:
        """Draw what arrives within ``seconds``; False once there is no more to come."""
        try:
            text = self.child.read_nonblocking(65536, seconds)
        except pexpect.TIMEOUT:
            return True
        except pexpect.EOF:
            return False
        self.everything += text
        self._stream.feed(_UNKNOWN.sub("", text))
        return True

    @property
    def screen(self) -> str:
        return "\n".join(line.rstrip() for line in self._screen.display)

    @property
    def words(self) -> str:
        """What the screen shows, wherever its lines end."""
        return " ".join(self.screen.split())

    def lines(self) -> list[Text]:
        """What the screen shows, with its colours."""
        return [
            Text.assemble(
                *(
                    ("".join(cell.data for cell in cells), style)
                    for style, cells in itertools.groupby((row[column] for column in range(COLUMNS)), _style)
                )
            )
            for row in (self._screen.buffer[number] for number in range(self._screen.lines))
        ]

    def wait_for(self, text: str, seconds: float = PATIENCE, *, gone: bool = False) -> str:
        """The screen as soon as it shows ``text`` (or no longer does), and a moment later."""
        deadline = time.monotonic() + seconds
        while (text in self.screen) is gone:
            assert time.monotonic() < deadline, f"no {text!r} on:\n{self.screen}"
            assert self.read(0.2) or (text in self.screen) is not gone, f"ended before {text!r} on:\n{self.screen}"
        self.read(0.3)
        return self.screen

    def wait_for_either(self, *texts: str) -> str:
        """The first of ``texts`` that the screen shows, on one line or on several."""
        deadline = time.monotonic() + PATIENCE
        while True:
            for text in texts:
                if text in self.words:
                    return text
            assert time.monotonic() < deadline, f"none of {texts} on:\n{self.screen}"
            assert self.read(0.2), f"ended before any of {texts} on:\n{self.screen}"

    def send(self, text: str) -> None:
        self.child.send(text)

    def type(self, text: str) -> None:
        """Type a line at a prompt of Claude's, which takes a Return for its own once the text stands there."""
        self.send(text)
        self.wait_for(text)
        self.send("\r")

    def wait_for_end(self, seconds: float = PATIENCE) -> int:
        """The exit code once the command has ended."""
        deadline = time.monotonic() + seconds
        while self.read(0.2):
            assert time.monotonic() < deadline, f"still running:\n{self.screen}"
        self.child.wait()
        return int(self.child.exitstatus if self.child.exitstatus is not None else -self.child.signalstatus)


def _style(cell: Any) -> str:
    """The look of one of pyte's cells, in rich's words."""
    names = (f"#{name}" if re.fullmatch("[0-9a-f]{6}", name) else name for name in (cell.fg, cell.bg))
    front, back = (name.replace("brown", "yellow").replace("bright", "bright_") for name in names)
    return f"{'bold ' if cell.bold else ''}{front} on {back}"


@contextlib.contextmanager
def terminal(user: User, cwd: Path, *words: str, rows: int = ROWS, **extra: str) -> Iterator[Terminal]:
    command, *arguments = user.command(*words)
    size = (rows, COLUMNS)
    child = pexpect.spawn(
        command, arguments, cwd=str(cwd), env=user.environ(**extra), dimensions=size, encoding="utf-8", timeout=PATIENCE
    )
    opened = Terminal(child, rows)
    try:
        yield opened
    finally:
        if child.isalive():
            child.kill(signal.SIGTERM)
            opened.wait_for_end()
        with contextlib.suppress(OSError):  # a test may have closed it
            child.close()
