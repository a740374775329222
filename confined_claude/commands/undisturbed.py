"""Commands that have the host's git or copier work in a project: not while a session writes there."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator

from ..engine import containers, labels
from ..guard import sharing
from ..session.listing import UP
from ..workspace import Workspace
from .clean.confirm import refuse_while_running


@contextlib.contextmanager
def undisturbed(
    workspace: Workspace, nothing: str, again: str, *, isolated: bool = True, is_beside: bool = False
) -> Iterator[None]:
    """Keep sessions from writing where git works for a project during the block, see ``guard/sharing.py``.

    ``nothing`` says that nothing was done, ``again`` what to do once they have ended. Sessions of the project that work
    on a copy of the repository count only if ``isolated``. ``is_beside`` is as for ``sharing.held``. Raises
    ConfinedError while one that counts may run, and ReviewNeeded while something red that they have left is open.
    """
    with sharing.held(workspace, is_beside=is_beside) as shared:
        keys = shared.sessions(isolated=isolated)
        refuse_while_running(
            lambda: _running(keys),
            on_record=bool(keys),
            is_alive=any(keys.values()),
            hint=f"End it with `confined-claude stop --session {{name}}`, or wait for its end, and {again}.",
            nothing=nothing,
        )
        shared.refuse_while_red()
        yield


def _running(keys: Collection[str]) -> list[str]:
    """Return the names of the sessions with these keys that run. Raises EngineError."""
    found = containers.containers({labels.KIND: labels.SESSION}) if keys else []
    up = (each for each in found if each["State"] in UP and each["Labels"].get(labels.KEY) in keys)
    return [name for each in up for name in containers.names_of(each)]
