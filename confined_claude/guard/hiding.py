"""What a session finds empty: what ``hide`` names, and git does not hold as it is.

A stand-in is mounted over each file and directory, which cannot be renamed away then. The directories on the way there
are pinned as well: else a session could move one to where the next does not look. Directories of packages are left out,
as is what is git's or the tool's own. A directory of the user's that cannot be looked through is hidden whole: a
session can close one, and the next opens it again.
"""

from __future__ import annotations

import contextlib
import fnmatch
import glob
import os
import re
import shlex
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ..engine.mount import Mount
from ..errors import ConfinedError, system_error
from ..fs.directory import Location
from ..fs.spelling import as_listed
from ..host import Host
from ..project.mounts import overlap
from ..text import escape, folded, named, starred
from . import gitindex
from .gitobjects import blob_id
from .repository import Repository
from .stored import stored
from .tree_walk import TooMuch, walk

# What is mounted over others, in <data>.
STAND_INS, FILE, DIRECTORY = "stand-ins", "file", "directory"
_READ_ONLY = {FILE: 0o444, DIRECTORY: 0o555}
_MAX_HIDDEN = 300  # mounts, each of which a start takes a moment for
_MAX_ENTRIES = 1_000_000
_MAX_SECONDS = 10.0
_MAX_INDEX_BYTES = 128 << 20
_MAX_NAMED = 3
_OF_CLAUDE = re.compile(r"/\.claude/settings(\.local)?\.json$")


class Hidden(NamedTuple):
    """What is hidden of the tree at ``root``, by path from there.

    ``parents`` are the directories on the way there. ``held`` matches too, but git holds it as it is; what is
    ``changed`` git knows otherwise. What is ``stored`` is hidden, though git holds the same content elsewhere. ``kept``
    has what restricts sessions: Claude Code's settings, and what is protected and only a link names. Sessions that run
    without all of it see what is ``exposed``.
    """

    root: Path
    files: tuple[str, ...] = ()
    directories: tuple[str, ...] = ()
    parents: tuple[Path, ...] = ()
    held: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    exposed: tuple[str, ...] = ()
    stored: tuple[str, ...] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        return (*self.files, *self.directories)

    def covers(self, target: str) -> bool:
        """Return whether what would be mounted at ``target`` is hidden."""
        return any(f"{target}/".startswith(f"{self.root}/{path}/") for path in self.paths)

    def exposed_to(self, running: Iterable[Iterable[str]]) -> Hidden:
        """Return this with what is exposed to ``running`` sessions, each of which hides some paths of the same tree."""
        others = [tuple(f"{path}/" for path in paths) for paths in running]
        exposed = (path for path in self.paths if not all(f"{path}/".startswith(other) for other in others))
        return self._replace(exposed=tuple(exposed))

    def mounts(self, host: Host) -> Iterator[Mount]:
        """Yield the mounts that hide it, where the session has the tree at its own path."""
        for kind, paths in ((FILE, self.files), (DIRECTORY, self.directories)):
            for path in paths:
                yield Mount(host.data, (STAND_INS, kind), f"{self.root}/{path}", read_only=True, pin=True)

    def notes(self) -> Iterator[str]:
        """Yield what to say of what is named and not hidden, and of what git knows otherwise."""
        for paths, what in (
            (self.held, "Not hidden, because git has the same content"),
            (self.changed, "Hidden, but git in the session sees an emptied file, because git has other content"),
            (self.stored, "Hidden, but the session can read the same content in the repository's history"),
            (self.kept, "Not hidden, as it may say what sessions must not do, or as only a link to it has such a name"),
            (self.exposed, "Not hidden from a session that runs beside this one, which could show it to this one"),
        ):
            if paths:
                shown = named([escape(f"{self.root}/{path}") for path in paths], _MAX_NAMED)
                yield f"Named in `hide`: {shown}. {what}."


