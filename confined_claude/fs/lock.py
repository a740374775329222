"""Locks: one on a file, held by a process while it lives, and the lock directories that Claude Code uses."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator

from ..errors import system_error
from .directory import Directory, Location

_POLL_SECONDS = 0.02
_STALE_SECONDS = 10.0
# Waiting this long is enough for any lock directory whose owner is gone.
LONGER_THAN_STALE_SECONDS = _STALE_SECONDS + 2


class Lock:
    """A lock (``flock``) on a file, not held at first. It ends when it is closed, and with the process."""

    def __init__(self, directory: Directory, name: str, flags: int) -> None:
        flags |= os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        self._path = directory.path / name
        self._fd = os.open(name, flags, 0o600, dir_fd=directory.fileno())

    @classmethod
    def make(cls, directory: Directory, name: str) -> Lock:
        """Return the lock on the file ``name``, which is made if it is missing. Raises ConfinedError."""
        try:
            return cls(directory, name, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise system_error("use", directory.path / name, error) from None

    @classmethod
    def open(cls, directory: Directory, name: str) -> Lock:
        """Return the lock on the file or directory ``name``. Raises OSError if it is missing."""
        try:
            return cls(directory, name, os.O_RDWR)  # what NFS wants of an exclusive lock
        except OSError:
            return cls(directory, name, os.O_RDONLY)

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        os.close(self._fd)

    def acquire(self, *, shared: bool = False) -> None:
        """Wait for the lock, which can be ``shared`` with others that want no more."""
        fcntl.flock(self._fd, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)

    def try_acquire(self, *, shared: bool = False, seconds: float = 0.0) -> bool:
        """Wait for the lock for at most ``seconds``, and return whether it is held."""
        deadline = time.monotonic() + seconds
        while True:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(self._fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
                return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_SECONDS)

    def is_in_place(self) -> bool:
        """Return whether the file is still at its path: its last owner may have removed it, or moved its directory."""
        try:
            return os.path.samestat(self._path.lstat(), os.fstat(self._fd))
        except OSError:
            return False


def is_held(directory: Directory, name: str) -> bool:
    """Return whether a process holds the exclusive lock on ``name``; False if that is missing."""
    try:
        with Lock.open(directory, name) as lock:
            # Shared, so that two who ask do not take each other for the owner.
            return not lock.try_acquire(shared=True)
    except OSError:
        return False


@contextlib.contextmanager
def locked(location: Location, name: str) -> Iterator[Directory]:
    """Make ``location``, and open it for the block, in which this process alone holds the lock on ``name`` in it.

    Raises ConfinedError. A directory that is removed meanwhile is made again.
    """
    while True:
        with location.make() as directory, contextlib.ExitStack() as stack:
            try:
                lock = stack.enter_context(Lock(directory, name, os.O_RDWR | os.O_CREAT))
            except FileNotFoundError:  # no file can be made in a directory that has been removed
                continue
            except OSError as error:
                raise system_error("use", directory.path / name, error) from None
            lock.acquire()
            if lock.is_in_place():
                yield directory
                return


@contextlib.contextmanager
def lock_directory(
    directory: Directory, name: str, seconds: float = 3.0, stale: float = _STALE_SECONDS
) -> Iterator[bool]:
    """Hold the lock directory ``name`` for the block; yield False if it could not be had within ``seconds``.

    This is the protocol of the npm package proper-lockfile, which Claude Code uses: the lock is a directory, stale
    once it has not been touched for ``stale`` seconds. One dated that far in the future is stale as well.
    """
    deadline = time.monotonic() + seconds
    held = False
    while not held:
        try:
            directory.mkdir(name)
            held = True
        except FileExistsError:
            with contextlib.suppress(OSError):
                if abs(time.time() - directory.stat(name).st_mtime) > stale:
                    directory.rmdir(name)
                    continue
            if time.monotonic() > deadline:
                break
            time.sleep(_POLL_SECONDS)
        except OSError:
            break
    try:
        yield held
    finally:
        if held:
            with contextlib.suppress(OSError):
                directory.rmdir(name)


def remove_locks_of_the_future(directory: Directory) -> None:
    """Remove the lock directories in ``directory`` that are dated in the future: proper-lockfile never takes them over.

    They are left by a clock that was ahead. What is no empty directory stays.
    """
    with contextlib.suppress(OSError):
        for name in directory.names():
            if name.endswith(".lock") and directory.is_directory(name):
                with contextlib.suppress(OSError):
                    if directory.stat(name).st_mtime - time.time() > _STALE_SECONDS:
                        directory.rmdir(name)
