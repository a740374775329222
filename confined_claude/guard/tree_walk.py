"""A walk through a tree that sessions write, within bounds: it finds what is hidden, or looks like a secret."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from ..fs.directory import Directory, Location
from .rules import DEPENDENCY_DIRECTORIES

_ENTRIES_PER_CLOCK = 1024
_MAX_DEPTH = 100


class TooMuch(Exception):
    """A look through a tree has reached its bounds."""


def walk(
    root: Path,
    passed: Collection[str],
    most: int,
    seconds: float,
    closed: Callable[[str], object] = lambda _path: None,
) -> Iterator[tuple[Directory, str, list[os.DirEntry[str]]]]:
    """Yield each directory of the tree at ``root``, open, with its path, which ends with a slash, and its entries.

    What is git's, directories of packages and those at the paths ``passed`` are passed over, and no link is followed.
    What cannot be opened is left out; ``closed`` is told of the path of what its owner could open again, and of the
    root's, which is empty. Raises TooMuch beyond ``most`` entries or so many seconds.
    """
    deadline, left = time.monotonic() + seconds, most

    def below(directory: Directory, prefix: str, depth: int) -> Iterator[tuple[Directory, str, list[os.DirEntry[str]]]]:
        nonlocal left
        entries, inner = [], []
        with directory.entries() as listing:
            for entry in listing:
                left -= 1
                if left < 0 or (not left % _ENTRIES_PER_CLOCK and time.monotonic() > deadline):
                    raise TooMuch
                if entry.name == ".git":
                    continue
                if entry.is_dir(follow_symlinks=False):
                    if entry.name in DEPENDENCY_DIRECTORIES or prefix + entry.name in passed:
                        continue
                    inner.append(entry.name)
                entries.append(entry)
        yield directory, prefix, entries
        for name in inner if depth < _MAX_DEPTH else ():
            try:
                with directory.child(name) as opened:
                    yield from below(opened, f"{prefix}{name}/", depth + 1)
            except PermissionError:
                if _is_ours(directory, name):
                    closed(prefix + name)
            except OSError:
                continue  # it is gone, or a link by now

    try:
        with Location(root).open() as top:
            yield from below(top, "", 0)
    except OSError:
        closed("")


def _is_ours(directory: Directory, name: str) -> bool:
    """Return whether a session could open what is closed now: it acts as the user. So it is in case of doubt."""
    try:
        return os.stat(name, dir_fd=directory.fileno(), follow_symlinks=False).st_uid == os.geteuid()
    except PermissionError:
        return True
    except OSError:
        return False
