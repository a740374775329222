"""The directories of the caller's PATH in a project: a new program there may run in place of another one."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from ..text import normal_path


def directories(path: Iterable[str], root: Path, hidden: Collection[str]) -> Iterator[str]:
    """Yield the entries of a PATH that are in the project at ``root``, by path from there, with a slash before it.

    A relative one has no slash, as it may be anywhere. Those in the directories ``hidden`` from sessions are left out.
    """
    for entry in path:
        if not entry.startswith("/"):
            names = [name for name in normal_path(entry or ".").split("/") if name not in (".", "..")]
            if names:
                yield "/".join(names)
            continue
        for place in (normal_path(entry), os.path.realpath(entry)):  # its link may change as well
            relative = place.removeprefix(f"{root}/")
            if relative != place and relative.partition("/")[0] not in hidden:
                yield f"/{relative}"
