"""What folders take on disk.

A session may have written what is in them, at this very moment too: no link is followed, no other file system
entered, nothing opened but folders, and neither depth nor number uses up handles or the stack.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from rich.filesize import decimal

from . import safefs
from .safefs import Place

Key = TypeVar("Key", bound=Hashable)

# As the system counts st_blocks, whatever the file system's own blocks are.
_BLOCK = 512
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_HANDLES = 32
_CLOCK_EVERY = 1024
_SECONDS = 5.0
# With a fast disk one thread is faster than many; one that hangs must not keep the others waiting.
_PATIENCE_SECONDS = 0.05
_MOST_THREADS = 32


@dataclass(frozen=True)
class Size:
    """Bytes on disk; more than that if the time was up, or at least that if folders could not be read.

    ``is_there`` says whether the trusted folder is, below which it was looked for.
    """

    bytes: int = 0
    unreadable: int = 0
    is_cut_off: bool = False
    is_there: bool = True

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left out."""
        return not (self.unreadable or self.is_cut_off)

    def __add__(self, other: Size) -> Size:
        return Size(
            self.bytes + other.bytes,
            self.unreadable + other.unreadable,
            self.is_cut_off or other.is_cut_off,
            self.is_there and other.is_there,
        )


def measured(
    wanted: Mapping[Key, Sequence[Place]],
    *,
    seconds: float = _SECONDS,
    waiting: Callable[[int, int], None] | None = None,
) -> dict[Key, tuple[Size, ...]]:
    """What each of the ``wanted`` places takes, by the same keys and in the same order, after ``seconds`` at most.

    A file with several names counts once under each key, where it is met first. ``waiting`` is
    told about ten times a second how many keys of how many are done.
    """
    sums = {key: _Sum(places) for key, places in wanted.items()}
    deadline = time.monotonic() + seconds
    pool = _Pool(list(sums.values()), deadline)
    while (left := deadline - time.monotonic()) > 0 and not pool.wait(min(_PATIENCE_SECONDS, left)):
        if waiting is not None:
            waiting(pool.done, len(sums))
    return {key: found.sizes() for key, found in sums.items()}


class _Pool:
    """Threads that work on sums: one more for each moment in which none was finished."""

    def __init__(self, sums: Sequence[_Sum], deadline: float) -> None:
        self.done = 0
        self._number = len(sums)
        self._deadline = deadline
        self._threads = 0
        self._seen = 0
        self._finished = threading.Event()
        self._lock = threading.Lock()
        self._queue: queue.SimpleQueue[_Sum] = queue.SimpleQueue()
        for item in sums:
            self._queue.put(item)
        if not sums:
            self._finished.set()
        self._add_thread()

    def wait(self, seconds: float) -> bool:
        """Whether all is done, within ``seconds``."""
        if self._finished.wait(seconds):
            return True
        if self.done == self._seen:
            self._add_thread()
        self._seen = self.done
        return False

    def _add_thread(self) -> None:
        if self._threads < _MOST_THREADS and not self._queue.empty():
            self._threads += 1
            # Whoever hangs in the system's arms must not keep the process from its end.
            threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        while time.monotonic() < self._deadline:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return
            item.add_up(self._deadline)
            with self._lock:
                self.done += 1
                if self.done == self._number:
                    self._finished.set()


class _Stopped(Exception):
    """The time is up."""