def make_stand_ins(host: Host) -> None:
    """Make what is mounted over what is hidden. Raises OSError and ConfinedError."""
    with Location(host.data, (STAND_INS,)).make() as directory:
        if not directory.exists(FILE):
            directory.write(FILE, b"", _READ_ONLY[FILE])
        directory.make(DIRECTORY, _READ_ONLY[DIRECTORY]).close()


def find(
    root: Path,
    patterns: Sequence[str],
    repository: Repository | None,
    protected: Collection[Path] = (),
    passed: Collection[str] = frozenset(),
) -> Hidden:
    """Return what ``patterns`` hide in the tree at ``root``, except at the paths ``passed``.

    A link hides nothing that is ``protected``: a session could have made the link, so that the next one finds that
    empty. Nothing hides Claude Code's settings either, which may refuse something. Raises ConfinedError if that is too
    much, or closed.
    """
    files: list[str] = []
    directories: dict[str, None] = {}
    closed: list[str] = []
    kept: set[str] = set()

    def look(entries: Iterable[str], *, by_link: bool = False) -> None:
        matched, beyond = _Patterns(entries), []
        for _, prefix, listing in walk(root, passed, _MAX_ENTRIES, _MAX_SECONDS, closed.append):
            is_inside = prefix[:-1] in directories
            for entry in listing:
                path = prefix + entry.name
                is_link = entry.is_symlink()  # it may lead to a directory, to itself, or to where nobody may look
                is_directory = os.path.isdir(root / path) if is_link else entry.is_dir()  # noqa: PTH112
                is_matched = is_inside or matched(prefix, entry.name, is_directory=is_directory)
                if is_link:
                    further = [*matched.below(path)] if is_directory else []
                    path = _real(root, path, passed) if is_matched or further else ""
                    beyond += [f"{glob.escape(path)}/{rest}" for rest in further if path]
                if not (is_matched and path):
                    continue  # or it leads nowhere that a session sees
                led = (is_link or by_link) and any(overlap(root / path, place) for place in protected)
                if led or _OF_CLAUDE.search(f"/{folded(path)}"):
                    kept.add(path)
                elif is_directory:
                    directories[path] = None
                else:
                    files.append(path)
        if beyond:
            look(beyond, by_link=True)

    try:
        look(map(starred, patterns))
    except TooMuch:
        raise ConfinedError(
            f"{root} holds too much to search it for what `hide` names.", "Choose a smaller project, or hide less."
        ) from None
    if "" in closed:
        raise ConfinedError(
            f"{root} cannot be searched for what `hide` names.", f"Open it: chmod u+rx {shlex.quote(str(root))}"
        )
    found = _hidden(root, files, (*directories, *closed), kept, repository)
    return found._replace(kept=tuple(sorted(path for path in kept if not found.covers(f"{root}/{path}"))))


def around(repository: Repository, root: Path) -> Hidden | None:
    """Return what hides all but git's own in a repository that contains its work tree ``root``; None for any other.

    Raises ConfinedError if that is too much, or closed.
    """
    ways = repository.ways_to(root)
    if not ways:
        return None
    found: dict[bool, list[str]] = {True: [], False: []}
    try:
        for path, is_directory in repository.around(root):
            found[is_directory].append(str(path.relative_to(repository.common)))
    except OSError as error:
        raise system_error("read", repository.common, error) from None
    if len(found[True]) + len(found[False]) > _MAX_HIDDEN:
        raise ConfinedError(
            f"There is too much beside this project in its repository's own directory, {repository.common}.",
            "`git worktree move` moves a worktree out of it.",
        )
    return Hidden(repository.common, tuple(found[False]), tuple(found[True]), ways[1:])


def _real(root: Path, path: str, passed: Collection[str]) -> str:
    """Return where in the tree a link leads; empty if that is nowhere, elsewhere, or where nothing is hidden."""
    real = as_listed(Path(os.path.realpath(root / path)))
    if not real.is_relative_to(root) or real == root or not os.path.exists(real):  # noqa: PTH110 - it may be closed
        return ""
    parts = real.relative_to(root).parts
    return "" if parts[0] in passed or ".git" in map(folded, parts) else "/".join(parts)


