"""The findings that wait for a review: which are open, and which of them stop the next start."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ..errors import ReviewNeeded
from ..text import escape, named
from .findings import Finding, order
from .guarded_project import GuardedProject
from .records import Records
from .snapshot import Item, Kind

_MAX_NAMED = 3
NO_START = "no session starts here until then"


def merge(
    known: Iterable[Finding], accepted: Mapping[str, str], new: Iterable[Finding]
) -> tuple[list[Finding], list[Finding]]:
    """Add ``new`` findings to the ``known`` ones; return all, and those that were neither known nor accepted.

    ``accepted`` has digests by the key of the finding. Pure.
    """
    found = {finding.key: finding for finding in known}
    fresh = []
    for finding in new:
        first = found.get(finding.key)
        if finding.digest_after in (accepted.get(finding.key), first and first.digest_after):
            continue
        if first is not None:  # what there was before the first of them is what counts
            finding = finding._replace(  # noqa: PLW2901
                before=first.before,
                digest_before=first.digest_before,
                red=first.red or finding.red,
                session=first.session,
                since=first.since,
            )
        found[finding.key] = finding
        fresh.append(finding)
    return sorted(found.values(), key=order), fresh


def without_accepted_limits(findings: Iterable[Finding], limits: Mapping[str, str]) -> list[Finding]:
    """Return the findings without the limits of a scan that were there before the session, and were accepted as such.

    ``limits`` has their digests by the key of the finding.
    """
    return [
        finding
        for finding in findings
        if finding.kind != Kind.UNSEEN or finding.red or limits.get(finding.key) != finding.digest_after
    ]


def still_open(findings: Sequence[Finding], project: GuardedProject) -> list[Finding]:
    """Return the findings without those that someone has put right meanwhile."""
    if not findings:
        return []
    paths = [finding.path for finding in findings if finding.kind == Kind.PROGRAM]
    programs = [f"/{place}" for path in paths for place in (path, path.rpartition("/")[0])]
    packages = [finding.path for finding in findings if finding.kind == Kind.PACKAGES]
    now = project.scan(min(finding.since for finding in findings), programs, packages).items
    return [finding for finding in findings if not _is_put_right(finding, now.get(finding.key), project)]


def _is_put_right(finding: Finding, now: Item | None, project: GuardedProject) -> bool:
    if finding.kind == Kind.COMMITTED:
        from . import commits

        return not commits.is_still_there(project.repository_now(), finding)
    if not finding.digest_after and not project.has_place(finding.path):
        return True  # all that it was for is gone
    if now is not None:
        was_so_before = finding.kind == Kind.UNSEEN and finding.digest_before == finding.digest_after
        return now.digest == finding.digest_before and not was_so_before
    # A rule from the settings may be gone with them, and the file still there.
    is_gone = finding.kind not in (Kind.FILE, Kind.LINK) or not os.path.lexists(project.root / finding.path)
    return is_gone and bool(finding.digest_after)


def add(records: Records, new: Iterable[Finding]) -> list[Finding]:
    """Put the ``new`` findings of a session that has ended on record; return those neither known nor accepted."""
    known = records.findings()
    found, fresh = merge(known, records.accepted(), without_accepted_limits(new, records.accepted_limits()))
    findings = [
        finding if finding.red or finding.is_older or finding in fresh else finding._replace(ended=finding.ended + 1)
        for finding in found
    ]
    if findings != known:
        records.save_findings(findings)
    return fresh


def close_put_right(records: Records, project: GuardedProject) -> list[Finding]:
    """Close what someone has put right meanwhile; return the findings that are still open."""
    findings = records.findings()
    still = still_open(findings, project)
    if len(still) < len(findings):
        records.save_findings(still)
    return still


def refuse_while_red(records: Records, project: GuardedProject) -> None:
    """Raise ReviewNeeded if something red is open. What someone has put right is closed."""
    if any(finding.red for finding in records.findings()):
        refuse_red(project.shown(close_put_right(records, project)))


def refuse_red(findings: Iterable[Finding], around: Path | None = None, until: str = NO_START) -> None:
    """Raise ReviewNeeded if one of the findings is red. If ``around`` is given, they are of that project.

    ``until`` says what they stop.
    """
    red = [escape(str((around or Path()) / finding.path)) for finding in findings if finding.red]
    place = f"cd {shlex.quote(escape(str(around)))} && " if around else ""
    command = f"{place}confined-claude review{' --here' if around else ''}"
    if red:
        raise ReviewNeeded(
            f"A session left files that your machine runs by itself: {named(red, _MAX_NAMED)}.",
            f"Restore or accept them with `{command}`; {until}.",
        )
