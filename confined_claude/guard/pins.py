"""What is mounted onto itself, or hidden, so that a session cannot change what the host runs.

A mount point cannot be renamed or removed from inside, but a directory that holds one can: so every directory between
the project and a pinned path is made a mount point as well.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from ..engine.mount import Mount
from ..errors import ConfinedError, system_error
from ..fs.directory import Directory, Location
from ..project import Project
from ..text import starred
from .repository import Repository, submodules, work_tree, worktrees
from .rules import VENV_MARK, Matcher

# Git looks for `commondir` in any git directory, and takes settings and hooks from where it leads. With this content
# git stays where it is, and as a mount point the file cannot be replaced. Claude Code does not take such a directory
# for a repository, so container/client/ hides the file from it. `locked` has git keep what it knows of a worktree that
# it cannot find, as in a session, see git-worktree(1).
FILES = {
    "commondir": b".\n",
    "config": b"",
    "hgrc": b"",
    "hgrc-not-shared": b"",
    "locked": b"A session of confined-claude runs that does not see this worktree.\n",
}
_PYTHON_CACHE = "__pycache__"
_HOST_VENV = ".venv"
# With more submodules or worktrees than this, the directory that holds them is pinned as a whole.
_MAX_GIT_DIRECTORIES = 100


class Pins(NamedTuple):
    """What a session may not change: paths below the project, or below a repository outside it.

    ``read_only`` are pinned, ``writable`` ones within them are not. ``missing`` are to be made before the session, as
    one of ``FILES`` or else as directories, and are read-only as well. ``hidden`` are names of the
    host's virtual environments at the project's root.
    """

    read_only: tuple[Path, ...]
    writable: tuple[Path, ...] = ()
    missing: tuple[Path, ...] = ()
    hidden: tuple[str, ...] = ()

    def with_writable(self, paths: Iterable[Path]) -> Pins:
        """Return the pins with more paths that cannot be renamed, without those that cannot be renamed anyway."""
        fixed = (*self.read_only, *self.missing)
        more = (path for path in paths if path not in fixed and not _is_inside(path, fixed))
        return self._replace(writable=(*self.writable, *more))

    def restricted_to(self, paths: Iterable[Path]) -> Pins:
        """Return the pins without those that are not among ``paths``."""
        known = frozenset(paths)
        return Pins(
            tuple(path for path in self.read_only if path in known),
            tuple(path for path in self.writable if path in known),
            tuple(path for path in self.missing if path in known),
            self.hidden,
        )


def plan_pins(
    project: Project, repository: Repository | None, matcher: Matcher, named_in_git: Iterable[Path] = ()
) -> Pins:
    """Choose what to pin in ``project``, as far as it exists.

    ``repository`` is None where git's own files are not protected. ``named_in_git`` are files and directories in git
    directories that git's settings lead to. Raises ConfinedError for a link among git's files:
    it cannot be a mount point.
    """
    root = project.root
    red: list[Path] = []
    writable: list[Path] = []
    for rule in matcher.rules:
        if not rule.red and not rule.is_user_writable:
            continue
        found = [path for pattern in rule.patterns for path in _expand(root, pattern)]
        if rule.red:
            names = [(path, path.relative_to(root).parts) for path in found]
            red += [path for path, parts in names if matcher.rule_of(parts, is_directory=path.is_dir()) == rule]
        else:
            writable += found
    if (root / "tasks.py").exists():  # Python runs what it caches there
        red.append(root / _PYTHON_CACHE)
    if (root / ".git").is_file():
        red.append(root / ".git")
    red += _other_version_control(root)
    if repository is not None:
        red += _git_files(repository, root)
        red += [path for path in named_in_git if os.path.lexists(path) and not path.is_symlink()]
        if repository.own != repository.common:  # other worktrees are read-only, but not this one
            writable.append(repository.own)
    read_only = [path for path in dict.fromkeys(red) if os.path.lexists(path)]
    # What is inside a pinned directory, and not writable, is protected with it: a pin of its own would be lost as soon
    # as the host replaces it.
    read_only = [path for path in read_only if not _is_inside(path, read_only) or _is_inside(path, writable)]
    # Where the caller may not write, a session may not either.
    missing = [path for path in dict.fromkeys(red) if not os.path.lexists(path) and os.access(path.parent, os.W_OK)]
    exceptions = [path for path in writable if _is_inside(path, read_only)]
    return Pins(tuple(read_only), tuple(exceptions), tuple(missing), tuple(virtual_environments(root)))


def plan_mounts(pins: Pins, project: Project, repository: Repository | None, data: Location) -> Iterator[Mount]:
    """Yield the mounts that ``pins`` need; ``data`` is the project's, where what hides a virtual environment is kept.

    A ``repository`` outside the project is mounted at its own path, so that git works.
    """
    outside = repository is not None and project.root not in repository.common.parents
    base = repository.common if repository is not None and outside else project.root
    if outside:
        yield Mount(base, (), str(base))
    read_only = {*pins.read_only, *pins.missing}
    mounted = {**dict.fromkeys(read_only, True), **dict.fromkeys(pins.writable, False)}
    for path in tuple(mounted):
        for directory in path.parents:
            if directory in (project.root, base):
                break
            if not any(pinned == directory or pinned in directory.parents for pinned in read_only):
                mounted.setdefault(directory, False)
    for path, is_read_only in sorted(mounted.items()):
        trusted = project.root if project.root in path.parents else base
        yield Mount(trusted, path.relative_to(trusted).parts, str(path), read_only=is_read_only, pin=True)
    for name in pins.hidden:
        hidden = data.at("hidden", name)
        yield Mount(hidden.base, hidden.parts, str(project.root / name))


def _is_inside(path: Path, directories: Iterable[Path]) -> bool:
    return any(directory in path.parents for directory in directories)


def make_missing(missing: Iterable[Path], root: Path) -> None:
    """Make what is missing, following no link below ``root``. Raises ConfinedError for what cannot be made."""
    for path in missing:
        try:
            with _parent(path, root) as directory:
                if path.name in FILES:
                    directory.write(path.name, FILES[path.name], mode=0o644)
                else:
                    directory.mkdir(path.name, 0o755)
        except FileExistsError:
            continue
        except OSError as error:
            raise system_error("make", path, error) from None


def _parent(path: Path, root: Path) -> Directory:
    parent = path.parent
    return (Location(root, parent.relative_to(root).parts) if parent.is_relative_to(root) else Location(parent)).open()


def remove_made(paths: Iterable[Path], root: Path) -> None:
    """Remove what ``make_missing`` made, unless there is something in it by now."""
    for path in paths:
        with contextlib.suppress(OSError), _parent(path, root) as directory:
            if path.name not in FILES:
                directory.rmdir(path.name)
            elif directory.read(path.name) == FILES[path.name]:
                directory.unlink(path.name)


def _other_version_control(root: Path) -> Iterator[Path]:
    """Yield what Mercurial obeys beside the files of the rules, also if it is missing, and Jujutsu's own git does."""
    if _real_directory(root / ".hg"):
        settings = (root / ".hg" / name for name in ("hgrc", "hgrc-not-shared"))
        yield from (path for path in settings if not os.path.islink(path))  # noqa: PTH114 - see _is_there
    store = root / ".jj/repo/store/git"
    if _real_directory(store):
        yield from _git_files(Repository(store, store), root)


