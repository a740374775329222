"""What the user sees of the tool's own: short lines and the build's progress, all on stderr.

Standard output belongs to the session.
"""

from __future__ import annotations

import io
import os
import re
import sys
import textwrap
import time
from types import TracebackType
from typing import Any

_STEP_WIDTH = 80
_PATIENCE_SECONDS = 0.5
_ESCAPE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")


def say(text: str) -> None:
    """One line of the tool's own."""
    print(f"confined-claude: {text}", file=sys.stderr, flush=True)


def open_streams() -> None:
    """Make standard input, output and error fit to be used: nothing that is printed fails for its characters.

    Where one is closed there is nothing from now on, and not the next file that is opened.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            handle = os.open(os.devnull, os.O_RDWR)  # the lowest that is free
            os.set_inheritable(handle, True)
            setattr(sys, name, os.fdopen(handle, mode, encoding="utf-8"))
    # A folder's name may be of characters that the locale has not.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def reader_is_gone() -> None:
    """Whoever read what is printed has stopped (``| head``): the rest of it goes nowhere, and says so to nobody."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def confirmed(question: str) -> bool:
    """Whether the person at the terminal says yes."""
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        print()
        return False


class BuildProgress:
    """A build's progress: its title, then a bar by step with elapsed time and the last line; plain lines in a pipe."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._live: Any = None
        self._bar: Any = None
        self._started = time.monotonic()

    def __enter__(self) -> BuildProgress:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
        from rich.table import Column

        say(self._title)
        console = Console(stderr=True)
        if console.is_terminal:
            self._live = Progress(
                BarColumn(bar_width=20),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[last]}", markup=False, table_column=Column(no_wrap=True, ratio=1)),
                console=console,
                expand=True,
                transient=True,
            )
            self._bar = self._live.add_task("", total=None, last="")
            self._live.start()
        return self

    def step(self, number: int, total: int, what: str) -> None:
        what = " ".join(what.split())
        if self._live is not None:
            self._live.update(self._bar, completed=number - 1, total=total, last=what)
        else:
            say(f"step {number}/{total}: {textwrap.shorten(what, _STEP_WIDTH)}")

    def line(self, text: str) -> None:
        if self._live is not None:
            self._live.update(self._bar, last=text)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
        if kind is None:
            say(f"The image is built ({time.monotonic() - self._started:.0f} s).")


class Adding:
    """A bar for work that turns out to take long: on a terminal only, on stderr, gone at the end."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._live: Any = None
        self._bar: Any = None
        self._started = time.monotonic()

    def __enter__(self) -> Adding:
        return self

    def show(self, done: int, total: int) -> None:
        """So much of it is done."""
        if self._live is None:
            if time.monotonic() - self._started < _PATIENCE_SECONDS or not sys.stderr.isatty():
                return
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

            columns = (BarColumn(bar_width=20), MofNCompleteColumn(), TextColumn("{task.description}", markup=False))
            self._live = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar = self._live.add_task(self._title, total=total)
            self._live.start()
        self._live.update(self._bar, completed=done, total=total)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()


def plain(text: str) -> str:
    """``text`` without colours and control characters: a build's output must not steer the terminal."""
    return "".join(char if char.isprintable() or char == "\n" else " " for char in _ESCAPE.sub("", text))
