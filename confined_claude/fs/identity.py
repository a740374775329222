"""What is at a path that somebody else may change at any moment: looked up name by name, through no link or all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import system_error
from .directory import Directory

# Searching a directory, unlike reading it, is allowed in all that lead to a file one may read.
_FLAGS = getattr(os, "O_PATH", os.O_RDONLY | os.O_NONBLOCK) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_LINKS = 40  # as the kernel follows


@contextlib.contextmanager
def parent_without_links(path: Path) -> Iterator[Directory]:
    """Open the directory of ``path``, an absolute one, by names each of which is looked up where the last led.

    Raises OSError for a link or a file among them.
    """
    fd = os.open("/", _FLAGS)
    try:
        for name in path.parts[1:-1]:
            inner = os.open(name, _FLAGS, dir_fd=fd)
            os.close(fd)
            fd = inner
        yield Directory(fd, str(path.parent))
    finally:
        os.close(fd)


def status_without_links(path: Path) -> os.stat_result:
    """Return the status of what is at ``path``, a link only if the last name is one. Raises OSError as that does."""
    with parent_without_links(path) as directory:
        return directory.stat(path.name or ".")


def identity_to_mount(path: Path) -> tuple[int, int]:
    """Return device and inode of what is to be mounted from ``path``. Raises ConfinedError if it is behind a link."""
    try:
        status = status_without_links(path)
    except OSError as error:
        raise system_error("mount", path, error) from None
    return status.st_dev, status.st_ino


def ways(path: Path) -> Iterator[str]:
    """Yield all paths that are looked up to find what is at ``path``, through every link; the real one is the last.

    Whoever can write one of them decides what that is.
    """
    at, left = "/", _MOST_LINKS
    names = [*path.parts[:0:-1]]
    while names:
        name = names.pop()
        if name == "..":
            at = os.path.dirname(at)  # noqa: PTH120 - it has no link
            yield at
            continue
        inner = os.path.join(at, name)  # noqa: PTH118
        yield inner
        try:
            target = Path(os.readlink(inner))  # noqa: PTH115
        except OSError:
            at = inner
            continue
        left -= 1
        if not left:
            return
        at = "/" if target.is_absolute() else at
        names += reversed(target.parts[1:] if target.is_absolute() else target.parts)
