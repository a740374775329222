"""Where sessions can write, as far as that tells which programs of PATH this process may start."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

from ..fs.identity import ways
from ..fs.spelling import as_listed
from ..host import PROGRAMS, Host, clean_path
from ..project import SCAFFOLD, Project
from .store import PROJECTS, state_of


def leave_out_of_path(host: Host, root: Path | None = None) -> None:
    """Take what sessions can write, and the project at ``root``, out of this process's PATH from now on."""
    clean_path(partial(_look, host, root))


def _look(host: Host, root: Path | None) -> Callable[[str], bool]:
    """Return what tells of an entry of PATH whether a session could put a program there, by the records as they are.

    Of the files in it, links by the name of a program that this tool starts count: their target may be a session's.
    Only what is above the entries is looked at, as there may be a thousand projects, and only if one has such a name:
    a look at a drive of Windows takes long. A writable mount has records as a project has, and one that was moved has
    its scaffold.
    """
    records, scaffold = f"{state_of(host).at(PROJECTS).path}/", f"/{SCAFFOLD}"
    roots = {str(root), str(host.data), os.path.realpath(host.data)}
    home = f"{os.path.realpath(host.home)}/"
    slugs = {Project(Path(place)).slug for place in roots}
    with contextlib.suppress(OSError):
        slugs |= {name.rpartition("-")[0] for name in os.listdir(records)}

    @cache
    def is_root(way: str) -> bool:
        project = Project(Path(way))
        # A slug has no other letters, which may be one with these for the file system.
        if project.slug in slugs or not project.root.name.isascii():
            place = _spelled(way)
            if place in roots or os.path.lexists(records + Project(Path(place)).id):
                return True
        return os.path.lexists(way + scaffold) and not home.startswith(f"{_spelled(way)}/")

    def is_written(entry: str) -> bool:
        programs = (f"{entry}/{name}" for name in PROGRAMS)
        links = (path for path in programs if os.path.islink(path))  # noqa: PTH114 - a Path for each takes longer
        return any(is_root(way) for path in (entry, *links) for way in ways(Path(path)))

    return is_written


def _spelled(way: str) -> str:
    """Return a path as its directories list it, where the file system finds its last name by another spelling too."""
    above, _, name = way.rpartition("/")
    return str(as_listed(Path(way))) if os.path.lexists(f"{above}/{name.swapcase()}") else way