def _real_directory(path: Path) -> bool:
    """Return whether a path is that of a directory, with no link on the way there."""
    return os.path.isdir(path) and os.path.realpath(path) == str(path)  # noqa: PTH112 - see _is_there


def _git_files(repository: Repository, root: Path) -> Iterator[Path]:
    """Yield what git obeys in the directories of ``repository``, for a session in ``root``.

    A worktree in the project is the session's to remove, and it can write that tree's ``.git`` file anyway.
    """
    common = repository.common
    modules = submodules(common)
    trees = [path for path in worktrees(common) if path == repository.own or not _has_tree_in(root, path)]
    if len(modules) > _MAX_GIT_DIRECTORIES:
        yield common / "modules"
        modules = ()
    if len(trees) > _MAX_GIT_DIRECTORIES:
        yield common / "worktrees"
        trees = [repository.own] if repository.own != common else []
    for path in (common, *modules, *(module for tree in trees for module in submodules(tree))):
        _refuse_redirection(path)
        yield from _settings_of(path)
        yield from (path / name for name in ("config", "hooks", "commondir"))
    for path in trees:
        yield from _settings_of(path)
        if _is_there(path, "commondir"):
            yield path / "commondir"
            if path != repository.own:  # where its tree is decides what the next session may change
                yield from (path / "gitdir", path / "locked")


