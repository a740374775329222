"""Commits and trees of a git repository, read without git, as git's object-file.c and packfile.c do.

A session may have written the objects. What is returned has the hash by which it was asked for, so that a recorded
commit stands for exactly one content of each of its files. Whatever is in doubt is as good as missing.
"""

from __future__ import annotations

import contextlib
import hashlib
import struct
import time
import zlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from ..fs.directory import Directory, Location

_MAX_OBJECT = 16 << 20
_MAX_TOTAL = 256 << 20  # of all that is unpacked
_MAX_SECONDS = 2.0
_MAX_CHAIN = 100  # of deltas; git makes at most 50
_MAX_NAMES = 1 << 18  # in a 256th of a pack
_CHUNK = 16 << 10
_IDX_HEADER = b"\xfftOc\0\0\0\2"
_HEAD_BYTES = 8 + 1024  # of an index: that, and how many names there are up to each first byte
_KINDS = {1: b"commit", 2: b"tree", 3: b"blob", 4: b"tag"}
_OFS_DELTA, _REF_DELTA = 6, 7
_DAMAGED = (OSError, ValueError, IndexError, struct.error, zlib.error)
_OFFSET_BYTES, _SIZE_BYTES = 4, 3  # of an instruction to copy in a delta
_MAX_BITS = 63
_SHA256_BYTES = 32
_Object = tuple[bytes, bytes]  # kind, content
TREE_MODE = b"40000"


