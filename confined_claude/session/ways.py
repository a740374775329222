"""The ways of one session to this machine: its sockets, and who serves each."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Sequence

from .. import signals
from ..egress.relay import Relay
from ..workspace import Workspace
from . import pushing, ssh_agent
from .launch import Launch


class Ways:
    """Serves the session of ``launch`` within the block: ports of this machine, pushes to ``urls``, the ssh agent.

    ``tell`` is as for ``Pushes``. Raises ConfinedError where one cannot be had.
    """

    def __init__(self, workspace: Workspace, launch: Launch, urls: Sequence[str], tell: Callable[[str], None]) -> None:
        self._relay_at = workspace.relays.at(launch.key)
        self._ports = launch.egress.relayed
        self._pushes = pushing.Pushes(workspace, launch.key, urls, tell) if urls else None
        wanted = workspace.settings.ssh_agent
        self._agent = ssh_agent.SshAgent(wanted, workspace.agents.at(launch.key)) if wanted else None
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Ways:
        services: dict[str, Callable[[socket.socket], None]] = {}
        files: dict[str, bytes] = {}
        with contextlib.ExitStack() as stack:
            if self._pushes is not None:
                services[pushing.SOCKET] = stack.enter_context(self._pushes).serve
            if self._agent is not None:
                with signals.interruptible():  # it may ask for a passphrase
                    services[ssh_agent.SOCKET] = stack.enter_context(self._agent).serve
                files = self._agent.files
            stack.enter_context(Relay(self._relay_at, self._ports, services, files))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def lines(self) -> list[str]:
        """Return what to say of them at the session's end."""
        return [
            *((*self._pushes.made, *self._pushes.failed) if self._pushes is not None else ()),
            *(self._agent.lines() if self._agent is not None else ()),
        ]