def _hidden(
    root: Path, files: list[str], directories: Iterable[str], kept: set[str], repository: Repository | None
) -> Hidden:
    held, changed = names_held(root, repository, files)
    whole: list[str] = []
    for path in sorted(directories):  # those above first
        if not _is_in(path, whole) and not any(one.startswith(f"{path}/") for one in held | kept):
            whole.append(path)
    single = [path for path in dict.fromkeys(files) if path not in held and not _is_in(path, whole)]
    if len(whole) + len(single) > _MAX_HIDDEN:
        raise ConfinedError(
            f"`hide` names {len(whole) + len(single)} files and directories in {root}; {_MAX_HIDDEN} can be hidden.",
            "Name the directories that they are in, as `secrets/`.",
        )
    parents = {root.joinpath(path).parent for path in (*whole, *single)}
    ways = {place for parent in parents for place in (parent, *parent.parents) if root in place.parents}
    found = Hidden(root, tuple(single), tuple(whole), tuple(sorted(ways)), tuple(sorted(held)), tuple(sorted(changed)))
    if repository is None:
        return found
    return found._replace(stored=stored(repository, root, (path for path in dict.fromkeys(files) if path not in held)))


def _is_in(path: str, directories: Iterable[str]) -> bool:
    return any(path.startswith(f"{directory}/") for directory in directories)


def names_held(root: Path, repository: Repository | None, files: Iterable[str]) -> tuple[set[str], set[str]]:
    """Return which of ``files`` git holds as they are, and which it holds otherwise."""
    names = _names_in_index(repository, files) if repository is not None else {}
    held = {path for path, name in names.items() if _blob(root, path, name) == name}
    return held, names.keys() - held


def _names_in_index(repository: Repository, files: Iterable[str]) -> dict[str, str]:
    """Return what git's index has of ``files``: by path the name of the content. Nothing if the index is damaged."""
    index = Location(repository.own).read("index", _MAX_INDEX_BYTES)
    with contextlib.suppress(ValueError):
        return {} if index is None else gitindex.names_of(index, frozenset(files))
    return {}


def _blob(root: Path, path: str, like: str) -> str:
    """Return the name of a file's content. A session may put any other into the index, so that alone says nothing."""
    *parents, name = path.split("/")
    content = Location(root, tuple(parents)).read(name)
    return "" if content is None else blob_id(content, like)


class _Patterns:
    """Patterns of fnmatch for names and paths, with a slash at the end for directories alone."""

    def __init__(self, patterns: Iterable[str]) -> None:
        split = [(folded(entry).strip("/").split("/"), entry.endswith("/")) for entry in patterns]
        names = [(parts[0], is_directory) for parts, is_directory in split if len(parts) == 1]
        self._paths = [one for one in split if len(one[0]) > 1]
        self._any = _joined(name for name, is_directory in names if not is_directory)
        self._directories = _joined(name for name, _ in names)

    def __call__(self, prefix: str, name: str, *, is_directory: bool) -> bool:
        """Return whether ``name`` in the directory at ``prefix`` is hidden."""
        if (self._directories if is_directory else self._any).match(folded(name)):
            return True
        if not self._paths:
            return False
        ends = self._rests(prefix + name)
        return any(not rest and (is_directory or not of_directory) for rest, of_directory in ends)

    def below(self, path: str) -> Iterator[str]:
        """Yield the ends of the entries that begin with the directory at ``path``."""
        yield from (f"{rest}{'/' * of_directory}" for rest, of_directory in self._rests(path) if rest)

    def _rests(self, path: str) -> Iterator[tuple[str, bool]]:
        parts = folded(path).split("/")
        for names, of_directory in self._paths:
            if len(names) >= len(parts) and all(map(fnmatch.fnmatchcase, parts, names)):
                yield "/".join(names[len(parts) :]), of_directory


def _joined(names: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(fnmatch.translate, names)) or r"(?!)")
