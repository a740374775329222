"""This process's signals and terminal while a container has them."""

from __future__ import annotations

import contextlib
import fcntl  # noqa: TID251 - for the size of a terminal
import os
import signal
import struct
import sys
import termios
from collections import deque
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

_AGAIN_SECONDS = 0.001
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)

# Control sequences of xterm; other terminals ignore those that they do not know. A session may end in any state.
RESET = b"".join(
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

    They wait in a queue, so that none comes between the steps of what must be done whole: a container and its id, the
    locks of the subprocess module. Where this process only waits or looks, in a block of ``interruptible``, one raises
    SystemExit at once. Only the first one ends this process: a closed window often hangs up twice, and the way out must
    not be disturbed.
    """

    def __init__(self) -> None:
        self._code: int | None = None
        self._queue: deque[int] = deque()
        self._is_interruptible = False

    def receive(self, number: int, _frame: FrameType | None = None) -> None:
        """Handle the signal ``number``."""
        self._queue.append(number)
        if self._is_interruptible:
            self.check()

    def take(self) -> int | None:
        """Return the signal that has waited longest, which is the caller's to handle; None if there is none."""
        return self._queue.popleft() if self._queue else None

    def leave(self, number: int) -> None:
        """Raise SystemExit for the signal ``number``, unless another one has done so before."""
        if self._code is None:
            self._code = 128 + number
            raise SystemExit(self._code)

    def check(self) -> None:
        """Raise SystemExit for a signal that waits, unless another one has done so before."""
        while (number := self.take()) is not None:
            self.leave(number)

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let signals raise SystemExit during the block, those that have waited at its begin."""
        self.check()
        is_leaving, was_interruptible = self._code is not None, self._is_interruptible
        self._is_interruptible = True
        try:
            yield
        finally:
            self._is_interruptible = was_interruptible
        # What the handler raises in a callback of the import system is swallowed.
        if self._code is not None and not is_leaving:
            raise SystemExit(self._code)

    @contextlib.contextmanager
    def held(self) -> Iterator[Callable[[], None]]:
        """Let signals wait during the block; they raise at its end, and when the function that it yields is called.

        Where they wait outside the block as well, neither raises.
        """
        was_interruptible = self._is_interruptible
        self._is_interruptible = False
        try:
            yield self.check if was_interruptible else lambda: None
        finally:
            self._is_interruptible = was_interruptible
        if was_interruptible:
            self.check()


_handling: list[Signals] = []  # one within the other, the innermost last


@contextlib.contextmanager
def handled() -> Iterator[Signals]:
    """Handle the signals that end this process, during the block. One that still waits at its end raises SystemExit.

    What is ignored stays ignored: by nohup, or in a background job.
    """
    signals = Signals()
    with contextlib.ExitStack() as stack:
        for number in _ENDING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                stack.enter_context(handler(number, signals.receive))
        _handling.append(signals)
        stack.callback(_handling.remove, signals)
        yield signals
        signals.check()


def interruptible() -> contextlib.AbstractContextManager[object]:
    """Return the block of ``Signals.interruptible`` where ``handled`` is in force; elsewhere signals raise anyway."""
    return _handling[-1].interruptible() if _handling else contextlib.nullcontext()


def held() -> contextlib.AbstractContextManager[Callable[[], None]]:
    """Return the block of ``Signals.held`` where ``handled`` is in force; elsewhere signals raise all the same."""
    return _handling[-1].held() if _handling else contextlib.nullcontext(lambda: None)


def raise_at_ctrl_c() -> None:
    """Let Ctrl-C raise KeyboardInterrupt from now on, unless it is ignored.

    Python swallows an exception that comes in a callback of its own, as during an import, or in a finalizer: it comes
    again a moment later.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        return
    for number in (signal.SIGINT, signal.SIGALRM):
        signal.signal(number, signal.default_int_handler)
    report = sys.unraisablehook

    def come_again(swallowed: Any) -> None:
        if isinstance(swallowed.exc_value, KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, _AGAIN_SECONDS)
        else:
            report(swallowed)

    sys.unraisablehook = come_again


@contextlib.contextmanager
def handler(number: int, call: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handle the signal ``number`` by ``call`` during the block."""
    before = signal.signal(number, call)
    try:
        yield
    finally:
        signal.signal(number, before)


def is_interactive() -> bool:
    """Return whether a person sits at both ends of this process."""
    return sys.stdin.isatty() and sys.stdout.isatty()


@contextlib.contextmanager
def terminal_restored() -> Iterator[None]:
    """Restore the terminal at the end: its modes, what it shows, and no input, which the user's shell would run."""
    state = None
    if sys.stdin.isatty():
        # A closed terminal has nothing to restore.
        with contextlib.suppress(termios.error):
            state = termios.tcgetattr(sys.stdin.fileno())
    try:
        yield
    finally:
        reset_screen()
        if state is not None:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(sys.stdin.fileno(), termios.TCSAFLUSH, state)


def reset_screen() -> None:
    """Make the terminal, if output goes to one, show what is printed next, whatever a session has printed last.

    The cursor stays where it is, the terminal's own palette as well. A dumb terminal, as in Emacs, has no state.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream.isatty() and os.environ.get("TERM") != "dumb":
            with contextlib.suppress(OSError):  # a closed terminal
                os.write(stream.fileno(), RESET)
            return


@contextlib.contextmanager
def terminal_shortened() -> Iterator[Callable[[], None]]:
    """Take a line from the terminal, and yield a function that restores it; the end of the block does at the latest.

    This process's standard input must be a terminal. What runs there takes it for a change of its window.
    """
    fd = sys.stdin.fileno()
    size = os.get_terminal_size(fd)
    shorter = os.terminal_size((size.columns, max(1, size.lines - 1)))

    def restore() -> None:
        with contextlib.suppress(OSError):  # a closed terminal
            if os.get_terminal_size(fd) == shorter:  # else the window has changed
                _resize(fd, size)

    _resize(fd, shorter)
    try:
        yield restore
    finally:
        restore()


def _resize(fd: int, size: os.terminal_size) -> None:
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", size.lines, size.columns, 0, 0))
