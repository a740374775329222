"""What Claude calls the directories of its conversations."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..fs.directory import Location

TRANSCRIPT = ".jsonl"
# Claude cuts off longer names, and appends a hash.
NAME_LENGTH = 200


def directory_name(root: Path) -> str:
    """Return what Claude calls the directory for a project's conversations. It counts UTF-16 code units."""
    units = (
        char if char.isascii() and char.isalnum() else "-" * (len(char.encode("utf-16-le")) // 2) for char in str(root)
    )
    return "".join(units)


def any_may_be_of(names: Iterable[str], root: Path) -> bool:
    """Return whether one of the directories with these ``names`` may be of the project at ``root``."""
    prefix = directory_name(root)[:NAME_LENGTH]
    return any(name == prefix or name.startswith(f"{prefix}-") for name in names)


def has_conversations(held: Location, place: Path) -> bool:
    """Return whether the directory ``held``, of a project's conversations, has one that was held at ``place``."""
    try:
        with held.at(directory_name(place)).open() as directory:
            return any(name.endswith(TRANSCRIPT) for name in directory.names())
    except OSError:
        return False
