"""A project that was moved gets at its new place what is kept of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..claude import conversations, history
from ..console import say
from ..guard import isolation, moved
from ..project import Project
from ..state import projects
from ..state.store import records_of, state_of
from ..text import escape
from ..workspace import Workspace, data_of


def carry_records(workspace: Workspace, old: Path) -> None:
    """Give a project that was at ``old`` what is open there, before anything of it counts as known here."""
    before = Project(old).id
    copies = (data_of(workspace.host, before).at(isolation.DIRECTORY), workspace.data.at(isolation.DIRECTORY))
    if moved.carry_over(records_of(workspace.host, before), workspace.state, *copies):
        say(f"This project was at {escape(str(old))}. Findings from there wait for a review here.")


def carry_over(workspace: Workspace, old: Path) -> Iterator[str]:
    """Give a project that was at ``old`` what Claude knows of it there."""
    scope = history.scope_of(old, projects.projects(state_of(workspace.host)))
    move = conversations.Move(old, workspace.project.root)
    yield from conversations.carry_over(workspace.host, move, scope)
