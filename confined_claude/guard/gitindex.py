"""A git index as git's read-cache.c reads it: its submodules, and the paths that git refuses elsewhere. Pure.

Whoever wrote the file is hostile: git must never find more in it than is reported, so whatever is in doubt is a
ValueError.
"""

from __future__ import annotations

import contextlib
import struct
from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import compress
from typing import NamedTuple

from .gitconfig import decode
from .gitpaths import invalid_files, is_invalid

_SHA1_BYTES, _SHA256_BYTES = 20, 32
_HEADER = struct.Struct(">4sII")
_PAIR = struct.Struct(">II")
_VERSIONS = (2, 3, 4)
_COMPRESSED = 4  # the version whose names lack what they share with the name before
_FILE, _LINK, _GITLINK, _DIRECTORY = 0o10, 0o12, 0o16, 0o4  # git looks only at these four bits of a mode
_EXTENDED = 0x4000  # the flag for two more bytes of flags
_KNOWN_FLAGS = 0x60  # in the first of these bytes
_SPECIAL = 0xC000  # the flags that are worth a look
_ASSUMED, _SKIPPED = 0x8000, 0x40  # assume-unchanged, and skip-worktree in the first of these bytes
_LONG = 0xFFF  # the length of a name that is too long for its field
_MAX_PATH = 1 << 14  # no path is as long; many that are would take for ever
_MAX_PATHS = 128 << 20  # bytes of all paths: a compressed index may have far more of them than its own size
# What the content of an item of a snapshot begins with, for an entry that is no submodule.
INVALID, DIRECTORY, HIDDEN, MARKED = b"invalid", b"directory ", b"hidden", b"marked"
_MAX_SPECIAL = 10_000  # submodules and directories of a sparse index
_SHARED = "sharedindex."
_BLOCK = 1 << 20  # bytes of paths that are checked at once


class Index(NamedTuple):
    """What matters in an index, in its order.

    ``invalid`` are the paths that git's verify_path refuses, ``directories`` those that a sparse index has in place of
    all that is in them, with the object names of their trees. ``shared`` is the name of the file that has the other
    entries of a split index, or empty; it has to have ``needed`` of them. ``size`` is the number of entries that the
    index has itself, ``name`` its name as a shared one. ``marked`` are the paths of entries that have both bits by
    which git leaves a file alone, as ``container/git/tree.py`` sets them, with where they begin; ``hidden`` are those
    of entries with one of them or both. ``replaced_links`` are the numbers of the entries of the shared index that
    are links by now.
    """

    gitlinks: list[str]
    directories: dict[str, str]
    invalid: list[str]
    shared: str
    needed: int
    size: int
    name: str
    marked: dict[str, int]
    replaced_links: tuple[int, ...] = ()
    hidden: tuple[str, ...] = ()

    def check_shared(self, shared: Index | None) -> None:
        """Raise ValueError unless ``shared`` is what this one shares entries with, as merge_base_index does."""
        if self.shared and (shared is None or shared.name != self.shared or shared.size < self.needed):
            raise ValueError("a git index without the one that it shares entries with")


def parse_index(index: bytes, hash_size: int = 20) -> Index:
    """Return what matters in an index of version 2, 3 or 4.

    ``hash_size`` is 32 in a repository of SHA-256. Raises ValueError if it is no index or damaged, and where a path
    cannot be known: a split index that replaces an entry of the shared one by a submodule or a directory.
    """
    entries = _Entries(index, hash_size)
    gitlinks: list[bytes] = []
    directories: dict[bytes, bytes] = {}
    invalid: list[bytes] = []
    files: list[bytes] = []
    empty: list[bool] = []  # whether each is a link
    size = total = 0
    for kind, path in entries:
        if not path and kind in (_FILE, _LINK):
            empty.append(kind == _LINK)  # it replaces the one of the shared index
        elif kind == _FILE:
            files.append(path)
        elif kind == _LINK:
            if is_invalid(path, is_link=True):
                invalid.append(path)
        elif not path or kind not in (_GITLINK, _DIRECTORY) or len(gitlinks) + len(directories) > _MAX_SPECIAL:
            raise ValueError("a git index with a damaged entry, or too many submodules")
        elif is_invalid(path, is_directory=kind == _DIRECTORY):
            invalid.append(path)
        elif kind == _GITLINK:
            gitlinks.append(path)
        else:
            directories[path] = entries.object_name
        size += len(path)
        if size > _BLOCK:
            invalid += invalid_files(files)
            files.clear()
            total += size
            size = 0
            if total > _MAX_PATHS:
                raise ValueError("too large")
    invalid += invalid_files(files)
    link = _read_extensions(index, entries, hash_size)
    shared, replaced, needed = _read_link(link, hash_size)
    if len(empty) != len(replaced):
        raise ValueError("a git index with a damaged path")
    trees = {decode(path): name.hex() for path, name in directories.items()}
    names = ([decode(path) for path in gitlinks], trees, [decode(path) for path in invalid])
    hidden = _with_paths(entries.hidden, _Entries(index, hash_size)) if entries.hidden else {}
    marked = {path: at for path, at in hidden.items() if at in entries.marked}
    return Index(
        *names,
        shared,
        needed,
        len(entries.starts),
        f"{_SHARED}{index[-hash_size:].hex()}",
        marked,
        tuple(compress(replaced, empty)),
        tuple(hidden),
    )


