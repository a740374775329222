"""This process's terminal or pipes as those of a container: what is typed goes there, what is printed comes here."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time

from ..background import Background
from ..errors import EngineError
from .api import Answer
from .failures import SEE_LOG
from .frames import Frames

_PIECE = 1 << 16


class Streams:
    """Copies between this process and the stream of ``answer``, in two threads: a slow reader holds up nothing else.

    ``first_output`` is when the first byte came (seconds since 1970). ``fileno`` becomes readable once all is written.
    """

    def __init__(self, answer: Answer, *, terminal: bool) -> None:
        self.first_output: float | None = None
        self._answer = answer
        self._terminal = terminal
        answer.socket.settimeout(None)
        self._over, self._open = os.pipe()
        self._output = Background(self._copy_output)

    def __enter__(self) -> Streams:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._answer.socket.shutdown(socket.SHUT_RDWR)  # wakes the threads
        os.close(self._over)

    def fileno(self) -> int:
        return self._over

    def take_input(self) -> None:
        """Copy this process's standard input from now on."""
        Background(self._copy_input)

    @property
    def is_over(self) -> bool:
        """Whether all output has been written. Raises OSError if that failed, or EngineError."""
        if not select.select([self._over], [], [], 0)[0]:
            return False
        self._output.result()
        return True

    def _copy_output(self) -> None:
        frames = Frames()
        try:
            while piece := self._receive():
                self.first_output = self.first_output or time.time()
                for target, part in [(1, piece)] if self._terminal else frames.feed(piece):
                    _write(target, part)
        except ValueError:
            raise EngineError("The engine sent something other than a container's output.", SEE_LOG) from None
        finally:
            os.close(self._open)

    def _receive(self) -> bytes:
        try:
            return self._answer.receive()
        except OSError:
            return b""  # the engine is gone, and so is its answer about the exit code

    def _copy_input(self) -> None:
        """Copy until there is no more, or until the other side takes no more."""
        target = self._answer.socket
        number = target.fileno()  # it may be closed meanwhile
        poll = select.poll()
        poll.register(0, select.POLLIN)
        poll.register(number, 0)
        with contextlib.suppress(OSError):
            while number not in [fd for fd, _ in poll.poll()]:
                try:
                    piece = os.read(0, _PIECE)
                except BlockingIOError:
                    continue  # another process was faster
                except OSError:
                    piece = b""  # a terminal or file descriptor that is closed
                if not piece:
                    target.shutdown(socket.SHUT_WR)
                    return
                target.sendall(piece)


def _write(target: int, content: bytes) -> None:
    """Write all of ``content``. Raises OSError; BrokenPipeError if its reader is gone."""
    view = memoryview(content)
    while view:
        try:
            view = view[os.write(target, view) :]
        except BlockingIOError:  # whoever shares the terminal or pipe has made it so
            select.select([], [target], [])
