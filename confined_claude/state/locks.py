"""The data that all projects share: in use by any number of sessions, or held by one that cleans it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator

from ..console import say
from ..fs import safefs
from ..host import Host
from . import store as state

_FOLDER = "locks"
_LOCK = "shared-data"
_PATIENCE_SECONDS = 1.0
_POLL_SECONDS = 0.02


@contextlib.contextmanager
def in_use(host: Host) -> Iterator[None]:
    """Keep the shared data from being cleaned, until the end of the block or of this process."""
    handle = _opened(host)
    try:
        _share(handle)
        yield
    finally:
        os.close(handle)


def _share(handle: int) -> None:
    """Lock together with others; while somebody cleans this waits, mostly for a moment."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return
        time.sleep(_POLL_SECONDS)
    say("Somebody cleans what all projects share; waiting for the end of it.")
    fcntl.flock(handle, fcntl.LOCK_SH)


@contextlib.contextmanager
def held_alone(host: Host) -> Iterator[bool]:
    """Keep sessions from starting until the end of the block; yields False, at once, if there are some."""
    handle = _opened(host)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)


def _opened(host: Host) -> int:
    with state.made(host, _FOLDER) as folder:
        try:
            return os.open(_LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
        except OSError as error:
            raise safefs.cannot("use", host.state / _FOLDER / _LOCK, error) from None
