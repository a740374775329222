"""``exec``: a shell, or a command, in a session that runs already."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from ..background import Background
from ..errors import ConfinedError
from ..host import Host
from ..session import CLAUDE, WITH_PLUGINS, listing
from ..state.current import current_directory


def execute(host: Host, command: Sequence[str], wanted: str | None) -> int:
    """Run ``command``, or a shell, in the session ``wanted`` by number or name; return its exit code."""
    here = listing.project_for(host, wanted)
    found = Background(lambda: listing.sessions(host))
    from ..session import join  # while the engine answers

    session = listing.choose(found.result(), here, wanted)
    directory = None
    with contextlib.suppress(ConfinedError):  # it may be gone, if a session is wanted by its name
        directory = current_directory().resolve()
    if command and command[0] == CLAUDE:
        command = (*WITH_PLUGINS, *command)
    return join.execute(session, command, host, directory)
