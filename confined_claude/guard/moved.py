"""A project that was moved takes along what is open there, so that it waits for a review at its new place too."""

from __future__ import annotations

from ..errors import system_error
from ..fs.directory import Location
from .records import CARRIED, FINDINGS, locked


def carry_over(old: Location, new: Location, old_copies: Location, new_copies: Location) -> bool:
    """Move the records of a project from ``old`` to ``new``, and the copies of its repository.

    Return whether there are findings among them. Nothing that is at the new place already is replaced; the records of
    sessions stay. Raises ConfinedError.
    """
    if not old.path.is_dir():
        return False
    with locked(old), locked(new):
        try:
            with old.open() as source, new.open() as target:
                moved = [name for name in CARRIED if source.exists(name) and not target.exists(name)]
                for name in moved:
                    source.rename(name, name, target)
            if old_copies.path.is_dir() and not new_copies.path.exists():
                with old_copies.parent.open() as source, new_copies.parent.make() as target:
                    source.rename(old_copies.name, new_copies.name, target)
        except OSError as error:
            raise system_error("move", old.path, error) from None
    return FINDINGS in moved
