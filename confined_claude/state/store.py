"""``<state>``, the host-only records: the one way to its folders. A link in its place is refused, or below it."""

from __future__ import annotations

from contextlib import AbstractContextManager

from ..fs import safefs
from ..fs.safefs import Place
from ..host import Host


def place(host: Host, *names: str) -> Place:
    """The folder ``<state>/names...``, whether or not it is there."""
    return Place(host.state.parent, (host.state.name, *names))


def made(host: Host, *names: str) -> AbstractContextManager[int]:
    """An open directory handle of ``<state>/names...``, made where it is missing.

    Raises ConfinedError for a link or a file in the way, and for what the system refuses.
    """
    return safefs.open_folder(host.state.parent, host.state.name, *names)


def opened(host: Host, *names: str) -> AbstractContextManager[int]:
    """An open directory handle of ``<state>/names...``. Raises OSError if it is not there, or a link is."""
    return safefs.opened(host.state.parent, host.state.name, *names)
