"""Where a project's git repository is, read before a session and without git."""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from ..errors import ConfinedError
from ..fs.directory import Location
from . import gitconfig

_MODULES_DEPTH = 8
_MARKS = ("HEAD", "config", "commondir")
_OPEN_HINT = 'Remove it, or set git = "open" in your own config file: then the session may change it, and you are told.'


@dataclass(frozen=True)
class Repository:
    """A project's git directories, by their real paths.

    ``common`` holds settings, hooks and objects. ``own`` is a linked worktree's part of it, else the same. Both are
    outside the project if ``.git`` is a file.
    """

    common: Path
    own: Path

    def git_directories(self) -> tuple[Path, ...]:
        """Return every directory that git takes settings from: ``common``, its submodules', its worktrees'."""
        return (self.common, *submodules(self.common), *worktrees(self.common))


def find(root: Path) -> Repository | None:
    """Return the repository of the project at ``root``, a real path; None if it has none of its own.

    Raises ConfinedError if ``.git`` is a link, or a file that names a directory which does not name this project in
    turn: a clone could choose what is mounted that way.
    """
    git = root / ".git"
    try:
        mode = git.lstat().st_mode
    except OSError:
        return None
    if stat.S_ISDIR(mode):
        return Repository(git, git) if _is_marked(git) else None
    if stat.S_ISLNK(mode):
        raise ConfinedError(f"{git} is a link, which cannot be guarded.", _OPEN_HINT)
    named = _named(root, ".git")
    if named is None:
        raise ConfinedError(f"{git} is neither a folder nor a file that names one.", "Remove it, and start again.")
    if (repository := _worktree_of(named, git) or _submodule_of(named, root)) is None:
        raise ConfinedError(
            f"{git} names {named}, which does not belong to this project.", f"See `git worktree repair`. {_OPEN_HINT}"
        )
    return repository


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
    """Return the path in a ``.git`` file, as git's setup.c reads it; None if it is none.

    It is relative to the directory of that file, unless absolute.
    """
    path = content.rstrip(b"\r\n")
    if not path.startswith(b"gitdir: ") or path == b"gitdir: ":
        return None
    # Git reads up to a NUL, and an empty path as the directory itself.
    return gitconfig.decode(path[len(b"gitdir: ") :].partition(b"\0")[0] or b".")


def common_of(top: Path) -> Path:
    """Return the git directory with the settings of the work tree ``top``, which nobody has checked."""
    own = _named(top, ".git") or top / ".git"
    return _named(own, "commondir", plain=True) or own


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
    return any(os.path.lexists(directory / name) for name in _MARKS)


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


def _submodule_of(common: Path, root: Path) -> Repository | None:
    """Return the repository ``common`` if it says that the project is its work tree, else None."""
    text = _content(common, "config")
    try:
        settings = dict(gitconfig.parse_config(text or b""))
    except ValueError:
        return None
    worktree = settings.get("core.worktree")
    if not worktree or "modules" not in common.parts or _resolved(common, worktree) != root:
        return None
    return Repository(common, common)


def _named(directory: Path, name: str, *, plain: bool = False) -> Path | None:
    """Return the real path in one of git's files, as ``gitdir: PATH`` or plainly; None if there is none."""
    content = _content(directory, name)
    if content is None:
        return None
    path = os.fsdecode(content).rstrip("\r\n") if plain else parse_pointer(content)
    return _resolved(directory, path) if path and "\0" not in path else None


def _content(path: Path, name: str) -> bytes | None:
    try:
        with Location(path).open() as directory:
            return directory.read(name, limit=1 << 20)
    except OSError:
        return None


def _resolved(directory: Path, path: str) -> Path:
    return Path(os.path.realpath(directory / path))
