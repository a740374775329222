"""The known projects: those in which a session was started, as ``<state>`` remembers them."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from . import safefs, state
from .console import say
from .errors import ConfinedError
from .host import Host
from .project import Project

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
        """Whether its folder is still there."""
        return self.root is not None and self.root.is_dir()


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
    """All known projects, the one used last first."""
    return sorted(_projects(host), key=lambda known: -known.last_used)


def _projects(host: Host) -> Iterator[Known]:
    with contextlib.suppress(OSError), state.opened(host, _FOLDER) as folder:
        for name in os.listdir(folder):
            with contextlib.suppress(OSError), safefs.entered(folder, name) as own:
                status = os.stat(FILE if safefs.exists(own, FILE) else ".", dir_fd=own, follow_symlinks=False)
                yield Known(name, _root(own), status.st_mtime)


def _root(folder: int) -> Path | None:
    """The root in the record of a project; None if there is none that can be read."""
    with contextlib.suppress(ValueError, TypeError, LookupError, RecursionError):
        record = json.loads(safefs.read(folder, FILE, 1 << 16) or b"")
        if record["version"] == VERSION and Path(record["root"]).is_absolute():
            return Path(record["root"])
    return None


def find(word: str, host: Host) -> Known:
    """The known project with this id or folder. Raises ConfinedError if there is none."""
    root = Path(os.path.realpath(word))
    for known in _projects(host):
        if known.id == word or known.root == root:
            return known
    raise ConfinedError(f"There is no known project {word!r}.", "See `confined-claude status` for those there are.")
