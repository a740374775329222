"""The bounds of a scan: time, depth, number of entries, bytes read. What is beyond them is noted in the snapshot.

No link is followed and no FIFO opened. Sessions may still write meanwhile, so every step starts from an open directory.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import time
from collections.abc import Iterator

from ..fs.directory import Directory
from .snapshot import Item, Kind, Snapshot

MAX_FILE_BYTES = 4 << 20
_MAX_TOTAL_BYTES = 64 << 20
_MAX_DEPTH = 100
_MAX_ENTRIES = 500_000
_MAX_SECONDS = 30.0
_ENTRIES_PER_CLOCK = 4096


class TimedOut(Exception):
    """The scan took too long. The argument is the path where it was."""


class Walk:
    """One scan in progress: its bounds, and the snapshot that it fills."""

    def __init__(self) -> None:
        self.snapshot = Snapshot()
        self._bytes_left = _MAX_TOTAL_BYTES
        self._deadline = time.monotonic() + _MAX_SECONDS

    def add_unscanned(self, path: str, reason: str) -> None:
        """Note that ``path`` could not be scanned."""
        self.snapshot.add(path.rstrip("/") or ".", Kind.UNSEEN, reason.encode())

    def entries(self, directory: Directory, path: str) -> list[os.DirEntry[str]]:
        """Return the entries of a directory; none, after noting that, where not all can be read."""
        found: list[os.DirEntry[str]] = []
        try:
            with directory.entries() as listing:
                for entry in listing:
                    found.append(entry)
                    if not len(found) % _ENTRIES_PER_CLOCK:
                        self.check_clock(path)
                        if len(found) > _MAX_ENTRIES:
                            self.add_unscanned(path, f"it holds more than {_MAX_ENTRIES} files")
                            return []
        except OSError as error:
            self.add_unscanned(path, str(error.strerror))
            return []
        self.check_clock(path)
        return found

    def check_clock(self, path: str) -> None:
        """Raise TimedOut if the scan takes too long."""
        if time.monotonic() > self._deadline:
            raise TimedOut(path)

    @contextlib.contextmanager
    def enter(self, directory: Directory, name: str, path: str, depth: int) -> Iterator[Directory | None]:
        """Open the directory ``name`` for the block; yield None, after noting that, where it cannot be opened."""
        inner = None
        if depth >= _MAX_DEPTH:
            self.add_unscanned(path, "it is nested too deep")
        else:
            try:
                inner = directory.child(name)
            except FileNotFoundError:
                pass  # removed meanwhile
            except OSError as error:
                self.add_unscanned(path, str(error.strerror))
        try:
            yield inner
        finally:
            if inner is not None:
                inner.close()

    def add_file(self, directory: Directory, path: str, kind: Kind = Kind.FILE) -> None:
        """Note the content of a file; if it is too large, or one too many, when it last changed."""
        name = path.rpartition("/")[2]
        content = directory.read(name, min(MAX_FILE_BYTES, self._bytes_left))
        try:
            status = directory.stat(name)
        except OSError:
            return
        if stat.S_ISLNK(status.st_mode):
            return  # noted as such
        if content is not None:
            self._bytes_left -= len(content)
            self.snapshot.add(path, kind, content, shared=status.st_nlink > 1)
            return
        identity = str(status.st_mode)
        if stat.S_ISREG(status.st_mode):
            identity += f" {status.st_size} {status.st_ino} {status.st_ctime_ns}"
        self.snapshot.items[path] = Item(kind, hashlib.sha256(identity.encode()).hexdigest())
