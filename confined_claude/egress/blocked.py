"""What the sidecars of a project's sessions have refused, and lent: collected in ``<state>``.

A sidecar writes it into its session's own directory. When the session is over, that becomes files of the project.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ..fs.directory import Directory
from ..settings import SPECS
from ..state import liveness
from ..text import escape
from ..workspace import Workspace

_WRITTEN = "blocked.json"
_SUFFIX = ".blocked"
_LENT = "lent.log"
_LENT_SUFFIX = ".lent"
_KEPT = {_WRITTEN: _SUFFIX, _LENT: _LENT_SUFFIX}
_MOST_BYTES = 1 << 20
_MOST_SESSIONS = 100
_LONGEST = 255
_OLD_SECONDS = 3600
_NAMES = ("name", "port", "dns")


class Blocked(NamedTuple):
    """What was refused: to which host and port (0 if none was asked for), why, when (UTC), and how often."""

    host: str
    port: int
    reason: str
    first: str
    last: str
    times: int

    @property
    def entry(self) -> str:
        """What the setting ``allow`` would need to have; empty where no entry helps."""
        if self.reason not in _NAMES:
            return ""
        entry = self.host if self.port in (0, 80, 443) else f"{self.host}:{self.port}"
        return entry if SPECS["allow"].allows(entry) else ""  # an address, or what was looked up for no host


def blocked(workspace: Workspace) -> list[Blocked]:
    """Return what was refused to this project's sessions, those that run included; the latest first."""
    found: list[Blocked] = []
    with contextlib.suppress(OSError), workspace.egress.open() as directory:
        for name in directory.names():
            if name.endswith(_LENT_SUFFIX):
                continue
            with contextlib.suppress(OSError):  # another session may just have ended
                found += _read(directory, name)
    return sorted(_merged(found), key=lambda entry: entry.last, reverse=True)


def blocked_in(workspace: Workspace, key: str) -> int:
    """Return how many requests were refused to the session ``key``, which is over."""
    with contextlib.suppress(OSError), workspace.egress.open() as directory:
        return sum(entry.times for entry in _read(directory, key + _SUFFIX))
    return 0


def lent_in(workspace: Workspace, key: str) -> tuple[int, Path]:
    """Return into how many requests the session ``key``, which is over, got what is lent, and the file with them."""
    with contextlib.suppress(OSError), workspace.egress.open() as directory:
        content = directory.read(key + _LENT_SUFFIX, 2 * _MOST_BYTES)
        return (content or b"").count(b"\n"), workspace.egress.path / (key + _LENT_SUFFIX)
    return 0, workspace.egress.path


def collect(workspace: Workspace, key: str) -> None:
    """Turn the directory of the session ``key`` into a file of the project, and those of sessions that were cut off.

    The latter are recognised by their age and by having no record: one that begins has none for a moment.
    """
    with contextlib.suppress(OSError), workspace.state.open() as records, workspace.egress.open() as directory:
        for name in directory.names():
            with contextlib.suppress(OSError):
                is_cut_off = _is_old(directory, name) and not records.exists(name + liveness.SUFFIX)
                if not name.endswith(tuple(_KEPT.values())) and (name == key or is_cut_off):
                    _collect(directory, name)
        for suffix in _KEPT.values():
            files = [name for name in directory.names() if name.endswith(suffix)]
            files.sort(key=lambda name: directory.stat(name).st_mtime)
            for name in files[:-_MOST_SESSIONS]:
                directory.unlink(name)


def _is_old(directory: Directory, name: str) -> bool:
    return time.time() - directory.stat(name).st_mtime > _OLD_SECONDS


def _collect(directory: Directory, key: str) -> None:
    with directory.child(key) as own:
        for name, suffix in _KEPT.items():
            with contextlib.suppress(FileNotFoundError):
                own.rename(name, key + suffix, into=directory)
        for name in own.names():
            own.unlink(name)
    directory.rmdir(key)


def _read(directory: Directory, name: str) -> Iterator[Blocked]:
    """Yield the entries in the file of a session that is over, or in the directory of one that runs."""
    if name.endswith(_SUFFIX):
        content = directory.read(name, _MOST_BYTES)
    else:
        with directory.child(name) as own:
            content = own.read(_WRITTEN, _MOST_BYTES)
    with contextlib.suppress(ValueError, TypeError, LookupError, ArithmeticError, RecursionError):
        for entry in json.loads(content or b'{"blocked": []}')["blocked"]:
            yield Blocked(
                _text(entry["host"]), 0 if entry["reason"] == "dns" else int(entry["port"]), _text(entry["reason"]),
                _text(entry["first"]), _text(entry["last"]), int(entry["count"]),
            )  # fmt: skip


def _text(value: Any) -> str:
    return escape(str(value)[:_LONGEST])


def _merged(found: Iterable[Blocked]) -> Iterator[Blocked]:
    """Yield one entry for each host, port and reason."""
    same: dict[tuple[str, int, str], list[Blocked]] = {}
    for entry in found:
        same.setdefault((entry.host, entry.port, entry.reason), []).append(entry)
    for (host, port, reason), entries in same.items():
        first, last = min(entry.first for entry in entries), max(entry.last for entry in entries)
        yield Blocked(host, port, reason, first, last, sum(entry.times for entry in entries))
