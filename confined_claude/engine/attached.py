"""A container that is started in the background, with this process at its input and output."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence

from ..background import Background, Unfinished
from ..errors import EngineError
from . import containers
from .api import Answer
from .frames import Frames

_STARTING_SECONDS = 5.0
_MOST_BYTES = 1 << 16


class Attached:
    """A container called ``name``, by the ``arguments`` of ``docker run``, from its start on in the background.

    ``sent`` is what it gets to read first, if it has an input. ``printed`` and ``errors`` are the beginnings of its
    output, as far as that has been ``read``.
    """

    def __init__(self, name: str, arguments: Sequence[str], sent: bytes = b"") -> None:
        self.printed = self.errors = b""
        self._name = name
        self._frames = Frames()
        self._is_over = False
        # What is being sent to it, and how much of that is.
        self._sending, self._sent = b"", 0
        self._making = Background(lambda: containers.create_anew(name, arguments))
        self._starting = Background(lambda: self._start(sent))

    def _start(self, sent: bytes) -> Answer:
        identity = self._making.result()
        stream = containers.attach(identity, stdin=bool(sent))
        try:
            stream.socket.sendall(sent)
            containers.start(identity, self._name)
        except BaseException:
            stream.close()
            raise
        return stream

    def wait_until_made(self) -> None:
        """Return when it is created. Raises EngineError if the engine does not do that."""
        self._making.result()

    def wait_until_started(self, seconds: float | None = None) -> None:
        """Return when it runs, or has done so. Raises EngineError if the engine does not start it.

        Raises Unfinished if that is not known after ``seconds``, if given.
        """
        self._starting.result(seconds)

    @property
    def is_starting(self) -> bool:
        """Whether the engine is still making or starting it."""
        return not self._starting.is_done

    def fileno(self) -> int:
        """Return the file descriptor that is readable when there is more to ``read``. It must have started."""
        return self._starting.result().socket.fileno()

    def send(self, content: bytes) -> bool:
        """Send it ``content`` to read, without waiting; return whether that is on its way. It must have started.

        If it is not, the caller sends it again. A content that was cut off is sent to its end before another one.
        """
        stream = self._starting.result().socket
        stream.settimeout(0)
        try:
            while True:
                while self._sent < len(self._sending):
                    self._sent += stream.send(self._sending[self._sent :])
                if self._sending == content:
                    break
                self._sending, self._sent = content, 0
        except OSError:
            if not self._sent:
                self._sending = b""
            return False
        self._sending, self._sent = b"", 0
        return True

    def read(self, seconds: float = 0) -> bool:
        """Read what it prints, to its end, for at most ``seconds``; return whether it goes on.

        It must have started.
        """
        stream, until = self._starting.result(), time.monotonic() + seconds
        while not self._is_over:
            stream.socket.settimeout(max(0.0, until - time.monotonic()))
            try:
                piece = stream.receive()
                for target, part in self._frames.feed(piece):
                    if target > 1:
                        self.errors = (self.errors + part)[:_MOST_BYTES]
                    else:
                        self.printed = (self.printed + part)[:_MOST_BYTES]
            except (BlockingIOError, TimeoutError):
                return True
            except (OSError, ValueError):  # the engine has gone
                piece = b""
            self._is_over = not piece
        return False

    @property
    def has_ended(self) -> bool:
        """Whether it has ended, or will never start."""
        if self.is_starting:
            return False
        try:
            return not self.read()
        except EngineError:
            return True

    def remove(self, patience: float = 0) -> None:
        """Remove it; it has ``patience`` seconds to end by itself before. Raises EngineError."""
        # What the engine is still making cannot be removed yet.
        with contextlib.suppress(EngineError, Unfinished), self._starting.result(_STARTING_SECONDS):
            self.read(patience)
        containers.remove(self._name)
