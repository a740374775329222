"""Sessions whose tool was killed: noticed by the next start, and resumed or ended."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from .. import signals
from ..console import say
from ..egress import blocked
from ..egress.network_parts import sidecar_name
from ..engine import containers
from ..errors import INTERRUPTED, ConfinedError
from ..guard import records
from ..guard.recovery import recover, recover_beside
from ..host import Host
from ..project import Project
from ..state import liveness
from ..state.store import state_of
from ..text import escape
from ..workspace import Workspace

if TYPE_CHECKING:
    from .listing import Session


def recover_interrupted(workspace: Workspace) -> int | None:
    """Deal with sessions whose tool is gone; return the exit code of one that the user has resumed.

    One of this project can be resumed at a terminal, if it has one of its own; else it is ended. Those of other
    projects are reported. While every tool is alive, the engine is not even asked.
    """
    host = workspace.host
    interrupted = set(liveness.keys_without_owner(state_of(host)))
    if not interrupted:
        return None
    from . import join, listing, strays  # most starts do without

    going_on = set()
    for session in listing.sessions(host):
        if session.key not in interrupted:
            if not (session.is_up or session.has_owner) and time.time() - session.since > strays.STARTING_SECONDS:
                containers.remove(session.id)
        elif not session.is_up:
            containers.remove(session.id)
            say(f"Removed what was left of the session {session.name}, which was interrupted.")
        elif session.project_id != workspace.project.id:
            going_on.add(session.key)
            path = escape(str(session.path))
            say(f"The session {session.name} in {path} is still running, but its terminal is gone.")
            say(f"`confined-claude run` joins it there; `confined-claude stop --session {session.name}` ends it.")
        elif _is_wanted(session):
            if (code := join.resume(workspace, session)) is not None:
                look_through(host, session)
                return code
        else:
            join.stop([session])
            say(f"Ended the session {session.name}, whose terminal was gone.")
    containers.remove(*strays.sidecars(host))
    # The lock: do not mistake a session that is starting for one that has ended.
    with records.locked(workspace.state) as project_records:
        keys = [key for key, has_owner in project_records.session_keys() if not has_owner]
    over = [key for key in keys if key in interrupted - going_on]
    for key in over:
        _remove_sidecar(workspace, key)
    if over:
        recover_beside(workspace)
    return None


def look_through(host: Host, session: Session) -> None:
    """Report what a session has left that is over and whose tool is gone, and remove what was made for it.

    What cannot be scanned is reported as well, and waits for the next start.
    """
    workspace = Workspace.load_leniently(host, Project(session.path))
    try:
        recover(workspace, who=f"The session {session.name}")
        _remove_sidecar(workspace, session.key)
    except ConfinedError as error:
        say(f"What the session {session.name} left could not be scanned: {error.message}")


def _remove_sidecar(workspace: Workspace, key: str) -> None:
    """Remove what is left of a session's sidecar."""
    from ..fs.removal import remove_place

    containers.remove(sidecar_name(key))
    blocked.collect(workspace, key)
    remove_place(workspace.relays.at(key))
    remove_place(workspace.requests.at(key))
    remove_place(workspace.agents.at(key))


def _is_wanted(session: Session) -> bool:
    """Ask the person at the terminal whether to join; there may be none, or nothing to join."""
    if not signals.is_interactive() or not containers.has_terminal(session.id):
        return False
    since = time.strftime("%H:%M", time.localtime(session.since))
    say(f"The session {session.name} of this project, started at {since}, is still running, but its terminal is gone.")
    try:
        answer = input("Join it? If not, it ends. [Y/n] ")
    except EOFError:
        raise SystemExit(INTERRUPTED) from None
    return answer.strip().lower() in ("", "y", "yes")
