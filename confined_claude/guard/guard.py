"""A session under guard in one place: what it may not change is planned before it, what it has left found after it."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .. import signals, timing
from ..background import Background
from ..engine.mount import Mount
from ..errors import ConfinedError
from ..fs.lock import Lock
from ..project import SCAFFOLD
from ..state import projects
from ..text import escape
from ..workspace import Workspace
from . import open_findings, pins, report
from .findings import Finding
from .guarded_project import GuardedProject, identity
from .pins import Pins
from .records import Before, ReadOnlyRecords, Record, locked, locked_if_exist
from .recovery import Recovery, end, plan_recovery, recover_interrupted, remove_made

if TYPE_CHECKING:
    from .hiding import Hidden
    from .isolation import CopyPlan

# The kernel's time of a change of a file lags behind the clock by up to a tick.
_CLOCK_SECONDS = 0.02


class GuardPlan(NamedTuple):
    """What a session may not change or see, and the copy of the repository that it works on, if it does."""

    project: GuardedProject
    pins: Pins
    copy: CopyPlan | None = None
    hidden: Hidden | None = None
    around: Hidden | None = None  # in a repository that contains the project

    @property
    def mounts(self) -> tuple[Mount, ...]:
        """What the session needs beside its own mounts."""
        project = self.project
        outside = project.repository if self.copy is None else None
        mounts = pins.plan_mounts(self.pins, project.workspace.project, outside, project.workspace.data)
        all_of_them = (*mounts, *([self.copy.mount] if self.copy is not None else []))
        for hidden in (self.around, self.hidden):
            if hidden is not None:
                left = (mount for mount in all_of_them if not hidden.covers(mount.target))
                all_of_them = (*left, *hidden.mounts(project.workspace.host))
        return all_of_them


def plan(
    project: GuardedProject, records: ReadOnlyRecords | None, running: Iterable[Record], new_copy: str | None = None
) -> GuardPlan:
    """Plan a session beside those with the records ``running``. Nothing is made or changed.

    ``new_copy`` names a copy of the repository that has to be made. Raises ConfinedError for what cannot be guarded.
    """
    workspace, running = project.workspace, tuple(running)
    git = workspace.settings.git
    repository = project.repository if git == "guarded" else None
    planned = pins.plan_pins(workspace.project, repository, project.matcher, project.named.in_git)
    hidden = around = None
    if project.repository is not None and project.repository.ways_to(project.root):
        from . import hiding  # few need it

        around = hiding.around(project.repository, project.root)
        planned = planned.with_writable(around.parents if around is not None else ())
    if workspace.settings.hide:
        from . import hiding

        protected = (*planned.read_only, *planned.missing)
        # What is not looked through is what something else hides: looked up again, it could be more by now.
        passed = (SCAFFOLD, *planned.hidden)
        hidden = hiding.find(project.root, workspace.settings.hide, project.repository, protected, passed)
        planned = planned.with_writable(hidden.parents)
        hidden = hidden.exposed_to(record.hidden for record in running)
    for record in running:  # what another session can replace must not be mounted
        planned = planned.restricted_to(project.root / path for path in (*record.pinned, *record.writable))
    if git != "isolated" or project.repository is None:
        return GuardPlan(project, planned, hidden=hidden, around=around)
    if around is not None:
        raise ConfinedError(
            f"The repository at {project.repository.common} contains this project, so a copy cannot replace it.",
            'Choose git = "guarded", or move the worktree out of it with `git worktree move`.',
        )
    from . import isolation

    copies = workspace.data.at(isolation.DIRECTORY)
    return GuardPlan(project, planned, isolation.plan_copy(project.repository, copies, records, new_copy), hidden)


def plan_dry_run(workspace: Workspace, key: str, *, is_beside: bool = False) -> GuardPlan:
    """Return the plan for a session ``key`` that would start now. Nothing is made, changed or recorded.

    ``is_beside`` is as for a GuardedProject. Raises ReviewNeeded while something red is open, and ConfinedError for
    what cannot be guarded.
    """
    project = GuardedProject(workspace, is_beside=is_beside)
    with locked_if_exist(workspace.state) as records:
        recovery = Recovery() if records is None else plan_recovery(records, project)
        if any(finding.red for finding in recovery.findings):
            open_findings.refuse_red(project.shown(open_findings.still_open(recovery.findings, project)))
        # No copy on record is named by the key, and no other session ever works on that one.
        planned = plan(project, records, recovery.running, key)
    if is_beside or os.path.lexists(workspace.scaffold.path):
        return planned
    # A start makes the scaffold before it plans.
    return planned._replace(pins=planned.pins._replace(read_only=(workspace.scaffold.path, *planned.pins.read_only)))


class Guard:
    """One session under guard in one place that it writes: its project, or a mount that ``is_beside`` that.

    ``key`` is its label, ``mounts`` what it needs beside its own mounts, ``notes`` what to say of them, ``session`` its
    name, ``found`` what it has left there. ``seen`` has the real paths of what else it sees.
    """

    def __init__(self, workspace: Workspace, key: str, *, is_beside: bool = False, seen: tuple[str, ...] = ()) -> None:
        self.key = key
        self.mounts: tuple[Mount, ...] = ()
        self.notes: tuple[str, ...] = ()
        self.session = ""
        self.found: list[Finding] = []
        self._location = workspace.state
        self._project = GuardedProject(workspace, is_beside=is_beside)
        self._record = Record(seen=seen)
        self._before: Before | None = None
        self._pinned = PinnedInodes()
        self._owner: Lock | None = None
        self._behind: tuple[str, ...] = ()

    def begin(self, prepare: Callable[[], None] = lambda: None) -> None:
        """Recover interrupted sessions, plan this one, and protect what it may not change.

        ``prepare`` makes what the session needs; nobody deletes it between that and the session's record. Raises
        ReviewNeeded while something red is open, and ConfinedError for what cannot be guarded.
        """
        project = self._project
        with contextlib.ExitStack() as stack:
            with signals.interruptible():
                records = stack.enter_context(locked(self._location))
                prepare()
                if project.is_beside:
                    projects.remember(self._location, project.root)
                recovery = recover_interrupted(records, project)
                open_findings.refuse_while_red(records, project)
            planned = plan(project, records, recovery.running)
            if planned.copy is not None:
                with signals.interruptible():
                    from . import isolation

                    isolation.make_copy(planned.copy, records)
            if planned.hidden is not None or planned.around is not None:
                from . import hiding

                hiding.make_stand_ins(project.workspace.host)
                self.notes = tuple(planned.hidden.notes()) if planned.hidden is not None else ()
            missing = planned.pins.missing
            records.save_made(dict.fromkeys((*records.made(), *missing)))
            pins.make_missing(missing, project.root)
            self._record = Record(
                {project.name(path): identity(path) for path in (*planned.pins.read_only, *missing)},
                tuple(map(project.name, planned.pins.writable)),
                tuple(map(project.name, project.repository.git_directories())) if project.repository else (),
                planned.hidden.paths if planned.hidden is not None else (),
                self._record.seen,
                planned.copy is not None,
            )
            self._pinned.open(project.root, self._record.pinned)
            self._owner = records.begin(self.key, self._record)
        self.mounts = planned.mounts

    @contextlib.contextmanager
    def scanning(self, session: str) -> Iterator[None]:
        """Record what there is while the block prepares a ``session``, which must not start before its end.

        Whatever goes wrong with the scan is raised at the end of the block: no session starts without it.
        """
        scan = Background(lambda: self._save_before(session))
        try:
            yield
        except BaseException:
            with contextlib.suppress(Exception):
                scan.result()
            raise
        scan.result()

    def _save_before(self, session: str) -> None:
        from . import known_files  # beside the engine's work

        since = time.time() - _CLOCK_SECONDS
        with timing.phase("baseline"):
            with locked(self._location) as records:
                before = records.before(self.key)  # that of the sessions beside this one
                tips, made = known_files.known_tips(records, self._project.repository)
            if before is None:
                scanned = self._project.scan()
                before = Before(session, since, scanned, self._project.programs, tips=tips, made=made)
            with locked(self._location) as records:
                self._before = records.save_before(self.key, before._replace(session=session))

    def shown(self, findings: Iterable[Finding]) -> list[Finding]:
        """Return findings of this place with their paths as they are shown, see ``GuardedProject``."""
        return self._project.shown(findings)

    def closing_lines(self) -> Iterator[str]:
        """Yield what to say of the place after the session beside its findings. Raises ConfinedError."""
        yield from report.lines_on_branches([*map(self._project.shown_path, self._behind)])
        # A line for each copy of the repository with commits that the host does not have.
        workspace = self._project.workspace
        if workspace.settings.git == "isolated":
            from . import isolation

            with locked(self._location) as records:
                copies = isolation.unfetched(self._project.root, workspace.data.at(isolation.DIRECTORY), records)
            for copy in copies:
                branches = ", ".join(map(escape, copy.branches))
                where = f" in {escape(self._project.prefix)}" if self._project.is_beside else ""
                line = f"Commits wait in a copy of the repository, on {branches}:"
                yield f"{line} `confined-claude fetch`{where} gets them."

    def finish(self, *, goes_on: bool = False) -> list[Finding]:
        """Find out what the session has left, and put it on record; return what is new.

        What was made for sessions is removed after the last one. If this one ``goes_on`` without this process, the
        next start scans again.
        """
        from . import known_files

        project = self._project
        left = None
        if self._before is not None:
            with contextlib.suppress(ConfinedError), locked(self._location) as records:
                # Others may have accepted or restored something.
                self._before = records.before(self.key) or self._before
            before = self._before._replace(session=self.session or self._before.session)
            left = project.compare(self._record, before, self._pinned.unchanged(project.root))
            self.found = left.findings
        with locked(self._location) as records:
            fresh = open_findings.add(records, self.found)
            if self._before is not None and left is not None:
                records.save_boundaries(left.boundaries_known(records.boundaries(), project.root))
                known_files.record_made_tips(records, project.repository_now(), self._before.tips)
            if not goes_on:
                end(records, self.key, self.found)
            self.close()
            self._behind = remove_made(records, project)
        return fresh

    def abandon(self) -> None:
        """Take back what ``begin`` did for a session that does not start."""
        if self._owner is not None:
            with contextlib.suppress(ConfinedError):
                self.finish()

    def close(self) -> None:
        """Own the session no longer."""
        if self._owner is not None:
            self._owner.close()
            self._owner = None
        self._pinned.close()


class PinnedInodes:
    """Open file descriptors of what is pinned: while they are open, no other file can have the same identity."""

    def __init__(self) -> None:
        self._fds: dict[str, int] = {}

    def open(self, root: Path, paths: Iterable[str]) -> None:
        flags = getattr(os, "O_PATH", os.O_RDONLY | os.O_NONBLOCK) | os.O_NOFOLLOW | os.O_CLOEXEC
        for path in paths:
            with contextlib.suppress(OSError):
                self._fds[path] = os.open(root / path, flags)  # noqa: TID251 - it pins the inode

    def unchanged(self, root: Path) -> Iterator[str]:
        """Yield the paths at which the same file or directory still is."""
        for path, fd in self._fds.items():
            status = os.fstat(fd)
            if (status.st_dev, status.st_ino) == identity(root / path):
                yield path

    def close(self) -> None:
        while self._fds:
            os.close(self._fds.popitem()[1])
