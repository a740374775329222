"""``<state>``, the host-only records: the one way to its directories. A link in its place is refused, or below it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from ..errors import ConfinedError
from ..fs import safefs
from ..fs.directory import Location
from ..host import Host

# Of the records' formats. Code that changes one makes it an object with a greater "version", or that of project.json,
# which stands for all records of its project: then this code refuses it.
VERSION = 1


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


def refuse_newer(record: object, path: Path) -> None:
    """Raise ConfinedError if ``record``, the JSON value at ``path``, has a format that only newer code knows."""
    version = record.get("version") if isinstance(record, dict) else None
    if isinstance(version, int) and version > VERSION:
        raise ConfinedError(
            f"{path} is from a newer version of Confined Claude.",
            "Bring this one up to date with the install.sh of the newer one, and start again.",
        )
