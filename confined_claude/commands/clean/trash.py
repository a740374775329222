"""The trash, where a clean moves what it is about to delete."""

from __future__ import annotations

from collections.abc import Iterator

from ...fs.directory import Location
from ...fs.removal import Leftover, discard, empty_trash, trash_in
from ...host import Host
from ...state.store import state_of
from ...workspace import profile_data, shared_data
from .plan import Item


def outside_projects(host: Host) -> tuple[Location, ...]:
    """Return the directories that have trash, except those in projects."""
    return Location(host.data), shared_data(host), state_of(host), *(location for _, location in profile_data(host))


def items(*locations: Location) -> Iterator[Item]:
    """Yield what interrupted cleans have left in the ``locations``. Raises ConfinedError for a link in their place."""
    for location in locations:
        with location.open_if_exists() as directory:
            names = trash_in(directory) if directory is not None else []
        if names:
            places = tuple(location.at(name) for name in names)
            yield Item(f"{location.path}/.removed-*/, left by an interrupted clean", places)


def move(trash: Location, *locations: Location) -> Leftover:
    """Take files and directories out of use, and return what could not be. Directories go to the trash in ``trash``."""
    left = Leftover()
    with trash.open_if_exists() as into:
        for location in locations:
            with location.parent.open_if_exists() as directory:
                if directory is not None:
                    left += discard(directory, location.name, into)
    return left


def empty(*locations: Location) -> Leftover:
    """Delete what is in the trash of the ``locations``, and return what could not be deleted."""
    left = Leftover()
    for location in locations:
        with location.open_if_exists() as directory:
            if directory is not None:
                left += empty_trash(directory)
    return left
