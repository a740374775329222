"""A session under guard in every place that it writes: its project, and the mounts beside it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from .. import timing
from ..engine import containers
from ..engine.mount import Mount
from ..errors import ConfinedError
from ..fs.identity import identity_to_mount
from ..workspace import Workspace
from . import report
from .findings import Finding
from .guard import Guard

if TYPE_CHECKING:
    from .beside import WritableMount


@contextlib.contextmanager
def guarded(
    workspace: Workspace,
    key: str,
    prepare: Callable[[], None] = lambda: None,
    closing: Callable[[], Sequence[str]] = tuple,
    writable: Sequence[WritableMount] = (),
) -> Iterator[Guards]:
    """Guard the session ``key`` for the block; at its end, however it ends, report what the session has left.

    ``prepare`` and the errors are those of ``Guard.begin``. ``closing`` returns the lines that follow in the report.
    ``writable`` is what the session writes beside its project.
    """
    guards = Guards(workspace, key, closing, writable)
    guards.begin(prepare)
    try:
        yield guards
    except BaseException:
        guards.report(goes_on=containers.may_exist(key))
        raise
    guards.report()


class Guards:
    """The guards of one session, whose name is ``session``: its project's first."""

    def __init__(
        self, workspace: Workspace, key: str, closing: Callable[[], Sequence[str]], writable: Sequence[WritableMount]
    ) -> None:
        self.session = ""
        self._workspace = workspace
        self._closing = closing
        self._writable = writable
        seen = tuple(_mounted(workspace))
        there = (str(workspace.project.root), *seen)
        beside = (Guard(one.workspace, key, is_beside=True, seen=there) for one in writable)
        self._guards = [Guard(workspace, key, seen=seen), *beside]

    @property
    def mounts(self) -> tuple[Mount, ...]:
        """What the session needs beside its own mounts. Places may have a repository in common."""
        all_of_them = (*self._mounts_in_writable(), *self._guards[0].mounts)
        return tuple({mount.target: mount for mount in all_of_them}.values())

    @property
    def notes(self) -> tuple[str, ...]:
        """What to say of what is mounted."""
        return tuple(note for guard in self._guards for note in guard.notes)

    def _mounts_in_writable(self) -> list[Mount]:
        places = zip(self._writable, self._guards[1:], strict=True)
        return [one.placed(mount) for one, guard in places for mount in guard.mounts]

    def bound(self) -> Iterator[tuple[str, tuple[int, int]]]:
        """Yield where in the session something is pinned beside the project, and its device and inode.

        Sessions of other projects, which may have put a link there meanwhile, do not count as running beside this one.
        Raises ConfinedError for what is gone.
        """
        for mount in self._mounts_in_writable():
            if mount.pin:
                yield mount.target, identity_to_mount(mount.source)

    def begin(self, prepare: Callable[[], None]) -> None:
        """Begin each of them, or none. Raises as ``Guard.begin`` does."""
        try:
            self._guards[0].begin(prepare)
            if self._writable:
                from . import beside

                beside.remember(self._workspace.state, (one.workspace.project.root for one in self._writable))
            for guard in self._guards[1:]:
                guard.begin()
        except BaseException:
            for guard in self._guards:
                guard.abandon()
            raise

    @contextlib.contextmanager
    def scanning(self, session: str) -> Iterator[None]:
        """Record what there is while the block prepares a ``session``, as ``Guard.scanning`` does."""
        with contextlib.ExitStack() as stack:
            for guard in self._guards:
                stack.enter_context(guard.scanning(session))
            yield

    def report(self, *, goes_on: bool = False) -> None:
        """Finish, and report what is new, even where it cannot be recorded. See ``Guard.finish``."""
        findings: list[Finding] = []
        lines: list[str] = []
        failure: ConfinedError | None = None
        for guard in self._guards:
            guard.session = self.session
            try:
                with timing.phase("scan afterwards"):
                    fresh = guard.finish(goes_on=goes_on)
                findings += guard.shown(fresh)
                lines += () if goes_on else guard.closing_lines()
            except ConfinedError as error:
                findings += guard.shown(guard.found)
                failure = failure or error
        if failure is not None:
            report.report(findings)
            raise ConfinedError(failure.message, "Put that right; the next start scans the project again.")
        report.report(findings, also=() if goes_on else (*lines, *self._closing()))


def _mounted(workspace: Workspace) -> Iterator[str]:
    """Yield the real path of each entry of the setting ``mounts``."""
    if workspace.settings.mounts:
        from ..project import mounts  # most sessions have none

        for entry in workspace.settings.mounts:
            yield os.path.realpath(mounts.parse(entry, workspace.project.root, workspace.host)[0])
