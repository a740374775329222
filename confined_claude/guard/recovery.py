"""Sessions that were interrupted: the next start, or a review, finds out what they have left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from ..engine import containers
from ..state.boundaries import Boundaries
from ..workspace import Workspace
from . import marks, pins, report
from .findings import Finding
from .guarded_project import GuardedProject
from .open_findings import merge, without_accepted_limits
from .records import ReadOnlyRecords, Record, Records, locked
from .snapshot import Kind

_INTERRUPTED = "A session that was interrupted or could not be scanned"


class Recovery(NamedTuple):
    """What interrupted sessions have left.

    ``running`` are the records of all sessions that still run. ``over`` are the others by key, each with what was found
    after it. ``tips`` are the branch tips known before each session. ``findings`` are all that are open now, ``fresh``
    those of them that were not on record. ``boundaries`` is None if nothing was looked through.
    """

    running: tuple[Record, ...] = ()
    over: Mapping[str, list[Finding]] = MappingProxyType({})
    tips: Sequence[Sequence[str]] = ()
    findings: Sequence[Finding] = ()
    fresh: Sequence[Finding] = ()
    boundaries: Boundaries | None = None


def plan_recovery(records: ReadOnlyRecords, project: GuardedProject) -> Recovery:
    """Find out what interrupted sessions have left. Nothing is changed."""
    over: dict[str, list[Finding]] = {}
    findings, accepted, limits = records.findings(), records.accepted(), records.accepted_limits()
    fresh: list[Finding] = []
    tips: list[Sequence[str]] = []
    boundaries = None
    sessions = records.sessions()
    running = [session.record for session in sessions if session.has_owner]
    interrupted = [(key, record, True) for key, record, has_owner in sessions if not has_owner]
    unscanned = [(key, record, False) for key, record in records.unscanned()]
    for key, record, may_run in (*interrupted, *unscanned):
        before = records.before(key)
        if before is None:  # it never started
            over[key] = []
            continue
        # Asked before the scan: what a session does during the scan is found by the next one, while it is on record.
        is_running = may_run and containers.may_exist(key)
        left = project.compare(record, before)
        found = left.findings
        boundaries = left.boundaries_known(boundaries or records.boundaries(), project.root)
        tips.append(before.tips)
        findings, new = merge(findings, accepted, without_accepted_limits(found, limits))
        fresh += new
        if is_running:
            running.append(record)
        else:
            over[key] = found
    return Recovery(tuple(running), over, tips, findings, fresh, boundaries)


def recover_interrupted(records: Records, project: GuardedProject, *, who: str | None = _INTERRUPTED) -> Recovery:
    """Find out what interrupted sessions have left, keep that on record, and report it as left by ``who``."""
    recovery = plan_recovery(records, project)
    if recovery.fresh:
        records.save_findings(recovery.findings)
    if recovery.boundaries is not None:
        records.save_boundaries(recovery.boundaries)
    if recovery.tips:
        from .known_files import record_made_tips  # most starts recover nothing

        for tips in recovery.tips:
            record_made_tips(records, project.repository_now(), tips)
    for key, found in recovery.over.items():
        end(records, key, found)
    behind = remove_made(records, project)
    if who is not None:
        lines = report.lines_on_branches([*map(project.shown_path, behind)])
        report.report(project.shown(recovery.fresh), who, lines)
    return recovery


def recover(workspace: Workspace, who: str) -> None:
    """Report what interrupted sessions of a project have left, as left by ``who``. Raises ConfinedError."""
    with locked(workspace.state) as records:
        recover_interrupted(records, GuardedProject(workspace, lenient=True), who=who)
    recover_beside(workspace, who)


def recover_beside(workspace: Workspace, who: str = _INTERRUPTED) -> None:
    """Report what interrupted sessions have left in what they wrote beside a project. Raises ConfinedError."""
    from . import beside  # most starts recover nothing

    for place in beside.places(workspace):
        with locked(place.state) as records:
            recover_interrupted(records, GuardedProject(place, lenient=True, is_beside=True), who=who)


def end(records: Records, key: str, found: Iterable[Finding]) -> None:
    """End the record of a session, unless something could not be scanned yet."""
    if any(finding.kind == Kind.UNSEEN and finding.red for finding in found):
        records.mark_unscanned(key)
    else:
        records.end(key)


def remove_made(records: Records, project: GuardedProject) -> tuple[str, ...]:
    """Once no session is on record, remove what was made for them, and forget what was accepted during them.

    Returns the protected files that a session's git has left alone, see ``marks``.
    """
    if records.sessions():
        return ()
    if made := records.made():
        pins.remove_made(made, project.root)
        records.save_made(())
    records.save_accepted({})
    if not records.unscanned():
        records.save_boundaries(records.boundaries()._replace(before=None))
    return () if project.repository is None else marks.clear(project.repository, project.matcher)
