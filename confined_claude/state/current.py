"""The current project: the one that the current directory belongs to, by what sessions have made as well."""

from __future__ import annotations

import contextlib
from functools import partial
from pathlib import Path

from .. import project as projects
from ..errors import ConfinedError
from ..fs.spelling import as_listed
from ..host import Host, leave_out_of_path
from ..project import Project
from . import boundaries
from .store import records_of


def current_project(host: Host) -> Project:
    """Return the project that the current directory belongs to; no program of it, or around it, is run from now on.

    Raises ConfinedError if there can be none.
    """
    is_a_sessions = partial(boundaries.is_a_sessions, host)
    project = projects.find(current_directory(), host, alone=host.here, is_a_sessions=is_a_sessions)
    leave_out_of_path(project.root)
    for root in project.root.parents:  # sessions of projects around it can put programs there
        if records_of(host, Project(root).id).path.is_dir():
            leave_out_of_path(root)
    return project


def ask_git(host: Host) -> None:
    """Have git asked for its settings in the background, once no program of the current project is run any more."""
    with contextlib.suppress(ConfinedError):  # the start says what is wrong
        current_project(host)
        host.ask_git()


def leave_project_out_of_path(host: Host) -> None:
    """Run no program from the current project, if there is one, from now on. For commands that need no project."""
    with contextlib.suppress(ConfinedError):
        current_project(host)


def current_directory() -> Path:
    """Return the current directory. Raises ConfinedError if it is gone."""
    try:
        return as_listed(Path.cwd())
    except OSError:
        raise ConfinedError("The current directory is gone.", "Go to a project's directory and start again.") from None
