"""One loop in which a process waits for all that may happen: signals, file descriptors, timers."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import time
from collections import deque
from collections.abc import Callable

from ..signals import Signals, handler

# A container's first process loses signals until it has set itself up.
SETTLING_SECONDS = 1.0
# How often a running session looks for changes on this machine.
WATCH_SECONDS = 1.0


class EventLoop:
    """Calls what belongs to each event, one after the other, while it waits for a result."""

    def __init__(self, signals: Signals) -> None:
        self._signals = signals
        self._stack = contextlib.ExitStack()
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, Callable[[], None]]] = []
        self._due: deque[Callable[[], object]] = deque()

    def __enter__(self) -> EventLoop:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._selector)
            reading, writing = os.pipe()
            for fd in (reading, writing):
                stack.callback(os.close, fd)
                os.set_blocking(fd, False)
            self._selector.register(reading, selectors.EVENT_READ, lambda: os.read(reading, 1 << 10))
            # Python writes to it whenever a signal with a handler arrives.
            stack.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(writing, warn_on_full_buffer=False))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def when_readable(self, fd: int, call: Callable[[], object]) -> None:
        """Call ``call`` whenever there is something to read from ``fd``, including its end."""
        self._selector.register(fd, selectors.EVENT_READ, call)

    def forget(self, fd: int) -> None:
        """Stop watching ``fd``."""
        self._selector.unregister(fd)

    def at_signal(self, number: int, call: Callable[[], object]) -> None:
        """Call ``call`` after the signal ``number``, once for all that arrive before it is called."""

        def remember(_number: int, _frame: object) -> None:
            if call not in self._due:
                self._due.append(call)

        self._stack.enter_context(handler(number, remember))

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        """Call ``call`` once, when ``seconds`` have passed."""
        self._timers.append((time.monotonic() + seconds, call))

    def every(self, seconds: float, call: Callable[[], None]) -> None:
        """Call ``call`` again and again, ``seconds`` apart."""

        def again() -> None:
            call()
            self.after(seconds, again)

        self.after(seconds, again)

    def wait_for(self, result: Callable[[], int | None], interrupt: Callable[[], bool]) -> int:
        """Return what ``result`` returns, an exit code, as soon as that is not None; it is called after each event.

        Raises SystemExit for a signal that ends this process. For Ctrl-C ``interrupt`` is called first, once what runs
        has had the time to set itself up; it returns True if what runs has received the Ctrl-C, and may go on.
        """
        settled = time.monotonic() + SETTLING_SECONDS
        while True:
            code = result()
            while (number := self._signals.take()) is not None:
                if number != signal.SIGINT or time.monotonic() < settled or not interrupt():
                    self._signals.leave(number)
            if code is not None:
                return code
            self._turn()

    def _turn(self) -> None:
        """Wait for the next event or events, and call what belongs to them."""
        next_one = min((moment for moment, _ in self._timers), default=None)
        timeout = None if next_one is None else max(0.0, next_one - time.monotonic())
        for key, _ in self._selector.select(timeout):
            key.data()
        while self._due:
            self._due.popleft()()
        now = time.monotonic()
        due = [call for moment, call in self._timers if moment <= now]
        self._timers = [(moment, call) for moment, call in self._timers if moment > now]
        for call in due:
            call()
