"""``stop``: end sessions, which save their state first."""

from __future__ import annotations

from ..engine import containers
from ..errors import ConfinedError
from ..host import Host
from ..session import join, listing
from ..state.store import records_of


def stop(host: Host, wanted: str | None, *, all_projects: bool) -> None:
    """End the session of this project, the one ``wanted`` by number or name, or all that this user has.

    Raises ConfinedError if it is not clear which one.
    """
    if all_projects and wanted is not None:
        raise ConfinedError("--all and --session cannot be combined.", "Leave out one of them.")
    found = listing.sessions(host)
    if not all_projects:
        here = listing.project_for(host, wanted)
        own = [session for session in found if here is not None and session.project_id == here.id]
        remains = [session for session in own if session.is_orphaned and not session.is_up]
        found = remains if wanted is None and own == remains else [listing.choose(found, here, wanted)]
    containers.remove(*(session.id for session in found if not session.is_up))
    join.stop([session for session in found if session.is_up])
    from ..session import orphans  # not for `exec`, which uses this module as well

    for session in found:
        records = records_of(host, session.project_id).path
        if session.is_orphaned and session.path.is_dir() and records.is_dir():
            orphans.look_through(host, session)
    print("\n".join(f"Stopped {session.name}." for session in found) or "No session runs.")
