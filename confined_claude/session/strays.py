"""Sidecars that never started and have no session: left by starts that had not made their record yet.

Their tool was killed, or the engine made them after the start had given up.
"""

from __future__ import annotations

import time

from ..engine import containers, labels
from ..host import Host
from ..state import liveness
from ..state.store import records_of
from . import listing

# Without a record it may be only starting: commands of a dry run, which make none, are pasted one after the other.
STARTING_SECONDS = 60.0


def sidecars(host: Host, project_id: str = "") -> list[str]:
    """Return the ids of this user's such sidecars, or of those of one project. Raises EngineError."""
    wanted = {labels.KIND: labels.SIDECAR, labels.OWNER: host.owner}
    if project_id:
        wanted[labels.PROJECT] = project_id
    until = time.time() - STARTING_SECONDS
    found = [
        (each["Id"], each["Labels"].get(labels.PROJECT, ""), each["Labels"].get(labels.KEY, ""))
        for each in containers.containers(wanted)
        if each["State"] not in listing.UP and each["Created"] < until
    ]
    keys = {session.key for session in listing.sessions(host)} if found else set()
    return [
        identity
        for identity, project, key in found
        if key not in keys and not liveness.has_owner(records_of(host, project), key)
    ]
