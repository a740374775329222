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
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._results.append(self._work())
        except BaseException as error:
            self._error = error

    @property
    def is_done(self) -> bool:
        return not self._thread.is_alive()

    def result(self, seconds: float | None = None) -> Result:
        """Return what the work returned, or raise what it raised. Raises Unfinished after ``seconds``, if given."""
        self._thread.join(seconds)
        if self._error is not None:
            raise self._error
        if not self._results:
            raise Unfinished
        return self._results[0]
