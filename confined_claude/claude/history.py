"""What Claude Code keeps of one project in a config directory that several projects share: found, and deleted.

Claude names the directory of a project's conversations after the project's path, with hyphens for everything but
ASCII letters and digits, so two projects may share one. What counts is where a conversation was held, which its
transcript says. The client's own ``claude purge`` (2.1.332) is no replacement: it deletes every conversation in such
a directory, and those of other projects inside the project.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ..fs.directory import Directory, Location
from ..fs.lock import LONGER_THAN_STALE_SECONDS, lock_directory
from ..fs.removal import Leftover, discard
from ..project import Project
from ..state.projects import Known
from ..text import as_dict, normal_path, parse_json
from ..workspace import CLAUDE_PROJECTS
from .names import NAME_LENGTH, TRANSCRIPT, directory_name
from .onboarding import BACKUPS, GLOBAL_STATE, STATE_LOCK

PROMPTS = "history.jsonl"
_PASTES = "paste-cache"
SESSION_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PASTE = re.compile(r"([0-9a-f]{8,64})(?:\..*)?", re.DOTALL)
# A transcript's first lines say where it was held, but may contain pictures.
_HEAD_BYTES = 64 << 20
PROMPTS_BYTES = 256 << 20
_BUSY = "something is writing to it, perhaps a session of another project"


class ProjectScope(NamedTuple):
    """The paths that belong to a project: its root and everything below it, except other known projects.

    ``others`` are the roots of those. Of the ``unreadable`` ones only the ids are known.
    """

    root: Path
    others: frozenset[Path] = frozenset()
    unreadable: frozenset[str] = frozenset()

    def contains(self, path: object) -> bool:
        """Return whether ``path``, a value that a session may have written, is an absolute path in the project."""
        if not isinstance(path, str) or not path.startswith("/"):
            return False
        try:
            os.fsencode(path)
        except UnicodeEncodeError:  # half a surrogate pair: no directory has such a name
            return False
        normal = Path(normal_path(path))
        below = [place for place in (normal, *normal.parents) if self.root in place.parents]
        is_others = any(place in self.others for place in below) or (
            bool(self.unreadable) and any(Project(place).id in self.unreadable for place in below)
        )
        return (normal == self.root or bool(below)) and not is_others

    def shares_name(self, name: str) -> bool:
        """Return whether ``name`` may be Claude's directory for another known project as well."""
        return any(directory_name(other) == name for other in self.others if other != self.root)


class History(NamedTuple):
    """What there is of a project: the number of conversations and prompts, and whether there are settings.

    ``entries`` are the files and directories that hold nothing else, in the order of their deletion.
    """

    conversations: int = 0
    prompts: int = 0
    has_settings: bool = False
    entries: tuple[Location, ...] = ()

    @property
    def is_empty(self) -> bool:
        return not (self.conversations or self.prompts or self.has_settings or self.entries)


class Conversations(NamedTuple):
    """The transcripts of the project in one of Claude's directories, and the ``entries`` to delete there."""

    transcripts: tuple[str, ...]
    entries: tuple[Location, ...]


def scope_of(root: Path, known: Iterable[Known]) -> ProjectScope:
    """Return the scope of the project at ``root`` beside the ``known`` projects."""
    found = [other for other in known if other.root != root]
    others = frozenset(other.root for other in found if other.root is not None)
    return ProjectScope(root, others, frozenset(other.id for other in found if other.root is None))


def find(config: Location, scope: ProjectScope, own: Location | None = None) -> History:
    """Return what the config directory holds of a project, and of the conversations in ``own``, its own directory.

    Those are counted, and are no entries. Raises OSError if the config is a link, or cannot be read.
    """
    with contextlib.suppress(FileNotFoundError), config.open() as directory:
        return _find(directory, config, scope, own)
    return History()


