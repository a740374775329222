"""What Claude keeps of one project in a config folder that all projects share: found, and forgotten.

Claude names a project's folder after its path, with a hyphen for all but letters and digits: other paths can get the
same name. So what counts is the folder that a conversation was held in, as is written in it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..fs import safefs
from ..fs.safefs import LONG_LOCK_SECONDS, Left, Place
from ..project import Project
from .credentials import GLOBAL_STATE

_PROJECTS = "projects"
_PROMPTS = "history.jsonl"
_PASTES = "paste-cache"
_BACKUPS = "backups"
_TRANSCRIPT = ".jsonl"
# Claude cuts off longer names, and adds a hash.
_LONGEST = 200
_SESSION = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PASTE = re.compile(r"[0-9a-f]{8,64}")
# Where a conversation was held stands in its first lines; there may be pictures among them.
_HEAD_BYTES = 64 << 20
_MOST_BYTES = 256 << 20
_BLOCK = 512
_BUSY = "somebody is writing to it, a session of another project maybe"


@dataclass(frozen=True)
class Whose:
    """Which folders are a project's own: its root and all below, but for other projects.

    ``others`` are the roots of those; of the ``unreadable`` only the ids are known.
    """

    root: Path
    others: tuple[Path, ...] = ()
    unreadable: frozenset[str] = frozenset()

    def __call__(self, path: object) -> bool:
        if not isinstance(path, str) or not path.startswith("/"):
            return False
        place = Path(os.path.normpath(path))
        inner = (other for other in self.others if self.root in other.parents)
        if not place.is_relative_to(self.root) or any(place.is_relative_to(other) for other in inner):
            return False
        below = (above for above in (place, *place.parents) if self.unreadable and self.root in above.parents)
        return not any(Project(above).id in self.unreadable for above in below)

    def others_called(self, name: str) -> bool:
        """Whether a folder of this name could be another known project's."""
        return any(folder_name(other) == name for other in self.others if other != self.root)


@dataclass(frozen=True)
class History:
    """What there is: conversations, prompts, whether there are settings; the files' bytes, and folders beside."""

    conversations: int = 0
    prompts: int = 0
    has_settings: bool = False
    bytes: int = 0
    folders: tuple[Place, ...] = ()

    @property
    def is_empty(self) -> bool:
        return not (self.conversations or self.prompts or self.has_settings or self.folders)


@dataclass(frozen=True)
class _Folder:
    """A folder of Claude's for conversations: those of the project, and whether all that is in it goes with them."""

    name: str
    own: tuple[str, ...]
    is_whole: bool

    @property
    def sessions(self) -> Iterator[str]:
        """The ids of its conversations."""
        return (stem for name in self.own if _SESSION.fullmatch(stem := name.removesuffix(_TRANSCRIPT)))


