"""What runs, and what it costs: sessions, data, images, and every known project."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from ...engine import usage
from ...engine.usage import Usage
from ...errors import ConfinedError, EngineError
from ...fs import disk, safefs
from ...fs.disk import Size
from ...fs.safefs import Place
from ...guard import records
from ...guard.records import FindingCounts
from ...host import Host
from ...image.inventory import ImageInventory, Inventory
from ...project import SCAFFOLD, Project
from ...session import listing as running
from ...state import projects as known
from ...state import store as state
from ...state.projects import Known

if TYPE_CHECKING:
    pass

Result = TypeVar("Result")
Waiting = Callable[[int, int], None]
# What was measured, and what it takes.
_Sizes = dict[str, tuple[tuple[Place, ...], tuple[Size, ...]]]

_CONFIG, _CACHES = "claude-config", ("pip-cache", "npm-cache")
_IN_PROJECT = ("venvs", "local-bin")
# No ids of projects, which have a hyphen.
_HERE, _SHARED = "here", "shared"
_ENGINE_SECONDS = 10.0
_SIZES_SECONDS = 5.0
# Of a view that goes on: what takes long to find out is found out more seldom.
_OLD_SECONDS = 30.0


@dataclass(frozen=True)
class Problem:
    """What could not be found out: ``about`` the engine, the images, this project, or a project's records."""

    about: str
    message: str
    hint: str = ""


@dataclass(frozen=True)
class Running:
    """A session and what it takes; the processor's share in percent only where it was looked at before."""

    session: running.Session
    claude_version: str | None = None
    usage: Usage | None = None
    cpu_percent: float | None = None

    @property
    def state(self) -> str:
        """``running``, ``starting``, or ``left behind`` by a tool that is gone."""
        if self.session.is_left:
            return "left behind"
        return "running" if self.session.is_up else "starting"


@dataclass(frozen=True)
class Data:
    """A folder of ours and what it takes. ``removed_by`` is the command that deletes it."""

    name: str
    path: Path
    size: Size
    removed_by: str


@dataclass(frozen=True)
class KnownProject:
    """A known project with all that is kept of it, and what is open to review there."""

    known: Known
    exists: bool
    size: Size
    open: FindingCounts = field(default_factory=FindingCounts)


@dataclass(frozen=True)
class Status:
    """All of it. ``sessions`` and ``images`` are None if the engine could not be asked."""

    time: float
    project: Project | None
    data: tuple[Data, ...]
    shared: tuple[Data, ...]
    sessions: tuple[Running, ...] | None
    images: ImageInventory | None
    projects: tuple[KnownProject, ...]
    problems: tuple[Problem, ...]

    @property
    def is_engine_missing(self) -> bool:
        return self.sessions is None

    def removed_by(self, command: str) -> Size:
        """What ``command`` would give back of the data."""
        return sum((data.size for data in (*self.data, *self.shared) if data.removed_by == command), Size())


CLEAN, CLEAN_ALL, CLEAN_GLOBAL, CLEAN_GLOBAL_ALL = "clean", "clean --all", "clean-global", "clean-global --all"


def forgetting(entry: Known) -> list[str]:
    """The words of the command that forgets a project."""
    # By its id: that is always the one meant, and can be typed.
    return ["confined-claude", "clean", "--all", "--project", entry.id]


