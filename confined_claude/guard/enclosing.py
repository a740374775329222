"""The projects around the current one, and those that once were where its caller stands: what is open there counts too.

A session of theirs may have left what a session here would take for granted.
"""

from __future__ import annotations

import os
from pathlib import Path

from ..host import Host
from ..project import Project
from ..state.store import records_of
from ..workspace import Workspace
from .guarded_project import GuardedProject
from .open_findings import NO_START, refuse_red, still_open
from .records import ReadOnlyRecords, count_findings, locked_if_exist
from .recovery import plan_recovery


def refuse_while_red(workspace: Workspace) -> None:
    """Raise ReviewNeeded if something red is open in a known project between the caller's directory and ``/``.

    Interrupted sessions are looked through; nothing is changed. The project itself is the guard's own matter.
    """
    for root in (workspace.workdir, *workspace.workdir.parents):
        project = Project(root)
        location = records_of(workspace.host, project.id)
        if root == workspace.project.root or not os.path.lexists(location.path):
            continue
        counts = count_findings(location)
        if not (counts.red or counts.unscanned):
            continue
        with locked_if_exist(location) as records:
            if records is not None:
                refuse_red_in(workspace.host, root, records)


def refuse_red_in(host: Host, root: Path, records: ReadOnlyRecords, until: str = NO_START) -> None:
    """Raise ReviewNeeded if something red is open in the project at ``root``, which has these ``records``.

    Interrupted sessions are looked through; nothing is changed. ``until`` says what that stops.
    """
    guarded = GuardedProject(Workspace.load_leniently(host, Project(root)), lenient=True)
    findings = plan_recovery(records, guarded).findings
    if any(finding.red for finding in findings):
        refuse_red(still_open(findings, guarded), root, until)
