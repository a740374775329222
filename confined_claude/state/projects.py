"""The known projects: those in which a session was started, as ``<state>`` remembers them."""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

from ..console import say
from ..errors import ConfinedError
from ..fs import safefs
from ..host import Host
from ..project import Project
from . import store as state

_FOLDER = "projects"
FILE = "project.json"
VERSION = 1


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
    """Note that ``project`` is used now. What is damaged or of a newer version is put aside, and said.

    Raises ConfinedError if nothing can be written.
    """
    with state.made(host, _FOLDER, project.id) as folder:
        if safefs.exists(folder, FILE):
            if _root(folder) == project.root:
                os.utime(FILE, dir_fd=folder, follow_symlinks=False)
                return
            aside = f"{FILE}.{time.strftime('%Y%m%d-%H%M%S')}"
            os.rename(FILE, aside, src_dir_fd=folder, dst_dir_fd=folder)
            place = host.state / _FOLDER / project.id / aside
            say(f"The record of this project could not be read, and is now at {place}.")
        try:
            safefs.write(folder, FILE, json.dumps({"version": VERSION, "root": str(project.root)}).encode())
        except OSError as error:
            raise safefs.cannot("write to", host.state, error) from None


def projects(host: Host) -> list[Known]:
    """All known projects, the one used last first. Raises ConfinedError if it cannot be told which there are."""
    try:
        with state.opened(host, _FOLDER) as folder:
            found = [known for name in os.listdir(folder) if (known := _known(folder, name)) is not None]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise safefs.cannot("read", host.state / _FOLDER, error) from None
    return sorted(found, key=lambda known: -known.last_used)


def _known(folder: int, name: str) -> Known | None:
    """The project whose records are the folder ``name`` in ``folder``; None if that is none."""
    try:
        with safefs.entered(folder, name) as own:
            status = os.stat(FILE if safefs.exists(own, FILE) else ".", dir_fd=own, follow_symlinks=False)
            return Known(name, _root(own), status.st_mtime)
    except PermissionError:  # root's, as after one start with sudo
        return Known(name, None, 0.0)
    except OSError:
        return None


def _root(folder: int) -> Path | None:
    """The root in the record of a project; None if there is none that can be read."""
    with contextlib.suppress(ValueError, TypeError, LookupError, RecursionError):
        record = json.loads(safefs.read(folder, FILE, 1 << 16) or b"")
        if record["version"] == VERSION and is_path(record["root"]):
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
