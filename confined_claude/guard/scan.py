"""The scan of a project for everything that the host might run: what is there, and what is in it.

Git is never asked. See ``walk`` for the bounds.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from ..fs.directory import Directory, Location
from ..project import SCAFFOLD, boundaries
from ..text import all_folded, folded
from .contents import lock_digest
from .gitscan import GitScan, is_git_directory
from .named_scan import NamedScan
from .reach import ReachScan
from .rule_table import Rule
from .rules import CONDA_MARK, DEPENDENCY_DIRECTORIES, ENVIRONMENT_PROGRAM, VENV_MARK, Matcher
from .snapshot import KEPT_BYTES, LINKED_DIRECTORY, CutShort, Item, Kind, Snapshot, resolve_inside
from .walk import Walk

_LOCK_BYTES = 1 << 20  # of a lock file that are searched for hashes
_LINK_BYTES = 100  # about what the path of a link takes beside its length
_SETID = stat.S_ISUID | stat.S_ISGID
_EXECUTABLE = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH


def scan(
    root: Path,
    matcher: Matcher,
    git_directories: Collection[Path] = (),
    named_in_git: Iterable[Path] = (),
    commands: Iterable[tuple[Path, str]] = (),
    *,
    since: float | None = None,
    programs: Mapping[str, bool] = MappingProxyType({}),
    packages: Collection[str] | None = (),
) -> Snapshot:
    """Scan the project at ``root`` and the ``git_directories`` outside it, or in it under any name.

    ``named_in_git`` are files and directories in git directories that git's settings lead to, ``commands`` what these
    settings run, each with the work tree.

    With ``since``, in seconds since the epoch, files that run as their owner and packages that changed since then are
    noted as such, by their ctime, which no session can set back. ``programs`` are directories of the caller's PATH, see
    ``programs.py``: of those that are True only what changed since then is noted. ``packages`` are known directories of
    packages, which they stay whatever marks are missing by now; with None unchanged ones are not noted.
    """
    walk = Walk()
    try:
        inner = {f"{path.relative_to(root)}/" for path in git_directories if path.is_relative_to(root)}
        for path in git_directories:
            if not path.is_relative_to(root):
                with Location(path).open() as directory:
                    GitScan(walk, root, matcher).scan(directory, str(path))
        with Location(root).open() as directory:
            tree = _TreeScan(root, matcher, walk, inner, since=since, programs=programs, packages=packages)
            try:
                tree.scan(directory, "", (), None, "")
            finally:
                tree.note_packages()
            tree.scan_programs()
        tree.resolve_inner_links()
        named = NamedScan(root, walk)
        named.scan(named_in_git)
        starts = [named.start(command, top) for top, command in (*commands, *named.commands)]
        ReachScan(root, matcher, walk, tree.packages, tree.since_ns).scan(starts)
    except CutShort as error:
        walk.add_unscanned(*error.args)
    except OSError as error:
        walk.add_unscanned("", str(error.strerror))
    return walk.snapshot


class _TreeScan:
    """Scans the directories of a project on behalf of ``walk``."""

    def __init__(
        self,
        root: Path,
        matcher: Matcher,
        walk: Walk,
        git_directories: Collection[str],
        *,
        since: float | None,
        programs: Mapping[str, bool],
        packages: Collection[str] | None,
    ) -> None:
        self._root = root
        self._find = matcher.find
        self._find_link = matcher.find_link
        self._walk = walk
        self._snapshot = walk.snapshot
        self._git = GitScan(walk)
        self._git_directories = git_directories
        self.since_ns = None if since is None else int(since * 1e9)
        self._inner_links: list[str] = []
        self._inner_bytes = 0
        self._led_to: list[tuple[str, ...]] = []  # where the links on the way lead
        self._known_packages = packages
        self.packages: dict[str, int] = {}  # of the directories of packages
        self._changes: dict[str, int] = {}  # when something in one changed last (ctime in ns), if since the time given
        # Those by their path from the root, and the ends of the paths of the others, which are found on the way.
        self._programs = {path[1:]: recent for path, recent in programs.items() if path.startswith("/")}
        self._ends = {f"/{path}": recent for path, recent in programs.items() if not path.startswith("/")}

    def scan(
        self, directory: Directory, prefix: str, parents: tuple[str, ...], rule: Rule | None, packages: str
    ) -> None:
        """Scan a directory and those below it.

        ``prefix`` is its path with a slash, ``parents`` are that path's names, folded. With a ``rule``
        everything in it belongs to that; ``packages`` is the directory of packages that it is in.
        """
        if self._ends:
            self._find_programs(prefix[:-1])
        entries = self._walk.entries(directory, prefix)
        names = {entry.name for entry in entries}
        if is_git_directory(names) or prefix in self._git_directories:
            self._snapshot.add(prefix[:-1] or ".", Kind.REPOSITORY)
            self._git.scan(directory, prefix[:-1])
        if prefix and not packages and self._has_packages(prefix[:-1], parents[-1], names):
            packages = prefix[:-1]
            self.packages[packages] = directory.stat().st_ino
        if packages and self.since_ns is not None:  # what is moved here is as old as it was
            self._packages_changed(packages, directory.stat().st_ctime_ns)
        # The mark of a virtual environment does not end the rules: a session may put it anywhere.
        is_ruled = DEPENDENCY_DIRECTORIES.isdisjoint(parents)
        self._note_boundaries(directory, prefix, boundaries.NAMES & names)
        below = []
        self._note_options(prefix, () if packages else names)
        for entry, lower in zip(entries, all_folded([entry.name for entry in entries]), strict=True):
            if entry.is_dir(follow_symlinks=False):
                below.append(entry.name)
            else:
                self._file(entry, lower, directory, prefix, parents, rule, packages, is_ruled)
        del entries, names  # there may be many, at each of many levels
        for name in below:
            path = prefix + name
            with self._walk.enter(directory, name, path, len(parents)) as inner:
                if inner is None:
                    continue
                if path == SCAFFOLD:
                    self._scaffold(inner)
                elif folded(name) == ".git":
                    self._snapshot.add(path, Kind.REPOSITORY)
                    self._git.scan(inner, path)
                else:
                    lower = folded(name)
                    own = rule or (self._find(lower, parents, is_directory=True) if is_ruled else None)
                    self.scan(inner, path + "/", (*parents, lower), own, packages)

    def _file(  # noqa: PLR0917 - called for every file
        self,
        entry: os.DirEntry[str],
        lower: str,
        directory: Directory,
        prefix: str,
        parents: tuple[str, ...],
        rule: Rule | None,
        packages: str,
        is_ruled: bool,
    ) -> None:
        """Note an entry that is no directory, and whose name is ``lower`` when folded, if it matters."""
        name = entry.name
        if self.since_ns is not None:
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:
                return  # removed meanwhile
            if status.st_ctime_ns >= self.since_ns:
                self._packages_changed(packages, status.st_ctime_ns)
                if status.st_mode & _SETID and stat.S_ISREG(status.st_mode):
                    self._snapshot.add(prefix + name, Kind.SETID, oct(stat.S_IMODE(status.st_mode)).encode())
        if entry.is_file(follow_symlinks=False):
            if lower == ".git":
                self._walk.add_file(directory, prefix + name, Kind.POINTER)
            elif is_ruled and (own := rule or self._find(lower, parents, is_directory=False)):
                if own.is_lock:
                    content = self._walk.head(directory, name, _LOCK_BYTES)
                    self._snapshot.add(prefix + name, Kind.FILE, content, digest=lock_digest(own, content))
                else:
                    self._walk.add_file(directory, prefix + name)
        elif entry.is_symlink():
            own = rule or (self._find_link(lower, parents) if is_ruled else None)
            self._link(directory, prefix, name, own)
            if own is not None:
                self._linked_directory(prefix, name, parents, own)
        else:
            self._snapshot.add(prefix + name, Kind.SPECIAL)

    def _note_options(self, prefix: str, names: Iterable[str]) -> None:
        for name in names:
            if name[0] == "-":
                self._snapshot.add(prefix + name, Kind.OPTION)

    def _note_boundaries(self, directory: Directory, prefix: str, names: Iterable[str]) -> None:
        for name in names:
            with directory.child_or_none(name) as inner:
                if boundaries.is_mark(name, None if inner is None else inner.names()):
                    self._snapshot.boundaries.add(prefix + name)

    def _scaffold(self, directory: Directory) -> None:
        """Note the files in our own directory; what is in its directories is used by sessions alone."""
        for entry in self._walk.entries(directory, SCAFFOLD):
            if not entry.is_dir(follow_symlinks=False):
                self._walk.add_file(directory, f"{SCAFFOLD}/{entry.name}")

    def _has_packages(self, path: str, name: str, names: set[str]) -> bool:
        return (
            name in DEPENDENCY_DIRECTORIES
            or VENV_MARK in names
            or CONDA_MARK in names
            or (name == "bin" and any(re.fullmatch(ENVIRONMENT_PROGRAM, each) for each in names))
            or path in (self._known_packages or ())
        )

    def _packages_changed(self, packages: str, ctime_ns: int) -> None:
        if packages and ctime_ns >= max(self.since_ns or 0, self._changes.get(packages, 0)):
            self._changes[packages] = ctime_ns

    def note_packages(self) -> None:
        """Note the directories of packages: each later change makes another item."""
        for path, inode in self.packages.items():
            if path in self._changes or self._known_packages is not None:
                state = f"{inode} {self._changes.get(path, '')}"
                digest = hashlib.sha256(state.encode()).hexdigest()
                self._snapshot.put(path, Item(Kind.PACKAGES, digest))

    def _link(self, directory: Directory, prefix: str, name: str, rule: Rule | None) -> None:
        try:
            target = directory.readlink(name)
        except OSError:
            return
        if resolve_inside(self._root, prefix, target) is None:
            self._snapshot.add(prefix + name, Kind.LINK, os.fsencode(target))
            return
        self._inner_links.append(prefix + name)
        self._inner_bytes += len(prefix) + len(name) + _LINK_BYTES
        self._walk.check(prefix, self._inner_bytes)
        if self._ends:
            self._find_programs(prefix + name)
        if rule is not None or folded(name) == ".git":
            content = self._linked_content(prefix + name)
            self._snapshot.add(prefix + name, Kind.LINK, os.fsencode(target) + (b"\0\n" + content if content else b""))

    def _linked_directory(self, prefix: str, name: str, parents: tuple[str, ...], rule: Rule) -> None:
        """Scan the directory of the project that a link leads to, as if it were in the link's place.

        Links in it are followed in turn, but not back to a directory that is on the way already.
        """
        real = self._real_location(prefix + name)
        ways = (tuple(prefix.split("/")), *self._led_to)
        if real is not None and all(real.parts != way[: len(real.parts)] for way in ways):
            self._led_to.append(real.parts)
            with contextlib.suppress(OSError), real.open() as directory:
                self.scan(directory, f"{prefix}{name}/", (*parents, folded(name)), rule, "")
            self._led_to.pop()

    def _linked_content(self, path: str) -> bytes:
        """Return the content of the project's file that the link at ``path`` leads to; nothing if there is none."""
        real = self._real_location(path)
        if real is None:
            return b""
        try:
            with Location(real.base, real.parts[:-1]).open() as directory:
                return self._walk.read_or_identify(directory, real.parts[-1])
        except OSError:
            return b""

    def _real_location(self, path: str) -> Location | None:
        """Return where a link leads in the end; None if that is the project's root or outside it."""
        real = Path(os.path.realpath(self._root / path))
        if real == self._root or not real.is_relative_to(self._root):
            return None
        return Location(self._root, real.relative_to(self._root).parts)

    def _find_programs(self, path: str) -> None:
        for end, recent in self._ends.items():
            if f"/{path}".endswith(end):
                self._programs.setdefault(path, recent)

    def scan_programs(self) -> None:
        """Note the programs in the directories of the caller's PATH, by their path from there, links included."""
        for path, is_recent in self._programs.items():
            real = self._real_location(path)
            if real is None:
                continue  # a link out of the project is noted as such
            with contextlib.suppress(OSError), real.open() as directory:
                if "/".join(real.parts) != path:
                    self._snapshot.add(path, Kind.PROGRAM, LINKED_DIRECTORY + os.fsencode("/".join(real.parts)))
                for entry in self._walk.entries(directory, path):
                    with contextlib.suppress(OSError):  # removed meanwhile
                        self._program(directory, f"{path}/{entry.name}", entry, is_recent=is_recent)

    def _program(self, directory: Directory, path: str, entry: os.DirEntry[str], *, is_recent: bool) -> None:
        status = entry.stat(follow_symlinks=False)
        if is_recent and status.st_ctime_ns < (self.since_ns or 0):
            return
        if stat.S_ISLNK(status.st_mode):
            self._snapshot.add(path, Kind.PROGRAM, os.fsencode(directory.readlink(entry.name)))
        elif stat.S_ISREG(status.st_mode) and status.st_mode & _EXECUTABLE:
            self._walk.add_file(directory, path, Kind.PROGRAM, KEPT_BYTES)

    def resolve_inner_links(self) -> None:
        """Note links that lead out of the project through another one. Where none leads out, that is impossible."""
        if any(item.kind == Kind.LINK for item in self._snapshot.items.values()):
            for path in self._inner_links:
                self._walk.check(path, self._inner_bytes)
                real = os.path.realpath(self._root / path)
                if path not in self._snapshot.items and not Path(real).is_relative_to(self._root):
                    self._snapshot.add(path, Kind.LINK, os.fsencode(real))
