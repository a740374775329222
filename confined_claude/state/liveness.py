"""Which sessions have an owner: the process that started or joined one holds the lock on its record while it lives."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ..fs.directory import Directory, Location
from ..fs.lock import Lock, is_held
from .store import PROJECTS

_CHECK_SECONDS = 0.1  # a process that only asks for the owner holds the lock for far less
SUFFIX = ".session"  # of the record of a session, whose name is the session's key


def sessions(records: Directory) -> list[tuple[str, bool]]:
    """Return (key, whether it has an owner) of every session in a project's ``records``."""
    names = sorted(name for name in records.names() if name.endswith(SUFFIX))
    return [(name.removesuffix(SUFFIX), is_held(records, name)) for name in names]


def has_owner(records: Location, key: str) -> bool:
    """Return whether the process that started the session ``key`` of a project is still there."""
    try:
        with records.open() as directory:
            return is_held(directory, key + SUFFIX)
    except OSError:
        return False


def keys_without_owner(state: Location) -> Iterator[str]:
    """Yield the keys of sessions on record, of all projects, whose process is gone."""
    with contextlib.suppress(OSError), state.at(PROJECTS).open() as projects:
        for project_id in projects.names():
            with contextlib.suppress(OSError), projects.child(project_id) as records:
                yield from (key for key, is_owned in sessions(records) if not is_owned)


def own(records: Directory, key: str) -> Lock:
    """Become the owner of a session just recorded, until the lock is closed. Raises OSError."""
    lock = Lock.open(records, key + SUFFIX)
    lock.acquire()
    return lock


def take_over(records: Directory, key: str) -> Lock | None:
    """Become the owner of a session on record; return None if there is no such session, or if it has an owner."""
    try:
        lock = Lock.open(records, key + SUFFIX)
    except OSError:
        return None
    if lock.try_acquire(seconds=_CHECK_SECONDS):
        return lock
    lock.close()
    return None
