"""A look through a project at everything the host might run: what is there, and what is in it.

No link is followed, no FIFO opened, nothing read without bound, and git is never asked. Sessions
may still write while this runs, so every step goes through an open folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..fs import safefs
from ..project import SCAFFOLD
from . import gitfiles
from .rules import DEPENDENCY_FOLDERS, Matcher, Rule

# Kinds of items.
FILE = "file"  # a file that a rule names
GIT_FILE = "git file"  # a file that git obeys
LINK = "link"  # a link that leads out of the project, or that stands where a rule's file may
GIT_LINK = "link in git"  # any link in a repository's folder
REPOSITORY = "repository"  # a folder that git takes for a repository
POINTER = "pointer"  # a `.git` file, which names such a folder
GITLINK = "gitlink"  # a path that the index has as a repository of its own
SETID = "setid"  # a file that runs as its owner, changed since the time given
SPECIAL = "special"  # a FIFO, socket or device
PACKAGES = "packages"  # a folder of packages or a virtual environment, changed since the time given
UNSEEN = "unseen"  # what could not be looked through

ASIDE = (SETID, PACKAGES, UNSEEN)

KEPT_BYTES = 64 << 10
_MOST_BYTES = 4 << 20
_ALL_BYTES = 64 << 20
_INDEX_BYTES = 256 << 20
_DEEPEST = 100
_MOST_ENTRIES = 500_000
_SECONDS = 30.0
_CLOCK_EVERY = 4096

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_VENV_MARK = "pyvenv.cfg"
_SAMPLE = ".sample"
# What lies there is data by the thousand, most of it in folders with such names.
_GIT_STORES = frozenset(("objects", "lfs", "annex"))
_FANNED_OUT = re.compile(r"[0-9a-f]{2}")
_GIT_FILES = frozenset(("config", "config.worktree"))
_TODO = "git-rebase-todo"


@dataclass(frozen=True)
class Item:
    """What stands at a path. Two items with the same kind and digest are the same.

    ``content`` is a file's or a link's, None where it is longer than what is kept of it. ``shared``
    is a file with other names elsewhere, through which it can be changed.
    """

    kind: str
    digest: str
    content: bytes | None = None
    shared: bool = False


def key_of(path: str, kind: str) -> str:
    """The key of an item in a snapshot."""
    return f"{path}\0{kind}" if kind in ASIDE else path


@dataclass
class Snapshot:
    """The items of one look, by path from the project's root; what lies outside has its whole path.

    ``git_folders`` are all that were looked through as such.
    Behind a path a NUL and a kind may follow: what is known of a file apart from its content.
    """

    items: dict[str, Item] = field(default_factory=dict)
    count: int = 0
    git_folders: set[str] = field(default_factory=set)

    def add(self, path: str, kind: str, content: bytes = b"", *, shared: bool = False) -> None:
        """Note an item; those of an ASIDE kind beside what else there is of that path."""
        digest = hashlib.sha256(content).hexdigest()
        self.items[key_of(path, kind)] = Item(kind, digest, content if len(content) <= KEPT_BYTES else None, shared)


def _is_git_folder(names: set[str]) -> bool:
    """Whether git may take a folder that holds these names for a repository."""
    return "HEAD" in names and ("objects" in names or "commondir" in names)


def _below(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


_Look = Callable[[int, str], None]


class _Stopped(Exception):
    """The look took too long."""


def scan(root: Path, matcher: Matcher, git_folders: Iterable[Path] = (), *, since: float | None = None) -> Snapshot:
    """Look through the project at ``root`` and the ``git_folders`` outside it.

    ``since``, in seconds since the epoch, asks for files that run as their owner and for changed
    packages as well, by their time of change, which no session can set back.
    """
    return _Scan(root, matcher, since).run(git_folders)


def inside(root: Path, prefix: str, target: str) -> tuple[str, ...] | None:
    """Where in ``root`` a link in ``prefix`` to ``target`` leads, by names; None if it leads out of it.

    Other links on the way count where the way leads back from one.
    """
    place = [part for part in prefix.split("/") if part]
    parts = target.split("/")
    if target.startswith("/"):
        if not f"{target}/".startswith(f"{root}/"):
            return None
        place, parts = [], target[len(str(root)) :].split("/")
    named = False
    for part in parts:
        if part in ("", "."):
            continue
        if part != "..":
            named = True
            place.append(part)
        elif named:  # what this leads back from may be a link
            real = Path(os.path.realpath(Path(root, prefix, target)))
            return real.relative_to(root).parts if real.is_relative_to(root) else None
        elif place:
            place.pop()
        else:
            return None
    return tuple(place)


class _Scan:
    def __init__(self, root: Path, matcher: Matcher, since: float | None) -> None:
        self.root = root
        self.find = matcher.find
        self.find_link = matcher.find_link
        self.since_ns = None if since is None else int(since * 1e9)
        self.snapshot = Snapshot()
        self.bytes_left = _ALL_BYTES
        self.inner_links: list[str] = []
        self.deadline = time.monotonic() + _SECONDS

    def run(self, git_folders: Iterable[Path]) -> Snapshot:
        try:
            for folder in git_folders:
                with safefs.opened(folder) as handle:
                    self.git_folder(handle, str(folder))
            with safefs.opened(self.root) as handle:
                self.folder(handle, "", (), None, "")
            self.links_by_way_of_others()
        except _Stopped as stopped:
            self.unseen(str(stopped), "looking through it takes too long")
        except OSError as error:
            self.unseen("", str(error.strerror))
        return self.snapshot

    def unseen(self, path: str, why: str) -> None:
        self.snapshot.add(path.rstrip("/") or ".", UNSEEN, why.encode())

    def entries(self, handle: int, path: str) -> list[os.DirEntry[str]]:
        """The entries of an open folder; none, and noted, where they cannot all be had."""
        found: list[os.DirEntry[str]] = []
        try:
            with os.scandir(handle) as listing:
                for entry in listing:
                    found.append(entry)
                    if not len(found) % _CLOCK_EVERY:
                        self.check_clock(path)
                        if len(found) > _MOST_ENTRIES:
                            self.unseen(path, f"it holds more than {_MOST_ENTRIES} files")
                            return []
        except OSError as error:
            self.unseen(path, str(error.strerror))
            return []
        self.snapshot.count += len(found)
        self.check_clock(path)
        return found

    def check_clock(self, path: str) -> None:
        if time.monotonic() > self.deadline:
            raise _Stopped(path)

    @contextlib.contextmanager
    def entered(self, handle: int, name: str, path: str, depth: int) -> Iterator[int | None]:
        """The folder ``name``, opened; None, and noted, where it cannot be."""
        opened = None
        if depth >= _DEEPEST:
            self.unseen(path, "it is nested too deep")
        else:
            try:
                opened = os.open(name, _OPEN, dir_fd=handle)
            except FileNotFoundError:
                pass  # gone meanwhile
            except OSError as error:
                self.unseen(path, str(error.strerror))
        try:
            yield opened
        finally:
            if opened is not None:
                os.close(opened)

    # The project's folders

    def folder(self, handle: int, prefix: str, parents: tuple[str, ...], rule: Rule | None, packages: str) -> None:
        """Look through an open folder.

        ``prefix`` is its path with a slash, ``parents`` that path's names in lower case. With a
        ``rule`` all in it belongs to that; ``packages`` is the folder of packages that it is in.
        """
        entries = self.entries(handle, prefix)
        names = {entry.name for entry in entries}
        if _is_git_folder(names):
            self.snapshot.add(prefix[:-1] or ".", REPOSITORY)
            self.git_folder(handle, prefix[:-1])
        if prefix and not packages and (_VENV_MARK in names or parents[-1] in DEPENDENCY_FOLDERS):
            packages = prefix[:-1]
        # Not by the mark of a virtual environment, which a session may put anywhere.
        ruled = DEPENDENCY_FOLDERS.isdisjoint(parents)
        folders = []
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.name)
            else:
                self.no_folder(entry, handle, prefix, parents, rule, packages, ruled)
        for name in folders:
            path = prefix + name
            with self.entered(handle, name, path, len(parents)) as opened:
                if opened is None:
                    continue
                if path == SCAFFOLD:
                    self.scaffold(opened)
                elif name.lower() == ".git":
                    self.snapshot.add(path, REPOSITORY)
                    self.git_folder(opened, path)
                else:
                    inside = (*parents, name.lower())
                    own = rule or (self.find(inside[-1], parents, folder=True) if ruled else None)
                    self.folder(opened, path + "/", inside, own, packages)

    def no_folder(  # noqa: PLR0917 - called for every file
        self,
        entry: os.DirEntry[str],
        handle: int,
        prefix: str,
        parents: tuple[str, ...],
        rule: Rule | None,
        packages: str,
        ruled: bool,
    ) -> None:
        """Look at a file, link or anything else in the folder at ``prefix``; at its rule if it is ``ruled``."""
        name = entry.name
        lower = name.lower()
        if self.since_ns is not None:
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:
                return  # gone meanwhile
            if status.st_ctime_ns >= self.since_ns:
                self.changed(prefix + name, status.st_mode, packages)
        if entry.is_symlink():
            own = self.find_link(lower, parents) if ruled and not rule else None
            self.link(handle, prefix, name, own or rule)
            if own is not None:
                self.linked_folder(prefix, name, parents, own)
        elif not entry.is_file(follow_symlinks=False):
            self.snapshot.add(prefix + name, SPECIAL)
        elif lower == ".git":
            self.snapshot.add(prefix + name, POINTER, safefs.read(handle, name, KEPT_BYTES) or b"")
        elif ruled and (rule or self.find(lower, parents, folder=False)):
            self.file(handle, prefix + name)

    def scaffold(self, handle: int) -> None:
        """Our own folder: the files in it, and not what sessions alone use."""
        for entry in self.entries(handle, SCAFFOLD):
            if not entry.is_dir(follow_symlinks=False):
                self.file(handle, f"{SCAFFOLD}/{entry.name}")

    def changed(self, path: str, mode: int, packages: str) -> None:
        if packages:
            self.snapshot.add(packages, PACKAGES)
        if mode & (stat.S_ISUID | stat.S_ISGID) and stat.S_ISREG(mode):
            self.snapshot.add(path, SETID, oct(stat.S_IMODE(mode)).encode())

    def links_by_way_of_others(self) -> None:
        """Note where links lead that lead out through another one. Where none leads out, that cannot be."""
        if any(item.kind == LINK for item in self.snapshot.items.values()):
            for path in self.inner_links:
                real = os.path.realpath(self.root / path)
                if path not in self.snapshot.items and not Path(real).is_relative_to(self.root):
                    self.snapshot.add(path, LINK, os.fsencode(real))

    def link(self, handle: int, prefix: str, name: str, rule: Rule | None) -> None:
        try:
            target = os.readlink(name, dir_fd=handle)
        except OSError:
            return
        leads = inside(self.root, prefix, target)
        if leads is None:
            self.snapshot.add(prefix + name, LINK, os.fsencode(target))
            return
        self.inner_links.append(prefix + name)
        if rule is not None or name.lower() == ".git":
            content = self.content_of(prefix + name)
            self.snapshot.add(prefix + name, LINK, os.fsencode(target) + (b"\0\n" + content if content else b""))

    def linked_folder(self, prefix: str, name: str, parents: tuple[str, ...], rule: Rule) -> None:
        """Look through the project's folder that a link leads to, if it does, as what the link stands for.

        In it no link is gone through in turn.
        """
        real = Path(os.path.realpath(self.root / prefix / name))
        if real.is_relative_to(self.root) and real != self.root:
            with contextlib.suppress(OSError), safefs.opened(self.root, *real.relative_to(self.root).parts) as folder:
                self.folder(folder, f"{prefix}{name}/", (*parents, name.lower()), rule, "")

    def content_of(self, path: str) -> bytes:
        """What is in the project's file that the link at ``path`` leads to in the end; nothing if there is none."""
        real = Path(os.path.realpath(self.root / path))
        if not real.is_relative_to(self.root) or real == self.root:
            return b""
        try:
            with safefs.opened(self.root, *real.relative_to(self.root).parts[:-1]) as folder:
                return safefs.read(folder, real.name, _MOST_BYTES) or b""
        except OSError:
            return b""

    def file(self, handle: int, path: str, kind: str = FILE) -> None:
        """Note what a file holds; of one that is too large, or one too many, when it last changed."""
        name = path.rpartition("/")[2]
        content = safefs.read(handle, name, min(_MOST_BYTES, self.bytes_left))
        try:
            status = os.stat(name, dir_fd=handle, follow_symlinks=False)
        except OSError:
            return
        if stat.S_ISLNK(status.st_mode):
            return  # noted as such
        if content is not None:
            self.bytes_left -= len(content)
            self.snapshot.add(path, kind, content, shared=status.st_nlink > 1)
            return
        identity = f"{status.st_mode} {status.st_size} {status.st_ino} {status.st_ctime_ns}"
        self.snapshot.items[path] = Item(kind, hashlib.sha256(identity.encode()).hexdigest())

    # Git's folders

    def git_folder(self, handle: int, path: str, common: bytes = b".") -> None:
        """Look through an open folder that git takes for a repository, a submodule's or a worktree's.

        ``common`` is what may stand in its ``commondir``.
        """
        self.snapshot.git_folders.add(path)
        entries = self.entries(handle, path)
        names = {entry.name for entry in entries}
        self.git_links(entries, handle, path)
        for name in sorted(_GIT_FILES & names):
            self.file(handle, _below(path, name), GIT_FILE)
        if "commondir" in names and (safefs.read(handle, "commondir", KEPT_BYTES) or b"").strip() != common:
            self.file(handle, _below(path, "commondir"), GIT_FILE)
        if "index" in names:
            self.index(handle, path, names)
        looks: dict[str, _Look] = {
            "hooks": self.hooks,
            "modules": self.modules,
            "worktrees": self.worktrees,
            # Where remotes were kept once, and git still looks for them.
            "remotes": self.old_remotes,
            "branches": self.old_remotes,
            **dict.fromkeys(_GIT_STORES, self.git_store),
        }
        self.each_folder(entries, handle, path, lambda name: looks.get(name, self.git_data))

    def each_folder(
        self, entries: list[os.DirEntry[str]], handle: int, path: str, look: Callable[[str], _Look | None]
    ) -> None:
        """Call what ``look`` gives for a folder's name with that folder, opened."""
        for entry in entries:
            if entry.is_dir(follow_symlinks=False) and (call := look(entry.name)):
                inner = _below(path, entry.name)
                with self.entered(handle, entry.name, inner, inner.count("/")) as opened:
                    if opened is not None:
                        call(opened, inner)

    def git_links(self, entries: list[os.DirEntry[str]], handle: int, path: str) -> None:
        for entry in entries:
            if entry.is_symlink():
                with contextlib.suppress(OSError):
                    target = os.fsencode(os.readlink(entry.name, dir_fd=handle))
                    self.snapshot.add(_below(path, entry.name), GIT_LINK, target)

    def hooks(self, handle: int, path: str) -> None:
        entries = self.entries(handle, path)
        self.git_links(entries, handle, path)
        for entry in entries:
            if entry.is_file(follow_symlinks=False) and not entry.name.endswith(_SAMPLE):
                self.file(handle, f"{path}/{entry.name}", GIT_FILE)

    def old_remotes(self, handle: int, path: str) -> None:
        self.hooks(handle, path)
        self.each_folder(self.entries(handle, path), handle, path, lambda _: self.old_remotes)

    def modules(self, handle: int, path: str) -> None:
        """Look through the git folders of submodules, whose names may have slashes."""
        entries = self.entries(handle, path)
        names = {entry.name for entry in entries}
        if "HEAD" in names or "commondir" in names:
            self.git_folder(handle, path)
            if _is_git_folder(names) and not path.endswith("/modules"):
                return  # else these names may be there to hide the others
        self.git_links(entries, handle, path)
        self.each_folder(entries, handle, path, lambda _: self.modules)

    def worktrees(self, handle: int, path: str) -> None:
        entries = self.entries(handle, path)
        self.git_links(entries, handle, path)
        self.each_folder(entries, handle, path, lambda _: self.worktree)

    def worktree(self, handle: int, path: str) -> None:
        self.git_folder(handle, path, common=b"../..")

    def git_data(self, handle: int, path: str) -> None:
        """Look through a folder whose files are data: but through a link there git writes elsewhere."""
        entries = self.entries(handle, path)
        if _is_git_folder({entry.name for entry in entries}):
            self.git_folder(handle, path)
            return
        self.git_links(entries, handle, path)
        for entry in entries:
            is_attributes = entry.name == "attributes" and path.endswith("/info")
            if is_attributes or (entry.name.startswith(_TODO) and self.runs_commands(handle, entry.name)):
                self.file(handle, f"{path}/{entry.name}", GIT_FILE)
        self.each_folder(entries, handle, path, lambda _: self.git_data)

    def git_store(self, handle: int, path: str) -> None:
        """Look for links in a folder of data: git writes through them."""
        entries = self.entries(handle, path)
        self.git_links(entries, handle, path)
        self.each_folder(entries, handle, path, lambda name: None if _FANNED_OUT.fullmatch(name) else self.git_store)

    def runs_commands(self, handle: int, name: str) -> bool:
        todo = safefs.read(handle, name, _MOST_BYTES)
        return todo is None or gitfiles.runs_commands(todo)

    def index(self, handle: int, path: str, names: set[str]) -> None:
        """Note what the index has as a repository of its own: `git status` goes into it."""
        # A linked worktree has its settings where it belongs.
        config = safefs.read(handle, "config", _MOST_BYTES) or safefs.read(handle, "../../config", _MOST_BYTES) or b""
        size = 32 if b"sha256" in config.lower() else 20
        for name in ["index", *(name for name in names if name.startswith("sharedindex."))]:
            try:
                if (content := safefs.read(handle, name, _INDEX_BYTES)) is None:
                    raise ValueError("too large")
                for inner in gitfiles.gitlinks(content, size):
                    self.snapshot.add(f"{_below(path, 'index')}: {inner}", GITLINK)
            except ValueError:
                self.file(handle, _below(path, name), GIT_FILE)
