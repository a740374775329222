"""Where else this machine shows what is at a path: by bind mounts, and by what is mounted more than once. On Linux."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_TABLE = Path("/proc/self/mountinfo")
# See proc(5). Only blanks, tabs, line feeds and backslashes are escaped: other names are as they are.
_LINE = re.compile(rb"^\d+ \d+ ([^ \n]+) ([^ \n]+) ([^ \n]+) ", re.MULTILINE)
_ESCAPE = re.compile(rb"\\([0-3][0-7]{2})")


class _Mount(NamedTuple):
    """A mount at ``point``, which shows what is at ``root`` in the file system on ``device``."""

    device: str
    root: str
    point: str


def elsewhere(path: Path) -> Iterator[Path]:
    """Yield the other paths of the directory or file at ``path``, a real path, and of what is in it.

    Of a tree in it, that is the path at which the tree is mounted. What cannot be looked at counts as the same.
    """
    mounts = _mounts()
    of_device, at_point = defaultdict(list), defaultdict(list)
    for mount in mounts:
        of_device[mount.device].append(mount)
        at_point[mount.point].append(mount)
    for place in (str(path), *(mount.point for mount in mounts if _is_in(mount.point, str(path), itself=False))):
        # Which of them hides the others is not for the table to tell: one may be mounted later, and above.
        around = [mount for above in (place, *map(str, Path(place).parents)) for mount in at_point.get(above, ())]
        for own in around:
            inner = _joined(own.root, place, own.point)
            for mount in of_device[own.device]:
                if mount is own:
                    continue
                if _is_in(inner, mount.root):
                    here, there = place, _joined(mount.point, inner, mount.root)
                elif _is_in(mount.root, inner):
                    here, there = _joined(place, mount.root, inner), mount.point
                else:
                    continue
                if there != here and _are_same(here, there):
                    yield Path(there)


def _mounts() -> list[_Mount]:
    try:
        table = _TABLE.read_bytes()
    except OSError:
        return []
    found = _LINE.findall(table)
    return [_Mount(os.fsdecode(device), _unescaped(root), _unescaped(point)) for device, root, point in found]


def _unescaped(name: bytes) -> str:
    return os.fsdecode(_ESCAPE.sub(lambda found: bytes((int(found[1], 8),)), name))


def _is_in(path: str, directory: str, *, itself: bool = True) -> bool:
    return (itself and path == directory) or path.startswith(f"{directory.rstrip('/')}/")


def _joined(directory: str, path: str, above: str) -> str:
    """Return the path in ``directory`` that ``path`` is in ``above``."""
    return directory.rstrip("/") + path[len(above.rstrip("/")) :] or "/"


def _are_same(one: str, other: str) -> bool:
    """Return whether two paths lead to one file: something may be mounted over one, or the table not tell which."""
    try:
        return os.path.samefile(one, other)  # noqa: PTH121 - no Path for each
    except FileNotFoundError:
        return False
    except OSError:
        return True
