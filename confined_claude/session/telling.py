"""What is to be said while a session runs, where its user can see it."""

from __future__ import annotations

import contextlib

from ..claude import managed
from ..console import say
from ..engine import containers
from ..engine.mount import FileInside
from ..errors import EngineError
from .launch import Launch

_READABLE = 0o644
_MOST_KEPT = 50


class Teller:
    """Tells the user of a session what happens while it runs.

    Where Claude has the screen, a printed line would be drawn over. There it becomes a tip in the session's managed
    settings, which the client shows while it works, from its next answer but one, and is ``kept`` for the end.
    ``container`` is set once there is one.
    """

    def __init__(self, launch: Launch) -> None:
        self._launch = launch
        self.container = ""
        self.kept: list[str] = []

    def tell(self, line: str) -> None:
        """Say one line."""
        if not self._launch.has_claudes_screen:
            say(f"{line}\r" if self._launch.terminal else line)  # the terminal may be in raw mode
            return
        if self.kept[-1:] == [line]:
            return
        self.kept = [*(other for other in self.kept if other != line), line][-_MOST_KEPT:]
        if self.container:
            with contextlib.suppress(EngineError):  # it has ended meanwhile
                notice = managed.notice(self.kept).encode()
                containers.put(self.container, FileInside(managed.NOTICE_FILE, notice, _READABLE))
