"""When a session's container started, printed its first byte and ended, for the timing of a start."""

from __future__ import annotations

import contextlib
import socket
import time

from ..background import Background, Unfinished
from ..errors import EngineError
from . import command

_END_OF_HEAD = b"\r\n\r\n"
_PIECE = 1 << 16
_PATIENCE_SECONDS = 0.5


class Observation:
    """A container from before its start to its end, observed by a second client of the engine.

    The first output can be seen only if the engine at ``address`` listens on a unix socket.
    """

    def __init__(self, address: str, identity: str) -> None:
        self._identity = identity
        self._began = self._ended = time.time()
        self._first_output: float | None = None
        self._socket = socket.socket(socket.AF_UNIX)
        scheme, _, path = address.partition("://")
        with contextlib.suppress(OSError):
            if scheme == "unix":
                self._socket.connect(path)
                request = f"POST /containers/{identity}/attach?stream=1&stdout=1&stderr=1 HTTP/1.1"
                head = (request, "Host: docker", "Connection: Upgrade", "Upgrade: tcp", "", "")
                self._socket.sendall("\r\n".join(head).encode())
        self._reading = Background(self._read)

    def _read(self) -> None:
        """Read to the end: the engine delays a container's output until every client has it."""
        answer = b""
        with contextlib.suppress(OSError), self._socket:
            while piece := self._socket.recv(_PIECE):
                if self._first_output is None:
                    answer += piece
                    _, end, output = answer.partition(_END_OF_HEAD)
                    if end and output:
                        self._first_output = time.time()

    def end(self) -> None:
        """Note that the container is gone."""
        self._ended = time.time()

    def phases(self) -> list[tuple[str, float | None, float | None]]:
        """Return the phases of the container's life: name, begin and end (seconds since 1970).

        A time that could not be observed is None.
        """
        events: dict[str, float] = {}
        with contextlib.suppress(EngineError):
            events = command.events(self._identity)
        with contextlib.suppress(Unfinished):
            self._reading.result(_PATIENCE_SECONDS)
        started, died = events.get("start"), events.get("die")
        return [
            ("start", self._began, started),
            ("first output", started, self._first_output),
            ("command", started, died),
            ("removal", died, self._ended),
        ]