def blob_id(content: bytes, like: str) -> str:
    """Return the name that git has for a file with this content, in a repository with names as long as ``like``."""
    return _hash(b"blob", content, len(like) // 2)


def _hash(kind: bytes, content: bytes, size: int) -> str:
    whole = b"%s %d\0%s" % (kind, len(content), content)
    return hashlib.new("sha256" if size == _SHA256_BYTES else "sha1", whole, usedforsecurity=False).hexdigest()


class Objects:
    """The objects of the repository at ``common``, within bounds of time and memory.

    ``forged`` are the names of those that were asked for and have another content than their name says.
    """

    def __init__(self, common: Location) -> None:
        self.forged: set[str] = set()
        self._location = common.at("objects")
        self._left = _MAX_TOTAL
        self._deadline = time.monotonic() + _MAX_SECONDS
        self._trees: dict[str, dict[bytes, tuple[bytes, str]] | None] = {}
        self._roots: dict[str, str | None] = {}

    def entry(self, commit: str, path: str) -> tuple[bytes, str] | None:
        """Return (mode, name) of the file at ``path`` in a commit; None if there is none, or if that is in doubt."""
        found = (TREE_MODE, self.root(commit))
        for part in path.encode("utf-8", "surrogateescape").split(b"/"):
            mode, name = found
            tree = self.tree(name) if name is not None and mode == TREE_MODE else None
            if tree is None or part not in tree:
                return None
            found = tree[part]
        mode, name = found
        return (mode, name) if name is not None else None

    def lacks(self, commit: str, path: str) -> bool:
        """Return whether a commit is known to have nothing at ``path``, whose directories it may lack as well."""
        name = self.root(commit)
        for part in path.encode("utf-8", "surrogateescape").split(b"/"):
            tree = self.tree(name) if name is not None else None
            if tree is None:
                return False
            if part not in tree:
                return True
            mode, name = tree[part]
            if mode != TREE_MODE:
                return False
        return False

    def parents(self, commit: str) -> list[str]:
        """Return the parents of a commit; none if it cannot be read."""
        header = (self._read(commit, b"commit") or b"").partition(b"\n\n")[0].split(b"\n")
        return [line[7:].decode("ascii", "replace") for line in header if line.startswith(b"parent ")]

    def blob(self, name: str) -> bytes | None:
        """Return the content of a file by its name; None if it cannot be read."""
        return self._read(name, b"blob")

    def present(self, names: Iterable[str]) -> set[str]:
        """Return which of ``names`` there is an object of. None is read, so a session can make more of them appear."""
        sought = {name: bytes.fromhex(name) for name in names}
        found: set[str] = set()
        with contextlib.suppress(*_DAMAGED), self._location.open() as directory:
            for name in sought:
                with directory.child_or_none(name[:2]) as fan:
                    found |= {name} if fan is not None and fan.is_file(name[2:]) else set()
            with directory.child_or_none("pack") as packs:
                for index in packs.names() if packs is not None else ():
                    if packs is not None and index.endswith(".idx"):
                        self._spend(0)
                        with contextlib.suppress(*_DAMAGED), packs.open_binary(index) as idx:
                            head = idx.read(_HEAD_BYTES)
                            found |= {name for name, raw in sought.items() if _find(idx, raw, head) is not None}
        return found

    def root(self, commit: str) -> str | None:
        """Return the name of a commit's tree; None if it cannot be read."""
        if commit not in self._roots:
            content = self._read(commit, b"commit") or b""
            line = content.partition(b"\n")[0]
            is_tree = line.startswith(b"tree ") and len(line) == 5 + len(commit)
            self._roots[commit] = line[5:].decode("ascii", "replace") if is_tree else None
        return self._roots[commit]

    def tree(self, name: str) -> dict[bytes, tuple[bytes, str]] | None:
        """Return (mode, name) of each entry of a tree; None if it cannot be read."""
        if name not in self._trees:
            content = self._read(name, b"tree")
            try:
                self._trees[name] = None if content is None else dict(_entries(content, len(name) // 2))
            except ValueError:
                self._trees[name] = None
        return self._trees[name]

    def _read(self, name: str, kind: bytes) -> bytes | None:
        """Return the content of an object of this kind whose hash is ``name``."""
        try:
            size = len(bytes.fromhex(name))
            with self._location.open() as directory:
                found = self._loose(directory, name) or self._packed(directory, name)
        except _DAMAGED:
            return None
        if found is None or _hash(*found, size) != name:
            self.forged |= {name} if found is not None else set()
            return None
        return found[1] if found[0] == kind else None

    def _spend(self, size: int) -> None:
        self._left -= size
        if size > _MAX_OBJECT or self._left < 0 or time.monotonic() > self._deadline:
            raise ValueError("too much to read")

    def _loose(self, directory: Directory, name: str) -> _Object | None:
        with directory.child_or_none(name[:2]) as fan:
            packed = None if fan is None else fan.read(name[2:], _MAX_OBJECT)
        if packed is None:
            return None
        whole = zlib.decompressobj().decompress(packed, _MAX_OBJECT)
        self._spend(len(whole))
        header, _, content = whole.partition(b"\0")
        if header.partition(b" ")[2] != b"%d" % len(content):  # there may be more than is read
            raise ValueError("a damaged object")
        return header.partition(b" ")[0], content

    def _packed(self, directory: Directory, name: str) -> _Object | None:
        with directory.child_or_none("pack") as packs:
            for index in sorted(packs.names()) if packs is not None else ():
                if packs is not None and index.endswith(".idx"):
                    self._spend(0)
                    with (
                        contextlib.suppress(*_DAMAGED),
                        packs.open_binary(index) as idx,
                        packs.open_binary(f"{index[:-3]}pack") as pack,
                    ):
                        if (at := _find(idx, bytes.fromhex(name))) is not None:
                            return self._unpack(pack, idx, at, len(name) // 2)
        return None

    def _unpack(self, pack: BinaryIO, idx: BinaryIO, at: int, hash_size: int) -> _Object:
        """Return the object at an offset of a pack. Raises ValueError or another error if it is damaged."""
        deltas: list[bytes] = []
        for _ in range(_MAX_CHAIN):
            pack.seek(at)
            kind, size = _header(pack)
            base = at
            if kind == _OFS_DELTA:
                base = at - _distance(pack)
            elif kind == _REF_DELTA:
                found = _find(idx, pack.read(hash_size))
                base = -1 if found is None else found
            if base < 0:
                raise ValueError("no base of a delta")
            self._spend(size)
            content = _inflate(pack, size)
            if kind in _KINDS:
                for delta in reversed(deltas):
                    content = self._apply(content, delta)
                return _KINDS[kind], content
            if kind not in (_OFS_DELTA, _REF_DELTA):
                raise ValueError("an unknown kind of object")
            deltas.append(content)
            at = base
        raise ValueError("too many deltas")

    def _apply(self, base: bytes, delta: bytes) -> bytes:
        """Return what a delta makes of ``base``."""
        source, at = _little_endian(delta, 0)
        size, at = _little_endian(delta, at)
        self._spend(size)
        made = bytearray()
        while at < len(delta) and len(made) <= size:
            op = delta[at]
            at += 1
            if op & 0x80:
                offset = count = 0
                for byte in range(_OFFSET_BYTES):
                    if op & 1 << byte:
                        offset |= delta[at] << 8 * byte
                        at += 1
                for byte in range(_SIZE_BYTES):
                    if op & 0x10 << byte:
                        count |= delta[at] << 8 * byte
                        at += 1
                made += base[offset : offset + (count or 0x10000)]
            elif op:
                made += delta[at : at + op]
                at += op
            else:
                raise ValueError("a damaged delta")
        if source != len(base) or size != len(made):
            raise ValueError("a damaged delta")
        return bytes(made)


def _entries(tree: bytes, hash_size: int) -> Iterator[tuple[bytes, tuple[bytes, str]]]:
    """Yield name, (mode, name of the object) of each entry of a tree. Raises ValueError if it is damaged."""
    at = 0
    while at < len(tree):
        space = tree.index(b" ", at)
        end = tree.index(b"\0", space)
        stop = end + 1 + hash_size
        if stop > len(tree):
            raise ValueError("a damaged tree")
        yield tree[space + 1 : end], (tree[at:space], tree[end + 1 : stop].hex())
        at = stop


def _find(idx: BinaryIO, name: bytes, head: bytes = b"") -> int | None:
    """Return the offset of an object in the pack of an index; None if it is not there."""
    if not head:
        idx.seek(0)
        head = idx.read(_HEAD_BYTES)
    if not head.startswith(_IDX_HEADER):
        return None
    fan = struct.unpack_from(">256I", head, 8)
    first, last, total = (fan[name[0] - 1] if name[0] else 0), fan[name[0]], fan[255]
    if not 0 <= last - first <= _MAX_NAMES:
        raise ValueError("too many names in an index")
    size = len(name)
    idx.seek(_HEAD_BYTES + first * size)
    names = idx.read((last - first) * size)
    at = names.find(name)
    while at >= 0 and at % size:  # across two names
        at = names.find(name, at + 1)
    if at < 0:
        return None
    offsets = _HEAD_BYTES + total * (size + 4)
    idx.seek(offsets + 4 * (first + at // size))
    (offset,) = struct.unpack(">I", idx.read(4))
    if offset & 0x80000000:
        idx.seek(offsets + 4 * total + 8 * (offset & 0x7FFFFFFF))
        (offset,) = struct.unpack(">Q", idx.read(8))
    return int(offset)


def _header(pack: BinaryIO) -> tuple[int, int]:
    """Return the kind and the size of the object that begins here in a pack."""
    (byte,) = pack.read(1)
    kind, size, shift = byte >> 4 & 7, byte & 15, 4
    while byte & 0x80 and shift < _MAX_BITS:
        (byte,) = pack.read(1)
        size |= (byte & 0x7F) << shift
        shift += 7
    return kind, size


def _distance(pack: BinaryIO) -> int:
    """Return how far before a delta its base begins."""
    (byte,) = pack.read(1)
    distance = byte & 0x7F
    while byte & 0x80 and distance < 1 << 60:
        (byte,) = pack.read(1)
        distance = ((distance + 1) << 7) | (byte & 0x7F)
    return distance or 1 << 62  # its own base would never end


def _little_endian(delta: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while shift < _MAX_BITS:
        byte = delta[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return number, at
    raise ValueError("a damaged delta")


def _inflate(pack: BinaryIO, size: int) -> bytes:
    engine = zlib.decompressobj()
    made = bytearray()
    while len(made) <= size and not engine.eof and (chunk := pack.read(_CHUNK)):
        made += engine.decompress(chunk, size + 1 - len(made))
    if len(made) != size:
        raise ValueError("a damaged object")
    return bytes(made)
