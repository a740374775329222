"""What a tool that was killed has left in the engine: noticed by the next start, said, and ended or joined."""

from __future__ import annotations

import time
from collections.abc import Callable

from . import client, joining, running, terminal
from .console import plain, say
from .errors import INTERRUPTED
from .guard import records
from .guard.watch import Ground
from .host import Host
from .project import Project
from .running import Session


def settle(host: Host, here: Project, ground: Callable[[], Ground]) -> int | None:
    """Deal with sessions whose tool is gone; gives the exit code of one that the user has joined.

    One of ``here`` can be joined at a terminal, if it has one of its own; else it is ended. Those of other projects
    are told. While every tool is alive, the engine is not even asked.
    """
    cut_off = set(records.without_owner(host))
    if not cut_off:
        return None
    for left in running.sessions(host):
        if left.key not in cut_off:  # started by a script, a session has no record, and a terminal all the same
            continue
        if not left.is_up:
            client.remove(left.name)
            say(f"Removed what was left of the session {left.name}, which was cut off.")
        elif left.project_id != here.id:
            say(f"The session {left.name} in {plain(str(left.path))} goes on without its terminal.")
            say(f"`confined-claude run` joins it there; `confined-claude stop --session {left.name}` ends it.")
        elif _is_wanted(left):
            if (code := joining.join(host, here, left, ground)) is not None:
                return code
        else:
            joining.stop(host, [left])
            say(f"Ended the session {left.name}, which went on without its terminal.")
    return None


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
