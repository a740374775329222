"""Files of the host that settings name, read without being led elsewhere by a session."""

from __future__ import annotations

import stat
from pathlib import Path

from ..errors import ConfinedError, system_error
from ..fs.identity import parent_without_links, ways


def read(path: Path, places: tuple[Path, ...], most_bytes: int) -> bytes:
    """Return the content of a file. Nothing in ``places``, where sessions can write, may lead to another place.

    Raises ConfinedError if it cannot be read or is no file of a sensible size.
    """
    way = [*map(Path, ways(path))]
    real = way[-1] if way else path
    theirs = (each for each in way if any(map(each.is_relative_to, places)))
    if leading := next((each for each in theirs if not real.is_relative_to(each)), None):
        raise ConfinedError(
            f"Cannot read {path}: {leading} leads elsewhere, and sessions can write there.",
            f"Look at where it leads, {real}, and name that place itself if you want it.",
        )
    try:
        with parent_without_links(real) as directory:
            is_directory = stat.S_ISDIR(directory.stat(real.name or ".").st_mode)
            content = None if is_directory else directory.read(real.name, most_bytes)
    except OSError as error:
        raise system_error("read", path, error) from None
    if content is None:
        reason = "a directory" if is_directory else f"no file, not yours to read, or larger than {most_bytes} bytes"
        raise ConfinedError(f"Cannot read {path}: it is {reason}.", "Name a file, or take it out of your settings.")
    return content
