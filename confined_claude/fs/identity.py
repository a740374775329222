"""What is at a path that somebody else may change at any moment: looked up name by name, through no link."""

from __future__ import annotations

import os
from pathlib import Path

# Searching a directory, unlike reading it, is allowed in all that lead to a file one may read.
_FLAGS = getattr(os, "O_PATH", os.O_RDONLY | os.O_NONBLOCK) | os.O_NOFOLLOW | os.O_CLOEXEC


def status_without_links(path: Path) -> os.stat_result:
    """Return the status of what is at ``path``, an absolute one, each name of which is looked up where the last led.

    So it is a link only if the last name is one itself. Raises OSError for a link or a file before that.
    """
    fd = os.open("/", _FLAGS)
    try:
        for name in path.parts[1:]:
            inner = os.open(name, _FLAGS, dir_fd=fd)
            os.close(fd)
            fd = inner
        return os.fstat(fd)
    finally:
        os.close(fd)
