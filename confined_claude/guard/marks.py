"""The marks in a git index by which a session's git leaves protected files alone, see container/git/tree.py.

They are for the session: afterwards git is to show that such a file is not what the branch has.
"""

from __future__ import annotations

import contextlib
import stat

from ..fs.directory import Directory, Location
from . import gitconfig, gitindex
from .repository import Repository
from .rules import Matcher

_MAX_BYTES = 128 << 20
_HEADER = 12  # bytes: "DIRC", the version and the number of entries
_UNMARKED = b"DIRC\0\0\0\2"  # only later versions have room for the bits


def clear(repository: Repository, matcher: Matcher) -> tuple[str, ...]:
    """Take the marks of protected files out of the index; return their paths.

    What is no index, or is locked by a git that runs, stays as it is.
    """
    with contextlib.suppress(OSError, ValueError), Location(repository.own).open() as directory:
        if b"".join(directory.head("index", _HEADER)).startswith(_UNMARKED):
            return ()
        content = directory.read("index", _MAX_BYTES) or b""
        with Location(repository.common).open() as common:
            hash_size = gitconfig.hash_size(common.read("config") or b"")
        index = gitindex.parse_index(content, hash_size)
        marked = {path: at for path, at in index.marked.items() if _is_protected(path, matcher)}
        if marked:
            _replace(directory, gitindex.without_marks(content, marked.values(), hash_size))
        return tuple(marked)
    return ()


def _is_protected(path: str, matcher: Matcher) -> bool:
    rule = matcher.rule_of(path.split("/"))
    return rule is not None and rule.red


def _replace(directory: Directory, content: bytes) -> None:
    with directory.create("index.lock"):
        try:
            directory.write("index", content, stat.S_IMODE(directory.stat("index").st_mode) & 0o777)
        finally:
            directory.unlink("index.lock")
