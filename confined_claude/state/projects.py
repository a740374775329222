"""The known projects: those in which a session was started, as ``<state>`` remembers them."""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from typing import NamedTuple

from ..console import say
from ..errors import ConfinedError, system_error
from ..fs.directory import Directory, Location
from ..host import Host
from ..project import SCAFFOLD, Project
from ..text import normal_path, parse_json
from . import store
from .store import LOCK, PROJECTS

Identity = tuple[int, ...]

FILE = "project.json"
_MAX_BYTES = 1 << 16


class Known(NamedTuple):
    """A project by its id. ``root`` is None if its record cannot be read, ``last_used`` is in epoch seconds.

    ``identity`` is None if a version that knew none has recorded it.
    """

    id: str
    root: Path | None
    last_used: float
    identity: Identity | None = None

    @property
    def exists(self) -> bool:
        """Return whether its directory still exists, and is not a link to another by now."""
        return self.root is not None and self.root.is_dir() and os.path.realpath(self.root) == str(self.root)


def identity(root: Path) -> Identity | None:
    """Return what tells the project at ``root`` from every other directory, also where it was moved to.

    That is its inode, that of its scaffold, and when the scaffold's .gitignore was written, in nanoseconds: inodes
    are used again. None if it has no such scaffold yet.
    """
    try:
        with Location(root, (SCAFFOLD,)).open() as scaffold:
            return root.stat().st_ino, scaffold.stat().st_ino, scaffold.stat(".gitignore").st_mtime_ns
    except OSError:
        return None


def moved_from(state: Location, project: Project) -> Path | None:
    """Return where the project was when it was used last; None if it was here, or that cannot be told.

    Never a directory that still exists. Raises ConfinedError if the known projects cannot be listed.
    """
    if os.path.lexists(state.at(PROJECTS, project.id, FILE).path) or (its_own := identity(project.root)) is None:
        return None
    for known in projects(state):
        if known.identity == its_own and known.root is not None and not os.path.lexists(known.root):
            return known.root
    return None


def is_known(host: Host, project: Project) -> bool:
    """Return whether a session was started in the project."""
    return os.path.lexists(store.records_of(host, project.id).at(FILE).path)


def remember(records: Location, root: Path) -> None:
    """Record that the project at ``root`` is used now. A damaged record is renamed, and this is reported.

    Raises ConfinedError if nothing can be written, and for records of a newer version.
    """
    with records.make() as directory:
        refuse_newer(directory)
        record = _read(directory)
        its_own = identity(root)
        if record == (store.VERSION, root, its_own):
            directory.touch(FILE)
            return
        if directory.exists(FILE) and (record is None or record.root != root):
            new = f"{FILE}.{time.strftime('%Y%m%d-%H%M%S')}"
            directory.rename(FILE, new)
            say(f"The record of this project could not be read, and is now at {directory.path / new}.")
        try:
            value = {"version": store.VERSION, "root": str(root), "identity": its_own}
            directory.write(FILE, json.dumps(value).encode())
        except OSError as error:
            raise system_error("write to", directory.path, error) from None


def refuse_newer(records: Directory) -> None:
    """Raise ConfinedError if the records of a project are of a newer version. Writing to them could lose something."""
    store.refuse_newer(parse_json(records.read(FILE, _MAX_BYTES)), records.path / FILE)


def projects(state: Location) -> list[Known]:
    """Return all known projects, the one used last first. Raises ConfinedError if they cannot be listed."""
    location = state.at(PROJECTS)
    try:
        with location.open() as directory:
            found = [known for name in directory.names() if (known := _known(directory, name)) is not None]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise system_error("read", location.path, error) from None
    return sorted(found, key=lambda known: -known.last_used)


def _known(directory: Directory, name: str) -> Known | None:
    """Return the project whose records are the directory ``name``; None if it has none."""
    try:
        with directory.child(name) as records:
            if {*records.names()} <= {LOCK}:  # a start that ended before there was anything to record
                return None
            status = records.stat(FILE if records.exists(FILE) else ".")
            record = _read(records)
            if record is None:
                return Known(name, None, status.st_mtime)
            return Known(name, record.root, status.st_mtime, record.identity)
    except PermissionError:  # root's, as after one start with sudo
        return Known(name, None, 0.0)
    except OSError:
        return None


class _Record(NamedTuple):
    """What ``FILE`` says: the version of its format, the root of the project, and its identity."""

    version: int
    root: Path
    identity: Identity | None


def _read(directory: Directory) -> _Record | None:
    """Return the record of a project; None if it cannot be read, or is of a version that this code does not know."""
    with contextlib.suppress(AttributeError, TypeError, ValueError, LookupError):
        value = parse_json(directory.read(FILE, _MAX_BYTES))
        numbers = value.get("identity")  # records of version 0.1 have none
        record = _Record(int(value["version"]), Path(value["root"]), tuple(map(int, numbers)) if numbers else None)
        # The system must be able to take the path: no NUL, no lone surrogate.
        if 0 < record.version <= store.VERSION and record.root.is_absolute() and b"\0" not in os.fsencode(record.root):
            return record
    return None


def find(word: str, state: Location) -> Known:
    """Return the known project with this id or directory. Raises ConfinedError if there is none."""
    found = projects(state)
    for known in found:
        if known.id == word:
            return known
    with contextlib.suppress(FileNotFoundError):  # the current directory, which may be gone
        # A directory that is a link by now was another project.
        for root in (normal_path(Path(word).absolute()), os.path.realpath(word)):
            for known in found:
                if str(known.root) == root:
                    return known
    raise ConfinedError(f"There is no known project {word!r}.", "`confined-claude status` lists the known ones.")
