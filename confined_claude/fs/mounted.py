"""Where else this machine shows what is at a path: by bind mounts, and by what is mounted more than once. On Linux."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_TABLE = Path("/proc/self/mountinfo")
_LINE = re.compile(r"^\d+ \d+ (\S+) (\S+) (\S+) ", re.MULTILINE)  # see proc(5)
_ESCAPE = re.compile(r"\\([0-7]{3})")


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
    for place in (str(path), *(mount.point for mount in mounts if _is_in(mount.point, str(path), itself=False))):
        around = [mount for mount in mounts if _is_in(place, mount.point)]
        if not around:
            continue
        own = max(reversed(around), key=lambda mount: len(mount.point))  # the last one hides those before
        inner = _joined(own.root, place, own.point)
        for mount in mounts:
            if mount is own or mount.device != own.device:
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
        text = _TABLE.read_text("utf-8", "surrogateescape")
    except OSError:
        return []
    found = _LINE.findall(text)
    return [_Mount(device, _unescaped(root), _unescaped(point)) for device, root, point in found]


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda found: chr(int(found[1], 8)), text) if "\\" in text else text


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
