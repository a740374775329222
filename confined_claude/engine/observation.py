"""When a session's container started, printed its first byte and ended, for the timing of a start."""

from __future__ import annotations

import contextlib
import time

from ..errors import EngineError
from . import containers


class Observation:
    """A container from before its start to its end."""

    def __init__(self, identity: str) -> None:
        self._identity = identity
        self._began = self._ended = time.time()
        self._first_output: float | None = None

    def end(self, first_output: float | None) -> None:
        """Note that the container is gone, and when it printed its first byte (seconds since 1970)."""
        self._ended = time.time()
        self._first_output = first_output

    def phases(self) -> list[tuple[str, float | None, float | None]]:
        """Return the phases of the container's life: name, begin and end (seconds since 1970).

        A time that could not be observed is None.
        """
        events: dict[str, float] = {}
        with contextlib.suppress(EngineError):
            events = containers.events(self._identity)
        started, died = events.get("start"), events.get("die")
        return [
            ("start", self._began, started),
            ("first output", started, self._first_output),
            ("command", started, died),
            ("removal", died, self._ended),
        ]
