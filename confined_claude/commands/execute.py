"""``exec``: a shell, or a command, in a session that runs already."""

from __future__ import annotations

from collections.abc import Sequence

from ..host import Host
from ..session import join, listing
from .stop import project_for


def execute(host: Host, command: Sequence[str], wanted: str | None) -> int:
    """Run ``command``, or a shell, in the session ``wanted`` by number or name; return its exit code."""
    here = project_for(host, wanted)
    session = listing.choose(listing.sessions(host), here, wanted)
    return join.execute(session, command, host.environ)
