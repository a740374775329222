"""The only way to touch folders that a container can write: no link followed, atomic, private.

A container may leave a link, a FIFO or a huge file wherever it can write. Every function here
works below an open directory, refuses to follow links, and replaces files by rename.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import ConfinedError
from .directory import Location

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LOCK_SECONDS = 3.0
_LOCK_STALE_SECONDS = 10.0
# Whoever waits for so long gets any lock that nobody holds any more.
LONG_LOCK_SECONDS = _LOCK_STALE_SECONDS + 2
# What is to be deleted is called so from then on.
_ASIDE = re.compile(r"\.removed-[0-9a-f]{12}")
_PRIVATE = 0o700
# Folders open at once on the way down, and how often one that does not get empty is looked through.
_HANDLES = 32
_MOST_ROUNDS = 8
_MOST_SHOWN = 200


# Until its callers use the new name.
Place = Location


def refuse_link(path: Path) -> ConfinedError:
    return ConfinedError(
        f"{path} is a link, which could lead anywhere on this machine.",
        "Look at where it leads, remove it, and start again.",
    )


@contextlib.contextmanager
def open_folder(base: Path, *names: str, mode: int = 0o700) -> Iterator[int]:
    """An open directory handle of ``base/names...``, whose missing folders are made.

    ``base`` itself is trusted and made with its parents; below it no component may be a link.
    Raises ConfinedError for a link or a file in the way, and for what the system refuses.
    """
    path = base
    try:
        base.mkdir(mode=mode, parents=True, exist_ok=True)
        handle = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise cannot("use", base, error) from None
    try:
        for name in names:
            path = path / name
            try:
                inner = _made(name, handle, mode)
            except OSError as error:
                if is_link(name, handle):
                    raise refuse_link(path) from None
                raise cannot("use", path, error) from None
            os.close(handle)
            handle = inner
        yield handle
    finally:
        os.close(handle)


def _made(name: str, folder: int, mode: int) -> int:
    """A handle of the folder ``name`` in ``folder``, made if it is missing. Raises OSError, also for a link."""
    for _ in range(_MOST_ROUNDS):
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, mode, dir_fd=folder)
        with contextlib.suppress(FileNotFoundError):  # somebody has moved it away again
            return os.open(name, _DIRECTORY, dir_fd=folder)
    raise OSError(errno.EAGAIN, "it is taken away again and again")


@contextlib.contextmanager
def opened(base: Path, *names: str) -> Iterator[int]:
    """An open directory handle of ``base/names...``, none of whose ``names`` may be a link.

    Nothing is made. Raises OSError for a link among ``names`` and for what is no folder.
    """
    handle = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in names:
            inner = os.open(name, _DIRECTORY, dir_fd=handle)
            os.close(handle)
            handle = inner
        yield handle
    finally:
        os.close(handle)


@contextlib.contextmanager
def entered(folder: int, name: str) -> Iterator[int]:
    """An open directory handle of ``name`` in ``folder``. Raises OSError for a link, and for what is no folder."""
    handle = os.open(name, _DIRECTORY, dir_fd=folder)
    try:
        yield handle
    finally:
        os.close(handle)


def is_link(name: str, folder: int) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except OSError:
        return False


def refuse_links(folder: Path) -> None:
    """Raise ConfinedError if ``folder`` or anything directly in it is a link; missing is fine."""
    if folder.is_symlink():
        raise refuse_link(folder)
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_symlink():
                    raise refuse_link(Path(entry.path))
    except FileNotFoundError:
        return
    except OSError as error:
        raise cannot("read", folder, error) from None


def read(folder: int, name: str, limit: int = 16 << 20) -> bytes | None:
    """The content of a regular file in ``folder``; None if there is none.

    A link, a FIFO, a device or more than ``limit`` bytes count as none: the container made them.
    """
    try:
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return None
    return _content(handle, limit)


def exists(folder: int, name: str) -> bool:
    """Whether anything of that name is in ``folder``, a link to nowhere included."""
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def read_config(path: Path, limit: int = 1 << 20) -> str | None:
    """The text of a file that a person wrote; None if there is none.

    Raises ConfinedError if it cannot be read or is no file of a sensible size: it may stand where
    a session can write, and a FIFO must not hang the next start.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise cannot("read", path, error) from None
    content = _content(handle, limit)
    if content is None:
        raise ConfinedError(f"Cannot read {path}: it is no regular file of at most {limit} bytes.", "Remove it.")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise ConfinedError(f"Cannot read {path}: it is not UTF-8 text.", "Save it as UTF-8, or remove it.") from None


