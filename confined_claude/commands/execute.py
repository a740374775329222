"""``exec``: a shell, or a command, in a session that runs already."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence

from ..background import Background
from ..engine.context import address_in_use
from ..errors import ConfinedError
from ..host import Host
from ..session import CLAUDE, WITH_PLUGINS, listing
from ..state.current import current_directory


def execute(host: Host, command: Sequence[str], wanted: str | None) -> int:
    """Run ``command``, or a shell, in the session ``wanted`` by number or name; return its exit code."""
    # An engine that listens at a socket answers meanwhile. For any other a program is started, and which ones may be
    # depends on the project.
    is_at_socket = address_in_use(os.environ).startswith("unix://")
    found = Background(lambda: listing.sessions(host)) if is_at_socket else None
    here = listing.project_for(host, wanted)
    from ..session import join

    session = listing.choose(found.result() if found else listing.sessions(host), here, wanted)
    directory = None
    with contextlib.suppress(ConfinedError):  # it may be gone, if a session is wanted by its name
        directory = current_directory().resolve()
    if command and command[0] == CLAUDE:
        command = (*WITH_PLUGINS, *command)
    return join.execute(session, command, host, directory)