class _Sum:
    """The size of some places, so far."""

    def __init__(self, places: Sequence[Place]) -> None:
        self._places = places
        self._bytes = [0] * len(places)
        self._unreadable = [0] * len(places)
        self._is_done = [False] * len(places)
        self._is_there = [True] * len(places)
        self._names_seen: set[tuple[int, int]] = set()
        self._deadline = 0.0
        self._count = 0

    def sizes(self) -> tuple[Size, ...]:
        return tuple(
            Size(found, unreadable, not done, there)
            for found, unreadable, done, there in zip(
                self._bytes, self._unreadable, self._is_done, self._is_there, strict=True
            )
        )

    def add_up(self, deadline: float) -> None:
        self._deadline = deadline
        for number, place in enumerate(self._places):
            try:
                self._add_place(number, place)
            except _Stopped:
                return
            self._is_done[number] = True

    def _add_place(self, number: int, place: Place) -> None:
        there = False
        try:
            with contextlib.ExitStack() as opened:
                handle = opened.enter_context(safefs.opened(place.base))
                there = True
                for name in place.parts:
                    handle = opened.enter_context(safefs.entered(handle, name))
                self._add_tree(number, os.dup(handle))
        except (FileNotFoundError, NotADirectoryError):
            self._is_there[number] = there  # a link is no folder either; it takes nothing that is ours
        except OSError:
            self._unreadable[number] += 1

    def _add_tree(self, number: int, handle: int) -> None:
        """Add all below the open folder ``handle``, which is closed at the end.

        Of the folders on the way down to the present one only the last few are open; from there on
        the way back is through ``..``, as far as that still leads there.
        """
        way = [_Folder(handle, os.fstat(handle))]
        device = way[0].status.st_dev
        self._bytes[number] += way[0].status.st_blocks * _BLOCK
        try:
            self._add_entries(number, way[0], device)
            while way:
                folder = way[-1]
                if not folder.inner:
                    way.pop()
                    if way and way[-1].handle < 0:
                        self._go_back(number, folder, way[-1])
                    folder.close()
                    continue
                if (inner := self._entered(number, folder, folder.inner.pop(), device)) is not None:
                    way.append(inner)
                    if len(way) > _HANDLES:
                        way[-1 - _HANDLES].close()
                    self._add_entries(number, inner, device)
        finally:
            for folder in way:
                folder.close()

    def _entered(self, number: int, folder: _Folder, name: str, device: int) -> _Folder | None:
        """The folder ``name`` in ``folder``, opened and added; None if it is gone, or not to be entered."""
        try:
            handle = os.open(name, _OPEN, dir_fd=folder.handle)
        except (FileNotFoundError, NotADirectoryError):
            return None  # gone meanwhile, or something else by now
        except OSError:
            self._unreadable[number] += 1
            return None
        status = os.fstat(handle)
        if status.st_dev != device:
            os.close(handle)
            return None
        self._bytes[number] += status.st_blocks * _BLOCK
        return _Folder(handle, status)

    def _go_back(self, number: int, folder: _Folder, parent: _Folder) -> None:
        """Open ``parent`` again from ``folder`` in it; its other folders are left out if that was moved away."""
        with contextlib.suppress(OSError):
            parent.handle = os.open("..", _OPEN, dir_fd=folder.handle)
            if os.path.samestat(os.fstat(parent.handle), parent.status):
                return
        # Further up it is reached from there no better.
        self._unreadable[number] += len(parent.inner)
        parent.inner.clear()

    def _add_entries(self, number: int, folder: _Folder, device: int) -> None:
        """Add what is no folder in an open folder, and note the folders that are."""
        try:
            with os.scandir(folder.handle) as entries:
                for entry in entries:
                    self._count += 1
                    if not self._count % _CLOCK_EVERY and time.monotonic() > self._deadline:
                        raise _Stopped
                    if entry.is_dir(follow_symlinks=False):
                        folder.inner.append(entry.name)
                        continue
                    with contextlib.suppress(OSError):  # gone meanwhile
                        self._add_file(number, entry.stat(follow_symlinks=False), device)
        except OSError:
            self._unreadable[number] += 1

    def _add_file(self, number: int, status: os.stat_result, device: int) -> None:
        if status.st_dev != device:
            return
        if status.st_nlink > 1:
            identity = (status.st_dev, status.st_ino)
            if identity in self._names_seen:
                return
            self._names_seen.add(identity)
        self._bytes[number] += status.st_blocks * _BLOCK


class _Folder:
    """A folder on the way down: its handle, -1 while closed, and the folders in it that are still to come."""

    def __init__(self, handle: int, status: os.stat_result) -> None:
        self.handle = handle
        self.status = status
        self.inner: list[str] = []

    def close(self) -> None:
        if self.handle >= 0:
            os.close(self.handle)
            self.handle = -1


def in_words(size: Size) -> str:
    """A size for people: ``0 bytes``, ``1.2 MB``, ``more than 3.4 GB`` where the time was up."""
    text = decimal(size.bytes)
    if size.is_cut_off:
        return f"more than {text}"
    return f"at least {text}" if size.unreadable else text
