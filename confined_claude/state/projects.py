"""The known projects: those in which a session was started, as ``<state>`` remembers them."""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

from ..console import say
from ..errors import ConfinedError, system_error
from ..fs.directory import Directory
from ..host import Host
from ..project import Project
from ..text import parse_json
from . import store

_FOLDER = "projects"
FILE = "project.json"
_MOST_BYTES = 1 << 16


@dataclass(frozen=True)
class Known:
    """A project by its id. ``root`` is None if its record cannot be read, ``last_used`` is in epoch seconds."""

    id: str
    root: Path | None
    last_used: float

    @property
    def exists(self) -> bool:
        """Whether its folder is still there, and not a link to another by now."""
        return self.root is not None and self.root.is_dir() and os.path.realpath(self.root) == str(self.root)


def remember(project: Project, host: Host) -> None:
    """Note that ``project`` is used now. A damaged record is put aside, and this is reported.

    Raises ConfinedError if nothing can be written, and for records of a newer version.
    """
    refuse_newer(project.id, host)
    with store.location(host, _FOLDER, project.id).make() as directory:
        if directory.exists(FILE):
            if _root(directory) == project.root:
                directory.touch(FILE)
                return
            new = f"{FILE}.{time.strftime('%Y%m%d-%H%M%S')}"
            directory.rename(FILE, new)
            say(f"The record of this project could not be read, and is now at {directory.path / new}.")
        try:
            directory.write(FILE, json.dumps({"version": store.VERSION, "root": str(project.root)}).encode())
        except OSError as error:
            raise system_error("write to", host.state, error) from None


def refuse_newer(project_id: str, host: Host) -> None:
    """Raise ConfinedError if the records of a project are of a newer version. Writing to them could lose something."""
    directory_of = store.location(host, _FOLDER, project_id)
    with contextlib.suppress(OSError, ValueError, RecursionError), directory_of.open() as directory:
        store.refuse_newer(parse_json(directory.read(FILE, _MOST_BYTES)), directory.path / FILE)


def projects(host: Host) -> list[Known]:
    """All known projects, the one used last first. Raises ConfinedError if it cannot be told which there are."""
    try:
        with store.location(host, _FOLDER).open() as directory:
            found = [known for name in directory.names() if (known := _known(directory, name)) is not None]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise system_error("read", host.state / _FOLDER, error) from None
    return sorted(found, key=lambda known: -known.last_used)


def _known(directory: Directory, name: str) -> Known | None:
    """Return the project whose records are the directory ``name``; None if that is none."""
    try:
        with directory.child(name) as records:
            status = records.stat(FILE if records.exists(FILE) else ".")
            return Known(name, _root(records), status.st_mtime)
    except PermissionError:  # root's, as after one start with sudo
        return Known(name, None, 0.0)
    except OSError:
        return None


def _root(directory: Directory) -> Path | None:
    """Return the root in the record of a project; None if there is none that can be read."""
    with contextlib.suppress(TypeError, ValueError, LookupError):
        record = parse_json(directory.read(FILE, _MOST_BYTES))
        if record["version"] == store.VERSION and is_path(record["root"]):
            return Path(record["root"])
    return None


def is_path(text: str) -> bool:
    """Whether ``text``, from a record, is a path that the system can take. Raises TypeError and such for no text."""
    return Path(text).is_absolute() and b"\0" not in os.fsencode(text)


def find(word: str, host: Host) -> Known:
    """The known project with this id or folder. Raises ConfinedError if there is none."""
    found = projects(host)
    for known in found:
        if known.id == word:
            return known
    with contextlib.suppress(FileNotFoundError):  # the current folder, which may be gone
        # A folder that is a link by now was another project.
        for root in (os.path.abspath(word), os.path.realpath(word)):  # noqa: PTH100 - it is not to be resolved
            for known in found:
                if str(known.root) == root:
                    return known
    raise ConfinedError(f"There is no known project {word!r}.", "See `confined-claude status` for those there are.")
