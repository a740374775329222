"""``review``: show what sessions have left that this machine could run, restore it or accept it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence

from .. import signals
from ..console import ask, confirmed, show, wrapped
from ..errors import REVIEW, ConfinedError
from ..guard import report
from ..guard import review as guard_review
from ..guard.findings import Finding
from ..guard.review import Review
from ..host import Host
from ..state.current import current_project
from ..text import counted, escape
from ..workspace import Workspace

_MAX_FINDINGS = 200
_LIMITS = report.Limits(lines=400, width=1000)
_QUESTION = "[a]ccept, [r]{}, [l]ater or [q]uit? "
_NOTHING_OPEN = "Nothing is open any more."
_COLOURS = {"+": "32", "-": "31", "red": "1;31", "yellow": "1;33"}


def review(
    host: Host, *, accept: Sequence[str], restore: Sequence[str], accept_shown: bool, show_all: bool = False
) -> int | None:
    """Print the open findings, or how many there are still after restoring and accepting the paths named.

    Older ones are only counted, unless all are to be shown. With ``accept_shown`` all that is shown in full is closed.
    Without any of this, a terminal is asked about one after the other. Return REVIEW if a red one stays open.
    """
    workspace = Workspace.load_leniently(host, current_project(host))
    for path in restore:
        print(f"{guard_review.restore(workspace, path)}.")
    for path in accept:
        print(f"{guard_review.accept_path(workspace, path)} is accepted, as it is now.")
    found = guard_review.review(workspace)
    shown = [finding for finding in found.findings if show_all or not finding.is_older]
    if not (accept or restore or accept_shown) and (shown or found.made) and signals.is_interactive():
        still_open = _one_by_one(workspace, shown) if shown else []
        for directory in found.made:
            if confirmed(f"A session made {escape(directory)} a project of its own. Treat it as one?"):
                guard_review.accept_made(workspace, [directory])
        show("\n".join(_also(found, shown)))
    else:
        is_named = (accept or restore) and not accept_shown
        show("\n".join(_remaining(found, shown) if is_named else lines(found, shown)))
        still_open = _accept_shown(workspace, shown) if accept_shown else shown
        if accept_shown:
            guard_review.accept_made(workspace, found.made)
    return REVIEW if any(finding.red for finding in still_open) else None


def lines(found: Review, shown: Sequence[Finding]) -> Iterator[str]:
    """Yield the findings that are ``shown``, with what changed, and what else there is to know."""
    if shown:
        yield from _headline(shown)
        yield from report.describe(shown, max_findings=_MAX_FINDINGS, limits=_LIMITS)
        yield "`confined-claude review --restore PATH` puts one back as it was."
        yield "`confined-claude review --accept PATH` closes it as it is; without PATH, all that is shown in full."
    elif not (found.findings or found.unfetched or found.made):
        yield "There is nothing to review."
    yield from _also(found, shown)


def _remaining(found: Review, shown: Sequence[Finding]) -> Iterator[str]:
    """Yield how many findings are still open, after some that the user has named are not."""
    if shown:
        yield f"Still open: {report.summarize(shown)}."
        yield "`confined-claude review` shows them."
    elif not found.findings:
        yield _NOTHING_OPEN
    yield from _also(found, shown)


def _headline(findings: Sequence[Finding]) -> Iterator[str]:
    yield f"Sessions have left {report.summarize(findings)}:"


def _also(found: Review, shown: Sequence[Finding]) -> Iterator[str]:
    """Yield which projects sessions have made, how many findings are only counted, and what waits in copies."""
    if found.made:
        names = ", ".join(map(escape, found.made))
        yield f"Sessions made these projects of their own: {names}."
        yield "What starts there is a session of this one until you accept them with `confined-claude review --accept`."
    if older := len(found.findings) - len(shown):
        yield f"{counted(older, 'older finding')}: confined-claude review --all"
    for copy in found.unfetched:
        yield f"A copy of the repository has commits on: {', '.join(map(escape, copy.branches))}. To fetch them:"
        yield f"  {escape(copy.command)}"


def _accept_shown(workspace: Workspace, findings: Sequence[Finding]) -> list[Finding]:
    """Accept what is shown in full, and print what is not; return that."""
    shown = [one for one in findings[:_MAX_FINDINGS] if report.difference(one, _LIMITS).is_whole]
    others = [finding for finding in findings if finding not in shown]
    if shown:
        guard_review.accept(workspace, shown)
    if not others:
        if shown:
            print("All of it is accepted, as it is now.")
        return others
    print(f"Accepted, as they are now: {len(shown)}. Still open, as not all of it is shown: {report.name(others)}.")
    print("`confined-claude review --accept PATH` still closes one of these; `confined-claude review` shows the next.")
    return others


def _one_by_one(workspace: Workspace, findings: Sequence[Finding]) -> list[Finding]:
    """Ask about each finding, and do what is wanted; return those that stay open."""
    show("\n".join(_headline(findings)))
    still_open = list(findings)
    for number, finding in enumerate(findings, 1):
        print(f"\n{number} of {len(findings)}")
        for line in report.describe([finding], max_findings=1, limits=_LIMITS):
            print(_coloured(wrapped(line, sys.stdout)))
        answer = ask(_QUESTION.format("emove" if guard_review.removes(finding) else "estore"), "arlq")
        if answer == "q":
            break
        if answer == "a" and (
            report.difference(finding, _LIMITS).is_whole or confirmed("Not all of it is shown. Accept it anyway?")
        ):
            guard_review.accept(workspace, [finding])
            still_open.remove(finding)
        if answer == "r":
            try:
                show(f"{guard_review.restore(workspace, finding.path)}.")
                still_open.remove(finding)
            except ConfinedError as error:
                show(str(error))
    show(f"Open: {report.summarize(still_open)}." if still_open else _NOTHING_OPEN)
    return still_open


def _coloured(line: str) -> str:
    """Return a line of a finding with the colour of what it shows; plainly where NO_COLOR is set."""
    text = line.lstrip(" ")
    colour = _COLOURS.get(text.partition(" ")[0]) or _COLOURS.get(text[:1])
    return line if colour is None or os.environ.get("NO_COLOR") else f"\x1b[{colour}m{line}\x1b[0m"
