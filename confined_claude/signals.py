"""This process's signals and terminal while a container has them."""

from __future__ import annotations

import contextlib
import signal
import sys
import termios
from collections import deque
from collections.abc import Callable, Iterator
from types import FrameType

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


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
    """Restore the terminal's modes at the end, and discard its input: the user's shell would run what is left there."""
    if not sys.stdin.isatty():
        yield
        return
    fd = sys.stdin.fileno()
    state = termios.tcgetattr(fd)
    try:
        yield
    finally:
        # A closed terminal has nothing to restore.
        with contextlib.suppress(termios.error):
            termios.tcsetattr(fd, termios.TCSAFLUSH, state)
