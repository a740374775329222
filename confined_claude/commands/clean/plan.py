"""The plan of a clean: what it would delete, in words for a person and as locations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ...fs.directory import Location
from ...fs.usage import Size, measure


class Item(NamedTuple):
    """Something to delete. ``bytes`` is what it takes in addition to the ``locations``."""

    text: str
    locations: tuple[Location, ...] = ()
    bytes: int = 0


class Plan(NamedTuple):
    """What there is to delete: ``data`` after one question, and ``memory``, which cannot be restored, after a second.

    The titles say whose it is. ``losses`` are lines on what is lost with the memory, ``notes`` on what is left out.
    """

    title: str
    memory_title: str
    data: tuple[Item, ...] = ()
    memory: tuple[Item, ...] = ()
    losses: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def sizes_of(items: Sequence[Item]) -> list[Size]:
    """Return what each of the ``items`` takes on disk."""
    found = measure({number: item.locations for number, item in enumerate(items)})
    return [sum(found[number], Size(item.bytes)) for number, item in enumerate(items)]
