"""``clean`` and ``clean-global``: what sessions have made is listed, confirmed and deleted, never while one uses it.

Under the lock that a start needs as well, what is to be deleted is only moved to the trash, which takes no time. The
next clean deletes what an interrupted one has left there.
"""

from __future__ import annotations

from ...host import Host
from . import confirm
from .confirm import Options
from .project import ProjectCleanup
from .shared import SharedCleanup

__all__ = ["Options", "clean", "clean_global"]


def clean(host: Host, word: str | None, options: Options) -> None:
    """Clean the current project, or the known one with the id or directory ``word``.

    Raises ConfinedError while a session uses it, if there is nobody to ask, and for what could not be deleted.
    """
    confirm.carry_out(ProjectCleanup.of(host, word), options)


def clean_global(host: Host, options: Options) -> None:
    """Clean what all projects share. Raises ConfinedError as ``clean`` does."""
    confirm.carry_out(SharedCleanup(host), options)