def _content(handle: int, limit: int) -> bytes | None:
    """What is in an open regular file of at most ``limit`` bytes, else None; closes ``handle``."""
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return None
        content = bytearray()
        while len(content) <= limit and (chunk := os.read(handle, 1 << 20)):
            content += chunk
    finally:
        os.close(handle)
    return None if len(content) > limit else bytes(content)


def head(folder: int, name: str, limit: int) -> Iterator[bytes]:
    """The lines at the start of a regular file in ``folder``, ``limit`` bytes at most; none if it is none."""
    try:
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return
    with open(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return
        while limit > 0 and (line := file.readline(limit)):
            limit -= len(line)
            yield line


def write(folder: int, name: str, content: bytes, mode: int = 0o600) -> None:
    """Put ``content`` at ``name`` in ``folder``, whole or not at all, replacing what is there.

    A link of that name is replaced, never followed. Raises OSError; then nothing has changed.
    """
    temporary = f".{name}.{secrets.token_hex(6)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    handle = os.open(temporary, flags, mode, dir_fd=folder)
    try:
        with open(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(handle, mode)
            os.fsync(handle)
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=folder)
        raise


@contextlib.contextmanager
def folder_lock(folder: int, name: str, seconds: float | None = None) -> Iterator[bool]:
    """Hold the lock directory ``name`` in ``folder``; yields False if it could not be had in ``seconds``, by default 3.

    The protocol of the npm package proper-lockfile, which Claude Code uses: the lock is a
    directory, stale once it has not been touched for 10 s.
    """
    deadline = time.monotonic() + (_LOCK_SECONDS if seconds is None else seconds)
    held = False
    while not held:
        try:
            os.mkdir(name, 0o700, dir_fd=folder)
            held = True
        except FileExistsError:
            with contextlib.suppress(OSError):
                age = time.time() - os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime
                if age > _LOCK_STALE_SECONDS:
                    os.rmdir(name, dir_fd=folder)
                    continue
            if time.monotonic() > deadline:
                break
            time.sleep(0.02)
        except OSError:
            break
    try:
        yield held
    finally:
        if held:
            with contextlib.suppress(OSError):
                os.rmdir(name, dir_fd=folder)


@contextlib.contextmanager
def aside(folder: int) -> Iterator[int]:
    """A handle of a new folder in ``folder``, for what is to be deleted; of ``folder`` itself where none can be made.

    What is put there with ``set_aside`` is out of use, and ``remove_aside`` can take its time. One that is still empty
    at the end of the block is gone.
    """
    name = _aside_name()
    try:
        made = _made(name, folder, _PRIVATE)
    except OSError:  # the disk is full, say
        yield folder
        return
    try:
        fcntl.flock(made, fcntl.LOCK_EX)  # nobody deletes it while it is filled
        yield made if exists(folder, name) else folder
    finally:
        os.close(made)
        with contextlib.suppress(OSError):
            os.rmdir(name, dir_fd=folder)


def set_aside(folder: int, name: str, into: int) -> None:
    """Move ``name`` in ``folder`` out of the way, into the folder ``into`` of the same file system. Raises OSError."""
    new = _aside_name()
    try:
        os.rename(name, new, src_dir_fd=folder, dst_dir_fd=into)
    except PermissionError:
        # A folder that changes its parent is written to. One that cannot be opened up is no folder, or another's.
        os.close(_opened_up(name, folder, os.fstat(folder).st_dev))
        os.rename(name, new, src_dir_fd=folder, dst_dir_fd=into)


def _aside_name() -> str:
    return f".removed-{secrets.token_hex(6)}"


def are_aside(folder: int) -> list[str]:
    """The names in ``folder`` of what was set aside and is not deleted yet."""
    return sorted(name for name in os.listdir(folder) if _ASIDE.fullmatch(name))


@dataclass(frozen=True)
class Left:
    """What could not be deleted: the number of entries, the first of them, and why."""

    number: int = 0
    first: str = ""
    reason: str = ""

    def __add__(self, other: Left) -> Left:
        first = self if self.number else other
        return Left(self.number + other.number, first.first, first.reason)


def stays(path: str, error: OSError) -> Left:
    """What is left if ``path`` cannot be deleted."""
    reason = "something is mounted there" if error.errno == errno.EBUSY else error.strerror or str(error)
    return Left(1, path if len(path) <= _MOST_SHOWN else f"{path[:_MOST_SHOWN]}…", reason)


def remove_aside(folder: int, name: str) -> Left:
    """Delete what was set aside as ``name``, as ``remove_tree`` does; not while somebody fills it, who then does so."""
    try:
        handle = os.open(name, _DIRECTORY, dir_fd=folder)
    except OSError:  # not a folder, or one that has to be opened up first
        return remove_tree(folder, name)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return remove_tree(folder, name)
    except BlockingIOError:
        return Left()
    finally:
        os.close(handle)


def remove_tree(folder: int, name: str) -> Left:
    """Delete ``name`` in the open ``folder``, with all that is below; gives what is left of it.

    No link is followed, and nothing deleted through one that is put in place meanwhile. What is mounted
    there stays, with all in it. Folders that lack permissions are given them. Only a bounded number of
    folders is open at once, however deep they are. What is gone already is as good as deleted.
    """
    return _Removal(folder).remove(name)


@dataclass
class _Level:
    """A folder on the way down: its handle (-1 while closed), the folders in it still to be deleted, and what stays."""

    name: str
    handle: int
    status: os.stat_result
    inner: list[str] = field(default_factory=list)
    stays: set[str] = field(default_factory=set)
    rounds: int = 0
    removed: bool = False

    def close(self) -> None:
        if self.handle >= 0:
            os.close(self.handle)
            self.handle = -1


class _Removal:
    """The deletion of one tree."""

    def __init__(self, folder: int) -> None:
        self._base = folder
        self._device = os.fstat(folder).st_dev
        self._way: list[_Level] = []
        self._left = Left()

    def remove(self, name: str) -> Left:
        try:
            self._take(name, is_folder=_is_folder(name, self._base))
            while self._way:
                level = self._way[-1]
                if level.inner:
                    self._take(level.inner.pop(), is_folder=True)
                elif not level.rounds:
                    self._search(level)
                elif not self._reopen_above(level):
                    self._leave("", OSError(errno.EAGAIN, "it was moved meanwhile"))
                    break
                else:
                    self._finish(level)
        finally:
            for level in self._way:
                level.close()
        return self._left

    @property
    def _folder(self) -> int:
        """The handle of the present folder."""
        return self._way[-1].handle if self._way else self._base

    def _take(self, name: str, *, is_folder: bool) -> None:
        """Delete ``name`` in the present folder, or make it the present one if it is a folder with something in it."""
        for _ in range(_MOST_ROUNDS):  # what stands there may become something else meanwhile
            try:
                if is_folder:
                    # Before anything else: of a mount point the system says so, whatever is in it.
                    os.rmdir(name, dir_fd=self._folder)
                else:
                    os.unlink(name, dir_fd=self._folder)
            except FileNotFoundError:
                pass
            except NotADirectoryError:
                is_folder = False
                continue
            except OSError as error:
                if is_folder and error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                    if self._enter(name):
                        return
                    continue
                if not is_folder and _is_folder(name, self._folder):
                    is_folder = True
                    continue
                self._leave(name, error)
                return
            if self._way:
                self._way[-1].removed = True
            return
        self._leave(name, OSError(errno.EAGAIN, "it is changed again and again"))

    def _enter(self, name: str) -> bool:
        """Make ``name`` the present folder, or leave it; False if it is no folder any more."""
        try:
            handle = _opened_up(name, self._folder, self._device)
        except (NotADirectoryError, FileNotFoundError):
            return False
        except OSError as error:
            if error.errno == errno.ELOOP:
                return False
            self._leave(name, error)
            return True
        self._way.append(_Level(name, handle, os.fstat(handle)))
        if len(self._way) > _HANDLES:
            self._way[-1 - _HANDLES].close()
        return True

    def _search(self, level: _Level) -> None:
        """Delete all in the present folder that is no folder, and note what is."""
        level.rounds += 1
        level.removed = False
        try:
            with os.scandir(level.handle) as entries:
                for entry in entries:
                    if entry.name in level.stays:
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        level.inner.append(entry.name)
                    else:
                        self._take(entry.name, is_folder=False)
        except OSError as error:
            self._leave("", error)

    def _finish(self, level: _Level) -> None:
        """Delete the present folder, and make the one above it the present one; or look through it once more."""
        above = self._way[-2] if len(self._way) > 1 else None
        try:
            os.rmdir(level.name, dir_fd=self._base if above is None else above.handle)
        except FileNotFoundError:
            pass
        except OSError as error:
            # Some systems pass over names while others are deleted, and somebody may add to it.
            if level.removed and level.rounds < _MOST_ROUNDS:
                self._search(level)
                return
            if not level.stays:
                self._leave("", error)
            if above is not None:
                above.stays.add(level.name)
        else:
            if above is not None:
                above.removed = True
        level.close()
        self._way.pop()

    def _reopen_above(self, level: _Level) -> bool:
        """Have the folder above ``level`` open again, through ``..``, as far as that still leads there."""
        if len(self._way) < 2 or self._way[-2].handle >= 0:  # noqa: PLR2004 - it and the one above
            return True
        above = self._way[-2]
        try:
            above.handle = os.open("..", _DIRECTORY, dir_fd=level.handle)
        except OSError:
            return False
        return os.path.samestat(os.fstat(above.handle), above.status)

    def _leave(self, name: str, error: OSError) -> None:
        """Count ``name`` in the present folder, or the folder itself, among what is left."""
        if self._way:
            self._way[-1].stays.add(name)
        self._left += stays("/".join(filter(None, [*(level.name for level in self._way), name])), error)


def _is_folder(name: str, folder: int) -> bool:
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except OSError:
        return False


def _opened_up(name: str, folder: int, device: int) -> int:
    """A handle of the folder ``name``, in which its owner may do anything from now on.

    Raises OSError, also for a folder that is not on the file system ``device``.
    """
    try:
        handle = os.open(name, _DIRECTORY, dir_fd=folder)
    except PermissionError:
        _permit(name, folder, device)
        handle = os.open(name, _DIRECTORY, dir_fd=folder)
    try:
        status = os.fstat(handle)
        if status.st_dev != device:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        if status.st_mode & _PRIVATE != _PRIVATE:
            with contextlib.suppress(OSError):  # of another owner: what can be deleted in it, will be
                os.fchmod(handle, _PRIVATE)
    except BaseException:
        os.close(handle)
        raise
    return handle


def _permit(name: str, folder: int, device: int) -> None:
    """Give the owner of the folder ``name``, which cannot be opened, all rights to it. Raises OSError."""
    if not hasattr(os, "O_PATH"):
        os.chmod(name, _PRIVATE, dir_fd=folder, follow_symlinks=False)
        return
    handle = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        if os.fstat(handle).st_dev == device:
            Path(f"/proc/self/fd/{handle}").chmod(_PRIVATE)
    finally:
        os.close(handle)


def cannot(verb: str, path: Path, error: OSError) -> ConfinedError:
    """The error for "cannot VERB PATH", with the cure that fits the system's reason."""
    hints = {
        errno.ENOSPC: "Free some disk space and start again; nothing was changed.",
        errno.EDQUOT: "Free some of your disk quota and start again; nothing was changed.",
        errno.EACCES: "Give yourself the permission, or choose another folder.",
        errno.EROFS: "Choose a folder on a file system that can be written.",
    }
    hint = hints.get(error.errno or 0, "Check what is there and start again.")
    return ConfinedError(f"Cannot {verb} {path}: {error.strerror or error}.", hint)
