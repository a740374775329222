"""The bounds of a scan: time, depth, entries, bytes read, memory. What is beyond them is noted in the snapshot.

No link is followed and no FIFO opened. Sessions may still write meanwhile, so every step starts from an open directory.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import time
from collections.abc import Iterator
from typing import cast

from ..fs.directory import Directory
from ..project.boundaries import NAMES
from ..text import all_folded, folded
from .rules import CONDA_MARK, VENV_MARK
from .snapshot import MAX_SIZE, TOO_DEEP, TOO_FULL, TOO_LONG, TOO_MUCH, CutShort, Item, Kind, Snapshot

MAX_FILE_BYTES = 4 << 20
_MAX_TOTAL_BYTES = 64 << 20
_MAX_DEPTH = 100
_MAX_ENTRIES = 500_000
_MAX_ALL_ENTRIES = 4_000_000
_MAX_SECONDS = 30.0
_EXECUTABLE = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH
_ENTRIES_PER_CLOCK = 4096

# Names that are looked for in what a directory lists. Some file systems list another spelling of them than git finds.
_SPELLINGS = {
    folded(name): name
    for name in (
        *(*NAMES, VENV_MARK, CONDA_MARK),
        *"""HEAD ORIG_HEAD FETCH_HEAD MERGE_HEAD CHERRY_PICK_HEAD REVERT_HEAD REBASE_HEAD BISECT_HEAD AUTO_MERGE
        MERGE_AUTOSTASH BISECT_EXPECTED_REV NOTES_MERGE_PARTIAL NOTES_MERGE_REF config config.worktree commondir index
        packed-refs hooks refs replace modules worktrees remotes branches objects lfs annex info attributes exclude
        grafts alternates http-alternates rebase-merge rebase-apply sequencer lazygit.yml""".split(),
    )
}


class _Spelled:
    """An entry of a directory, under another name that leads to it too."""

    def __init__(self, entry: os.DirEntry[str], name: str) -> None:
        self.name = name
        self.is_dir, self.is_file, self.is_symlink = entry.is_dir, entry.is_file, entry.is_symlink
        self.stat, self.inode = entry.stat, entry.inode


def _spelled(directory: Directory, entry: os.DirEntry[str]) -> os.DirEntry[str]:
    """Return an entry under the name by which it is looked for, another spelling of its own, if it is found by that."""
    name = _SPELLINGS[folded(entry.name)]
    if name != entry.name:
        with contextlib.suppress(OSError):
            if directory.stat(name).st_ino == entry.inode():
                return cast("os.DirEntry[str]", _Spelled(entry, name))
    return entry


class Walk:
    """One scan in progress: its bounds, and the snapshot that it fills."""

    def __init__(self) -> None:
        self.snapshot = Snapshot()
        self._bytes_left = _MAX_TOTAL_BYTES
        self._entries_left = _MAX_ALL_ENTRIES
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
                        self.check(path)
                        if len(found) > _MAX_ENTRIES:
                            self.add_unscanned(path, TOO_FULL)
                            return []
        except OSError as error:
            self.add_unscanned(path, str(error.strerror))
            return []
        self._entries_left -= len(found)
        self.check(path)
        lowered = all_folded([entry.name for entry in found])
        if _SPELLINGS.keys().isdisjoint(lowered):  # as in most directories
            return found
        return [
            _spelled(directory, entry) if lower in _SPELLINGS else entry
            for entry, lower in zip(found, lowered, strict=True)
        ]

    def check(self, path: str, more_bytes: int = 0) -> None:
        """Raise CutShort if the scan takes too long, or too much memory with ``more_bytes`` beside the snapshot."""
        if time.monotonic() > self._deadline:
            raise CutShort(path, TOO_LONG)
        if self.snapshot.size + more_bytes > MAX_SIZE or self._entries_left < 0:
            raise CutShort(path, TOO_MUCH)

    def read(self, directory: Directory, name: str, limit: int = MAX_FILE_BYTES) -> bytes | None:
        """Return the content of a file; None if it has more than ``limit`` bytes, or all files together have too many.

        Raises CutShort.
        """
        self.check(str(directory.path))
        content = directory.read(name, min(limit, self._bytes_left))
        if content is not None:
            self._bytes_left -= len(content)
        return content

    def head(self, directory: Directory, name: str, limit: int) -> bytes:
        """Return the start of a file, at most ``limit`` bytes, or what all files together may have. Raises CutShort."""
        self.check(str(directory.path))
        content = b"".join(directory.head(name, min(limit, self._bytes_left)))
        self._bytes_left -= len(content)
        return content

    @contextlib.contextmanager
    def enter(self, directory: Directory, name: str, path: str, depth: int) -> Iterator[Directory | None]:
        """Open the directory ``name`` for the block; yield None, after noting that, where it cannot be opened."""
        inner = None
        if depth >= _MAX_DEPTH:
            self.add_unscanned(path, TOO_DEEP)
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

    def add_file(self, directory: Directory, path: str, kind: Kind = Kind.FILE, max_bytes: int | None = None) -> None:
        """Note the content of a file; if it is larger than ``max_bytes``, or one too many, when it last changed."""
        name = path.rpartition("/")[2]
        content = self.read(directory, name, max_bytes or MAX_FILE_BYTES)
        try:
            status = directory.stat(name)
        except OSError:
            return
        if stat.S_ISLNK(status.st_mode):
            return  # noted as such
        if content is not None:
            digest = script_digest(content, status.st_mode) if content.startswith(b"#!") else None
            self.snapshot.add(path, kind, content, shared=status.st_nlink > 1, digest=digest)
            return
        self.snapshot.put(path, Item(kind, hashlib.sha256(_identity(status)).hexdigest()))

    def read_or_identify(self, directory: Directory, name: str) -> bytes:
        """Return the content of a file, or what changes with it if it cannot be read whole. Raises OSError."""
        content = self.read(directory, name)
        return _identity(directory.stat(name)) if content is None else content


def script_digest(content: bytes, mode: int) -> str:
    """Return the digest of a script, which is another one if nobody may execute it: git passes over such a hook."""
    return hashlib.sha256(content if mode & _EXECUTABLE else b"%b\0not executable" % content).hexdigest()


def _identity(status: os.stat_result) -> bytes:
    """Return the mode of a file; for a regular one also its size, inode and last change."""
    identity = str(status.st_mode)
    if stat.S_ISREG(status.st_mode):
        identity += f" {status.st_size} {status.st_ino} {status.st_ctime_ns}"
    return identity.encode()
