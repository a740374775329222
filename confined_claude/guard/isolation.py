"""``git = "isolated"``: sessions work on a copy of the repository, the host's stays as it is.

What they commit waits in the copy until the host's git fetches it, which runs nothing of it. A
copy is used again while the host's repository has not moved; it goes once all of it is fetched.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..engine.mount import Mount
from ..fs import safefs
from ..host import Host
from ..project import Project
from .records import Records
from .repository import Repository

_BRANCHES = "+refs/heads/*:refs/remotes/confined/*"
_DETACHED = "+HEAD:refs/remotes/confined/HEAD"
_MOST_BYTES = 64 << 20
_DEEPEST = 32


@dataclass(frozen=True)
class Waiting:
    """A copy with branches that the host does not have as they are, and the command that fetches them."""

    branches: tuple[str, ...]
    command: str


def copy_for(repository: Repository, project: Project, host: Host, kept: Records) -> Mount:
    """The mount of the copy that sessions work on, made if there is none of the repository as it is now.

    Raises ConfinedError if it cannot be made.
    """
    parts = _parts(project)
    now = references(repository.common) | _head(repository.own)
    # Whoever deletes the data deletes copies.
    copies = {name: then for name, then in kept.copies().items() if host.data.joinpath(*parts, name).is_dir()}
    if not any(True for _ in kept.sessions()):  # which may be at work on one
        copies = _without_fetched(copies, project, host, now)
    name = next((name for name, then in copies.items() if then == now), None)
    if name is None:
        name = str(1 + max(map(int, copies), default=0))
        place = host.data.joinpath(*parts, name)
        try:
            with safefs.open_folder(host.data, *parts):
                shutil.copytree(repository.common, place, symlinks=True)
        except (OSError, shutil.Error) as error:
            shutil.rmtree(place, ignore_errors=True)
            reason = error if isinstance(error, OSError) and error.errno else OSError(0, str(error))
            raise safefs.cannot("copy the repository to", place, reason) from None
        copies[name] = now
    kept.keep_copies(copies)
    return Mount(host.data, (*parts, name), str(repository.common))


def copy_foreseen(
    repository: Repository, project: Project, host: Host, kept: Records | None, key: str
) -> tuple[Mount, bool]:
    """The mount of the copy that a session which began now would work on, and whether that would have to be made.

    One that has to be made is called ``key``: no session with records ever works on it.
    """
    now = references(repository.common) | _head(repository.own)
    copies = {} if kept is None else kept.copies()
    name = next(
        (name for name, then in copies.items() if then == now and host.data.joinpath(*_parts(project), name).is_dir()),
        None,
    )
    return Mount(host.data, (*_parts(project), name or key), str(repository.common)), name is None


def waiting(project: Project, host: Host, kept: Records) -> list[Waiting]:
    """The copies with something to fetch. Nothing in them is trusted: it is read, and git is not run."""
    found = []
    for name, then in kept.copies().items():
        place = host.data.joinpath(*_parts(project), name)
        there = references(place) | _head(place)
        branches = tuple(
            sorted(
                reference.removeprefix("refs/heads/")
                for reference, commit in there.items()
                if then.get(reference) != commit
                and (reference.startswith("refs/heads/") or _is_detached(reference, commit))
            )
        )
        if branches:
            refspecs = [_BRANCHES, *([_DETACHED] if "HEAD" in branches else [])]
            found.append(Waiting(branches, shlex.join(fetch(project, place, *refspecs))))
    return found


def fetch(project: Project, place: Path, *refspecs: str) -> list[str]:
    """The command that fetches what a copy at ``place`` holds, its branches if nothing else is said."""
    return ["git", "-C", str(project.root), "fetch", str(place), *(refspecs or (_BRANCHES,))]


def references(git_folder: Path) -> dict[str, str]:
    """What each reference of a repository names. No link is followed, what cannot be read is left out."""
    found: dict[str, str] = {}
    with contextlib.suppress(OSError), safefs.opened(git_folder) as folder:
        for line in (safefs.read(folder, "packed-refs", _MOST_BYTES) or b"").splitlines():
            commit, _, name = line.partition(b" ")
            if name and not line.startswith((b"#", b"^")):
                found[os.fsdecode(name)] = os.fsdecode(commit)
    with contextlib.suppress(OSError), safefs.opened(git_folder, "refs") as folder:
        found.update(_loose(folder, "refs", 0))
    return found


def _loose(folder: int, prefix: str, depth: int) -> Iterator[tuple[str, str]]:
    with os.scandir(folder) as entries:
        listed = list(entries)
    for entry in listed:
        path = f"{prefix}/{entry.name}"
        if entry.is_dir(follow_symlinks=False) and depth < _DEEPEST:
            with contextlib.suppress(OSError):
                inner = os.open(entry.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
                try:
                    yield from _loose(inner, path, depth + 1)
                finally:
                    os.close(inner)
        elif (content := safefs.read(folder, entry.name, 4096)) is not None:
            yield path, os.fsdecode(content.strip())


def _commits(git_folder: Path) -> set[str]:
    """What references name, and what is checked out without one."""
    head = {commit for reference, commit in _head(git_folder).items() if _is_detached(reference, commit)}
    return head.union(references(git_folder).values())


def _is_detached(reference: str, commit: str) -> bool:
    return reference == "HEAD" and commit != "" and not commit.startswith("ref:")


def _head(git_folder: Path) -> dict[str, str]:
    content = b""
    with contextlib.suppress(OSError), safefs.opened(git_folder) as folder:
        content = safefs.read(folder, "HEAD", 4096) or b""
    return {"HEAD": os.fsdecode(content.strip())}


def _without_fetched(
    copies: dict[str, dict[str, str]], project: Project, host: Host, now: dict[str, str]
) -> dict[str, dict[str, str]]:
    """``copies`` without those that are neither up to date nor hold what the host lacks; these are deleted."""
    left = {}
    known = set(now.values())
    for name, then in copies.items():
        place = host.data.joinpath(*_parts(project), name)
        if then != now and _commits(place) <= known | set(then.values()):
            shutil.rmtree(place, ignore_errors=True)
        else:
            left[name] = then
    return left


def _parts(project: Project) -> tuple[str, ...]:
    return ("projects", project.id, "git")