def forget(config: Location, scope: ProjectScope, trash: Directory, own: Location | None = None) -> Leftover:
    """Delete what the config directory holds of a project, and return what could not be deleted.

    The conversations in ``own`` stay; what the config has of them elsewhere goes. Directories are only moved to the
    trash in ``trash``. No session may run in the project meanwhile, but in others. Raises OSError as ``find`` does.
    """
    with contextlib.suppress(FileNotFoundError), config.open() as directory:
        found = _find(directory, config, scope, own)
        left = _forget_prompts(directory, scope, trash) + _forget_settings(directory, scope)
        return sum((_discard(entry, trash) for entry in found.entries), left)
    return Leftover()


def _find(directory: Directory, config: Location, scope: ProjectScope, own: Location | None) -> History:
    found = [*conversations(directory, config, scope), *_own_conversations(own)]
    sessions = {session for each in found for name in each.transcripts for session in SESSION_ID.findall(name)}
    # First what only a conversation's id leads to, so that a deletion can be interrupted and repeated.
    entries = [config.at(*names) for names in _elsewhere(directory, sessions)]
    for each in found:
        entries += each.entries
    return History(
        conversations=sum(len(each.transcripts) for each in found),
        prompts=len(_split_prompts(directory, scope)[0]),
        has_settings=_without_project(parse_json(directory.read(GLOBAL_STATE)), scope) is not None,
        entries=tuple(entries),
    )


# Conversations


def conversations(directory: Directory, config: Location, scope: ProjectScope) -> Iterator[Conversations]:
    """Yield what there is of the project in each of Claude's directories."""
    own_name = directory_name(scope.root)
    prefix = own_name[:NAME_LENGTH]
    with directory.child_or_none(CLAUDE_PROJECTS) as projects:
        for name, inner in _subdirectories(projects):
            if name == prefix or name.startswith(f"{prefix}-"):
                found = _conversations_in(inner, config.at(CLAUDE_PROJECTS, name), scope, is_its_own=name == own_name)
                if found is not None:
                    yield found


def _own_conversations(own: Location | None) -> Iterator[Conversations]:
    """Yield the conversations in the project's own directory."""
    if own is None:
        return
    with contextlib.suppress(OSError), own.open() as directory:
        for _, inner in _subdirectories(directory):
            yield Conversations(tuple(name for name in _names(inner) if name.endswith(TRANSCRIPT)), ())


def _conversations_in(
    directory: Directory, location: Location, scope: ProjectScope, *, is_its_own: bool
) -> Conversations | None:
    """Return what there is of the project in a directory that may have its name; None if there is nothing."""
    own, unknown, is_shared = [], [], scope.shares_name(location.name)
    for name in sorted(_names(directory)):
        if not name.endswith(TRANSCRIPT) or not directory.is_file(name):
            continue
        held_in = _held_in(directory, name)
        if held_in is None:
            unknown.append(name)
        elif scope.contains(held_in):
            own.append(name)
        else:
            is_shared = True
    if not own and (is_shared or not is_its_own):
        return None
    if not is_shared:
        return Conversations((*own, *unknown), (location,))
    sessions = {session for name in own for session in SESSION_ID.findall(name)}
    companions = [name for name in _names_with(directory, sessions) if name not in own]
    return Conversations(tuple(own), tuple(map(location.at, (*companions, *own))))


def _held_in(directory: Directory, transcript: str) -> str | None:
    """Return the directory that a conversation was begun in; None if the transcript does not say."""
    for line in directory.head(transcript, _HEAD_BYTES):
        if isinstance(directory_named := as_dict(parse_json(line)).get("cwd"), str):
            return directory_named
    return None


def _elsewhere(config: Directory, sessions: set[str]) -> Iterator[tuple[str, str]]:
    """Yield (directory, name) of what the config's other directories hold of conversations."""
    for place, directory in _subdirectories(config):
        if place != CLAUDE_PROJECTS:
            for name in _names_with(directory, sessions):
                yield place, name


def _names_with(directory: Directory, sessions: set[str]) -> list[str]:
    """Return the names in ``directory`` that contain the id of one of the conversations."""
    return sorted(name for name in _names(directory) if not sessions.isdisjoint(SESSION_ID.findall(name)))