def _has_tree_in(root: Path, git_directory: Path) -> bool:
    tree = work_tree(git_directory)
    return tree is not None and tree.is_relative_to(root)


def _refuse_redirection(git_directory: Path) -> None:
    content = Location(git_directory).read("commondir")
    if content is not None and content.strip() != FILES["commondir"].strip():
        raise ConfinedError(
            f"{git_directory / 'commondir'} leads git to other settings and hooks: {os.fsdecode(content).strip()!r}.",
            "Look at that place. Git itself never puts this file here: remove it, and start again.",
        )


def _settings_of(git_directory: Path) -> Iterator[Path]:
    """Yield what git obeys in a git directory if it exists. Raises ConfinedError for links."""
    for name in ("config", "hooks", "commondir", "config.worktree", "info", "lazygit.yml"):
        if os.path.islink(git_directory / name):  # noqa: PTH114 - see _is_there
            raise ConfinedError(
                f"{git_directory / name} is a link, which cannot be guarded.",
                'Replace it by what it leads to, or set git = "isolated" or git = "open" in your own config file.',
            )
    for name in ("config.worktree", "info/attributes", "lazygit.yml"):
        if _is_there(git_directory, name):
            yield git_directory / name


def _is_there(directory: Path, name: str) -> bool:
    """Return whether a directory has ``name``. One that nobody may read has none for a session either."""
    return os.path.exists(directory / name)  # noqa: PTH110 - a Path's own method raises what this leaves out


def _expand(root: Path, pattern: str) -> list[Path]:
    """Return what exists at ``root`` by a rule's pattern. No link is followed or returned."""
    paths = [root]
    *parents, name = pattern.strip("/").split("/")
    for part, is_last in [*((parent, False) for parent in parents), (name, True)]:
        wants_directory = pattern.endswith("/") or not is_last
        paths = [inner for path in paths for inner in _matching(path, part) if inner.is_dir() == wants_directory]
    return paths


def _matching(directory: Path, name: str) -> list[Path]:
    if "*" not in name:
        path = directory / name
        return [path] if os.path.lexists(path) and not path.is_symlink() else []
    try:
        with Location(directory).open() as opened:
            names = sorted(opened.names())
    except OSError:
        return []
    pattern = starred(name.lower())
    found = (directory / entry for entry in names if fnmatch.fnmatchcase(entry.lower(), pattern))
    return [path for path in found if not path.is_symlink()]


def virtual_environments(root: Path) -> Iterator[str]:
    """Yield the names of the directories at ``root`` that are, or by their name are to be, virtual environments.

    Raises ConfinedError if it cannot be read.
    """
    try:
        with Location(root).open() as directory, directory.entries() as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError as error:
        raise system_error("read", root, error) from None
    # A directory that nobody may read has none for a session either.
    yield from (name for name in names if name == _HOST_VENV or os.path.isfile(root / name / VENV_MARK))  # noqa: PTH113
