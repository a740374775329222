"""Getting into a session that runs already, and ending one."""

from __future__ import annotations

import secrets
import signal
import time
from collections.abc import Iterable, Sequence

from .. import environment
from .. import signals as terminal
from ..console import say
from ..engine import command as client
from ..guard import records
from ..host import Host
from ..project import Project
from ..state.store import records_of
from . import listing as running
from .launch import SHELL
from .listing import Session

_MARK_BYTES = 8
_TERMINAL = ("TERM", "COLORTERM", "TERM_PROGRAM")
_KILLED = 128 + signal.SIGKILL
_ENDING_SECONDS = 1.0


def execute(host: Host, here: Project | None, wanted: str | None, command: Sequence[str]) -> int:
    """Run ``command``, or a shell, in a session that runs, as its user; gives the exit code.

    It gets what the session has: the same container, so the same mounts, network and limits. It ends when this
    process does. Raises ConfinedError where ``running.choose`` does.
    """
    session = running.choose(running.sessions(host), here, wanted)
    mark = secrets.token_hex(_MARK_BYTES)
    has_terminal = terminal.is_ours()
    with terminal.signals_handled() as interrupt, terminal.restored():
        variables = _variables(host, has_terminal=has_terminal)
        process = client.execute(session.id, command or SHELL, mark=mark, variables=variables, terminal=has_terminal)
        interrupt.belongs_to(lambda: client.send_to_marked(session.id, mark, "INT"))
        try:
            code = process.wait()
        except BaseException:
            process.kill()
            process.wait()
            client.send_to_marked(session.id, mark, "HUP" if has_terminal else "TERM")
            raise
    if code < 0:
        say("The docker command was killed, and what it ran with it.")
        client.send_to_marked(session.id, mark, "TERM")
        return 128 - code
    if code == _KILLED and _has_ended(session):
        say(f"The session {session.name} has ended.")
    return code


def _variables(host: Host, *, has_terminal: bool) -> dict[str, str]:
    """What of the host's variables a command needs beside the session's: its sign-in, and what terminal this is.

    The proxies are the session's own: with an allowlist they lead to its sidecar.
    """
    public, secret = environment.split(host.environ)
    chosen = {name: value for name, value in secret.items() if name not in environment.PROXIES}
    return chosen | {name: public[name] for name in _TERMINAL if has_terminal and name in public}


def _has_ended(session: Session) -> bool:
    """Whether a session ends, of which the engine tells a moment after its processes are gone."""
    deadline = time.monotonic() + _ENDING_SECONDS
    while client.is_running(session.key):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def join(host: Host, here: Project, left: Session) -> int | None:
    """Take over a session whose tool is gone, with this process's terminal, to its end; gives its exit code.

    None if somebody else was faster.
    """
    with records.locked(records_of(host, here.id)) as kept:
        owner = kept.take_over(left.key)
    if owner is None:
        return None
    with owner, terminal.signals_handled(), terminal.restored():
        process = client.attach(left.id)
        try:
            code = process.wait()
            code = code if code >= 0 else 128 - code
        finally:
            terminal.hold_signals()
            process.kill()
            process.wait()
            if client.is_running(left.key):
                stop([left])
            terminal.release_signals()
    return code


def stop(found: Iterable[Session]) -> None:
    """End sessions, which may save their state first; return when they are gone. Raises EngineError."""
    client.remove(*(session.id for session in found), gracefully=True)
