"""What the sidecars of a project's sessions have refused, kept in ``<state>``.

A sidecar writes what it refused into its session's own folder. When the session is over, that becomes a file of
the project.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ..fs import safefs
from ..host import Host
from ..project import Project
from ..settings import SPECS
from ..state import store as state
from ..text import strip_controls
from .network import FOLDER

WRITTEN = "blocked.json"
KEPT = ".blocked"
_MOST_BYTES = 1 << 20
_MOST_SESSIONS = 100
_LONGEST = 255
_OLD_SECONDS = 3600
_NAMES = ("name", "port", "dns")


@dataclass(frozen=True)
class Blocked:
    """What was refused: to which host and port (0 if none was asked for), why, when (UTC), and how often."""

    host: str
    port: int
    reason: str
    first: str
    last: str
    count: int

    @property
    def entry(self) -> str:
        """What the setting ``allow`` would have to hold; empty where no entry helps."""
        if self.reason not in _NAMES:
            return ""
        entry = self.host if self.port in (0, 80, 443) else f"{self.host}:{self.port}"
        return entry if SPECS["allow"].allows(entry) else ""  # an address, or what was looked up for no host


def blocked(project: Project, host: Host) -> list[Blocked]:
    """What was refused to this project's sessions, those that run included; the latest first."""
    with contextlib.suppress(OSError), _opened(project, host) as folder:
        names = os.listdir(folder)
        found: list[Blocked] = []
        for name in names:
            with contextlib.suppress(OSError):  # another session may just have ended
                found += _read(folder, name)
        return sorted(_merged(found), key=lambda entry: entry.last, reverse=True)
    return []


def keep(project: Project, host: Host, key: str, is_recorded: Callable[[str], bool]) -> None:
    """Take away the folder of the session ``key``, and those of sessions that were cut off; what they hold stays.

    ``is_recorded`` says of a session's key whether there is a record of it. One that begins has none for a moment.
    """
    with contextlib.suppress(OSError), _opened(project, host) as folder:
        names = os.listdir(folder)
        for name in names:
            with contextlib.suppress(OSError):
                if not name.endswith(KEPT) and (name == key or (_is_old(folder, name) and not is_recorded(name))):
                    _close(folder, name)
        kept = [name for name in os.listdir(folder) if name.endswith(KEPT)]
        kept.sort(key=lambda name: os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime)
        for name in kept[:-_MOST_SESSIONS]:
            os.unlink(name, dir_fd=folder)


def _is_old(folder: int, name: str) -> bool:
    return time.time() - os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime > _OLD_SECONDS


def _close(folder: int, key: str) -> None:
    with safefs.entered(folder, key) as own:
        with contextlib.suppress(FileNotFoundError):
            os.rename(WRITTEN, key + KEPT, src_dir_fd=own, dst_dir_fd=folder)
        for name in os.listdir(own):
            os.unlink(name, dir_fd=own)
    os.rmdir(key, dir_fd=folder)


def _opened(project: Project, host: Host) -> contextlib.AbstractContextManager[int]:
    return state.opened(host, "projects", project.id, FOLDER)


def _read(folder: int, name: str) -> Iterator[Blocked]:
    """The entries in a kept file, or in the folder of a session that runs."""
    if name.endswith(KEPT):
        content = safefs.read(folder, name, _MOST_BYTES)
    else:
        with safefs.entered(folder, name) as own:
            content = safefs.read(own, WRITTEN, _MOST_BYTES)
    with contextlib.suppress(ValueError, TypeError, LookupError, ArithmeticError, RecursionError):
        for entry in json.loads(content or b'{"blocked": []}')["blocked"]:
            yield Blocked(
                _text(entry["host"]), 0 if entry["reason"] == "dns" else int(entry["port"]), _text(entry["reason"]),
                _text(entry["first"]), _text(entry["last"]), int(entry["count"]),
            )  # fmt: skip


def _text(value: Any) -> str:
    return strip_controls(str(value)[:_LONGEST]).replace("\n", " ")


def _merged(found: Iterable[Blocked]) -> Iterator[Blocked]:
    """One entry for each host, port and reason."""
    same: dict[tuple[str, int, str], list[Blocked]] = {}
    for entry in found:
        same.setdefault((entry.host, entry.port, entry.reason), []).append(entry)
    for (host, port, reason), entries in same.items():
        first, last = min(entry.first for entry in entries), max(entry.last for entry in entries)
        yield Blocked(host, port, reason, first, last, sum(entry.count for entry in entries))
