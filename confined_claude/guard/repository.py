"""Where a project's git repository is, read before a session and without git."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from ..errors import ConfinedError
from ..fs.directory import Location
from ..project.boundaries import GIT_MARKS, SCAFFOLD
from ..text import folded
from . import gitalternates, gitconfig

_MODULES_DEPTH = 8
_PARTS = ("HEAD", "objects", "refs")  # without one of them git takes a directory for no repository, see its setup.c
# What git makes in its own directory; other things there are work trees, or whatever somebody has put there.
GITS_OWN = frozenset(
    """annex branches hooks info lfs logs modules objects rebase-apply rebase-merge refs reftable remotes rr-cache
    sequencer svn worktrees""".split()
)
_GITS_FILES = (
    r"(?:\w+_)?HEAD|config|config\.worktree|commondir|description|index|packed-refs|shallow|gc\.(?:pid|log)|.*\.lock"
    r"|COMMIT_EDITMSG|AUTO_MERGE|(?:MERGE|SQUASH|BISECT)_\w+"
)
_OPEN_HINT = 'Or set git = "open" in your own config file: sessions then start, but without git.'


class Alternates(NamedTuple):
    """The file of a repository that names directories with objects, and those of them outside the project."""

    file: Path = Path()
    directories: tuple[Path, ...] = ()


class Repository(NamedTuple):
    """A project's git directories, by their real paths.

    ``common`` holds settings, hooks and objects. ``own`` is a linked worktree's part of it, else the same. If ``.git``
    is a file, both are outside the project, or in it beside that.
    """

    common: Path
    own: Path

    def git_directories(self) -> tuple[Path, ...]:
        """Return every directory that git takes settings from: ``common``, its worktrees', all submodules'."""
        trees = worktrees(self.common)
        return (self.common, *submodules(self.common), *trees, *(each for tree in trees for each in submodules(tree)))

    def ways_to(self, root: Path) -> tuple[Path, ...]:
        """Return the directories that lead to a work tree in ``common`` itself, from there on; none for any other."""
        return tuple(path for path in reversed(root.parents) if path.is_relative_to(self.common))

    def around(self, root: Path) -> Iterator[tuple[Path, bool]]:
        """Yield what is on these ways beside git's own and ``root``, with whether it is a directory; no links.

        Raises OSError.
        """
        ways = self.ways_to(root)
        for way in ways:
            with Location(way).open() as directory, directory.entries() as entries:
                for entry in entries:
                    path, is_directory = way / entry.name, entry.is_dir(follow_symlinks=False)
                    is_gits = entry.name in GITS_OWN if is_directory else re.fullmatch(_GITS_FILES, entry.name)
                    if path not in (root, *ways) and not entry.is_symlink() and not (way == self.common and is_gits):
                        yield path, is_directory

    def alternates(self, root: Path) -> Alternates:
        """Return where it takes objects from beside itself and the project at ``root``."""
        objects = self.common / "objects"
        named = gitalternates.lines(_content(objects / "info", "alternates") or b"")
        found = [_resolved(objects, os.fsdecode(line)) for line in named if b"\0" not in line]
        outside = [path for path in found if not (path.is_relative_to(self.common) or path.is_relative_to(root))]
        return Alternates(objects / "info/alternates", tuple(outside))


def find(root: Path) -> Repository | None:
    """Return the repository of the project at ``root``, a real path; None if it has none of its own.

    Raises ConfinedError if ``.git`` is a link, or a file that names a directory outside the project which does not name
    this project in turn, or contains it: a clone could choose what is mounted that way.
    """
    git = root / ".git"
    try:
        mode = git.lstat().st_mode
    except OSError:
        return None
    if stat.S_ISDIR(mode):
        return Repository(git, git) if _is_marked(git) else None
    if stat.S_ISLNK(mode):
        place = os.path.realpath(git)
        raise ConfinedError(
            f"{git} is a link, which cannot be guarded.",
            f"Replace the link with a file that has the line `gitdir: {place}`. {_OPEN_HINT}",
        )
    named = _named(root, ".git")
    if named is None:
        raise ConfinedError(
            f"{git} is neither a directory nor a file that names one.",
            "git does not accept it either. Look at it, and correct or remove it.",
        )
    if (repository := _worktree_of(named, git) or _separate(named, root)) is None:
        raise ConfinedError(
            f"{git} names {named}, which does not point back to this project.", f"{_mending(named, root)} {_OPEN_HINT}"
        )
    if repository.common == root or (repository.common in root.parents and not _is_among_work_trees(repository, root)):
        raise ConfinedError(
            f"{git} names {repository.common}, which contains this project: sessions would see all of it.",
            f"`git worktree move` moves a worktree out of its git directory. {_OPEN_HINT}",
        )
    return repository


def _is_among_work_trees(repository: Repository, root: Path) -> bool:
    """Return whether a repository that contains its linked worktree ``root`` has it beside its own directories."""
    first = folded(root.relative_to(repository.common).parts[0])
    is_linked = repository.own != repository.common and first not in GITS_OWN
    return is_linked and all(os.path.lexists(repository.common / name) for name in _PARTS)


def _mending(named: Path, root: Path) -> str:
    """Return how a repository of this project comes to name it. Nothing of this takes anything away."""
    tree = shlex.quote(str(root))
    if not named.is_dir():
        return f"Nothing is there. If the repository was moved, `git worktree repair {tree}` in it puts that right."
    if named.parent.name == "worktrees":
        command = f"git --git-dir={shlex.quote(str(named.parent.parent))} worktree repair {tree}"
        return f"If this worktree was moved here, run `{command}` to record that."
    if named.name == ".git":
        return f"It belongs to {named.parent}; `git worktree add` there makes more work trees."
    command = f"git --git-dir={shlex.quote(str(named))} config core.worktree {tree}"
    return f"If it is this project's repository, run `{command}` to record that."


def above(root: Path) -> Path | None:
    """Return the directory above ``root`` whose repository ``root`` is part of; None if there is none."""
    return next((directory for directory in root.parents if os.path.lexists(directory / ".git")), None)


def submodules(common: Path) -> tuple[Path, ...]:
    """Return the git directories of the submodules in ``common``."""
    found: list[Path] = []

    def search(path: Path, depth: int) -> None:
        for inner in _directories(path):
            if _is_marked(inner):
                found.append(inner)
                search(inner / "modules", depth + 1)
            elif depth < _MODULES_DEPTH:
                search(inner, depth + 1)

    search(common / "modules", 0)
    return tuple(found)


def worktrees(common: Path) -> tuple[Path, ...]:
    """Return the git directories of the linked worktrees of ``common``."""
    return tuple(_directories(common / "worktrees"))


def parse_pointer(content: bytes) -> str | None:
    """Return the path in a ``.git`` file, as git's setup.c reads it; None for any other content.

    It is relative to the directory of that file, unless absolute.
    """
    path = content.rstrip(b"\r\n")
    if not path.startswith(b"gitdir: ") or path == b"gitdir: ":
        return None
    # Git reads up to a NUL, and an empty path as the directory itself.
    return gitconfig.decode(path[len(b"gitdir: ") :].partition(b"\0")[0] or b".")


def common_of(top: Path) -> Path:
    """Return the git directory with the settings of the work tree ``top``, which nobody has checked."""
    return directories_of(top)[0]


def is_seen(address: str, seen: Iterable[str], hidden: Iterable[str]) -> bool:
    """Return whether all that git reads of the repository at an absolute path is in ``seen`` and not in ``hidden``.

    That is what enter_repo of its path.c finds. ``address`` may be a file:// URL without escapes, the others are real
    paths.
    """
    path = address.removeprefix("file://")
    tops = [Path(os.path.realpath(path))]
    if not any(os.path.lexists(tops[0] / name) for name in (".git", "HEAD")):
        tops.append(Path(os.path.realpath(path.rstrip("/") + ".git")))
    read = [f"{place}/" for top in tops for place in (top, os.path.realpath(common_of(top)))]
    within, without = (tuple(f"{place.rstrip('/')}/" for place in places) for places in (seen, hidden))
    return all(place.startswith(within) and not place.startswith(without) for place in read)


def directories_of(top: Path) -> tuple[Path, Path]:
    """Return the git directories of the work tree ``top``, which nobody has checked: the common one, and its own."""
    own = _named(top, ".git") or top / ".git"
    return _named(own, "commondir", plain=True) or own, own


def work_tree(git_directory: Path) -> Path | None:
    """Return the work tree of a linked worktree or a submodule; None if its git directory names none."""
    if (git := _named(git_directory, "gitdir", plain=True)) is not None:
        return git.parent
    with contextlib.suppress(ValueError):
        settings = dict(gitconfig.parse_config(_content(git_directory, "config") or b""))
        if named := settings.get("core.worktree"):
            return _resolved(git_directory, named)
    return None


def _is_marked(directory: Path) -> bool:
    """Return whether a directory is a git directory or was one: a session can take any of its parts away, not all."""
    return any(os.path.lexists(directory / name) for name in GIT_MARKS)


def _directories(path: Path) -> list[Path]:
    try:
        with Location(path).open() as directory, directory.entries() as entries:
            return sorted(path / entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        return []


def _worktree_of(own: Path, git: Path) -> Repository | None:
    """Return the repository of which ``own`` is the linked worktree at ``git``; None if it is not."""
    common = _named(own, "commondir", plain=True)
    if common is None or own.parent != common / "worktrees" or _named(own, "gitdir", plain=True) != git:
        return None
    return Repository(common, own)


def _separate(common: Path, root: Path) -> Repository | None:
    """Return the repository ``common`` of a submodule, or of a project whose git directory is elsewhere.

    None if it is no git directory, and if it is outside the project and does not say that this is its work tree.
    """
    if not _is_marked(common):
        return None
    if root in common.parents:
        # Through a link in the project a session could lead it elsewhere, and what is in the scaffold is not scanned.
        pointer = parse_pointer(_content(root, ".git") or b"") or ""
        is_direct = root / pointer == common and folded(common.relative_to(root).parts[0]) != SCAFFOLD
        return Repository(common, common) if is_direct else None
    if not all(os.path.lexists(common / name) for name in _PARTS):
        return None
    try:
        settings = dict(gitconfig.parse_config(_content(common, "config") or b""))
    except ValueError:
        return None
    worktree = settings.get("core.worktree")
    return Repository(common, common) if worktree and _resolved(common, worktree) == root else None


def _named(directory: Path, name: str, *, plain: bool = False) -> Path | None:
    """Return the real path in one of git's files, as ``gitdir: PATH`` or plainly; None if there is none."""
    content = _content(directory, name)
    if content is None:
        return None
    path = os.fsdecode(content).rstrip("\r\n") if plain else parse_pointer(content)
    return _resolved(directory, path) if path and "\0" not in path else None


def _content(path: Path, name: str) -> bytes | None:
    return Location(path).read(name, 1 << 20)


def _resolved(directory: Path, path: str) -> Path:
    return Path(os.path.realpath(directory / path))
