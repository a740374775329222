"""Work in the background that may never end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Result = TypeVar("Result")


class Unfinished(Exception):
    """The work is not done yet."""


class Background(Generic[Result]):
    """Work in a thread of its own, which does not keep the process alive: what hangs in the system cannot be ended."""

    def __init__(self, work: Callable[[], Result]) -> None:
        self._work = work
        self._results: list[Result] = []
        self._error: BaseException | None = None
        # Before Python 3.13 an interrupted `join` takes a running thread for one that has ended.
        self._over = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        try:
            self._results.append(self._work())
        except BaseException as error:
            self._error = error
        self._over.set()

    @property
    def is_done(self) -> bool:
        return self._over.is_set()

    def result(self, seconds: float | None = None) -> Result:
        """Return what the work returned, or raise what it raised. Raises Unfinished after ``seconds``, if given."""
        self._over.wait(seconds)
        if self._error is not None:
            raise self._error
        if not self._results:
            raise Unfinished
        return self._results[0]