class Looker:
    """Looks, once or again and again; what one look knows the next one need not find out at once."""

    def __init__(self, host: Host, here: Callable[[], Project], *, seconds: float = _SIZES_SECONDS) -> None:
        """``here`` gives the current project, or raises ConfinedError; sizes take at most ``seconds``."""
        self._host = host
        self._here = here
        self._seconds = seconds
        self._sizes: _Sizes = {}
        self._sizes_at = 0.0
        self._images = ImageInventory()
        self._images_at = -_OLD_SECONDS
        self._usage: Mapping[str, Usage] = {}
        self._usage_at = 0.0
        self._connected: Inventory | None = None

    def look(self, waiting: Waiting | None = None) -> Status:
        """All there is now. ``waiting`` is told while sizes are added up, see ``disk.measured``."""
        problems: list[Problem] = []
        asked = _Asked(self._ask_engine)
        here = self._project(problems)
        entries = self._entries(problems)
        own = [] if here is None else _project_folders(self._host, here)
        shared = _shared_folders(self._host)
        wanted = {
            _HERE: tuple(folder.place for folder in own),
            _SHARED: tuple(folder.place for folder in shared),
            **{entry.id: _known_places(self._host, entry) for entry in entries},
        }
        if here is not None:  # in parts already
            wanted.pop(here.id, None)
        self._measure(wanted, waiting)
        if here is not None:
            self._sizes[here.id] = self._sizes[_HERE]
        projects = tuple(self._known(entry, problems) for entry in entries)
        sessions, images = self._answered(asked, problems)
        return Status(
            time=time.time(),
            project=here,
            data=tuple(self._data(_HERE, own)),
            shared=tuple(self._data(_SHARED, shared)),
            sessions=sessions,
            images=images,
            projects=projects,
            problems=tuple(problems),
        )

    def _project(self, problems: list[Problem]) -> Project | None:
        try:
            return self._here()
        except ConfinedError as error:
            problems.append(Problem("project", error.message, error.hint))
            return None

    def _entries(self, problems: list[Problem]) -> list[Known]:
        try:
            return known.projects(state.state_of(self._host))
        except ConfinedError as error:
            problems.append(Problem("records", error.message, error.hint))
            return []

    # What the engine knows

    @staticmethod
    def _answered(
        asked: _Asked[tuple[tuple[Running, ...], ImageInventory | ConfinedError]], problems: list[Problem]
    ) -> tuple[tuple[Running, ...] | None, ImageInventory | None]:
        try:
            sessions, images = asked.answer(_ENGINE_SECONDS)
        except ConfinedError as error:
            problems.append(Problem("engine", error.message, error.hint))
            return None, None
        if isinstance(images, ConfinedError):
            problems.append(Problem("images", images.message, images.hint))
            return sessions, None
        return sessions, images

    def _ask_engine(self) -> tuple[tuple[Running, ...], ImageInventory | ConfinedError]:
        found = running.sessions(self._host)
        now = time.monotonic()
        used = self._used([session.id for session in found if session.is_up])
        elapsed, before = now - self._usage_at, self._usage
        self._usage, self._usage_at = used, now
        versions: dict[str, str] = {}
        try:
            images: ImageInventory | ConfinedError = self._look_at_images()
            for name in {session.image for session in found if session.is_up}:
                if image := self._inventory.engine.image(name):
                    versions[name] = self._inventory.claude_version(image.id)
        except ConfinedError as error:
            images = error
        except OSError as error:
            images = safefs.cannot("use", self._host.state, error)
        rows = []
        for session in found:
            takes, took = used.get(session.id), before.get(session.id)
            share = None
            if takes is not None and took is not None and elapsed > 0:
                share = max(0.0, 100 * (takes.cpu_seconds - took.cpu_seconds) / elapsed)
            rows.append(Running(session, versions.get(session.image) or None, takes, share))
        return tuple(rows), images

    def _look_at_images(self) -> ImageInventory:
        if time.monotonic() - self._images_at >= _OLD_SECONDS:
            self._images = self._inventory.look(with_versions=True)
            self._images_at = time.monotonic()
        return self._images

    def _used(self, identities: list[str]) -> dict[str, Usage]:
        found = {identity: used for identity in identities if (used := usage.of_container(identity)) is not None}
        if missing := [identity for identity in identities if identity not in found]:
            found |= self._inventory.engine.usage(missing)
        return found

    @property
    def _inventory(self) -> Inventory:
        if self._connected is None:
            from ...engine.sdk import Engine

            self._connected = Inventory(Engine.connect(self._host.environ), self._host)
        return self._connected

    # What is on the disk

    def _measure(self, wanted: Mapping[str, tuple[Place, ...]], waiting: Waiting | None) -> None:
        """Find out the sizes of what is ``wanted``, unless they are known and not old."""
        is_old = time.monotonic() - self._sizes_at >= _OLD_SECONDS
        again = {key: places for key, places in wanted.items() if self._is_wanted(key, places, is_old=is_old)}
        found = disk.measured(again, seconds=self._seconds, waiting=waiting)
        self._sizes.update((key, (places, found[key])) for key, places in again.items())
        if is_old:
            self._sizes_at = time.monotonic()

    def _is_wanted(self, key: str, places: tuple[Place, ...], *, is_old: bool) -> bool:
        before, sizes = self._sizes.get(key, (None, ()))
        if before != places:
            return True
        # What the time did not do for once is not tried again and again: it may hang.
        return is_old and not any(size.is_cut_off for size in sizes)

    def _data(self, key: str, folders: Iterable[_Folder]) -> Iterator[Data]:
        for folder, size in zip(folders, self._sizes[key][1], strict=True):
            if size.bytes or not size.is_whole:
                yield Data(folder.name, folder.place.path, size, folder.removed_by)

    def _known(self, entry: Known, problems: list[Problem]) -> KnownProject:
        counts = FindingCounts()
        try:
            counts = records.count_findings(state.records_of(self._host, entry.id))
        except ConfinedError as error:
            problems.append(Problem("records", error.message, error.hint))
        places, sizes = self._sizes[entry.id]
        in_it = (size for place, size in zip(places, sizes, strict=True) if place.base == entry.root)
        # A folder that is on a disk which hangs is not asked again.
        exists = entry.root is not None and all(size.is_there for size in in_it)
        if exists and not any(size.is_cut_off for size in sizes):
            exists = entry.exists
        return KnownProject(entry, exists, sum(sizes, Size()), counts)