# Prompts


def _split_prompts(config: Directory, scope: ProjectScope) -> tuple[list[bytes], list[bytes]]:
    """Return the lines with the prompts that were typed in the project, and all others."""
    own: list[bytes] = []
    others: list[bytes] = []
    for line in (config.read(PROMPTS, PROMPTS_BYTES) or b"").splitlines(keepends=True):
        (own if scope.contains(as_dict(parse_json(line)).get("project")) else others).append(line)
    return own, others


def _forget_prompts(config: Directory, scope: ProjectScope, trash: Directory) -> Leftover:
    if config.exists(PROMPTS) and config.read(PROMPTS, PROMPTS_BYTES) is None:
        return _leftover(config, PROMPTS, "it is not a file that can be read")
    if not _split_prompts(config, scope)[0]:
        return Leftover()
    with lock_directory(config, f"{PROMPTS}.lock", LONGER_THAN_STALE_SECONDS) as is_locked:
        if not is_locked:
            return _leftover(config, PROMPTS, _BUSY)
        own, others = _split_prompts(config, scope)
        try:
            config.write(PROMPTS, b"".join(others))
        except OSError as error:
            return Leftover.of(config.path / PROMPTS, error)
    with config.child_or_none(_PASTES) as pastes:
        left = Leftover()
        for name in _names(pastes):
            if pastes is not None and (paste := _PASTE.fullmatch(name)):
                wanted = paste[1].encode()
                if any(wanted in line for line in own) and not any(wanted in line for line in others):
                    left += discard(pastes, name, trash)
    return left


# Settings


def _forget_settings(config: Directory, scope: ProjectScope) -> Leftover:
    """Take the project out of the global state, and out of the copies that Claude keeps of it."""
    left = Leftover()
    if _without_project(parse_json(config.read(GLOBAL_STATE)), scope) is not None:
        with lock_directory(config, STATE_LOCK, LONGER_THAN_STALE_SECONDS) as is_locked:
            left += _rewrite(config, GLOBAL_STATE, scope) if is_locked else _leftover(config, GLOBAL_STATE, _BUSY)
    with config.child_or_none(BACKUPS) as backups:
        for name in sorted(_names(backups)):
            if backups is not None and name.startswith(GLOBAL_STATE):
                left += _rewrite(backups, name, scope)
    return left


def _rewrite(directory: Directory, name: str, scope: ProjectScope) -> Leftover:
    state = _without_project(parse_json(directory.read(name)), scope)
    if state is None:
        return Leftover()
    try:
        directory.write(name, json.dumps(state, indent=2).encode())
    except RecursionError:
        return _leftover(directory, name, "it is nested too deeply")
    except OSError as error:
        return Leftover.of(directory.path / name, error)
    return Leftover()


def _without_project(state: Any, scope: ProjectScope) -> dict[str, Any] | None:
    """Return the global state without what it has of the project; None if it has nothing."""
    projects = as_dict(as_dict(state).get("projects"))
    if not any(map(scope.contains, projects)):
        return None
    return {**state, "projects": {path: value for path, value in projects.items() if not scope.contains(path)}}


# Files


def _names(directory: Directory | None) -> list[str]:
    with contextlib.suppress(OSError):
        return directory.names() if directory is not None else []
    return []


def _subdirectories(directory: Directory | None) -> Iterator[tuple[str, Directory]]:
    """Yield the name of each directory in ``directory`` and that directory, open until the next one."""
    for name in sorted(_names(directory)):
        if directory is not None:
            with directory.child_or_none(name) as inner:
                if inner is not None:
                    yield name, inner


def _discard(location: Location, trash: Directory) -> Leftover:
    with contextlib.suppress(OSError), location.parent.open() as directory:
        return discard(directory, location.name, trash)
    return Leftover()  # it is gone


def _leftover(directory: Directory, name: str, reason: str) -> Leftover:
    return Leftover(1, str(directory.path / name), reason)
