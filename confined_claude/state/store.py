"""``<state>``, the host-only records: the one way to its directories. A link in its place is refused, or below it."""

from __future__ import annotations

from contextlib import AbstractContextManager

from ..fs import safefs
from ..fs.directory import Location
from ..host import Host


def location(host: Host, *names: str) -> Location:
    """Return the location of ``<state>/names...``."""
    return Location(host.state.parent, (host.state.name, *names))


# Until all callers use directories:

place = location


def made(host: Host, *names: str) -> AbstractContextManager[int]:
    """An open directory handle of ``<state>/names...``, made where it is missing.

    Raises ConfinedError for a link or a file in the way, and for what the system refuses.
    """
    return safefs.open_folder(host.state.parent, host.state.name, *names)


def opened(host: Host, *names: str) -> AbstractContextManager[int]:
    """An open directory handle of ``<state>/names...``. Raises OSError if it is not there, or a link is."""
    return safefs.opened(host.state.parent, host.state.name, *names)
