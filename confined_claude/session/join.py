"""Getting into a session that runs already, and ending one."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .. import signals
from ..console import say
from ..engine import containers, inside
from ..errors import ConfinedError, EngineError
from . import SHELL, WITH_PLUGINS
from .listing import Session

if TYPE_CHECKING:
    from ..claude.following import Watch
    from ..host import Host
    from ..workspace import Workspace

_MARK_BYTES = 8
_TERMINAL = ("TERM", "COLORTERM", "TERM_PROGRAM")
_WITH_VARIABLES = "/opt/confined-claude/init/variables"
_ENDING_SECONDS = 1.0
_POLL_SECONDS = 0.05


def execute(session: Session, command: Sequence[str], host: Host, directory: Path | None) -> int:
    """Run ``command``, or a shell, in a running session as its user; return the exit code.

    It starts in ``directory`` if that is in the session's project, and not hidden there.

    It gets what the session has: the same container, so the same mounts, network and limits, and its variables. Of
    ``host`` it gets the umask, and what tells of the terminal. It ends when this process does.
    """
    mark = os.urandom(_MARK_BYTES).hex()
    command = command or SHELL
    if session.has_variables and command[0] != WITH_PLUGINS[0]:  # that sets them itself, last of all
        command = (_WITH_VARIABLES, *command)
    is_inside = directory is not None and directory.is_relative_to(session.path)
    has_terminal = signals.is_interactive()
    variables = {name: host.environ[name] for name in _TERMINAL if has_terminal and host.environ.get(name)}
    with signals.handled() as caught, signals.terminal_restored():
        identity = inside.prepare_command(
            session.id,
            command,
            user=session.user,
            umask=host.umask,
            mark=mark,
            variables=variables,
            directory=str(directory) if is_inside else "",
            terminal=has_terminal,
            has_enter=session.has_enter,
        )
        try:
            with inside.run_command(identity, terminal=has_terminal) as stream:
                from .attachment import Attachment  # while the engine starts the command
                from .event_loop import EventLoop

                def code() -> int | None:
                    found = inside.exit_code_of_command(identity)
                    if found is None:  # it has closed its outputs
                        loop.after(_POLL_SECONDS, lambda: None)
                    return found

                with (
                    EventLoop(caught) as loop,
                    Attachment(loop, stream, f"exec/{identity}", terminal=has_terminal) as attachment,
                ):
                    attachment.begin(stdin=True)
                    ended = attachment.wait_for(
                        code, lambda: inside.send_to_marked(session.id, mark, "INT", user=session.user)
                    )
        except BaseException:
            inside.send_to_marked(session.id, mark, "HUP" if has_terminal else "TERM", user=session.user)
            raise
    if ended == containers.KILLED and _has_ended(session):
        say(f"The session {session.name} has ended.")
    return ended


def _has_ended(session: Session) -> bool:
    """Return whether a session has ended, which the engine reports a moment after its processes are gone."""
    deadline = time.monotonic() + _ENDING_SECONDS
    while containers.may_exist(session.key):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def resume(workspace: Workspace, session: Session) -> int | None:
    """Attach this process's terminal to a session whose tool is gone, to its end; return its exit code.

    None if another process was faster.
    """
    from ..egress.relay import Relay
    from ..guard import beside, records  # not for `exec`, which would be slower
    from ..settings.specs import LENT
    from ..state.store import state_of
    from .attachment import Attachment, code_of, going_on
    from .event_loop import WATCH_SECONDS, EventLoop

    with records.locked(workspace.state) as project_records:
        owner = project_records.take_over(session.key)
    if owner is None:
        return None
    meanwhile: list[str] = []
    # Of another profile's sign-in nothing may reach it, and only who started it can lend it more.
    is_lent, is_of_profile = session.sign_in == LENT, session.profile in ("", workspace.profile.name)
    watch = _watch(workspace, meanwhile.append) if is_of_profile and not is_lent else None
    if is_lent:
        say("This session's sign-in is lent, and is not renewed any more: start a new session once it has expired.")
    with (
        contextlib.ExitStack() as owners,
        owner,
        Relay.left_at(workspace.relays.at(session.key)),
        signals.handled() as caught,
        signals.terminal_restored(),
        EventLoop(caught) as loop,
        containers.attach(session.id, stdin=True) as stream,
        containers.end_of(session.id) as end,
    ):
        if is_lent and is_of_profile:
            from ..claude.signing_out import kept_signed_out

            owners.enter_context(kept_signed_out(workspace.lent_config, state_of(workspace.host), say))
        for other in beside.take_over(workspace, session.key):
            owners.enter_context(other)
        if watch is not None:
            loop.every(WATCH_SECONDS, watch.look)
        try:
            with Attachment(loop, stream, f"containers/{session.id}", terminal=True) as attachment:
                attachment.begin(stdin=True, redraw=True)
                code = attachment.wait_for(code_of(loop, end), lambda: False)
        finally:
            if containers.may_exist(session.key):
                try:
                    stop([session])
                except EngineError as failure:
                    raise going_on(session.name, failure) from None
    for line in meanwhile:
        say(line)
    return code


def _watch(workspace: Workspace, tell: Callable[[str], None]) -> Watch | None:
    """Return what has the session's sign-in follow the host's; None if something else signs in, or it cannot be had."""
    from ..claude import choosing
    from ..claude.config import ClaudeConfig

    host, config = workspace.host, workspace.profile_config
    try:
        return ClaudeConfig(config, host, choosing.find(host, workspace.written, config)).watch(tell)
    except ConfinedError:  # the session goes on without
        return None


def stop(sessions: Iterable[Session]) -> None:
    """End sessions, which may save their state first; return when they are gone. Raises EngineError."""
    containers.remove(*(session.id for session in sessions), gracefully=True)