def _with_paths(places: Mapping[int, int], entries: Iterable[tuple[int, bytes]]) -> dict[str, int]:
    return {decode(path): places[number] for number, (_, path) in enumerate(entries) if number in places}


def links_at(index: bytes, numbers: Iterable[int], hash_size: int = 20) -> list[str]:
    """Return the paths of the entries with these ``numbers`` that git refuses for links. Raises ValueError."""
    wanted = frozenset(numbers)
    paths = (path for number, (_, path) in enumerate(_Entries(index, hash_size)) if number in wanted)
    return [decode(path) for path in paths if is_invalid(path, is_link=True)]


def names_of(index: bytes, paths: Collection[str]) -> dict[str, str]:
    """Return by path the name of the content that an index has for each of ``paths``. Raises ValueError."""
    wanted = {path.encode("utf-8", "surrogateescape"): path for path in paths}
    for hash_size in (_SHA1_BYTES, _SHA256_BYTES):
        with contextlib.suppress(ValueError):
            entries = _Entries(index, hash_size)
            found = {
                wanted[path]: entries.object_name.hex() for kind, path in entries if path in wanted and kind == _FILE
            }
            _read_extensions(index, entries, hash_size)
            return found
    raise ValueError("no git index")


def without_marks(index: bytes, starts: Iterable[int], hash_size: int = 20) -> bytes:
    """Return an index in which the entries that begin at ``starts`` have no mark: git looks at their files again."""
    changed = bytearray(index)
    for at in starts:
        flags = at + 40 + hash_size
        changed[flags] &= ~(_ASSUMED >> 8)
        changed[flags + 2] &= ~_SKIPPED
    end = len(index) - hash_size
    if any(index[end:]):  # else git was told not to write a hash
        import hashlib  # see snapshot.py

        changed[end:] = (hashlib.sha1 if hash_size == _SHA1_BYTES else hashlib.sha256)(changed[:end]).digest()
    return bytes(changed)


def _check_header(index: bytes, hash_size: int) -> tuple[int, int]:
    """Return the version and the number of entries of an index. Raises ValueError for anything else."""
    if len(index) < _HEADER.size + hash_size:
        raise ValueError("too short for a git index")
    signature, version, count = _HEADER.unpack_from(index)
    if signature != b"DIRC" or version not in _VERSIONS:
        raise ValueError("no git index of a known version")
    return version, count


class _Entries:
    """The entries of an index, to be iterated once. Raises ValueError if they are damaged.

    Then ``starts`` has where each can be read without the one before it (else 0), and ``end`` where the last one ends.
    ``hidden`` has where each one begins that git passes over, by its number; ``marked`` are those with both bits.
    ``object_name`` is that of the current entry.
    """

    def __init__(self, index: bytes, hash_size: int) -> None:
        self._version, self._count = _check_header(index, hash_size)
        self._index = index
        self._hash_size = hash_size
        self._at = 0
        self.starts = array("Q")
        self.hidden: dict[int, int] = {}
        self.marked: set[int] = set()
        self.end = _HEADER.size

    @property
    def object_name(self) -> bytes:
        return self._index[self._at + 40 : self._at + 40 + self._hash_size]

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """Yield the kind (the four bits of its mode that git looks at) and path of each. Fast for ordinary ones."""
        index = self._index
        compressed = self._version == _COMPRESSED
        fixed = 42 + self._hash_size
        fields = struct.Struct(f">26xB{fixed - 29}xH").unpack_from  # the third byte of the mode, the flags
        add_start = self.starts.append
        at = self.end
        path = b""
        try:
            for _ in range(self._count):
                self._at = at
                mode, flags = fields(index, at)
                begin = at + fixed
                if flags & _SPECIAL:
                    begin += self._note_flags(at, begin, flags)
                size = flags & _LONG
                if compressed:
                    strip, begin = _varint(index, begin) if index[begin] & 128 else (index[begin], begin + 1)
                    shared = len(path) - strip
                    if size == _LONG:
                        size = shared + index.index(b"\0", begin) - begin
                    if not 0 <= shared <= size:
                        raise ValueError("a git index with a damaged path")
                    add_start(0 if shared else at)
                    end = begin + size - shared
                    path = path[:shared] + index[begin:end]
                    at = end + 1
                else:
                    if size == _LONG:
                        size = index.index(b"\0", begin) - begin
                    add_start(at)
                    end = begin + size
                    path = index[begin:end]
                    at += (end - at + 8) & ~7
                if index[end] or size > _MAX_PATH or b"\0" in path:
                    raise ValueError("a git index with a damaged path")
                yield mode >> 4, path
        except (struct.error, IndexError):
            raise ValueError("a git index that ends early") from None
        if at > len(index) - self._hash_size:
            raise ValueError("a git index that ends early")
        self.end = at

    def _note_flags(self, at: int, begin: int, flags: int) -> int:
        """Note what the flags of an entry at ``at`` say; return how many bytes more of them there are."""
        skipped, more = 0, 0
        if flags & _EXTENDED:
            if self._index[begin] & ~_KNOWN_FLAGS or self._index[begin + 1]:
                raise ValueError("a git index with unknown flags")
            skipped, more = self._index[begin] & _SKIPPED, 2
        if skipped or flags & _ASSUMED:
            self.hidden[len(self.starts)] = at
            if skipped and flags & _ASSUMED:
                self.marked.add(at)
        return more


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


