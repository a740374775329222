"""This process's signals and terminal while a container has them."""

from __future__ import annotations

import contextlib
import signal
import sys
import termios
import time
from collections.abc import Callable, Iterator
from types import FrameType

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
# A container's first process loses signals until it has set itself up.
_SETTLING_SECONDS = 1.0


class Interrupt:
    """What Ctrl-C does: it leaves, until there is a session that takes it. Other signals leave.

    ``seen`` says whether there was one of Ctrl-C, ``code`` is the exit code of the signal that has this process leave,
    or None. Once on the way out it is not disturbed any more: a closed window often tells so twice.
    """

    def __init__(self) -> None:
        self._hand_over: Callable[[], bool] | None = None
        self._since = 0.0
        self.seen = False
        self.code: int | None = None

    def belongs_to(self, hand_over: Callable[[], bool]) -> None:
        """From now on ``hand_over`` takes it, and says whether it could."""
        self._hand_over, self._since = hand_over, time.monotonic()

    @property
    def has_settled(self) -> bool:
        """Whether the session has been there for long enough to take a signal."""
        return self._hand_over is not None and time.monotonic() - self._since > _SETTLING_SECONDS

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        self.seen = True
        if self._hand_over is None or not self.has_settled or not self._hand_over():
            self.leave(signal.SIGINT)

    def leave(self, number: int, _frame: FrameType | None = None) -> None:
        """Raise SystemExit for the signal ``number``, once."""
        if self.code is None:
            self.code = 128 + number
            raise SystemExit(self.code)


@contextlib.contextmanager
def signals_handled() -> Iterator[Interrupt]:
    """SIGTERM and a closed terminal raise SystemExit here; Ctrl-C does what the object given says.

    What is ignored stays so: by nohup, or in a job in the background.
    """
    interrupt = Interrupt()
    handlers: dict[signal.Signals, Callable[[int, FrameType | None], None]]
    handlers = dict.fromkeys(_ENDING, interrupt.leave) | {signal.SIGINT: interrupt}
    before = {
        number: signal.signal(number, handler)
        for number, handler in handlers.items()
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def hold_signals() -> None:
    """Keep this thread, and those it starts, from the signals that have this process leave."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)


def release_signals() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)


def is_ours() -> bool:
    """Whether there is a person at both ends."""
    return sys.stdin.isatty() and sys.stdout.isatty()


@contextlib.contextmanager
def restored() -> Iterator[None]:
    """Give the terminal back as it was, without what was typed, or answered by it, meanwhile.

    What is left in its input would be run by the user's shell.
    """
    if not sys.stdin.isatty():
        yield
        return
    handle = sys.stdin.fileno()
    state = termios.tcgetattr(handle)
    try:
        yield
    finally:
        # A closed terminal has nothing to restore.
        with contextlib.suppress(termios.error):
            termios.tcsetattr(handle, termios.TCSAFLUSH, state)
