"""``review``: what sessions have left that this machine could run, shown, put back or accepted."""

from __future__ import annotations

from ..engine.command import is_running
from ..errors import REVIEW
from ..guard import report
from ..guard import review as guard
from ..guard.guard import Ground
from ..host import Host
from ..project import Project
from ..workspace import Workspace, current_project


def review(host: Host, *, accept: bool, restore: str | None) -> int | None:
    """Print the open findings, after putting the path ``restore`` back; return REVIEW if a red one stays open."""
    here = guarded(host, current_project(host))
    if restore is not None:
        print(f"{guard.restore(here, host, restore)}.")
    found = guard.look(here, host, is_running)
    print("\n".join(report.review(found)))
    if accept and found.findings:
        guard.accept(here, host, found.findings)
        print("All of it is accepted, as it is now.")
        return None
    return REVIEW if found.is_red else None


def guarded(host: Host, project: Project) -> Ground:
    """Return ``project`` as the guard sees it, even if its settings or its repository are wrong."""
    return Ground(project, Workspace.load_leniently(host, project).settings, host.git_config, forgiving=True)