def folder_name(root: Path) -> str:
    """What Claude calls the folder for a project's conversations. It counts in units of UTF-16."""
    units = (
        char if char.isascii() and char.isalnum() else "-" * (len(char.encode("utf-16-le")) // 2) for char in str(root)
    )
    return "".join(units)


def look(base: Path, parts: tuple[str, ...], whose: Whose) -> History:
    """What the config folder ``base/parts...`` keeps of a project. Raises OSError, also for a link there."""
    try:
        with safefs.opened(base, *parts) as config:
            return _look(config, Place(base, parts), whose)
    except FileNotFoundError:
        return History()


def _look(config: int, place: Place, whose: Whose) -> History:
    number, files, folders = 0, 0, []
    sessions: list[str] = []
    for found in _folders(config, whose):
        number += len(found.own)
        sessions += found.sessions
        with _inside(config, _PROJECTS, found.name) as handle:
            if found.is_whole:
                folders.append(Place(place.base, (*place.parts, _PROJECTS, found.name)))
            else:
                files += _size_of(handle, found.own)
                own = _starting_with(handle, found.sessions)
                folders += [Place(place.base, (*place.parts, _PROJECTS, found.name, name)) for name in own]
    for folder, name in _kept_elsewhere(config, sessions):
        with _inside(config, folder) as handle:
            files += _size_of(handle, [name])
        folders.append(Place(place.base, (*place.parts, folder, name)))
    prompts = _split(config, whose)[0]
    state = _parsed(safefs.read(config, GLOBAL_STATE))
    return History(number, len(prompts), _without(state, whose) is not None, files, tuple(folders))


def forget(base: Path, parts: tuple[str, ...], whose: Whose, aside: int) -> Left:
    """Take out of the config folder what it keeps of a project; what is big goes ``aside``, to be deleted there.

    Nobody may hold a conversation in the project meanwhile; in others they may. Gives what could not be taken
    out. Raises OSError, also for a link there.
    """
    try:
        with safefs.opened(base, *parts) as config:
            return _forget(config, whose, aside)
    except FileNotFoundError:
        return Left()


def _forget(config: int, whose: Whose, aside: int) -> Left:
    left = Left()
    sessions: list[str] = []
    found = list(_folders(config, whose))
    for folder in found:
        sessions += folder.sessions
    # What only the conversations' ids lead to goes first: this may be cut off, and started again.
    for name, entry in _kept_elsewhere(config, sessions):
        with _inside(config, name) as handle:
            left += _drop(handle, entry, aside)
    left += _forget_prompts(config, whose, aside)
    left += _rewrite_state(config, whose)
    for folder in found:
        if folder.is_whole:
            with _inside(config, _PROJECTS) as handle:
                left += _drop(handle, folder.name, aside)
            continue
        with _inside(config, _PROJECTS, folder.name) as handle:
            for name in (*_starting_with(handle, folder.sessions), *folder.own):
                left += _drop(handle, name, aside)
    return left


# Conversations


def _folders(config: int, whose: Whose) -> Iterator[_Folder]:
    """Claude's folders in which there is something of the project."""
    exact = folder_name(whose.root)
    prefix = exact[:_LONGEST]
    with _inside(config, _PROJECTS) as projects:
        for name in sorted(_names(projects)):
            if name == prefix or name.startswith(f"{prefix}-"):
                with _inside(projects, name) as handle:
                    found = None if handle < 0 else _folder(handle, name, whose, is_its_own=name == exact)
                if found is not None:
                    yield found


def _folder(handle: int, name: str, whose: Whose, *, is_its_own: bool) -> _Folder | None:
    own, unknown, is_shared = [], [], whose.others_called(name)
    for entry in sorted(_names(handle)):
        if not entry.endswith(_TRANSCRIPT) or not _is_file(handle, entry):
            continue
        held_in = _held_in(handle, entry)
        if held_in is None:
            unknown.append(entry)
        elif whose(held_in):
            own.append(entry)
        else:
            is_shared = True
    if not (own or (is_its_own and not is_shared)):
        return None
    if is_shared:
        return _Folder(name, tuple(own), is_whole=False)
    return _Folder(name, (*own, *unknown), is_whole=True)


def _held_in(folder: int, name: str) -> str | None:
    """The folder that a conversation was begun in; None if it does not say."""
    for line in safefs.head(folder, name, _HEAD_BYTES):
        record = _parsed(line)
        if isinstance(record, dict) and isinstance(record.get("cwd"), str):
            return str(record["cwd"])
    return None


def _kept_elsewhere(config: int, sessions: Iterable[str]) -> Iterator[tuple[str, str]]:
    """(folder, name) of all that is kept in the config's other folders under a conversation's id."""
    wanted = tuple(sessions)
    for folder in sorted(_names(config)) if wanted else ():
        if folder != _PROJECTS:
            with _inside(config, folder) as handle:
                for name in _starting_with(handle, wanted):
                    yield folder, name


def _starting_with(folder: int, sessions: Iterable[str]) -> list[str]:
    """The names in ``folder`` that are or begin with a conversation's id, its transcript aside."""
    wanted = set(sessions)
    length = 36
    return sorted(
        name for name in _names(folder) if name[:length] in wanted and not name[length:].startswith(_TRANSCRIPT)
    )


# Prompts


def _split(config: int, whose: Whose) -> tuple[list[bytes], list[bytes]]:
    """The prompts that were typed in the project, and the others'."""
    own: list[bytes] = []
    others: list[bytes] = []
    for line in (safefs.read(config, _PROMPTS, _MOST_BYTES) or b"").splitlines(keepends=True):
        record = _parsed(line)
        (own if isinstance(record, dict) and whose(record.get("project")) else others).append(line)
    return own, others


def _forget_prompts(config: int, whose: Whose, aside: int) -> Left:
    if safefs.exists(config, _PROMPTS) and safefs.read(config, _PROMPTS, _MOST_BYTES) is None:
        return Left(1, _PROMPTS, "it is no file that can be read")
    if not _split(config, whose)[0]:
        return Left()
    with safefs.folder_lock(config, f"{_PROMPTS}.lock", LONG_LOCK_SECONDS) as held:
        if not held:
            return Left(1, _PROMPTS, _BUSY)
        own, others = _split(config, whose)
        try:
            safefs.write(config, _PROMPTS, b"".join(others))
        except OSError as error:
            return Left(1, _PROMPTS, error.strerror or str(error))
    left, rest = Left(), b"".join(others)
    with _inside(config, _PASTES) as handle:
        for name in _names(handle):
            paste = name.partition(".")[0]
            if _PASTE.fullmatch(paste) and (word := paste.encode()) not in rest and any(word in line for line in own):
                left += _drop(handle, name, aside)
    return left


# Settings


def _rewrite_state(config: int, whose: Whose) -> Left:
    """Take the project out of the global state, and out of the copies that Claude keeps of that."""
    left = Left()
    if _without(_parsed(safefs.read(config, GLOBAL_STATE)), whose) is not None:
        with safefs.folder_lock(config, f"{GLOBAL_STATE}.lock", LONG_LOCK_SECONDS) as held:
            left += _rewrite(config, GLOBAL_STATE, whose) if held else Left(1, GLOBAL_STATE, _BUSY)
    with _inside(config, _BACKUPS) as handle:
        for name in sorted(_names(handle)):
            if name.startswith(GLOBAL_STATE):
                left += _rewrite(handle, name, whose)
    return left


def _rewrite(folder: int, name: str, whose: Whose) -> Left:
    state = _without(_parsed(safefs.read(folder, name)), whose)
    if state is None:
        return Left()
    try:
        safefs.write(folder, name, json.dumps(state, indent=2).encode())
    except RecursionError:  # nested deeper than can be written
        return Left(1, name, "it is nested too deep")
    except OSError as error:
        return Left(1, name, error.strerror or str(error))
    return Left()


def _without(state: Any, whose: Whose) -> dict[str, Any] | None:
    """The global state without what it has of the project; None if it has nothing."""
    projects = state.get("projects") if isinstance(state, dict) else None
    if not isinstance(projects, Mapping) or not any(map(whose, projects)):
        return None
    return {**state, "projects": {path: value for path, value in projects.items() if not whose(path)}}


# Files


@contextlib.contextmanager
def _inside(folder: int, *names: str) -> Iterator[int]:
    """A handle of a folder further down; -1 if it is none, or a link."""
    handles = [folder]
    try:
        for name in names:
            try:
                handles.append(
                    os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=handles[-1])
                )
            except OSError:
                handles.append(-1)
                break
        yield handles[-1]
    finally:
        for handle in handles[1:]:
            if handle >= 0:
                os.close(handle)


def _names(folder: int) -> list[str]:
    try:
        return os.listdir(folder) if folder >= 0 else []
    except OSError:
        return []


def _is_file(folder: int, name: str) -> bool:
    with contextlib.suppress(OSError):
        return stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    return False


def _size_of(folder: int, names: Iterable[str]) -> int:
    """What these take that are no folders."""
    total = 0
    for name in names if folder >= 0 else ():
        with contextlib.suppress(OSError):
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            total += 0 if stat.S_ISDIR(status.st_mode) else status.st_blocks * _BLOCK
    return total


def _drop(folder: int, name: str, aside: int) -> Left:
    """Set ``name`` aside; delete it at once where that cannot be, as on another file system."""
    if folder < 0:
        return Left()
    try:
        safefs.set_aside(folder, name, aside)
    except FileNotFoundError:
        return Left()
    except OSError:
        return safefs.remove_tree(folder, name)
    return Left()


def _parsed(content: bytes | None) -> Any:
    try:
        return json.loads(content or b"")
    except (ValueError, RecursionError):
        return None
