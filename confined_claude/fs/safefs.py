"""The old functions on file descriptors, until their last callers use ``Directory``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from ..errors import system_error
from .directory import Directory, Location
from .lock import lock_directory
from .removal import trash_in

_LOCK_SECONDS = 3.0
Place = Location
cannot = system_error


@contextlib.contextmanager
def open_folder(base: Path, *names: str, mode: int = 0o700) -> Iterator[int]:
    with Location(base, names).make(mode) as directory:
        yield directory.fileno()


@contextlib.contextmanager
def opened(base: Path, *names: str) -> Iterator[int]:
    with Location(base, names).open() as directory:
        yield directory.fileno()


@contextlib.contextmanager
def entered(folder: int, name: str) -> Iterator[int]:
    with _directory(folder).child(name) as directory:
        yield directory.fileno()


def read(folder: int, name: str, limit: int = 16 << 20) -> bytes | None:
    return _directory(folder).read(name, limit)


def exists(folder: int, name: str) -> bool:
    return _directory(folder).exists(name)


def write(folder: int, name: str, content: bytes, mode: int = 0o600) -> None:
    _directory(folder).write(name, content, mode)


def folder_lock(folder: int, name: str) -> contextlib.AbstractContextManager[bool]:
    return lock_directory(_directory(folder), name, _LOCK_SECONDS)


def are_aside(folder: int) -> list[str]:
    return trash_in(_directory(folder))


def _directory(fd: int) -> Directory:
    return Directory(fd, "")
