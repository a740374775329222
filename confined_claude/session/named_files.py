"""Files of the host that settings name, read without being led elsewhere by a session."""

from __future__ import annotations

import os
from pathlib import Path

from ..claude.host_settings import within
from ..errors import ConfinedError, system_error
from ..fs.directory import Location


def read(path: Path, places: tuple[Path, ...], most_bytes: int) -> bytes:
    """Return the content of a file. In ``places``, where sessions can write, no link is followed.

    Raises ConfinedError if it cannot be read or is no file of a sensible size.
    """
    real = Path(os.path.realpath(path))
    place = within(path, places)
    base = place or real.parent
    parts = (path if path.is_relative_to(base) else real).relative_to(base).parts
    if not parts:  # a place where sessions can write, or the root directory
        raise ConfinedError(f"Cannot read {path}: it is a directory.", "Name a file, or take it out of your settings.")
    try:
        with Location(base, parts[:-1]).open() as directory:
            directory.stat(parts[-1])
            content = directory.read(parts[-1], most_bytes)
    except OSError as error:
        raise system_error("read", path, error) from None
    if content is None:
        raise ConfinedError(
            f"Cannot read {path}: it is a link, no file, not yours to read, or larger than {most_bytes} bytes.",
            "Look at what it is, or take it out of your settings.",
        )
    return content
