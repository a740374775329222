"""``review``: show what sessions have left that this machine could run, restore it or accept it."""

from __future__ import annotations

from collections.abc import Iterator

from ..console import show
from ..errors import REVIEW
from ..guard import report
from ..guard import review as guard
from ..guard.review import Review
from ..host import Host
from ..text import escape
from ..workspace import Workspace, current_project

_MAX_FINDINGS = 200
_MAX_DIFF = 400


def review(host: Host, *, accept: bool, restore: str | None) -> int | None:
    """Print the open findings, after restoring the path ``restore``; return REVIEW if a red one stays open."""
    workspace = Workspace.load_leniently(host, current_project(host))
    if restore is not None:
        print(f"{guard.restore(workspace, restore)}.")
    found = guard.review(workspace)
    show("\n".join(lines(found)))
    if accept and found.findings:
        guard.accept(workspace, found.findings)
        print("All of it is accepted, as it is now.")
        return None
    return REVIEW if any(finding.red for finding in found.findings) else None


def lines(found: Review) -> Iterator[str]:
    """Yield all that is open, with what changed, and what waits in copies of the repository."""
    if found.findings:
        yield f"Sessions have left {report.summarize(found.findings)}:"
        yield from report.describe(found.findings, max_findings=_MAX_FINDINGS, max_diff=_MAX_DIFF)
        yield "`review --restore PATH` puts one back as it was; `review --accept` closes all of it as it is."
    elif not found.unfetched:
        yield "There is nothing to review."
    for copy in found.unfetched:
        yield f"A copy of the repository has commits on: {', '.join(map(escape, copy.branches))}. To fetch them:"
        yield f"  {escape(copy.command)}"
