"""How names are spelled, as some file systems find a file by any spelling of its name."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from ..text import folded


def as_listed(path: Path) -> Path:
    """Return an absolute ``path`` with each name spelled as its directory lists it, if another spelling leads there."""
    place = Path(path.anchor)
    for name in path.parts[1:]:
        there = _identity(place / name)
        if there is not None and there == _identity(place / name.swapcase()):
            name = _listed(place, name, there[1])  # noqa: PLW2901
        place /= name
    return place


def _identity(path: Path) -> tuple[int, int] | None:
    with contextlib.suppress(OSError, ValueError):
        status = path.lstat()
        return status.st_dev, status.st_ino
    return None


def _listed(directory: Path, name: str, inode: int) -> str:
    """Return how a directory that may not be read by everyone lists the file that ``name`` finds."""
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        found = [entry.name for entry in entries if folded(entry.name) == folded(name) and entry.inode() == inode]
        return name if name in found or not found else found[0]
    return name
