"""Where a project ends: at the root of a repository, and where someone has put a scaffold.

A directory of the scaffold's name that a start has made does not count: it says nothing but that a session was there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from pathlib import Path

from ..fs.directory import Location
from ..text import folded

SCAFFOLD = ".confined-claude"
# What sessions make in it, and what a start and a cleanup leave there.
VENVS = "venvs"
IN_SCAFFOLD = (VENVS, "local-bin")
_OURS = r"venvs|local-bin|\.gitignore|\.removed-[0-9a-f]{12}"
# The directories of version control. Only git may have a file in its place.
REPOSITORIES = (".git", ".hg", ".jj", ".sl")
NAMES = frozenset((*REPOSITORIES, SCAFFOLD))
# A git directory has all of them; a session can take any of its parts away, not all.
GIT_MARKS = frozenset(("HEAD", "config", "commondir"))
_FOLDED_GIT_MARKS = frozenset(map(folded, GIT_MARKS))


def mark_of(place: Path) -> str:
    """Return the name of what makes ``place`` a project of its own; empty if nothing does."""
    for name in (*REPOSITORIES, SCAFFOLD):
        if os.path.lexists(place / name) and is_mark(name, _names(place / name)):
            return name
    return ""


def is_mark(name: str, names: Collection[str] | None) -> bool:
    """Return whether an entry of this name, with ``names`` in it, makes its directory a project of its own.

    ``names`` is None for a file, a link, or a directory that cannot be read.
    """
    if name == SCAFFOLD:
        return names is None or not all(re.fullmatch(_OURS, name) for name in names)
    if name == ".git":  # git passes over a directory that is not a repository
        return names is None or not _FOLDED_GIT_MARKS.isdisjoint(map(folded, names))
    return name in REPOSITORIES and names is not None


def _names(path: Path) -> list[str] | None:
    try:
        with Location(path.parent, (path.name,)).open() as directory:
            return directory.names()
    except OSError:
        return None
