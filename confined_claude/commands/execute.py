"""``exec``: a shell, or a command, in a session that runs already."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from ..errors import ConfinedError
from ..host import Host
from ..session import CLAUDE, WITH_PLUGINS, join, listing
from ..state.current import current_directory
from .stop import project_for


def execute(host: Host, command: Sequence[str], wanted: str | None) -> int:
    """Run ``command``, or a shell, in the session ``wanted`` by number or name; return its exit code."""
    here = project_for(host, wanted)
    session = listing.choose(listing.sessions(host), here, wanted)
    directory = None
    with contextlib.suppress(ConfinedError):  # it may be gone, if a session is wanted by its name
        directory = current_directory().resolve()
    if command and command[0] == CLAUDE:
        command = (*WITH_PLUGINS, *command)
    return join.execute(session, command, host, directory)
