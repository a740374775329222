"""The projects whose sessions write where the host's git works for another one: around it, in it, in its repository.

Linked worktrees are projects of their own, and have the repository's settings, hooks and objects in common.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ..project import Project
from ..state import projects
from ..state.store import records_of, state_of
from ..workspace import Workspace
from . import enclosing, open_findings, repository
from .guarded_project import GuardedProject
from .records import ReadOnlyRecords, Records, locked, locked_if_exist
from .recovery import recover_interrupted

_UNTIL = "git does not work here until then"


class Sharing(NamedTuple):
    """A ``workspace`` and its ``records``, and those of the ``others`` whose sessions write where its git works.

    The latter are by their projects' roots. ``is_beside`` is as for a GuardedProject.
    """

    workspace: Workspace
    records: Records
    others: dict[Path, ReadOnlyRecords]
    is_beside: bool

    def sessions(self, *, isolated: bool) -> dict[str, bool]:
        """Return whether each session on record in one of them has an owner, by its key.

        Those of the workspace itself that work on a copy of the repository are among them only if ``isolated``. Raises
        ConfinedError for a record that cannot be read.
        """
        own = self.records.sessions()
        found = {each.key: each.has_owner for each in own if isolated or not each.record.is_isolated}
        for records in self.others.values():
            found.update(records.session_keys())
        return found

    def refuse_while_red(self) -> None:
        """Raise ReviewNeeded if something red is open in one of them, interrupted sessions included."""
        project = GuardedProject(self.workspace, lenient=True, is_beside=self.is_beside)
        recover_interrupted(self.records, project)
        open_findings.refuse_while_red(self.records, project)
        for root, records in self.others.items():
            if os.path.isdir(root):  # noqa: PTH112 - it may be in a directory that nobody may enter
                enclosing.refuse_red_in(self.workspace.host, root, records, _UNTIL)


@contextlib.contextmanager
def held(workspace: Workspace, *, is_beside: bool = False) -> Iterator[Sharing]:
    """Hold the locks of a project and of all that share directories with it: no session of theirs starts meanwhile.

    The workspace may be that of a directory that ``is_beside`` a project, see ``beside.py``. Raises ConfinedError for
    records that cannot be used.
    """
    host, own = workspace.host, workspace.project.root
    known = {each.root for each in projects.projects(state_of(host)) if each.root is not None}
    others: dict[Path, ReadOnlyRecords] = {}
    with contextlib.ExitStack() as stack:
        for root in sorted({own, *known}):  # in the same order for everyone, so that no two wait for each other
            if root == own:
                mine = stack.enter_context(locked(workspace.state))
            elif _writes_where_git_works(root, own):
                records = stack.enter_context(locked_if_exist(records_of(host, Project(root).id)))
                if records is not None:
                    others[root] = records
        yield Sharing(workspace, mine, others, is_beside)


def _writes_where_git_works(other: Path, root: Path) -> bool:
    """Return whether sessions of the project ``other`` write where git works for the one at ``root``."""
    top = root if os.path.lexists(root / ".git") else repository.above(root) or root
    read = (root, *repository.directories_of(top))
    written = (other, *repository.directories_of(other))
    return any(one.is_relative_to(two) or two.is_relative_to(one) for one in read for two in written)
