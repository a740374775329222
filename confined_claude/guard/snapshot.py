"""What a scan of a project has found, by path, and what kind of thing each is."""

from __future__ import annotations

import os
from collections.abc import Iterable
from enum import Enum
from pathlib import Path
from typing import NamedTuple

KEPT_BYTES = 64 << 10  # of the content of an item
# Of the contents of all items. Later ones count by their digest alone, except small ones such as a path.
_MAX_CONTENT_BYTES = 8 << 20
_SMALL_BYTES = 4 << 10
MAX_SIZE = 64 << 20  # of a whole snapshot, in bytes
_ITEM_BYTES = 300  # about what an item takes beside its path and its content
LINKED_DIRECTORY = b"\0"  # begins the content of a program that is a link to a directory of them


# Why something was not scanned, for what a session can cause, or use if it is so already. Unlike what nobody may read,
# it is reported each time.
TOO_DEEP = "it is nested too deep"
TOO_FULL = "it holds too many files"
TOO_LONG = "looking through it takes too long"
TOO_MUCH = "there is too much in it"
TOO_FAR = "settings and hooks lead to too many files"
LIMITS = frozenset(map(str.encode, (TOO_DEEP, TOO_FULL, TOO_LONG, TOO_MUCH, TOO_FAR)))
# Those that end a scan.
CUT_SHORT = frozenset(map(str.encode, (TOO_LONG, TOO_MUCH)))


class CutShort(Exception):
    """A scan has reached one of its bounds. The arguments are the path where it was, and the reason."""


class Kind(str, Enum):
    """The kinds of items. The values are those in records on disk."""

    FILE = "file"  # a file that a rule names
    GIT_FILE = "git file"  # a file that git obeys
    LINK = "link"  # a link that leads out of the project, or that is where a rule's file may be
    GIT_LINK = "link in git"  # any link in a git directory
    REPOSITORY = "repository"  # a directory that git takes for a repository
    POINTER = "pointer"  # a `.git` file, which names such a directory
    GITLINK = "gitlink"  # a path that an index has, and that is no ordinary file: see gitindex
    SETID = "setid"  # a file that runs as its owner, changed since the time given
    SPECIAL = "special"  # a FIFO, socket or device
    OPTION = "option"  # whatever has a name that commands take for an option
    PACKAGES = "packages"  # a directory of packages or an environment: which one it is, and its last change
    PROGRAM = "program"  # an executable file or link in a directory of the caller's PATH, or a link on the way there
    REACHED = "reached"  # a file that something leads to which acts by itself: see reach
    COMMITTED = "committed"  # a file of a branch that a session made, and no item of a scan: see commits
    UNSEEN = "unseen"  # what could not be scanned


# Kinds that a path may have beside another one.
_EXTRA_KINDS = (Kind.SETID, Kind.OPTION, Kind.PACKAGES, Kind.PROGRAM, Kind.REACHED, Kind.COMMITTED, Kind.UNSEEN)


class Item(NamedTuple):
    """What is at a path. Two items with the same kind and digest are the same.

    ``content`` is that of a file, or a link's target; None if it is longer than ``KEPT_BYTES``. ``shared`` is a file
    with other names elsewhere, through which it can be changed.
    """

    kind: Kind
    digest: str
    content: bytes | None = None
    shared: bool = False


def key_of(path: str, kind: Kind) -> str:
    """Return the key of an item in a snapshot: its path, with a NUL and the kind for one of the extra kinds."""
    return f"{path}\0{kind.value}" if kind in _EXTRA_KINDS else path


class Reached(NamedTuple):
    """How a file is reached: by what ``runs`` the file or the settings at ``path``, and if it is run, not only read.

    It ``is_recent`` if it changed since the time given for the scan.
    """

    runs: str
    path: str
    is_red: bool
    is_recent: bool = False


class Snapshot:
    """The items of one scan by key. Paths are relative to the project's root; those outside it are absolute.

    ``git_directories`` has all that were scanned as such, ``reached`` how each item of that kind is, ``boundaries``
    the repositories and scaffolds that make their directories projects of their own,
    ``size`` is about how many bytes all of it takes.
    """

    def __init__(self, items: dict[str, Item] | None = None, git_directories: Iterable[str] = ()) -> None:
        self.items = items or {}
        self.git_directories = set(git_directories)
        self.reached: dict[str, Reached] = {}
        self.boundaries: set[str] = set()
        self.size = 0
        self._content_left = _MAX_CONTENT_BYTES

    __hash__ = None  # type: ignore[assignment]  # it is filled during a scan

    def __eq__(self, other: object) -> bool:
        """Return whether the items are the same, and where git was found."""
        if not isinstance(other, Snapshot):
            return NotImplemented
        return (self.items, self.git_directories) == (other.items, other.git_directories)

    def add(
        self, path: str, kind: Kind, content: bytes = b"", *, shared: bool = False, digest: str | None = None
    ) -> None:
        """Add an item by its content, which is kept if there is room for it, or its ``digest``.

        Raises CutShort as ``put`` does.
        """
        is_kept = len(content) <= max(_SMALL_BYTES, min(KEPT_BYTES, self._content_left))
        if is_kept:
            self._content_left -= len(content)
            self.size += len(content)
        if digest is None:
            import hashlib  # a scan has it beside the engine's work, and what comes before does without

            digest = hashlib.sha256(content).hexdigest()
        self.put(path, Item(kind, digest, content if is_kept else None, shared))

    def put(self, path: str, item: Item) -> None:
        """Add an item. Raises CutShort if there are too many."""
        if self.size > MAX_SIZE and item.kind != Kind.UNSEEN:
            raise CutShort(path, TOO_MUCH)
        self.size += len(path) + _ITEM_BYTES
        self.items[key_of(path, item.kind)] = item


def resolve_inside(root: Path, prefix: str, target: str) -> tuple[str, ...] | None:
    """Return where in ``root`` a link in the directory ``prefix`` to ``target`` leads; None if it leads out of it.

    The names alone decide, except where the way leads back from one: that may be another link.
    """
    parts = [part for part in prefix.split("/") if part]
    names = target.split("/")
    if target.startswith("/"):
        if not f"{target}/".startswith(f"{root}/"):
            return None
        parts, names = [], target[len(str(root)) :].split("/")
    has_name = False
    for name in names:
        if name in ("", "."):
            continue
        if name != "..":
            has_name = True
            parts.append(name)
        elif has_name:  # what this leads back from may be a link
            real = Path(os.path.realpath(Path(root, prefix, target)))
            return real.relative_to(root).parts if real.is_relative_to(root) else None
        elif parts:
            parts.pop()
        else:
            return None
    return tuple(parts)
