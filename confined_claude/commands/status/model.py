"""A status: what runs and what is stored, with what it takes."""

from __future__ import annotations

from typing import NamedTuple

from ...engine.usage import Usage
from ...errors import ConfinedError
from ...fs.directory import Location
from ...fs.usage import Size
from ...guard.records import FindingCounts
from ...image.inventory import ImageInventory
from ...project import Project
from ...session.listing import Session
from ...state.projects import Known
from ..accounts import Account

CLEAN, CLEAN_ALL, CLEAN_GLOBAL, CLEAN_GLOBAL_ALL = "clean", "clean --all", "clean-global", "clean-global --all"


class Problem(NamedTuple):
    """What could not be found out: ``about`` the engine, the images, the project, or records."""

    about: str
    message: str
    hint: str = ""

    @classmethod
    def of(cls, about: str, error: ConfinedError) -> Problem:
        return cls(about, error.message, error.hint)


class SessionUsage(NamedTuple):
    """A session and what it takes. ``cpu_percent`` is known only if there was an earlier look at it."""

    session: Session
    claude_version: str = ""
    usage: Usage | None = None
    cpu_percent: float | None = None

    @property
    def state(self) -> str:
        """``running``, ``starting``, or ``left behind`` by a tool that is gone."""
        if self.session.is_orphaned:
            return "left behind"
        return "running" if self.session.is_up else "starting"


class Data(NamedTuple):
    """A directory of the tool's and what it takes. ``removed_by`` is the command that deletes it."""

    name: str
    location: Location
    removed_by: str
    size: Size = Size()


class KnownProject(NamedTuple):
    """A known project with what is stored for it, and what is open to review there."""

    known: Known
    exists: bool
    size: Size
    open: FindingCounts = FindingCounts()

    @property
    def forgotten_by(self) -> list[str]:
        """The command that deletes what is stored, as words. Only the id always means this one and can be typed."""
        return ["confined-claude", "clean", "--all", "--project", self.known.id]


class Status(NamedTuple):
    """All there is to say at a ``time`` in epoch seconds.

    ``sessions`` and ``images`` are None if the engine could not be asked, ``project`` if there can be none here.
    ``accounts`` are empty if the settings here are wrong.
    """

    time: float
    project: Project | None
    data: tuple[Data, ...]
    shared: tuple[Data, ...]
    sessions: tuple[SessionUsage, ...] | None
    images: ImageInventory | None
    projects: tuple[KnownProject, ...]
    problems: tuple[Problem, ...]
    accounts: tuple[Account, ...] = ()

    def removed_by(self, command: str) -> Size:
        """Return what ``command`` frees of the data."""
        return sum((data.size for data in (*self.data, *self.shared) if data.removed_by == command), Size())
