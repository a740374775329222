"""The process that stays with a session while it runs."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from .. import signals, timing
from ..claude.following import Watch
from ..claude.sign_in import VALUE_FILE
from ..console import pass_on, say
from ..egress.network import allowlist_config
from ..egress.sidecar import TOGETHER_SECONDS, Sidecar
from ..engine import command as docker
from ..engine.context import DEFAULT_ADDRESS, engine_address
from ..errors import ENGINE, INTERRUPTED, ConfinedError, EngineError
from ..guard.guard import Guard
from ..host import Host
from ..signals import Signals
from ..workspace import Workspace
from .event_loop import SETTLING_SECONDS, WATCH_SECONDS, EventLoop
from .launch import SECRETS_FILE, Launch

if TYPE_CHECKING:
    from ..claude.source import Renewal
    from ..engine.observation import Observation
    from ..engine.sdk import Engine

_FULL_BYTES = 1 << 20
# The terminal may be in raw mode.
_CLOSED = "The session's network is closed: its sidecar has ended. A new session has one again.\r"


class Supervisor:
    """Stays with one session: creates its container, attaches to it, and waits with it for whatever happens.

    At the end of the block, however that comes (the command's end, a signal, a closed terminal, an error), the
    container is gone. The session's sidecar and its guard outlive that, so they are the caller's to end.
    """

    def __init__(
        self,
        workspace: Workspace,
        launch: Launch,
        *,
        guard: Guard,
        sidecar: Sidecar,
        watch: Watch | None,
        renewal: Renewal | None = None,
        signals: Signals,
    ) -> None:
        self._workspace = workspace
        self._launch = launch
        self._guard = guard
        self._sidecar = sidecar
        self._watch = watch
        self._signals = signals
        self._renewal = renewal
        self._container = ""
        self._name = ""
        self._client: subprocess.Popen[bytes] | None = None
        self._settled = 0.0  # from when on the container's process takes signals (monotonic clock)
        self._was_interrupted = False
        self._is_removed = False

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(self, *_: object) -> None:
        if self._client is not None:
            # Output that nobody reads would hold up the container's end as well.
            with self._client:
                self._client.kill()
        if self._is_removed:
            return
        if self._container:
            is_settled = self._client is not None and time.monotonic() > self._settled
            docker.remove(self._container, gracefully=is_settled)
        else:
            self._remove_unknown()

    def create(self) -> None:
        """Create the container, its image built first if that is missing; meanwhile the guard takes its snapshot."""
        # Without a snapshot there is no session.
        with self._guard.scanning(self._launch.name), contextlib.suppress(EngineError):
            self._create_container()
        if self._container:
            return
        # Most likely the image is missing; whatever else it is, the engine says it better the second time.
        self._remove_unknown()
        with signals.interruptible():
            from ..image import build

        build.ensure(connect(self._workspace.host), self._launch.image, self._workspace.host)
        self._create_container()

    def _remove_unknown(self) -> None:
        """Remove the container whose id is unknown: the command that made it was killed, or had no answer in time."""
        with contextlib.suppress(EngineError):
            docker.remove(*docker.of_session(self._launch.key))

    def _create_container(self) -> None:
        self._sidecar.start()
        if self._launch.egress.sidecar is not None and self._launch.egress.sidecar.must_start_first:
            self._sidecar.wait_until_ready()
        launch = self._launch
        private = {SECRETS_FILE: launch.secrets_script} if launch.secrets else {}
        with timing.phase("create"):
            self._container, self._name = docker.create(launch.name, launch.create_arguments, private)
        self._guard.session = self._name

    def attend(self, notes: Iterable[str]) -> int:
        """Attach this process's terminal or pipes to the session, and return the exit code of its command.

        ``notes`` are printed first, now that nothing but the engine can fail.
        """
        self._signals.check()
        with timing.phase("sidecar"):
            self._sidecar.wait_until_ready()
        for note in notes:
            say(note)
        observation = self._observe() if timing.is_wanted() else None
        with EventLoop(self._signals) as loop:
            launch = self._launch
            self._client = docker.start(self._container, stdin=launch.stdin, terminal=launch.terminal)
            self._settled = time.monotonic() + SETTLING_SECONDS
            self._watch_sidecar(loop)
            if self._watch is not None:
                loop.every(WATCH_SECONDS, self._watch.look)
            if self._renewal is not None:
                loop.every(WATCH_SECONDS, self._renew)
            code = loop.wait_for(self._client, self._interrupt)
        if observation is not None:
            observation.end()
            timing.note_later(observation.phases)
        return self._outcome(code, self._client)

    def _observe(self) -> Observation:
        from ..engine.observation import Observation

        return Observation(engine_address(self._workspace.host.environ) or DEFAULT_ADDRESS, self._container)

    def _interrupt(self) -> bool:
        """Pass a Ctrl-C on to the session, and return whether it has arrived."""
        self._was_interrupted = True
        return docker.interrupt(self._container)

    def _watch_sidecar(self, loop: EventLoop) -> None:
        if self._sidecar.output is None:
            return
        fd = self._sidecar.output.fileno()

        def receive() -> None:
            if not self._sidecar.receive():
                loop.forget(fd)
                loop.after(TOGETHER_SECONDS, lambda: say(_CLOSED))

        loop.when_readable(fd, receive)
        if self._sidecar.has_config:
            loop.every(WATCH_SECONDS, self._refresh)

    def _refresh(self) -> None:
        """Bring the sidecar's configuration up to date with the settings."""
        with contextlib.suppress(ConfinedError):  # settings that are wrong, or wait for trust, change nothing
            self._sidecar.configure(allowlist_config(self._workspace.reloaded(), self._launch.networks))

    def _renew(self) -> None:
        """Give the session a newer credential, if the user's command has printed one."""
        if self._renewal is not None and (value := self._renewal.poll()) is not None:
            # The session may be ending.
            with contextlib.suppress(EngineError):
                docker.replace_file(self._container, VALUE_FILE, value, user=self._launch.command[0])

    def _outcome(self, code: int, client: subprocess.Popen[bytes]) -> int:
        """Return the exit code of this process for that of the attached docker command, and print what it means."""
        printed = client.stderr.read() if client.stderr else b""
        signals.reset_screen()
        if code < 0:
            say("The docker command was killed, and so the session has ended.")
            return 128 - code
        # The docker command waits for the engine to remove the container; at a Ctrl-C some versions do not.
        self._is_removed = code == 0 and not self._was_interrupted
        was_started = not code or docker.was_started(self._container)
        if not was_started and docker.was_interrupted(printed):
            raise SystemExit(INTERRUPTED)
        pass_on(printed)
        if code == ENGINE or not was_started:
            self._sidecar.check()
        if not was_started:
            hint = "The reason is printed above."
            if self._workspace.settings.ports:
                hint += " If a port is taken, choose others with the setting `ports`."
            raise EngineError(f"The engine could not start {self._name}.", hint)
        if code:
            self._explain(code)
        return code

    def _explain(self, code: int) -> None:
        """Print what of this machine's the session may have died of."""
        if code == docker.KILLED and docker.ran_out_of_memory(self._container):
            say("The session used all the memory it may have, and was killed.")
            say("Set `memory` to more, for instance with CONFINED_CLAUDE_MEMORY=16g, or let it do less at once.")
        for directory in (self._launch.workdir, self._workspace.host.data):
            with contextlib.suppress(OSError):
                status = os.statvfs(directory)
                if status.f_bavail * status.f_frsize < _FULL_BYTES:
                    say(f"The disk of {directory} is full. Free some space; what the session could not write is lost.")
                    return


def connect(host: Host) -> Engine:
    """Return the engine in use. Raises EngineError with what is wrong if there is none."""
    from ..engine.sdk import Engine  # its import takes as long as all else of a start

    return Engine.connect(host.environ)
