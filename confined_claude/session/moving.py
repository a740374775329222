"""A directory that was a project of its own before it counted as a part of the one around it.

Its environments and conversations are its own still, where the sessions of the other one do not find them.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from ..claude import conversations, history
from ..console import ask, say
from ..errors import ConfinedError, system_error
from ..fs.directory import Location
from ..guard.records import locked
from ..project import Project
from ..project.boundaries import IN_SCAFFOLD, VENVS
from ..signals import is_interactive
from ..state import projects
from ..state.profiles import DEFAULT
from ..state.store import records_of, state_of
from ..text import escape
from ..workspace import CONVERSATIONS, Workspace, data_of, in_profile, profile_data, scaffold_of, shared_config

_ANSWERED = "answered"  # in the records of such a directory, once its user has been asked


def offer(workspace: Workspace) -> None:
    """Ask at a terminal, once, whether what such directories between the caller's and the root have is to be moved."""
    root = workspace.project.root
    for place in (workspace.workdir, *workspace.workdir.parents):
        old = Project(place)
        records = records_of(workspace.host, old.id)
        if root not in place.parents or not is_interactive():
            return
        if not records.path.is_dir() or os.path.lexists(records.at(_ANSWERED).path):
            continue
        found = list(_found(workspace, old))
        if not found:
            _remember(records)
            continue
        say(f"{escape(str(place))} was a project of its own, and has environments or conversations.")
        say(f"It is part of {root} now, whose sessions do not see them.")
        answer = ask("Move them there? [y]es or [n]o, and never ask again? ", "yn")
        with locked(records) as kept:
            if answer == "y":
                if kept.sessions():
                    raise ConfinedError(f"A session still uses {place}.", "End it, and start again.")
                stays = [one for source, target in found for one in _move(source, target)]
                if stays:
                    say(f"{len(stays)} of them stay, where there is one of that name: {escape(str(stays[0].path))} …")
        _remember(records)


def _remember(records: Location) -> None:
    with records.open() as directory:
        directory.write(_ANSWERED, b"")


def _found(workspace: Workspace, old: Project) -> Iterator[tuple[Location, Location]]:
    """Yield the directories with something to move, each with the one that it belongs to now."""
    pairs: list[tuple[Location, Location]]
    pairs = [(scaffold_of(old.root).at(name), workspace.scaffold.at(name)) for name in IN_SCAFFOLD]
    data, new = data_of(workspace.host, old.id), data_of(workspace.host, workspace.project.id)
    scope = history.scope_of(old.root, projects.projects(state_of(workspace.host)))
    for name in (DEFAULT, *(name for name, _ in profile_data(workspace.host))):
        config = shared_config(workspace.host, name)  # where earlier versions kept them
        if config.path.is_dir():
            for line in conversations.gather(config, in_profile(data, name).at(CONVERSATIONS), scope):
                say(line)
        pairs.append((in_profile(data, name).at(CONVERSATIONS), in_profile(new, name).at(CONVERSATIONS)))
    for source, target in pairs:
        with contextlib.suppress(OSError), source.open() as directory:
            if directory.names():
                yield source, target


def _move(source: Location, target: Location) -> list[Location]:
    """Move what is in a directory to another, and return what stays, as there is something of its name already.

    Directories of one name become one, but for virtual environments.
    """
    stays = []
    try:
        with source.open() as directory, target.make() as into:
            for name in directory.names():
                if not into.exists(name):
                    directory.rename(name, name, into)
                elif directory.is_directory(name) and source.name != VENVS:
                    stays += _move(source.at(name), target.at(name))
                else:
                    stays.append(source.at(name))
    except OSError as error:
        raise system_error("move", source.path, error) from None
    return stays
