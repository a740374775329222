"""The collection of a status: from the engine, in the background, and from the disk."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from ...background import Background, Unfinished
from ...engine import usage as kernel
from ...engine.failures import no_answer
from ...engine.images import Images
from ...engine.usage import Usage
from ...errors import ConfinedError
from ...fs import usage as disk
from ...fs.directory import Directory, Location
from ...fs.removal import trash_in
from ...fs.usage import Size
from ...guard import records
from ...guard.records import FindingCounts
from ...host import Host
from ...image.inventory import ImageInventory, Inventory
from ...project import Project
from ...project.boundaries import IN_SCAFFOLD
from ...session import listing
from ...session.listing import Session
from ...state import projects
from ...state.current import current_project
from ...state.projects import Known
from ...state.store import LOGS, records_of, state_of
from ...workspace import CACHES, CLAUDE_CONFIG, LENT_CONFIG, data_of, profile_data, scaffold_of, shared_data
from .. import accounts
from ..accounts import Account
from ..clean.trash import outside_projects
from ..config import resolve_here
from .model import CLEAN, CLEAN_ALL, CLEAN_GLOBAL, CLEAN_GLOBAL_ALL, Data, KnownProject, Problem, SessionUsage, Status

Result = TypeVar("Result")
Waiting = Callable[[int, int], None]
_Answer = tuple[tuple[SessionUsage, ...], ImageInventory | ConfinedError]

# Not the id of a project, which has a hyphen.
_SHARED = "shared"
_ENGINE_SECONDS = 10.0
# The part of it for looking up versions of Claude Code: with many new images, a later status has the rest.
_VERSIONS_SECONDS = 4.0
# A live view repeats what takes long less often.
_OLD_SECONDS = 30.0


class StatusCollector:
    """Collects a status, once or again and again; what takes long is not repeated every time."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._measured: dict[str, tuple[list[Data], list[Data]]] = {}
        self._measured_at = 0.0
        self._images: ImageInventory | None = None
        self._images_at = 0.0
        self._usage: dict[str, Usage] = {}
        self._usage_at = 0.0
        self._connected: Inventory | None = None

    def collect(self, waiting: Waiting | None = None) -> Status:
        """Return the status now. ``waiting`` is called while sizes are measured, see ``fs.usage.measure``."""
        problems: list[Problem] = []
        here = _attempt(problems, "project", lambda: current_project(self._host))  # its programs are not used then
        asked = Background(self._ask_engine)
        known = _attempt(problems, "records", lambda: projects.projects(state_of(self._host))) or []
        wanted = {entry.id: _data_of(self._host, entry.id, entry.root) for entry in known}
        if here is not None:
            wanted[here.id] = _data_in_parts(self._host, here)
        wanted[_SHARED] = _shared_data(self._host)
        data = self._measure(wanted, waiting)
        listed = tuple(self._known(entry, data[entry.id], problems) for entry in known)
        sessions, images = _attempt(problems, "engine", lambda: self._answer(asked)) or (None, None)
        if isinstance(images, ConfinedError):
            problems.append(Problem.of("images", images))
            images = None
        return Status(
            time=time.time(),
            project=here,
            data=() if here is None else tuple(_existing(data[here.id])),
            shared=tuple(_existing(data[_SHARED])),
            sessions=sessions,
            images=images,
            projects=listed,
            problems=tuple(problems),
            accounts=_attempt([], "settings", lambda: self._accounts(here)) or (),  # `config` says what is wrong
        )

    def _accounts(self, here: Project | None) -> tuple[Account, ...]:
        current = accounts.in_force(self._host, here, resolve_here(self._host)[0].settings)
        return tuple(accounts.accounts(self._host, current))

    # From the engine

    @staticmethod
    def _answer(asked: Background[_Answer]) -> _Answer:
        try:
            return asked.result(_ENGINE_SECONDS)
        except Unfinished:
            raise no_answer(_ENGINE_SECONDS) from None

    def _ask_engine(self) -> _Answer:
        found = listing.sessions(self._host)
        up = [session for session in found if session.is_up]
        earlier, since = self._usage, self._usage_at
        self._usage, self._usage_at = self._usage_of([session.id for session in up]), time.monotonic()
        elapsed = self._usage_at - since
        versions: dict[str, str] = {}
        until = time.monotonic() + _VERSIONS_SECONDS
        try:
            looked = self._look_at_images(until)
            images: ImageInventory | ConfinedError = looked
            for known in (*looked.images, *looked.others):
                versions |= dict.fromkeys(known.names, known.claude_version)
            for name in {session.image for session in up} - set(versions):
                if image := self._inventory.engine.image(name):
                    versions[name] = self._inventory.claude_version(image.id, until=until)
        except ConfinedError as error:
            images = error
        return tuple(self._session(session, versions, earlier, elapsed) for session in found), images

    def _session(
        self, session: Session, versions: Mapping[str, str], earlier: Mapping[str, Usage], elapsed: float
    ) -> SessionUsage:
        now, before = self._usage.get(session.id), earlier.get(session.id)
        percent = None
        if now is not None and before is not None and elapsed > 0:
            percent = max(0.0, 100 * (now.cpu_seconds - before.cpu_seconds) / elapsed)
        return SessionUsage(session, versions.get(session.image, ""), now, percent)

    def _look_at_images(self, until: float) -> ImageInventory:
        if self._images is None or time.monotonic() - self._images_at >= _OLD_SECONDS:
            self._images = self._inventory.look(with_versions=True, until=until)
            self._images_at = time.monotonic()
        return self._images

    def _usage_of(self, containers: list[str]) -> dict[str, Usage]:
        found = {identity: used for identity in containers if (used := kernel.of_container(identity)) is not None}
        if missing := [identity for identity in containers if identity not in found]:
            found |= self._inventory.engine.usage(missing)
        return found

    @property
    def _inventory(self) -> Inventory:
        if self._connected is None:
            self._connected = Inventory(Images(), self._host)
        return self._connected

    # From the disk

    def _measure(self, wanted: Mapping[str, list[Data]], waiting: Waiting | None) -> dict[str, list[Data]]:
        """Return the ``wanted`` data with their sizes, which are measured unless they are known and not old."""
        is_old = time.monotonic() - self._measured_at >= _OLD_SECONDS
        due = {key: data for key, data in wanted.items() if self._is_due(key, data, is_old=is_old)}
        locations = {key: [each.location for each in data] for key, data in due.items()}
        for key, sizes in disk.measure(locations, waiting=waiting).items():
            with_sizes = [data._replace(size=size) for data, size in zip(due[key], sizes, strict=True)]
            self._measured[key] = (due[key], with_sizes)
        if is_old:
            self._measured_at = time.monotonic()
        return {key: self._measured[key][1] for key in wanted}

    def _is_due(self, key: str, data: list[Data], *, is_old: bool) -> bool:
        before, measured = self._measured.get(key, ([], []))
        # What has run out of time once is not tried again and again: it may hang.
        return before != data or (is_old and not any(each.size.is_cut_off for each in measured))

    def _known(self, entry: Known, data: list[Data], problems: list[Problem]) -> KnownProject:
        counts = _attempt(problems, "records", lambda: records.count_findings(records_of(self._host, entry.id)))
        exists = all(each.size.is_there for each in data if each.location.base == entry.root)
        # A directory on a disk that hangs is not looked at again.
        if entry.root is None or (exists and not any(each.size.is_cut_off for each in data)):
            exists = entry.exists
        return KnownProject(entry, exists, sum((each.size for each in data), Size()), counts or FindingCounts())


