"""The submodules in a git index, as git's read-cache.c reads it. Pure.

Whoever wrote the file is hostile: git must never find a submodule that is not reported, so whatever is in doubt is a
ValueError.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from .gitconfig import decode

_HEADER = struct.Struct(">4sII")
_PAIR = struct.Struct(">II")
_VERSIONS = (2, 3, 4)
_COMPRESSED = 4  # the version whose names lack what they share with the name before
_FILE, _LINK, _GITLINK = 0o10, 0o12, 0o16  # git looks only at these four bits of a mode
_EXTENDED = 0x4000  # the flag for two more bytes of flags
_LONG = 0xFFF  # the length of a name that is too long for its field
_MAX_PATH = 1 << 14  # no path is as long; many that are would take for ever


class _Entries(NamedTuple):
    gitlinks: list[bytes]
    starts: list[int]  # where each entry can be read without the one before it, else -1
    end: int


def gitlinks(index: bytes, hash_size: int = 20) -> list[str]:
    """Return the paths of all submodules in an index of version 2, 3 or 4, in its order.

    ``hash_size`` is 32 in a repository of SHA-256. Raises ValueError if it is no index or damaged, and where a path
    cannot be known: a sparse index with directories that stand for their whole content, a split index that replaces
    an entry of the shared one by a submodule.
    """
    entries = _entries(index, hash_size)
    _check_extensions(index, entries, hash_size)
    return [decode(path) for path in entries.gitlinks]


def _check_header(index: bytes, hash_size: int) -> tuple[int, int]:
    """Return the version and the number of entries of an index. Raises ValueError if it is none."""
    if len(index) < _HEADER.size + hash_size:
        raise ValueError("too short for a git index")
    signature, version, count = _HEADER.unpack_from(index)
    if signature != b"DIRC" or version not in _VERSIONS:
        raise ValueError("no git index of a known version")
    return version, count


def _entries(index: bytes, hash_size: int) -> _Entries:
    """Read the entries of an index. One loop for all versions, fast for ordinary entries.

    There is no faster way to be sure that there is no submodule: git looks at four bits of the mode only, so far
    more than the mode 160000 counts as one, and such bits are everywhere.
    """
    version, count = _check_header(index, hash_size)
    compressed = version == _COMPRESSED
    fixed = 42 + hash_size
    fields = struct.Struct(f">26xB{fixed - 29}xH").unpack_from  # the third byte of the mode, the flags
    found = []
    starts = []
    at = _HEADER.size
    path = b""
    try:
        for _ in range(count):
            mode, flags = fields(index, at)
            begin = at + fixed if flags < _EXTENDED else at + fixed + (flags & _EXTENDED) // 0x2000
            size = flags & _LONG
            if compressed:
                strip, begin = _varint(index, begin) if index[begin] & 128 else (index[begin], begin + 1)
                shared = len(path) - strip
                if size == _LONG:
                    size = shared + index.index(b"\0", begin) - begin
                if not 0 <= shared <= size <= _MAX_PATH:
                    raise ValueError("a git index with a damaged path")
                starts.append(-1 if shared else at)
                end = begin + size - shared
                path = path[:shared] + index[begin:end]
                at = end + 1
            else:
                if size == _LONG:
                    size = index.index(b"\0", begin) - begin
                starts.append(at)
                end = begin + size
                at += (end - at + 8) & ~7
            if (kind := mode >> 4) != _FILE and kind != _LINK:
                if kind != _GITLINK:
                    raise ValueError("a git index with entries that are no files, as a sparse index has")
                path = path if compressed else index[begin:end]
                if not path or b"\0" in path or index[end] != 0:
                    raise ValueError("a git index with a damaged path")
                found.append(path)
    except (struct.error, IndexError):
        raise ValueError("a git index that ends early") from None
    if at > len(index) - hash_size:
        raise ValueError("a git index that ends early")
    return _Entries(found, starts, at)


def _varint(index: bytes, at: int) -> tuple[int, int]:
    """Return the number of variable length at ``at``, as git's varint.c encodes it, and where it ends."""
    byte = index[at]
    number = byte & 127
    while byte & 128:
        at += 1
        byte = index[at]
        number = ((number + 1) << 7) + (byte & 127)
        if number > len(index):
            raise ValueError("a git index with a damaged path")
    return number, at + 1


def _check_extensions(index: bytes, entries: _Entries, hash_size: int) -> None:
    """Raise ValueError if extensions behind the entries are damaged, or say that those or entries are elsewhere.

    Git relies on that in a big index.
    """
    stop = len(index) - hash_size
    at = entries.end
    while at < stop:
        end = at + 8 + _number(index, at + 4)
        if end > stop:
            raise ValueError("a git index with a damaged extension")
        if index[at : at + 4] == b"IEOT":
            _check_offsets(index[at + 8 : end], entries.starts)
        at = end
    for size in (4 + 20, 4 + hash_size):  # git looks for it there, whatever is before it
        start = stop - 8 - size
        if index[start : start + 4] == b"EOIE" and _number(index, start + 8) != entries.end:
            raise ValueError("a git index whose extensions are not where it says")


def _number(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "big")


def _check_offsets(table: bytes, starts: list[int]) -> None:
    """Raise ValueError unless a table of offsets leads to the same entries as reading them in turn."""
    entry = 0
    for at in range(4, len(table) - 7, 8):
        offset, count = _PAIR.unpack_from(table, at)
        if count and (entry >= len(starts) or starts[entry] != offset):
            raise ValueError("a git index whose entries are not where it says")
        entry += count
    if entry != len(starts):
        raise ValueError("a git index whose entries are not where it says")
