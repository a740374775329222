"""What is mounted onto itself, or hidden, so that a session cannot change what the host runs.

A mount point cannot be renamed or removed from inside, but a folder that holds one can: so every
folder between the project and what is kept is made a mount point as well.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..engine.mount import Mount
from ..errors import ConfinedError
from ..fs import safefs
from ..project import Project
from .repository import Repository, submodules, worktrees
from .rules import Matcher

# Git looks for `commondir` in any git folder and takes settings and hooks from where it leads.
# With this content git stays where it is, and as a mount point the file cannot be replaced.
FILES = {"commondir": b".\n", "config": b""}
_PYTHON_CACHE = "__pycache__"
_VENV_MARK = "pyvenv.cfg"
_HOST_VENV = ".venv"
# With more submodules or worktrees than this, the folder that holds them is kept as a whole.
_MOST_GIT_FOLDERS = 100


@dataclass(frozen=True)
class Pins:
    """What a session may not change: paths below the project, or below a repository outside it.

    ``kept`` are read-only, ``opened`` ones in them are not. ``missing`` are to be made before the
    session, as git's ``commondir`` or ``config`` or else as folders, and kept with the rest.
    ``hidden`` are names of the host's virtual environments at the project's root.
    """

    kept: tuple[Path, ...]
    opened: tuple[Path, ...] = ()
    missing: tuple[Path, ...] = ()
    hidden: tuple[str, ...] = ()

    def among(self, others: Iterable[Path]) -> Pins:
        """Only what ``others`` hold as well: what other sessions can replace must not be mounted."""
        known = frozenset(others)
        return Pins(
            tuple(path for path in self.kept if path in known),
            tuple(path for path in self.opened if path in known),
            tuple(path for path in self.missing if path in known),
            self.hidden,
        )

    def paths(self) -> tuple[Path, ...]:
        return (*self.kept, *self.opened, *self.missing)


def plan_pins(project: Project, repository: Repository | None, matcher: Matcher) -> Pins:
    """What to keep in ``project``, as far as it is there.

    ``repository`` is None where git's own files are not to be kept. Raises ConfinedError for a
    link among git's files: it cannot be a mount point.
    """
    root = project.root
    red: list[Path] = []
    opened: list[Path] = []
    for rule in matcher.rules:
        if not rule.red and not rule.opens:
            continue
        found = [path for pattern in rule.patterns for path in _expand(root, pattern)]
        if rule.red:
            red += [path for path in found if matcher.of(path.relative_to(root).parts, folder=path.is_dir()) == rule]
        else:
            opened += found
    if (root / "tasks.py").exists():  # what Python keeps there is what it runs
        red.append(root / _PYTHON_CACHE)
    if (root / ".git").is_file():
        red.append(root / ".git")
    if repository is not None:
        red += _git_files(repository)
        if repository.own != repository.common:  # of many worktrees all are kept, but for this one
            opened.append(repository.own)
    kept = [path for path in dict.fromkeys(red) if os.path.lexists(path)]
    # In a folder that is kept, what is not opened is kept with it; as a pin of its own it would be
    # lost as soon as the host replaces it.
    kept = [path for path in kept if not _is_in(path, kept) or _is_in(path, opened)]
    # Where the caller may not write, a session may not either.
    missing = [path for path in dict.fromkeys(red) if not os.path.lexists(path) and os.access(path.parent, os.W_OK)]
    held = [path for path in opened if _is_in(path, kept)]
    return Pins(tuple(kept), tuple(held), tuple(missing), tuple(_virtual_environments(root)))


def plan_mounts(pins: Pins, project: Project, repository: Repository | None, data: Path) -> Iterator[Mount]:
    """The mounts that ``pins`` need; ``data`` is where what hides a virtual environment is kept.

    A ``repository`` outside the project is mounted at its own path, so that git works.
    """
    outside = repository is not None and project.root not in repository.common.parents
    base = repository.common if repository is not None and outside else project.root
    if outside:
        yield Mount(base, (), str(base))
    read_only = {*pins.kept, *pins.missing}
    leaves = {**dict.fromkeys(read_only, True), **dict.fromkeys(pins.opened, False)}
    for path in tuple(leaves):
        for folder in path.parents:
            if folder in (project.root, base):
                break
            if not any(kept == folder or kept in folder.parents for kept in read_only):
                leaves.setdefault(folder, False)
    for path, kept in sorted(leaves.items()):
        trusted = project.root if project.root in path.parents else base
        yield Mount(trusted, path.relative_to(trusted).parts, str(path), read_only=kept, pin=True)
    for name in pins.hidden:
        yield Mount(data, ("projects", project.id, "hidden", name), str(project.root / name))


def _is_in(path: Path, folders: Iterable[Path]) -> bool:
    return any(folder in path.parents for folder in folders)


def make_missing(missing: Iterable[Path], root: Path) -> None:
    """Make what is missing, following no link below ``root``. Raises ConfinedError for what cannot be made."""
    for path in missing:
        try:
            with _parent(path, root) as folder:
                if path.name in FILES:
                    safefs.write(folder, path.name, FILES[path.name], mode=0o644)
                else:
                    os.mkdir(path.name, 0o755, dir_fd=folder)
        except FileExistsError:
            continue
        except OSError as error:
            raise safefs.cannot("make", path, error) from None


def _parent(path: Path, root: Path) -> contextlib.AbstractContextManager[int]:
    parent = path.parent
    return (
        safefs.opened(root, *parent.relative_to(root).parts) if parent.is_relative_to(root) else safefs.opened(parent)
    )


def remove_made(paths: Iterable[Path], root: Path) -> None:
    """Take away what ``make_missing`` made, unless there is something in it by now."""
    for path in paths:
        try:
            with _parent(path, root) as folder:
                if path.name in FILES:
                    if safefs.read(folder, path.name) == FILES[path.name]:
                        os.unlink(path.name, dir_fd=folder)
                else:
                    os.rmdir(path.name, dir_fd=folder)
        except OSError:
            continue


def _git_files(repository: Repository) -> Iterator[Path]:
    common = repository.common
    modules, trees = submodules(common), worktrees(common)
    if len(modules) > _MOST_GIT_FOLDERS:
        yield common / "modules"
        modules = ()
    for folder in (common, *modules):
        _refuse_redirection(folder)
        yield from _settings_of(folder)
        yield from (folder / name for name in ("config", "hooks", "commondir"))
    if len(trees) > _MOST_GIT_FOLDERS:
        yield common / "worktrees"
        trees = (repository.own,) if repository.own != common else ()
    for folder in trees:
        yield from _settings_of(folder)
        if (folder / "commondir").exists():
            yield folder / "commondir"


def _refuse_redirection(git_folder: Path) -> None:
    with contextlib.suppress(OSError), safefs.opened(git_folder) as handle:
        content = safefs.read(handle, "commondir")
        if content is not None and content.strip() != FILES["commondir"].strip():
            raise ConfinedError(
                f"{git_folder / 'commondir'} leads git to other settings and hooks: {os.fsdecode(content).strip()!r}.",
                "Look at that place. No repository of git's own making has this file: remove it, and start again.",
            )


def _settings_of(git_folder: Path) -> Iterator[Path]:
    """What git obeys in a git folder if it is there. Raises ConfinedError for links and for a redirection."""
    for name in ("config", "hooks", "commondir", "config.worktree", "info"):
        if (git_folder / name).is_symlink():
            raise ConfinedError(
                f"{git_folder / name} is a link, which cannot be guarded.",
                'Replace it by what it leads to, or set git = "isolated" or git = "open" in your own config file.',
            )
    for name in ("config.worktree", "info/attributes"):
        if (git_folder / name).exists():
            yield git_folder / name


def _expand(root: Path, pattern: str) -> list[Path]:
    """What stands at ``root`` by a rule's pattern. No link is followed or given."""
    places = [root]
    *parents, name = pattern.strip("/").split("/")
    for part, is_last in [*((parent, False) for parent in parents), (name, True)]:
        wants_folder = pattern.endswith("/") or not is_last
        places = [inner for place in places for inner in _matching(place, part) if inner.is_dir() == wants_folder]
    return places


def _matching(folder: Path, name: str) -> list[Path]:
    if "*" not in name:
        path = folder / name
        return [path] if os.path.lexists(path) and not path.is_symlink() else []
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    found = (folder / entry for entry in names if fnmatch.fnmatchcase(entry.lower(), name.lower()))
    return [path for path in found if not path.is_symlink()]


def _virtual_environments(root: Path) -> Iterator[str]:
    """The names of the folders at ``root`` that are, or by their name are to be, virtual environments."""
    try:
        with os.scandir(root) as entries:
            folders = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError as error:
        raise safefs.cannot("read", root, error) from None
    yield from (name for name in folders if name == _HOST_VENV or (root / name / _VENV_MARK).is_file())