def _attempt(problems: list[Problem], about: str, work: Callable[[], Result]) -> Result | None:
    """Return what ``work`` returns; if it fails, add that to ``problems`` and return None."""
    try:
        return work()
    except ConfinedError as error:
        problems.append(Problem.of(about, error))
        return None


def _existing(data: Iterable[Data]) -> Iterator[Data]:
    return (each for each in data if each.size.bytes or not each.size.is_whole)


def _data_of(host: Host, project_id: str, root: Path | None) -> list[Data]:
    """Return all that is stored for a project, to be measured."""
    data = [] if root is None else [Data(name, scaffold_of(root).at(name), CLEAN) for name in IN_SCAFFOLD]
    data.append(Data("data", data_of(host, project_id), CLEAN_ALL))
    return [*data, Data("records", records_of(host, project_id), CLEAN_ALL)]


def _data_in_parts(host: Host, here: Project) -> list[Data]:
    """Return the same for the current project, with its data by name, and with what an interrupted clean left."""
    *in_project, own, state = _data_of(host, here.id, here.root)
    parts = [Data(name, own.location.at(name), CLEAN_ALL) for name in _names(own.location, Directory.names)]
    return [*in_project, *_trash(scaffold_of(here.root), CLEAN), *parts, state]


def _shared_data(host: Host) -> list[Data]:
    shared = shared_data(host)
    data = [Data(name, shared.at(name), CLEAN_GLOBAL_ALL) for name in (CLAUDE_CONFIG, LENT_CONFIG)]
    data += [Data(f"profile {profile}", location, CLEAN_GLOBAL_ALL) for profile, location in profile_data(host)]
    data += [Data(name, shared.at(name), CLEAN_GLOBAL) for name in CACHES]
    data.append(Data("logs", state_of(host).at(LOGS), CLEAN_GLOBAL))
    for location in outside_projects(host):
        data += _trash(location, CLEAN_GLOBAL)
    return data


def _trash(location: Location, removed_by: str) -> list[Data]:
    """Return what an interrupted clean has left in a directory."""
    return [Data("left by a clean", location.at(name), removed_by) for name in _names(location, trash_in)]


def _names(location: Location, find: Callable[[Directory], list[str]]) -> list[str]:
    with contextlib.suppress(OSError), location.open() as directory:
        return sorted(find(directory))
    return []
