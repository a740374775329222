"""What a tool that was killed has left: noticed by the next start, said, and ended or joined."""

from __future__ import annotations

import time

from .. import signals as terminal
from ..console import plain, say
from ..egress import blocked
from ..egress import network as modes
from ..engine import command as client
from ..errors import INTERRUPTED, ConfinedError
from ..guard import records
from ..guard.recovery import recover
from ..host import Host
from ..project import Project
from ..state import liveness
from ..state.store import records_of, state_of
from ..workspace import Workspace
from . import join as joining
from . import listing as running
from .listing import Session

# Who has no record may be only starting: a script, which has none, takes a moment from one command to the next.
_STARTING_SECONDS = 60.0


def settle(host: Host, here: Project) -> int | None:
    """Deal with sessions whose tool is gone; gives the exit code of one that the user has joined.

    One of ``here`` can be joined at a terminal, if it has one of its own; else it is ended. Those of other projects
    are told. While every tool is alive, the engine is not even asked.
    """
    cut_off = set(liveness.keys_without_owner(state_of(host)))
    if not cut_off:
        return None
    going_on = set()
    for left in running.sessions(host):
        if left.key not in cut_off:  # started by a script, a session has no record, and a terminal all the same
            if not (left.is_up or left.has_owner) and time.time() - left.since > _STARTING_SECONDS:
                client.remove(left.id)
        elif not left.is_up:
            client.remove(left.id)
            say(f"Removed what was left of the session {left.name}, which was cut off.")
        elif left.project_id != here.id:
            going_on.add(left.key)
            say(f"The session {left.name} in {plain(str(left.path))} goes on without its terminal.")
            say(f"`confined-claude run` joins it there; `confined-claude stop --session {left.name}` ends it.")
        elif _is_wanted(left):
            if (code := joining.join(host, here, left)) is not None:
                look_through(host, left)
                return code
        else:
            joining.stop([left])
            say(f"Ended the session {left.name}, which went on without its terminal.")
    # Locked, so that one which is just beginning is not taken for one of them.
    with records.locked(records_of(host, here.id)) as kept:
        over = [key for key, alive in kept.session_keys() if not alive and key in cut_off - going_on]
    for key in over:
        _tidy_network(host, here, key)
    return None


def look_through(host: Host, left: Session) -> None:
    """Look at what a session has left that is over and whose tool is gone; tell it, and take away what was made for it.

    What cannot be looked at is told as well, and waits for the next start.
    """
    place = Project(left.path)
    try:
        recover(Workspace.load_leniently(host, place), who=f"The session {left.name}")
        _tidy_network(host, place, left.key)
    except ConfinedError as error:
        say(f"What the session {left.name} has left could not be looked through: {error.message}")


def _tidy_network(host: Host, here: Project, key: str) -> None:
    """Take away what is left of a session's sidecar."""
    client.remove(modes.sidecar_name(key))
    blocked.keep(here, host, key, lambda _other: True)


def _is_wanted(left: Session) -> bool:
    """Whether the person at the terminal wants to join; there may be none, or nothing to join."""
    if not terminal.is_ours() or not client.has_terminal(left.id):
        return False
    since = time.strftime("%H:%M", time.localtime(left.since))
    say(f"The session {left.name} of this project goes on without its terminal, since {since}.")
    try:
        answer = input("Join it? Otherwise it is ended. [Y/n] ")
    except EOFError:
        raise SystemExit(INTERRUPTED) from None
    return answer.strip().lower() in ("", "y", "yes")
