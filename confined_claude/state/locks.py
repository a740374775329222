"""The data that all projects share: used by any number of sessions, or by one process that cleans it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ..console import say
from ..fs.directory import Location
from ..fs.lock import Lock

_LOCK = "shared-data"
_PATIENCE_SECONDS = 1.0


def locks_in(state: Location) -> Location:
    """Return the directory of <state> with the locks that stand for more than one project."""
    return state.at("locks")


@contextlib.contextmanager
def in_use(state: Location) -> Iterator[None]:
    """Keep the shared data from being cleaned until the end of the block or of this process."""
    with _lock(state) as lock:
        # Cleaning mostly takes a moment.
        if not lock.try_acquire(shared=True, seconds=_PATIENCE_SECONDS):
            say("Shared data is being cleaned; waiting for that to finish.")
            lock.acquire(shared=True)
        yield


@contextlib.contextmanager
def held_alone(state: Location) -> Iterator[bool]:
    """Keep sessions from starting until the end of the block; yield False, at once, if there are some."""
    with _lock(state) as lock:
        yield lock.try_acquire()


def _lock(state: Location) -> Lock:
    with locks_in(state).make() as directory:
        return Lock.make(directory, _LOCK)
