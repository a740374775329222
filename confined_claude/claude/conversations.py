"""The conversations of one project, in a directory of its own: all that its sessions see of Claude's ``projects``.

``claude --resume ID`` and the list of all projects in its picker find every conversation in the config (2.1.332). With
this directory mounted over ``projects`` there are no others. It holds a directory for each place in the project that
Claude was started in, its worktrees included.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ..fs.directory import Directory, Location
from ..fs.lock import LONGER_THAN_STALE_SECONDS, lock_directory
from ..host import Host
from ..project import Project
from ..text import as_dict, escape, parse_json
from ..workspace import (
    CLAUDE_CONFIG,
    CLAUDE_PROJECTS,
    CONVERSATIONS,
    LENT_CONFIG,
    data_of,
    in_profile,
    profile_names,
    shared_config,
)
from . import history
from .history import PROMPTS, PROMPTS_BYTES, SESSION_ID, ProjectScope
from .names import NAME_LENGTH, TRANSCRIPT, directory_name
from .onboarding import GLOBAL_STATE


def since(held: Location, moment: float) -> list[str]:
    """Return the ids of the conversations in the directory ``held`` written to since then (epoch seconds).

    They are what Claude Code makes them, so they can stand in a command: a session may put files of any name there.
    """
    found = []
    with contextlib.suppress(OSError), held.open() as directory:
        for name in directory.names():
            with contextlib.suppress(OSError), directory.child(name) as inner:
                for item in inner.names():
                    id_ = item.removesuffix(TRANSCRIPT)
                    if id_ != item and SESSION_ID.fullmatch(id_) and inner.stat(item).st_mtime >= moment:
                        found.append(id_)
    return found


def gather(config: Location, own: Location, scope: ProjectScope) -> Iterator[str]:
    """Move what ``config`` has of the conversations in a project to ``own``, its own directory.

    Earlier versions kept those of all projects there. Yields a line on what could not be moved.
    """
    try:
        with config.open() as directory:
            found = list(history.conversations(directory, config, scope))
        for each in found:
            for entry in each.entries:
                _move(entry, own if entry.parent.name == CLAUDE_PROJECTS else own.at(entry.parent.name))
    except OSError as error:
        yield f"Not all earlier conversations in {config.path} could be moved: {error.strerror}."


def _move(entry: Location, into: Location) -> None:
    """Move a file or a directory to the directory ``into``; of one that is there already, what is missing in it."""
    with entry.parent.open() as directory, into.make() as target:
        if not target.exists(entry.name):
            directory.rename(entry.name, entry.name, target)
            return
        if not directory.is_directory(entry.name):
            return
    with entry.open() as directory:
        names = directory.names()
    for name in names:
        _move(entry.at(name), into.at(entry.name))
    with contextlib.suppress(OSError), entry.parent.open() as directory:
        directory.rmdir(entry.name)


# A project that was moved


class Move(NamedTuple):
    """A project's way from ``old``, which is gone, to ``new``, its root now."""

    old: Path
    new: Path

    def of_path(self, path: object) -> str | None:
        """Return where ``path`` is now; None if it is not one in the project."""
        if not isinstance(path, str) or not (path == str(self.old) or path.startswith(f"{self.old}/")):
            return None
        return f"{self.new}{path[len(str(self.old)) :]}"

    def of_name(self, name: str) -> str | None:
        """Return what Claude calls a directory of conversations now; None for one of another project."""
        old, new = directory_name(self.old), directory_name(self.new)
        if not (name == old or name.startswith(f"{old}-")) or max(len(old), len(new)) > NAME_LENGTH:
            return None
        return f"{new}{name[len(old) :]}"


def carry_over(host: Host, move: Move, scope: ProjectScope) -> Iterator[str]:
    """Give the project at its new place what Claude knows of it at its old one, in every profile; yield lines on it.

    ``scope`` is that of the old place. Done again after an interruption, it does the rest.
    """
    old, new = data_of(host, Project(move.old).id), data_of(host, Project(move.new).id)
    try:
        for name in profile_names(host):
            before, now = in_profile(old, name), in_profile(new, name)
            for part in (CONVERSATIONS, CLAUDE_CONFIG, LENT_CONFIG):
                if os.path.lexists(before.at(part).path):
                    _move(before.at(part), now)
            config = shared_config(host, name)
            if config.path.is_dir():
                yield from gather(config, now.at(CONVERSATIONS), scope)
            _rename_in(now.at(CONVERSATIONS), move)
            _rename_in(now.at(CLAUDE_CONFIG, CLAUDE_PROJECTS), move)
            own = (config.parent.at(LENT_CONFIG), now.at(CLAUDE_CONFIG), now.at(LENT_CONFIG))
            for place in (config, *own):
                _rename_paths(place, move)
    except OSError as error:
        yield f"Not all conversations of {escape(str(move.old))} could be taken along: {error.strerror}."
        return
    yield f"This project was at {escape(str(move.old))}: its conversations, and Claude's settings of it, are here now."


def _rename_in(held: Location, move: Move) -> None:
    with contextlib.suppress(FileNotFoundError), held.open() as directory:
        for name in directory.names():
            new = move.of_name(name)
            if new is not None and not directory.exists(new):
                directory.rename(name, new)


def _rename_paths(location: Location, move: Move) -> None:
    """Put the new paths in place of the old ones in a config's global state and prompts."""
    with contextlib.suppress(FileNotFoundError), location.open() as config:
        for name, moved in ((GLOBAL_STATE, _moved_state), (PROMPTS, _moved_prompts)):
            if moved(config, move) is not None:
                with lock_directory(config, f"{name}.lock", LONGER_THAN_STALE_SECONDS) as is_locked:
                    if is_locked and (content := moved(config, move)) is not None:
                        config.write(name, content)


def _moved_state(config: Directory, move: Move) -> bytes | None:
    """Return the global state with the new paths; None if it has none of the old ones, or cannot be written."""
    state = as_dict(parse_json(config.read(GLOBAL_STATE)))
    projects = as_dict(state.get("projects"))
    if not any(map(move.of_path, projects)):
        return None
    kept = {path: value for path, value in projects.items() if move.of_path(path) is None}
    moved = {new: value for path, value in projects.items() if (new := move.of_path(path)) is not None}
    with contextlib.suppress(RecursionError):  # nested deeper than can be written
        return json.dumps({**state, "projects": {**moved, **kept}}, indent=2).encode()
    return None


def _moved_prompts(config: Directory, move: Move) -> bytes | None:
    """Return the file of all prompts with the new paths; None if it has none of the old ones."""
    lines = (config.read(PROMPTS, PROMPTS_BYTES) or b"").splitlines(keepends=True)
    found = False
    for number, line in enumerate(lines):
        if b'"project"' in line and isinstance(record := parse_json(line), dict):
            new = move.of_path(record.get("project"))
            with contextlib.suppress(RecursionError):  # nested deeper than can be written
                if new is not None:
                    lines[number] = json.dumps({**record, "project": new}).encode() + b"\n"
                    found = True
    return b"".join(lines) if found else None
