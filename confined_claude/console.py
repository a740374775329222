"""What the user sees of the tool itself: short lines and progress, all on stderr.

Standard output belongs to the session.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import time
from typing import IO, Any, TypeVar

from .text import escape, wrap

_Progress = TypeVar("_Progress", bound="Progress")

_STEP_WIDTH = 80
_PATIENCE_SECONDS = 0.5
_RAW = "\r"


def say(text: str) -> None:
    """Print a message of the tool's own. One that ends with a carriage return suits a terminal in raw mode."""
    shown = wrapped(f"confined-claude: {text.removesuffix(_RAW)}", sys.stderr)
    if text.endswith(_RAW):
        shown = shown.replace("\n", "\r\n") + _RAW
    with contextlib.suppress(OSError):  # the window is closed: what remains to be done is done all the same
        print(shown, file=sys.stderr, flush=True)


def show(text: str) -> None:
    """Print text for a person on standard output."""
    print(wrapped(text, sys.stdout))


def wrapped(text: str, stream: IO[str]) -> str:
    """Return ``text`` as it suits ``stream``: wrapped at words for a terminal, with its lines for everything else.

    Whatever names, values and reasons are in it, they do nothing to a terminal.
    """
    text = "\n".join(map(escape, text.split("\n")))
    try:
        width = os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):
        return text
    return wrap(text, width) if width else text


def open_streams() -> None:
    """Make standard input, output and error usable, and able to print every character.

    A closed one leads to the null device, so that the next file which is opened does not take its place.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            fd = os.open(os.devnull, os.O_RDWR)  # the lowest free number
            os.set_inheritable(fd, True)
            setattr(sys, name, os.fdopen(fd, mode, encoding="utf-8"))
    # A directory's name may have characters that the locale lacks.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def discard_output() -> None:
    """Send the rest of the output nowhere: its reader is gone (``| head``), and that is no error."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def ask(question: str, answers: str) -> str:
    """Return which letter of ``answers`` the person at the terminal chooses; the last one if the input ends."""
    while True:
        try:
            answer = input(question).strip().lower()[:1]
        except EOFError:
            print()
            return answers[-1]
        if answer and answer in answers:
            return answer


def confirmed(question: str) -> bool:
    """Return whether the person at the terminal agrees."""
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        print()
        return False


class Progress:
    """A bar on a terminal's stderr for work that takes longer than ``patience`` seconds; it disappears at the end."""

    def __init__(self, text: str = "", patience: float = _PATIENCE_SECONDS) -> None:
        self.started = time.monotonic()
        self._text = text
        self._patience = patience
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self: _Progress) -> _Progress:
        return self

    def show(self, done: int | None, total: int | None, text: str | None = None) -> None:
        """Show that ``done`` of ``total`` is done; None leaves a number or the text as it is."""
        self._text = self._text if text is None else text
        if self._bar is None:
            if time.monotonic() - self.started < self._patience or not sys.stderr.isatty():
                return
            from rich import progress
            from rich.console import Console
            from rich.table import Column

            self._bar = progress.Progress(
                progress.BarColumn(bar_width=20),
                progress.TimeElapsedColumn(),
                progress.MofNCompleteColumn(),
                progress.TextColumn(
                    "{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)
                ),
                console=Console(stderr=True),
                expand=True,
                transient=True,
            )
            self._task = self._bar.add_task(self._text, total=None)
            self._bar.start()
        self._bar.update(self._task, completed=done, total=total, description=self._text)

    def __exit__(self, *_error: object) -> None:
        if self._bar is not None:
            self._bar.stop()


class BuildProgress(Progress):
    """A build's progress: a title, then a bar with the step and the last line of output, or a line for each step."""

    def __init__(self, title: str) -> None:
        super().__init__(patience=0)
        say(title)

    def step(self, number: int, total: int, what: str) -> None:
        """Show the ``number`` and the text of the step that begins."""
        import textwrap  # only for a build

        what = " ".join(what.split())
        self.show(number - 1, total, what)
        if not sys.stderr.isatty():
            say(f"step {number}/{total}: {textwrap.shorten(what, _STEP_WIDTH)}")

    def line(self, text: str) -> None:
        """Show a line of output; in a pipe there are enough lines without it."""
        self.show(None, None, text)

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        if error[0] is None:
            say(f"The image is built ({time.monotonic() - self.started:.0f} s).")
