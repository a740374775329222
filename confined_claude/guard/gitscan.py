"""The scan of git directories: what git obeys in them, without asking git."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ..fs.directory import Directory
from ..project.boundaries import GIT_MARKS
from ..text import folded
from . import gitalternates, gitconfig, gitindex, gitrefs, gitstate
from .repository import GITS_OWN, work_tree
from .rules import Matcher
from .snapshot import KEPT_BYTES, Item, Kind
from .walk import Walk

_MAX_INDEX_BYTES = 128 << 20  # of all indexes together
_MAX_STATE_BYTES = 1 << 20
_MAX_PACKED_BYTES = 16 << 20  # of a file of references
_MAX_LISTED = 20  # paths of one index, of each kind
_CONFIG_FILES = ("config", "config.worktree", "lazygit.yml")
_SAMPLE = ".sample"
# Data by the thousand, most of it in directories with such names.
_STORES = frozenset(("objects", "lfs", "annex"))
_FANNED_OUT = re.compile(r"[0-9a-f]{2}")

# The references beside `refs`, as is_root_ref in refs.c knows them; other files with such names are messages.
_ROOT_REF = re.compile(r"(?:[A-Z_-]*_)?HEAD|AUTO_MERGE|BISECT_EXPECTED_REV|MERGE_AUTOSTASH|NOTES_MERGE_(?:PARTIAL|REF)")
_HEAD = re.compile(rb"(?:ref:\s*)?refs/|[0-9a-f]{40}")

# The indexes that this process has parsed: the scan after a session meets most of those from before it again.
_PARSED: dict[tuple[int, ...], gitindex.Index] = {}
_MAX_PARSED = 100
_SETTLED_NS = 1_000_000_000

_Entries = list[os.DirEntry[str]]
_Scan = Callable[[Directory, str], None]


def is_git_directory(names: set[str]) -> bool:
    """Return whether git may take a directory with these names in it for a repository."""
    return "HEAD" in names and ("objects" in names or "commondir" in names)


class GitScan:
    """Scans git directories on behalf of ``walk``."""

    def __init__(self, walk: Walk, root: Path | None = None, matcher: Matcher | None = None) -> None:
        self._walk = walk
        self._root, self._matcher = f"{root}", matcher  # of a project that may be in a git directory
        self._snapshot = walk.snapshot
        self._index_bytes_left = _MAX_INDEX_BYTES

    def scan(self, directory: Directory, path: str, main: bytes | None = None) -> None:
        """Scan the git directory of a repository, a submodule or a linked worktree.

        A worktree belongs to the repository with the configuration ``main``.
        """
        self._snapshot.git_directories.add(path)
        entries = self._entries(directory, path)
        names = {entry.name for entry in entries}
        for name in _CONFIG_FILES:
            if name in names:
                self._walk.add_file(directory, _below(path, name), Kind.GIT_FILE)
        # What belongs to all worktrees is elsewhere for a linked one; a session's own commondir is reported.
        common = (self._walk.read(directory, "commondir", KEPT_BYTES) or b"").strip() if "commondir" in names else b"."
        is_whole = main is None and common == b"."
        if names and not self._is_valid(directory, ("objects", "refs") if is_whole else ()):
            self._snapshot.add(_below(path, "HEAD"), Kind.GIT_FILE)
        if "commondir" in names and common != (b"." if main is None else b"../.."):
            self._walk.add_file(directory, _below(path, "commondir"), Kind.GIT_FILE)
        is_linked = main is not None and "commondir" in names
        config = main if is_linked and main is not None else self._walk.read(directory, "config") or b""
        if "index" in names:
            self._index(directory, path, names, gitconfig.hash_size(config))
        if "packed-refs" in names:
            self._packed_replacements(directory, path)
        self._states(entries, directory, path)
        self._symbolic_refs([entry for entry in entries if _ROOT_REF.fullmatch(entry.name)], directory, path)
        scans: dict[str, _Scan] = {
            "hooks": self._hooks,
            "refs": self._refs,
            "modules": self._modules,
            "worktrees": partial(self._worktrees, config=config),
            # Git reads remotes from there as well.
            "remotes": self._old_remotes,
            "branches": self._old_remotes,
            **dict.fromkeys(_STORES, self._store),
        }
        others = self._data
        if self._root.startswith(f"{path}/"):
            self._above(entries, directory, path)
            others = self._strangers
        self._each(entries, directory, path, lambda name: scans.get(name, self._data if name in GITS_OWN else others))

    def _strangers(self, directory: Directory, path: str) -> None:
        """Note what in the git directory that contains the project is neither git's nor on the way to the project."""
        if self._root.startswith(f"{path}/"):
            entries = self._entries(directory, path)
            self._above(entries, directory, path)
            self._each(entries, directory, path, lambda _: self._strangers)
        elif path != self._root:
            self._walk.add_unscanned(path, "it is beside the project in the repository's own directory")

    def _above(self, entries: _Entries, directory: Directory, path: str) -> None:
        """Note the files above the project that the host may obey: many a program searches upwards."""
        find = self._matcher.find if self._matcher is not None else None
        for entry in entries:
            if find and entry.is_file(follow_symlinks=False) and find(folded(entry.name), (), is_directory=False):
                self._walk.add_file(directory, _below(path, entry.name))

    @staticmethod
    def _is_valid(directory: Directory, parts: tuple[str, ...]) -> bool:
        """Return whether git takes a directory for a repository, as is_git_directory in its setup.c decides.

        ``parts`` are the directories that it looks for there.
        """
        head = directory.read("HEAD", KEPT_BYTES)
        with contextlib.suppress(OSError):
            head = os.fsencode(directory.readlink("HEAD"))
        return (
            all(directory.is_directory(name) or directory.is_link(name) for name in parts)
            and _HEAD.match(head or b"") is not None
        )

    def _entries(self, directory: Directory, path: str) -> _Entries:
        """Return the entries of a directory, after noting the links among them: git reads and writes through those."""
        entries = self._walk.entries(directory, path)
        for entry in entries:
            if entry.is_symlink():
                with contextlib.suppress(OSError):
                    target = os.fsencode(directory.readlink(entry.name))
                    self._snapshot.add(_below(path, entry.name), Kind.GIT_LINK, target)
        return entries

    def _each(self, entries: _Entries, directory: Directory, path: str, choose: Callable[[str], _Scan | None]) -> None:
        """Scan the directories among ``entries``, each as ``choose`` returns for its name."""
        for entry in entries:
            if entry.is_dir(follow_symlinks=False) and (scan := choose(entry.name)):
                below = _below(path, entry.name)
                with self._walk.enter(directory, entry.name, below, below.count("/")) as inner:
                    if inner is not None:
                        scan(inner, below)

    def _hooks(self, directory: Directory, path: str) -> None:
        self._all_files(self._entries(directory, path), directory, path)

    def _all_files(self, entries: _Entries, directory: Directory, path: str) -> None:
        for entry in entries:
            if entry.is_file(follow_symlinks=False) and not entry.name.endswith(_SAMPLE):
                self._walk.add_file(directory, f"{path}/{entry.name}", Kind.GIT_FILE)

    def _old_remotes(self, directory: Directory, path: str) -> None:
        entries = self._entries(directory, path)
        self._all_files(entries, directory, path)
        self._each(entries, directory, path, lambda _: self._old_remotes)

    def _modules(self, directory: Directory, path: str) -> None:
        """Scan the git directories of submodules, whose names may have slashes."""
        entries = self._entries(directory, path)
        names = {entry.name for entry in entries}
        if names & GIT_MARKS:
            self.scan(directory, path)
            if is_git_directory(names) and not path.endswith("/modules"):
                return  # else these names may be there to hide the others
        self._each(entries, directory, path, lambda _: self._modules)

    def _worktrees(self, directory: Directory, path: str, config: bytes) -> None:
        entries = self._entries(directory, path)
        self._each(entries, directory, path, lambda _: partial(self.scan, main=config))

    def _data(self, directory: Directory, path: str) -> None:
        """Scan a directory of data: git writes elsewhere through a link in it."""
        entries = self._entries(directory, path)
        if is_git_directory({entry.name for entry in entries}):
            self.scan(directory, path)
            return
        for entry in entries:
            if entry.name in ("attributes", "exclude", "grafts") and path.endswith("/info"):
                self._walk.add_file(directory, f"{path}/{entry.name}", Kind.GIT_FILE)
        if folded(path.rpartition("/")[2]) in gitstate.DIRECTORIES:
            self._states(entries, directory, path)
        self._each(entries, directory, path, lambda _: self._data)

    def _refs(self, directory: Directory, path: str) -> None:
        entries = self._entries(directory, path)
        if is_git_directory({entry.name for entry in entries}):
            self.scan(directory, path)
            return
        self._symbolic_refs(entries, directory, path)
        if path.endswith("/refs/replace"):
            self._all_files(entries, directory, path)
        self._each(entries, directory, path, lambda _: self._refs)

    def _packed_replacements(self, directory: Directory, path: str) -> None:
        """Note the objects that others replace, as far as these references are packed."""
        content = self._walk.read(directory, "packed-refs", _MAX_PACKED_BYTES) or b""
        if b" refs/replace/" in content:
            lines = sorted(line for line in content.splitlines() if b" refs/replace/" in line)
            item = Item(Kind.GIT_FILE, hashlib.sha256(b"\n".join(lines)).hexdigest())
            self._snapshot.put(_below(path, "packed-refs"), item)

    def _symbolic_refs(self, entries: _Entries, directory: Directory, path: str) -> None:
        """Note the references that lead git to write elsewhere."""
        for entry in entries:
            if entry.is_file(follow_symlinks=False):
                self._walk.check(path)
                if gitrefs.leads_astray(b"".join(directory.head(entry.name, gitrefs.MAX_BYTES + 1))):
                    self._walk.add_file(directory, _below(path, entry.name), Kind.GIT_FILE)

    def _states(self, entries: _Entries, directory: Directory, path: str) -> None:
        """Note what there is of an operation in progress that git has not written itself."""
        for entry in entries:
            state = gitstate.state_of(_below(path, entry.name))
            if state is not None and not entry.is_dir(follow_symlinks=False):
                content = self._walk.read(directory, entry.name, _MAX_STATE_BYTES)
                if content is None or not state.is_harmless(content):
                    self._walk.add_file(directory, _below(path, entry.name), Kind.GIT_FILE)

    def _store(self, directory: Directory, path: str) -> None:
        entries = self._entries(directory, path)
        for entry in entries:
            if entry.name in gitalternates.NAMES and path.endswith("/info"):
                self._walk.add_file(directory, f"{path}/{entry.name}", Kind.GIT_FILE)
        self._each(entries, directory, path, lambda name: None if _FANNED_OUT.fullmatch(name) else self._store)

    def _index(self, directory: Directory, path: str, names: set[str], hash_size: int) -> None:
        """Note what the index has that is no file: `git status` runs git in it, `git restore` writes to it."""
        parsed: dict[str, gitindex.Index] = {}
        for name in (*(name for name in names if name.startswith("sharedindex.")), "index"):
            try:
                index = parsed[name] = self._parsed_index(directory, name, hash_size)
                index.check_shared(parsed.get(index.shared))
                invalid = [*index.invalid, *self._replaced_links(directory, index, hash_size)]
            except ValueError:
                self._walk.add_file(directory, _below(path, name), Kind.GIT_FILE)
                continue
            for inner in index.gitlinks:
                self._add_entry(path, inner)
            for inner, tree in index.directories.items():
                self._add_entry(path, inner.rstrip("/"), gitindex.DIRECTORY + tree.encode())
            self._add_entries(path, invalid, gitindex.INVALID)
            self._hidden(directory, path, index)

    @staticmethod
    def _replaced_links(directory: Directory, index: gitindex.Index, hash_size: int) -> list[str]:
        """Return what git refuses of the entries that a split index turns into links."""
        if not index.replaced_links:
            return []
        shared = directory.read(index.shared, _MAX_INDEX_BYTES) or b""
        return gitindex.links_at(shared, index.replaced_links, hash_size)

    def _parsed_index(self, directory: Directory, name: str, hash_size: int) -> gitindex.Index:
        """Return what matters in an index. It is read once as long as it stays the same file, by its ctime.

        Raises ValueError if it is too large, damaged or no file.
        """
        key = (*_identity(directory, name), hash_size)
        if key in _PARSED:
            return _PARSED[key]
        if (content := directory.read(name, self._index_bytes_left)) is None:
            raise ValueError("too large")
        self._index_bytes_left -= len(content)
        index = gitindex.parse_index(content, hash_size)
        is_old = key[-2] < time.time_ns() - _SETTLED_NS  # else it may change again without another ctime
        if is_old and len(_PARSED) < _MAX_PARSED and key == (*_identity(directory, name), hash_size):
            _PARSED[key] = index
        return index

    def _hidden(self, directory: Directory, path: str, index: gitindex.Index) -> None:
        """Note the files that git passes over, as far as they are there: in a sparse checkout others are not."""
        top = _work_tree(directory) if index.hidden else None
        if top is not None:
            there = [inner for inner in index.hidden if os.path.lexists(top / inner)]
            self._add_entries(path, [inner for inner in there if inner not in index.marked], gitindex.HIDDEN)
            self._add_entries(path, [inner for inner in there if inner in index.marked], gitindex.MARKED)

    def _add_entries(self, path: str, inners: list[str], content: bytes) -> None:
        for inner in inners[:_MAX_LISTED]:
            self._add_entry(path, inner, content)
        if more := inners[_MAX_LISTED:]:
            digest = hashlib.sha256(os.fsencode("\0".join(more))).hexdigest()
            self._add_entry(path, f"{len(more)} more", content + digest.encode())

    def _add_entry(self, path: str, inner: str, content: bytes = b"") -> None:
        self._snapshot.add(f"{_below(path, 'index')}: {inner}", Kind.GITLINK, content)


def _work_tree(directory: Directory) -> Path | None:
    """Return the work tree of a git directory; None if it names none."""
    path = directory.path
    return path.parent if folded(path.name) == ".git" else work_tree(path)


def _identity(directory: Directory, name: str) -> tuple[int, ...]:
    """Return what distinguishes a file from any other, its ctime last. Raises ValueError if there is none."""
    try:
        status = directory.stat(name)
    except OSError:
        raise ValueError("it is missing") from None
    return (status.st_dev, status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _below(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name
