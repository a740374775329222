"""Which files have a content that the repository holds as well, in an old commit for instance; sessions can read it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..fs.directory import Location
from . import gitconfig
from .gitobjects import Objects, blob_id
from .repository import Repository

# What is looked up, as each start waits for it.
_MOST_FILES = 100
_MOST_BYTES = 64 << 10
_MOST_CONFIG_BYTES = 1 << 20


def stored(repository: Repository, root: Path, files: Iterable[str]) -> tuple[str, ...]:
    """Return the first of ``files``, by path from ``root``, whose content ``repository`` has under whatever path."""
    config = Location(repository.common).read("config", _MOST_CONFIG_BYTES) or b""
    names = dict(_names(root, itertools.islice(files, _MOST_FILES), "0" * 2 * gitconfig.hash_size(config)))
    there = Objects(Location(repository.common)).present(set(names.values())) if names else set()
    return tuple(sorted(path for path, name in names.items() if name in there))


def _names(root: Path, files: Iterable[str], like: str) -> Iterator[tuple[str, str]]:
    """Yield the path and the name of each file that is neither empty nor large."""
    for path in files:
        *parents, last = path.split("/")
        if content := Location(root, tuple(parents)).read(last, _MOST_BYTES):
            yield path, blob_id(content, like)
