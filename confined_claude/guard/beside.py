"""What a session writes beside its project: the writable ones among its mounts, each guarded as a project of its own.

So its records are those of the project that it is or could be: sessions that share it, from wherever, share them.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from ..engine.mount import Mount
from ..errors import ConfinedError
from ..fs.directory import Location
from ..fs.lock import Lock, locked
from ..project import Project, refusal
from ..project.boundaries import mark_of
from ..project.mounts import HostMount
from ..settings.files import ProjectFiles
from ..state.boundaries import is_a_sessions
from ..state.store import LOCK, read_json, records_of, write_json
from ..text import folded
from ..workspace import Workspace
from . import hiding, records, repository
from .rules import CONDA_MARK, DEPENDENCY_DIRECTORIES, VENV_MARK, Matcher, rules_for

_FILE = "beside.json"


class WritableMount(NamedTuple):
    """The workspace of a directory that a session writes beside its project, and has at ``target``."""

    workspace: Workspace
    target: Path

    def placed(self, mount: Mount) -> Mount:
        """Return one of the guard's mounts there as it has to be in the session."""
        return _placed(mount, self.workspace.project.root, self.target)


def _placed(mount: Mount, root: Path, target: Path) -> Mount:
    """Return a mount in the directory ``root`` as it has to be in a session that has that at ``target``."""
    place = Path(mount.target)
    inside = place.is_relative_to(root)
    return mount._replace(target=str(target / place.relative_to(root))) if inside else mount


def workspace_at(workspace: Workspace, root: Path) -> Workspace:
    """Return the workspace of the directory ``root`` that sessions of ``workspace`` write, with the same settings."""
    return workspace._replace(project=Project(root), files=ProjectFiles(Path()))


def roots(location: Location) -> list[Path]:
    """Return the directories that sessions of the project with these records have written beside it."""
    with location.open_if_exists() as directory:
        return (directory and read_json(directory, _FILE, lambda value: [Path(path) for path in value])) or []


def places(workspace: Workspace) -> Iterator[Workspace]:
    """Yield the workspaces of what sessions of a project have written beside it."""
    yield from (workspace_at(workspace, root) for root in roots(workspace.state))


def remember(location: Location, more: Iterable[Path]) -> None:
    """Record that a session of a project writes ``more`` beside it. Raises ConfinedError."""
    with locked(location, LOCK) as directory:
        write_json(directory, _FILE, [str(path) for path in dict.fromkeys((*roots(location), *more))])


def take_over(workspace: Workspace, key: str) -> Iterator[Lock]:
    """Yield what owns the session ``key`` of a project in each place that it writes beside it, if nobody does yet."""
    for place in places(workspace):
        with records.locked(place.state) as there:
            owner = there.take_over(key)
        if owner is not None:
            yield owner


def writable(workspace: Workspace, mounts: Iterable[HostMount]) -> Iterator[WritableMount]:
    """Yield the writable directories among the ``mounts`` of a session of ``workspace``.

    Raises ConfinedError for what cannot be guarded by itself: it acts by the directory it is in, or is part of another
    project, to which its changes belong.
    """
    matcher = Matcher(rules_for((), ()))
    for mount in mounts:
        if mount.writable:
            if what := _acts_by_its_place(mount, matcher) or _is_part(mount.source, workspace):
                raise ConfinedError(
                    f"Cannot mount {mount.source} writable: {what}.",
                    "Mount the directory that it belongs to, where changes are found and reported, or mount it as :ro.",
                )
            yield WritableMount(workspace_at(workspace, mount.source), mount.target)


def hidden(workspace: Workspace, mounts: Iterable[HostMount]) -> Iterator[Mount]:
    """Yield what hides files in the read-only directories among ``mounts``; the guard hides those in writable ones.

    Raises ConfinedError if that is too much.
    """
    for mount in mounts:
        if mount.is_directory and not mount.writable:
            own = None
            with contextlib.suppress(ConfinedError):  # one that could not be guarded
                own = repository.find(mount.source)
            # No virtual environment is passed over: a file makes any directory one, and nothing else hides those here.
            found = hiding.find(mount.source, workspace.settings.hide, own)
            for one in found.mounts(workspace.host):
                yield _placed(one, mount.source, mount.target)


def _is_part(source: Path, workspace: Workspace) -> str:
    """Return the other project or repository that ``source`` is a part of, in words; empty if there is none.

    One that the workspace's own project is in as well does not count: nobody could mount that instead.
    """
    host = workspace.host

    def is_a_project(place: Path) -> bool:
        mark = mark_of(place)
        return bool(mark) and not is_a_sessions(host, place / mark)

    if is_a_project(source):
        return ""
    for place in source.parents:
        is_mounted = is_a_project(place) or os.path.lexists(records_of(host, Project(place).id).path)
        if is_mounted and place not in workspace.project.root.parents and not refusal(place, host):
            return f"it is part of {place}"
    return ""


def _acts_by_its_place(mount: HostMount, matcher: Matcher) -> str:
    """Return what uses the directory because of the place where it is; empty for most."""
    parts = mount.source.parts[1:]
    lower = [folded(part) for part in parts]
    if ".git" in lower:
        return "it is git's own"
    above = (mount.source, *mount.source.parents)
    if not DEPENDENCY_DIRECTORIES.isdisjoint(lower) or any(
        os.path.lexists(place / mark) for place in above for mark in (VENV_MARK, CONDA_MARK)
    ):
        return "it is part of installed packages"
    tails = (parts[count:] for count in range(len(parts)))
    rules = (matcher.rule_of(tail, is_directory=True) for tail in tails)
    rule = next((rule for rule in rules if rule is not None and not rule.is_safeguard), None)
    return f"it is used by {rule.runs}" if rule is not None else ""