def _read_extensions(index: bytes, entries: _Entries, hash_size: int) -> bytes:
    """Return what the extensions behind the entries say of a shared index, or nothing.

    Raises ValueError if they are damaged, or say that they or entries are elsewhere: git relies on that in a big index.
    """
    stop = len(index) - hash_size
    at = entries.end
    link = b""
    while at < stop:
        end = at + 8 + _number(index, at + 4)
        if end > stop:
            raise ValueError("a git index with a damaged extension")
        name = index[at : at + 4]
        if name == b"IEOT":
            _check_offsets(index[at + 8 : end], entries.starts)
        elif name == b"link":
            link = index[at + 8 : end]
        elif not b"A" <= name[:1] <= b"Z" and name != b"sdir":
            raise ValueError("a git index with an extension that git does not know")
        at = end
    for size in (4 + 20, 4 + hash_size):  # git looks for it there, whatever is before it
        start = stop - 8 - size
        if index[start : start + 4] == b"EOIE" and _number(index, start + 8) != entries.end:
            raise ValueError("a git index whose extensions are not where it says")
    return link


def _read_link(link: bytes, hash_size: int) -> tuple[str, list[int], int]:
    """Return the name of a shared index, the numbers of its entries that are replaced, and how many it needs to have.

    ``link`` is the extension of that name, as read_link_extension in split-index.c reads it. Raises ValueError if it is
    damaged.
    """
    base = link[:hash_size]
    if not any(base):
        return "", [], 0
    shared = f"{_SHARED}{base.hex()}"
    if len(link) <= hash_size:
        return shared, [], 0
    deleted, at = _read_bitmap(link, hash_size)
    replaced, at = _read_bitmap(link, at)
    if at != len(link) or deleted & replaced:
        raise ValueError("a git index with a damaged extension")
    numbers = [number for number, bit in enumerate(bin(replaced)[:1:-1]) if bit == "1"]
    return shared, numbers, max(deleted.bit_length(), replaced.bit_length())


def _read_bitmap(data: bytes, at: int) -> tuple[int, int]:
    """Return the bits of a compressed bitmap at ``at`` as a number, and where it ends: see ewah_bitmap.c."""
    try:
        size = _PAIR.unpack_from(data, at)[1]
        words = struct.unpack_from(f">{size}Q", data, at + 8)
    except struct.error:
        raise ValueError("a git index with a damaged extension") from None
    bits = bytearray()
    index = 0
    while index < size:
        marker = words[index]  # whether the run is of ones, its length, the number of words after it
        run, literals = marker >> 1 & 0xFFFFFFFF, marker >> 33
        index += 1 + literals
        if index > size or len(bits) + 8 * run > _BLOCK:
            raise ValueError("a git index with a damaged extension")
        bits += (b"\xff" if marker & 1 else b"\0") * 8 * run
        for word in words[index - literals : index]:
            bits += word.to_bytes(8, "little")
    return int.from_bytes(bits, "little"), at + 8 + 8 * size + 4


def _number(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "big")


def _check_offsets(table: bytes, starts: array[int]) -> None:
    """Raise ValueError unless a table of offsets leads to the same entries as reading them in turn."""
    entry = 0
    for at in range(4, len(table) - 7, 8):
        offset, count = _PAIR.unpack_from(table, at)
        if count and (entry >= len(starts) or starts[entry] != offset):
            raise ValueError("a git index whose entries are not where it says")
        entry += count
    if entry != len(starts):
        raise ValueError("a git index whose entries are not where it says")
