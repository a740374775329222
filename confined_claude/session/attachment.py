"""This process's terminal or pipes, attached to a session or to a command in one."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable

from .. import signals
from ..engine import containers
from ..engine.api import Answer
from ..engine.streams import Streams
from ..errors import EngineError
from .event_loop import EventLoop

# What runs in a session draws its screen again when the window changes. A busy machine may merge two changes into none,
# so the window is a line shorter for this long.
_REDRAWN_SECONDS = 1.0
# What closes its terminal and goes on takes no keys any more: from then on Ctrl-C is this process's.
_STUCK_SECONDS = 2.0
# A command in a session may not have its terminal yet when the engine answers.
_TRIES, _AGAIN_SECONDS = 20, 0.02


class Attachment:
    """Copies between this process and the ``stream`` of a container, or of a command in one, during the block.

    If that has a terminal, it is this process's ``terminal`` from ``begin`` on; ``place`` is as for
    ``containers.resize``.
    """

    def __init__(self, loop: EventLoop, stream: Answer, place: str, *, terminal: bool) -> None:
        self._loop = loop
        self._stream = stream
        self._place = place
        self._terminal = terminal
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Attachment:
        with contextlib.ExitStack() as stack:
            self._pass_keys = stack.enter_context(signals.raw_terminal(wanted=self._terminal))
            self._streams = stack.enter_context(Streams(self._stream, terminal=self._terminal))
            self._loop.when_readable(self._streams.fileno(), self._end_streams)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def first_output(self) -> float | None:
        """When the first byte came (seconds since 1970); None if none has come."""
        return self._streams.first_output

    def begin(self, *, stdin: bool, redraw: bool = False) -> None:
        """Pass on what is typed, if ``stdin``, and the size of the terminal, now that there is somebody to take it.

        With ``redraw`` what runs there already is made to draw its screen.
        """
        if self._terminal:
            self._pass_keys(True)
            self._loop.at_signal(signal.SIGWINCH, self._resize)
            self._resize(lines=-1 if redraw else 0, tries=_TRIES)
            if redraw:
                self._loop.after(_REDRAWN_SECONDS, self._resize)
        if stdin:
            self._streams.take_input()

    def wait_for(self, code: Callable[[], int | None], interrupt: Callable[[], bool]) -> int:
        """Return what ``code`` returns once all output is written and that is not None; see ``EventLoop.wait_for``.

        Raises OSError if output cannot be written.
        """
        return self._loop.wait_for(lambda: code() if self._streams.is_over else None, interrupt)

    def _end_streams(self) -> None:
        self._loop.forget(self._streams.fileno())
        self._loop.after(_STUCK_SECONDS, lambda: self._pass_keys(False))

    def _resize(self, lines: int = 0, tries: int = 1) -> None:
        """Give the session's terminal the size of this process's, with ``lines`` added."""
        with contextlib.suppress(OSError, EngineError):  # a closed terminal, a session that ends
            size = os.get_terminal_size(sys.stdin.fileno())
            done = containers.resize(self._place, os.terminal_size((size.columns, max(1, size.lines + lines))))
            if not done and tries > 1:
                self._loop.after(_AGAIN_SECONDS, lambda: self._resize(lines, tries - 1))


def code_of(loop: EventLoop, end: Answer) -> Callable[[], int | None]:
    """Return a function that returns the exit code of a container once ``end``, of ``containers.end_of``, is here."""
    codes: list[int] = []

    def receive() -> None:
        if end.advance():
            loop.forget(end.socket.fileno())
            codes.append(containers.exit_code(end))

    loop.when_readable(end.socket.fileno(), receive)
    return lambda: codes[0] if codes else None


def going_on(name: str, failure: EngineError) -> EngineError:
    """Return the error for a session that could not be ended, by that ``failure``: its container may outlive an engine.

    Podman's always do, and Docker's with `live-restore`.
    """
    return EngineError(
        f"{failure.message} The session {name} could not be ended, and may go on.",
        f"{failure.hint} Then `confined-claude run` joins or ends it, `confined-claude stop --session {name}` ends it.",
    )