@dataclass(frozen=True)
class _Folder:
    """A folder of ours before it is measured, as in Data."""

    name: str
    place: Place
    removed_by: str


def _project_folders(host: Host, here: Project) -> list[_Folder]:
    """All that is kept for a project."""
    folders = [_Folder(name, Place(here.root, (SCAFFOLD, name)), CLEAN) for name in _IN_PROJECT]
    folders += _left_in(Place(here.root, (SCAFFOLD,)), CLEAN)
    parts = ("projects", here.id)
    names: list[str] = []
    with contextlib.suppress(OSError), safefs.opened(host.data, *parts) as folder:
        names = sorted(os.listdir(folder))
    folders += [_Folder(name, Place(host.data, (*parts, name)), CLEAN_ALL) for name in names]
    return [*folders, _Folder("records", state.place(host, *parts), CLEAN_ALL)]


def _known_places(host: Host, entry: Known) -> tuple[Place, ...]:
    """The places of all that is kept for a known project."""
    inner: list[Place] = []
    if entry.root is not None:
        inner = [Place(entry.root, (SCAFFOLD, name)) for name in _IN_PROJECT]
    parts = ("projects", entry.id)
    return (*inner, Place(host.data, parts), state.place(host, *parts))


def _shared_folders(host: Host) -> list[_Folder]:
    config = _Folder(_CONFIG, Place(host.data, ("shared", _CONFIG)), CLEAN_GLOBAL_ALL)
    caches = (_Folder(name, Place(host.data, ("shared", name)), CLEAN_GLOBAL) for name in _CACHES)
    left = (
        _left_in(place, CLEAN_GLOBAL) for place in (Place(host.data), Place(host.data, ("shared",)), state.place(host))
    )
    return [config, *caches, _Folder("logs", state.place(host, "logs"), CLEAN_GLOBAL), *itertools.chain(*left)]


def _left_in(place: Place, removed_by: str) -> list[_Folder]:
    """What a clean that was cut off has left in a folder."""
    names: list[str] = []
    with contextlib.suppress(OSError), safefs.opened(place.base, *place.parts) as folder:
        names = safefs.are_aside(folder)
    return [_Folder("left by a clean", Place(place.base, (*place.parts, name)), removed_by) for name in names]


class _Asked(Generic[Result]):
    """A question that is answered in the background, or never."""

    def __init__(self, question: Callable[[], Result]) -> None:
        self._result: Result | None = None
        self._error: BaseException | None = None
        self._question = question
        # Whatever hangs must not keep the process from its end.
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def _ask(self) -> None:
        try:
            self._result = self._question()
        except BaseException as error:
            self._error = error

    def answer(self, seconds: float) -> Result:
        """The answer, or what it raised; EngineError if there is none within ``seconds``."""
        self._thread.join(seconds)
        if self._thread.is_alive():
            raise EngineError(
                f"The Docker engine did not answer within {seconds:.0f} s.", "See its own log, or restart it."
            )
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]
