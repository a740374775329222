"""Deletion below a directory that a container can write.

No link is followed, including one that is put in place meanwhile, and what is mounted stays with everything in it.
GNU rm cannot do it: with --one-file-system it still empties a bind mount of the same file system, and it leaves
directories to which their owner has no permission.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from pathlib import Path
from typing import NamedTuple

from .directory import PRIVATE, Directory, Location

_TRASH = re.compile(r"\.removed-[0-9a-f]{12}")
_NOT_EMPTY = (errno.ENOTEMPTY, errno.EEXIST)
# What is deeper is moved up before it is deleted, so that no more directories are open at once.
_DEEPEST = 24
_ATTEMPTS = 8
_LONGEST_PATH = 200


class Leftover(NamedTuple):
    """What could not be deleted: the number of entries, the path of the first of them, and the reason."""

    number: int = 0
    first: str = ""
    reason: str = ""

    @classmethod
    def of(cls, path: Path, error: OSError) -> Leftover:
        """Return the leftover if ``path`` cannot be deleted."""
        reason = "something is mounted there" if error.errno == errno.EBUSY else error.strerror or str(error)
        first = str(path)
        return cls(1, first if len(first) <= _LONGEST_PATH else f"{first[:_LONGEST_PATH]}…", reason)

    def __add__(self, other: Leftover) -> Leftover:  # type: ignore[override]  # no tuple is put after another
        first = self if self.number else other
        return Leftover(self.number + other.number, first.first, first.reason)


def discard(directory: Directory, name: str, trash: Directory | None = None) -> Leftover:
    """Take ``name`` out of use at once, and return what could not be.

    A directory is only moved, to the trash in ``trash`` or in ``directory`` itself; ``empty_trash`` can take its time.
    Anything else is deleted, and so is a directory that cannot be moved.
    """
    if directory.is_directory(name):
        with contextlib.suppress(OSError):
            _move_to_trash(directory, name, trash or directory)
            return Leftover()
    return remove_tree(directory, name)


def trash_in(directory: Directory) -> list[str]:
    """Return the names of what was moved to the trash in ``directory`` and is not deleted yet."""
    return sorted(filter(_TRASH.fullmatch, directory.names()))


def empty_trash(directory: Directory) -> Leftover:
    """Delete all that was moved to the trash in ``directory``, as ``remove_tree`` does."""
    return sum((remove_tree(directory, name) for name in trash_in(directory)), Leftover())


def remove_tree(directory: Directory, name: str) -> Leftover:
    """Delete ``name`` with all in it, however deep, and return what is left of it.

    Directories that lack permissions are given them. What is already gone counts as deleted. If this is interrupted,
    parts from far below may be in the trash of ``directory``.
    """
    return _Removal(directory).remove(name)


def remove_place(location: Location) -> None:
    """Delete the directory ``location``, if it is there, as ``remove_tree`` does."""
    with contextlib.suppress(OSError), location.parent.open() as parent:
        remove_tree(parent, location.name)


def trash_name() -> str:
    """Return a new name in the trash: also for what is not whole yet, so that nothing else is left if it never is."""
    return f".removed-{os.urandom(6).hex()}"


def _move_to_trash(directory: Directory, name: str, into: Directory) -> str:
    new = trash_name()
    try:
        directory.rename(name, new, into)
    except PermissionError:
        # A directory that gets another parent is written to.
        _opened_up(directory, name).close()
        directory.rename(name, new, into)
    return new


class _Removal:
    """The deletion of one tree."""

    def __init__(self, base: Directory) -> None:
        self._base = base
        self._in_base: list[str] = []
        self._leftover = Leftover()

    def remove(self, name: str) -> Leftover:
        self._in_base.append(name)
        while self._in_base:
            self._remove(self._base, self._in_base.pop(), 0)
        return self._leftover

    def _remove(self, directory: Directory, name: str, depth: int) -> None:
        """Delete an entry, whatever it is by now, or count it among what is left."""
        before = self._leftover.number
        for _ in range(_ATTEMPTS):
            try:
                try:
                    # Before anything else: the system refuses a mount point, whatever is in it.
                    directory.rmdir(name)
                except NotADirectoryError:
                    directory.unlink(name)
                return
            except FileNotFoundError:
                return
            except IsADirectoryError as error:
                reason: OSError = error  # it has just become one
            except OSError as error:
                if self._leftover.number > before:
                    return  # which is in it
                if error.errno not in _NOT_EMPTY:
                    self._leave(directory, name, error)
                    return
                reason = error
                self._clear(directory, name, depth)
        self._leave(directory, name, reason)

    def _clear(self, directory: Directory, name: str, depth: int) -> None:
        """Delete everything in the directory ``name``, or move that up."""
        try:
            if depth == _DEEPEST:
                self._in_base.append(_move_to_trash(directory, name, self._base))
                return
            with _opened_up(directory, name) as inner:
                self._delete_entries(inner, depth + 1)
        except (FileNotFoundError, NotADirectoryError):
            pass  # it is something else by now
        except OSError as error:
            if error.errno != errno.ELOOP:
                self._leave(directory, name, error)

    def _delete_entries(self, directory: Directory, depth: int) -> None:
        directories = []
        with directory.entries() as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    directories.append(entry.name)
                    continue
                try:
                    directory.unlink(entry.name)
                except OSError:
                    self._remove(directory, entry.name, depth)
        for name in directories:
            self._remove(directory, name, depth)

    def _leave(self, directory: Directory, name: str, error: OSError) -> None:
        self._leftover += Leftover.of(directory.path / name, error)


def _opened_up(directory: Directory, name: str) -> Directory:
    """Open the directory ``name``, in which its owner may do anything from now on.

    Raises OSError, also for a directory on another file system.
    """
    device = directory.stat().st_dev
    try:
        inner = directory.child(name)
    except PermissionError:
        _permit(directory, name, device)
        inner = directory.child(name)
    try:
        status = inner.stat()
        if status.st_dev != device:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        if status.st_mode & PRIVATE != PRIVATE:
            with contextlib.suppress(OSError):  # another owner's: whatever can be deleted in it will be
                os.fchmod(inner.fileno(), PRIVATE)
    except BaseException:
        inner.close()
        raise
    return inner


def _permit(directory: Directory, name: str, device: int) -> None:
    """Give the owner of the directory ``name``, which cannot be opened, all permissions. Raises OSError."""
    if not hasattr(os, "O_PATH"):
        os.chmod(name, PRIVATE, dir_fd=directory.fileno(), follow_symlinks=False)
        return
    flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, dir_fd=directory.fileno())
    try:
        if os.fstat(fd).st_dev == device:
            Path(f"/proc/self/fd/{fd}").chmod(PRIVATE)
    finally:
        os.close(fd)
