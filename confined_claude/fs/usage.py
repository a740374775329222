"""What directories and files take on disk.

A session may have written what is in them, also at this moment: no link is followed, no other file system is entered
and nothing but directories is opened. du cannot do it: it reports nothing before its end, and one that is asked for
many directories counts a file with several names in one of them alone.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from rich.filesize import decimal

from ..background import Background
from .directory import Directory, Location

Key = TypeVar("Key", bound=Hashable)

# As the system counts st_blocks, whatever the file system's own blocks are.
BLOCK = 512
# As many directories are open at once in each thread; what is deeper counts as unreadable.
_DEEPEST = 64
_CLOCK_EVERY = 1024
_SECONDS = 5.0
# With a fast disk one thread is faster than many; one that hangs must not keep the others waiting.
_PATIENCE_SECONDS = 0.05
_MOST_THREADS = 16


class Size(NamedTuple):
    """Bytes on disk; more than that if the time was up, or at least that if directories could not be read.

    ``is_there`` says whether the trusted base of the location is.
    """

    bytes: int = 0
    unreadable: int = 0
    is_cut_off: bool = False
    is_there: bool = True

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left out."""
        return not (self.unreadable or self.is_cut_off)

    def __add__(self, other: Size) -> Size:  # type: ignore[override]  # no tuple is put after another
        return Size(
            self.bytes + other.bytes,
            self.unreadable + other.unreadable,
            self.is_cut_off or other.is_cut_off,
            self.is_there and other.is_there,
        )


def measure(
    wanted: Mapping[Key, Sequence[Location]],
    *,
    seconds: float = _SECONDS,
    waiting: Callable[[int, int], None] | None = None,
) -> dict[Key, tuple[Size, ...]]:
    """Return what each of the ``wanted`` locations takes, by key and in the same order, after ``seconds`` at most.

    A file with several names counts once under each key, where it is met first. ``waiting`` is called about every
    50 ms with the number of keys that are done and that of all.
    """
    deadline = time.monotonic() + seconds
    trees = {key: _trees(locations, deadline) for key, locations in wanted.items()}
    todo = deque(trees.values())
    done: list[None] = []
    finished = threading.Event()

    def work() -> None:
        with contextlib.suppress(IndexError, _Stopped):
            while time.monotonic() < deadline:
                for tree in todo.popleft():
                    tree.add_up()
                done.append(None)
                if len(done) == len(trees):
                    finished.set()

    threads, seen = 0, 0
    while len(done) < len(trees) and (left := deadline - time.monotonic()) > 0:
        if len(done) == seen and todo and threads < _MOST_THREADS:
            threads += 1
            Background(work)
        seen = len(done)
        if not finished.wait(min(_PATIENCE_SECONDS, left)) and waiting is not None:
            waiting(len(done), len(trees))
    return {key: tuple(tree.size for tree in found) for key, found in trees.items()}


def _trees(locations: Sequence[Location], deadline: float) -> list[_Tree]:
    names_seen: set[tuple[int, int]] = set()
    return [_Tree(location, names_seen, deadline) for location in locations]


class _Stopped(Exception):
    """The time is up."""


class _Tree:
    """The sum of what is below a location, so far; ``names_seen`` has the files with several names that are in it."""

    def __init__(self, location: Location, names_seen: set[tuple[int, int]], deadline: float) -> None:
        self._location = location
        self._names_seen = names_seen
        self._deadline = deadline
        self._device = 0
        self._count = 0
        self._bytes = 0
        self._unreadable = 0
        self._is_done = False
        self._is_there = True

    @property
    def size(self) -> Size:
        return Size(self._bytes, self._unreadable, not self._is_done, self._is_there)

    def add_up(self) -> None:
        """Add everything. Raises _Stopped once the time is up."""
        try:
            with self._location.open() as directory:
                self._device = directory.stat().st_dev
                self._add(directory, 0)
        except (FileNotFoundError, NotADirectoryError):  # a link is no directory either
            self._is_there = self._location.base.is_dir()
            self._add_itself()
        except OSError:
            self._unreadable += 1
        self._is_done = True

    def _add_itself(self) -> None:
        """Add the location, if it is there and no directory."""
        with contextlib.suppress(OSError):
            if self._location.parts:
                with self._location.parent.open() as directory:
                    status = directory.stat(self._location.name)
                    self._device = status.st_dev
                    self._add_file(status)

    def _add(self, directory: Directory, depth: int) -> None:
        status = directory.stat()
        if status.st_dev != self._device:
            return
        self._bytes += status.st_blocks * BLOCK
        directories = self._add_files(directory)
        if depth == _DEEPEST:
            self._unreadable += len(directories)
            return
        for name in directories:
            try:
                inner = directory.child(name)
            except (FileNotFoundError, NotADirectoryError):
                continue  # it is gone, or something else by now
            except OSError:
                self._unreadable += 1
                continue
            with inner:
                self._add(inner, depth + 1)

    def _add_files(self, directory: Directory) -> list[str]:
        """Add whatever is no directory, and return the names of what is."""
        directories = []
        try:
            with directory.entries() as entries:
                for entry in entries:
                    self._count += 1
                    if not self._count % _CLOCK_EVERY and time.monotonic() > self._deadline:
                        raise _Stopped
                    if entry.is_dir(follow_symlinks=False):
                        directories.append(entry.name)
                        continue
                    with contextlib.suppress(FileNotFoundError):
                        self._add_file(entry.stat(follow_symlinks=False))
        except OSError:
            self._unreadable += 1
        return directories

    def _add_file(self, status: os.stat_result) -> None:
        if status.st_dev != self._device:
            return
        if status.st_nlink > 1:
            identity = (status.st_dev, status.st_ino)
            if identity in self._names_seen:
                return
            self._names_seen.add(identity)
        self._bytes += status.st_blocks * BLOCK


def in_words(size: Size) -> str:
    """Return a size for people: ``0 bytes``, ``1.2 MB``, ``more than 3.4 GB`` where the time was up."""
    text = decimal(size.bytes)
    if size.is_cut_off:
        return f"more than {text}"
    return f"at least {text}" if size.unreadable else text
