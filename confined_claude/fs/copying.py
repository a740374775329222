"""The copy of a directory that a container can write."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from typing import BinaryIO

from .directory import Directory

_MAX_DEPTH = 100
# A signal interrupts the copying of a file only between two of these.
_AT_ONCE = 64 << 20


def copy_tree(source: Directory, target: Directory, name: str, depth: int = 0) -> None:
    """Copy everything in ``source`` to the new directory ``name`` in ``target``, with its modes and times.

    Links are copied as links; FIFOs, sockets and devices are left out. Raises OSError.
    """
    if depth > _MAX_DEPTH:
        raise OSError(errno.ELOOP, "it is nested too deep")
    target.mkdir(name)
    with target.child(name) as copy:
        with source.entries() as listing:
            entries = list(listing)
        for entry in entries:
            if entry.is_symlink():
                os.symlink(source.readlink(entry.name), entry.name, dir_fd=copy.fileno())
            elif entry.is_dir(follow_symlinks=False):
                with source.child(entry.name) as inner:
                    copy_tree(inner, copy, entry.name, depth + 1)
            elif entry.is_file(follow_symlinks=False):
                copy_file(source, copy, entry.name)
        _copy_status(source.stat(), copy.fileno())


def link_files(source: Directory, target: Directory, wanted: re.Pattern[str]) -> None:
    """Give the files in ``source`` with a ``wanted`` name that name in ``target`` too, or copy them there.

    Links are left out. Whoever can write one of them also changes its content in ``target``, but never what is there.
    Raises OSError.
    """
    with source.entries() as listing:
        names = [each.name for each in listing if wanted.fullmatch(each.name) and each.is_file(follow_symlinks=False)]
    for name in names:
        try:
            os.link(name, name, src_dir_fd=source.fileno(), dst_dir_fd=target.fileno(), follow_symlinks=False)
        except FileNotFoundError:
            continue  # it was there a moment ago
        except OSError:  # on another file system, or on one without
            with contextlib.suppress(FileNotFoundError):
                copy_file(source, target, name)
        if not target.is_file(name):  # it was one a moment ago
            with contextlib.suppress(FileNotFoundError):
                target.unlink(name)


def copy_file(source: Directory, target: Directory, name: str) -> None:
    """Copy a regular file, with its mode and times; anything else is left out. Raises OSError, also for a link."""
    flags = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with open(os.open(name, os.O_RDONLY | flags, dir_fd=source.fileno()), "rb", buffering=0) as original:
        status = os.fstat(original.fileno())
        if not stat.S_ISREG(status.st_mode):
            return
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | flags, 0o600, dir_fd=target.fileno())
        with open(fd, "wb", buffering=0) as copy:
            _copy_content(original, copy)
            _copy_status(status, fd)


def _copy_content(original: BinaryIO, copy: BinaryIO) -> None:
    """Copy a file by the kernel, with shared blocks (reflinks) where the file system has them; else through memory."""
    if hasattr(os, "copy_file_range"):
        with contextlib.suppress(OSError):  # what is wrong for both ways is raised by the other one
            while os.copy_file_range(original.fileno(), copy.fileno(), _AT_ONCE):
                pass
    import shutil  # where a repository is copied, and the file system cannot share blocks

    shutil.copyfileobj(original, copy, 1 << 20)


def _copy_status(status: os.stat_result, fd: int) -> None:
    os.fchmod(fd, stat.S_IMODE(status.st_mode))
    os.utime(fd, ns=(status.st_atime_ns, status.st_mtime_ns))
