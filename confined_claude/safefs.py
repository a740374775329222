"""The only way to touch folders that a container can write: no link followed, atomic, private.

A container may leave a link, a FIFO or a huge file wherever it can write. Every function here
works below an open directory, refuses to follow links, and replaces files by rename.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from .errors import ConfinedError

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LOCK_SECONDS = 3.0
_LOCK_STALE_SECONDS = 10.0


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
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, mode, dir_fd=handle)
                inner = os.open(name, _DIRECTORY, dir_fd=handle)
            except OSError as error:
                if is_link(name, handle):
                    raise refuse_link(path) from None
                raise cannot("use", path, error) from None
            os.close(handle)
            handle = inner
        yield handle
    finally:
        os.close(handle)


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
def folder_lock(folder: int, name: str) -> Iterator[bool]:
    """Hold the lock directory ``name`` in ``folder``; yields False if it could not be had in 3 s.

    The protocol of the npm package proper-lockfile, which Claude Code uses: the lock is a
    directory, stale once it has not been touched for 10 s.
    """
    deadline = time.monotonic() + _LOCK_SECONDS
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
