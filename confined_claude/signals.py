"""This process's signals and terminal while a container has them."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import termios
from collections import deque
from collections.abc import Callable, Iterator
from types import FrameType

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)

# Control sequences of xterm; other terminals ignore those that they do not know. A session may end in any state.
_RESET = b"".join(
    (
        b"\x18\x1b\\",  # end an unfinished sequence, or a string such as a title
        b"\x1b<\x1b[4i",  # out of the VT52 mode, and back from the printer
        # Leaving the alternate screen and resetting the margins both move the cursor, so it is saved before.
        b"\x1b7\x1b[?1049l\x1b7\x1b[?69l\x1b[r\x1b8",
        b"\x1b[0m\x1b(B\x0f",  # no attributes, ASCII
        b"\x1b[4l\x1b[?7h\x1b[?5l\x1b[?25h\x1b[?2026l",  # replace, wrap, no reverse video, cursor, draw at once
        # What the terminal sends: plain keys, no mouse, no focus, no marks around what is pasted.
        b"\x1b[?1l\x1b>\x1b[>4m",
        b"".join(b"\x1b[?%dl" % mode for mode in (9, 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1015, 1016, 2004)),
    )
)


class Signals:
    """The signals that end this process, from ``handled`` on: how they reach it.

    Each raises SystemExit wherever it arrives; within ``queued`` it waits in a queue for the event loop instead. Only
    the first one ends this process: a closed window often hangs up twice, and the way out must not be disturbed.
    """

    def __init__(self) -> None:
        self._code: int | None = None
        self._queue: deque[int] | None = None

    def receive(self, number: int, _frame: FrameType | None = None) -> None:
        """Handle the signal ``number``."""
        if self._queue is None:
            self.leave(number)
        else:
            self._queue.append(number)

    def leave(self, number: int) -> None:
        """Raise SystemExit for the signal ``number``, unless another one has done so before."""
        if self._code is None:
            self._code = 128 + number
            raise SystemExit(self._code)

    def check(self) -> None:
        """Raise SystemExit if a signal has arrived."""
        # An exception that the handler raises inside an import callback is swallowed, so this checks again.
        if self._code is not None:
            raise SystemExit(self._code)

    @contextlib.contextmanager
    def queued(self) -> Iterator[deque[int]]:
        """Put signals into the queue during the block. One that is still there at the end raises SystemExit."""
        self._queue = queue = deque[int]()
        try:
            yield queue
        finally:
            self._queue = None
            for number in queue:
                self.leave(number)


@contextlib.contextmanager
def handled() -> Iterator[Signals]:
    """Handle the signals that end this process, during the block.

    What is ignored stays ignored: by nohup, or in a background job.
    """
    signals = Signals()
    with contextlib.ExitStack() as stack:
        for number in _ENDING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                stack.enter_context(handler(number, signals.receive))
        yield signals


@contextlib.contextmanager
def handler(number: int, call: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handle the signal ``number`` by ``call`` during the block."""
    before = signal.signal(number, call)
    try:
        yield
    finally:
        signal.signal(number, before)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Keep the signals that end this process from it, and from processes and threads that it starts, until the end."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def is_interactive() -> bool:
    """Return whether a person sits at both ends of this process."""
    return sys.stdin.isatty() and sys.stdout.isatty()


@contextlib.contextmanager
def terminal_restored() -> Iterator[None]:
    """Restore the terminal at the end: its modes, what it shows, and no input, which the user's shell would run."""
    state = termios.tcgetattr(sys.stdin.fileno()) if sys.stdin.isatty() else None
    try:
        yield
    finally:
        reset_screen()
        if state is not None:
            # A closed terminal has nothing to restore.
            with contextlib.suppress(termios.error):
                termios.tcsetattr(sys.stdin.fileno(), termios.TCSAFLUSH, state)


def reset_screen() -> None:
    """Make the terminal, if output goes to one, show what is printed next, whatever a session has printed last.

    The cursor stays where it is, the terminal's own palette as well. A dumb terminal, as in Emacs, has no state.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream.isatty() and os.environ.get("TERM") != "dumb":
            with contextlib.suppress(OSError):  # a closed terminal
                os.write(stream.fileno(), _RESET)
            return
