"""``review``: what sessions have left that this machine could run, shown, put back or accepted."""

from __future__ import annotations

from collections.abc import Iterator

from ..engine.command import is_running
from ..errors import REVIEW
from ..guard import report
from ..guard import review as guard
from ..guard.guard import Ground
from ..guard.review import Review
from ..host import Host
from ..project import Project
from ..text import escape
from ..workspace import Workspace, current_project

_MOST = 200
_DIFF_LINES = 400


def review(host: Host, *, accept: bool, restore: str | None) -> int | None:
    """Print the open findings, after putting the path ``restore`` back; return REVIEW if a red one stays open."""
    here = guarded(host, current_project(host))
    if restore is not None:
        print(f"{guard.restore(here, host, restore)}.")
    found = guard.look(here, host, is_running)
    print("\n".join(lines(found)))
    if accept and found.findings:
        guard.accept(here, host, found.findings)
        print("All of it is accepted, as it is now.")
        return None
    return REVIEW if found.is_red else None


def lines(found: Review) -> Iterator[str]:
    """Yield everything that is open, with what changed, and the commits that wait in a copy of the repository."""
    if found.findings:
        yield f"Sessions have left {report.summary(found.findings)}:"
        yield from report.lines(found.findings, most=_MOST, diff_lines=_DIFF_LINES)
        yield "`review --restore PATH` puts one back as it was; `review --accept` closes all of it as it is."
    elif not found.waiting:
        yield "There is nothing to review."
    for waiting in found.waiting:
        yield f"A copy of the repository has commits on: {', '.join(map(escape, waiting.branches))}. To fetch them:"
        yield f"  {escape(waiting.command)}"


def guarded(host: Host, project: Project) -> Ground:
    """Return ``project`` as the guard sees it, even if its settings or its repository are wrong."""
    return Ground(project, Workspace.load_leniently(host, project).settings, host.git_config, forgiving=True)
