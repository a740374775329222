"""The current project: the one that the current directory belongs to, by what sessions have made as well."""

from __future__ import annotations

import contextlib
from functools import partial
from pathlib import Path

from .. import project as projects
from ..errors import ConfinedError
from ..fs.spelling import as_listed
from ..host import Host
from ..project import Project
from . import boundaries
from .written import leave_out_of_path


def current_project(host: Host) -> Project:
    """Return the project that the current directory belongs to; no program of it is run from now on.

    Raises ConfinedError if there can be none.
    """
    is_a_sessions = partial(boundaries.is_a_sessions, host)
    project = projects.find(current_directory(), host, alone=host.here, is_a_sessions=is_a_sessions)
    leave_out_of_path(host, project.root)
    return project


def ask_git(host: Host) -> None:
    """Have git asked for its settings in the background, once no program of the current project is run any more."""
    with contextlib.suppress(ConfinedError):  # the start says what is wrong
        current_project(host)
        host.ask_git()


def current_directory() -> Path:
    """Return the current directory. Raises ConfinedError if it is gone."""
    try:
        return as_listed(Path.cwd())
    except OSError:
        raise ConfinedError("The current directory is gone.", "Go to a project's directory and start again.") from None
