"""The process that stays with a session while it runs."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING

from .. import signals, timing
from ..background import Background
from ..claude.following import Watch
from ..claude.sign_in import VALUE_FILE
from ..console import say
from ..egress.endpoints import allowlist_config
from ..egress.sidecar import TOGETHER_SECONDS, Sidecar
from ..engine import containers, inside
from ..errors import ENGINE, ConfinedError, EngineError
from ..guard.guards import Guards
from ..signals import Signals
from ..workspace import Workspace
from . import strays
from .attachment import Attachment, code_of, going_on
from .event_loop import SETTLING_SECONDS, WATCH_SECONDS, EventLoop
from .launch import Launch
from .renewals import Renewals
from .telling import Teller

if TYPE_CHECKING:
    from ..engine.observation import Observation

_FULL_BYTES = 1 << 20
_FOR_THE_END = ("guard.commits", "guard.known_files", "guard.verdicts", "image.inventory", "session.closing")
_CLOSED = "The session's network is closed: its sidecar has ended. A new session has one again."


class Supervisor:
    """Stays with one session: creates its container, attaches to it, and waits with it for whatever happens.

    At the end of the block, however that comes (the command's end, a signal, a closed terminal, an error), the
    container is gone. The session's sidecar and its guard outlive that: the caller ends them.
    """

    def __init__(
        self,
        workspace: Workspace,
        launch: Launch,
        *,
        guard: Guards,
        sidecar: Sidecar,
        watch: Watch | None,
        renewals: Renewals,
        teller: Teller,
        signals: Signals,
    ) -> None:
        self._workspace = workspace
        self._launch = launch
        self._guard = guard
        self._sidecar = sidecar
        self._watch = watch
        self._signals = signals
        self._renewals = renewals
        self._teller = teller
        self._container = ""
        self._name = ""
        self._settled = math.inf  # from when on the container's process takes signals (monotonic clock)
        self._is_removed = False

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_removed:
            return
        if not self._container:
            self._remove_unknown()
            return
        try:
            containers.remove(self._container, gracefully=time.monotonic() > self._settled)
        except EngineError as failure:
            raise failure if self._settled == math.inf else going_on(self._name, failure) from None

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
            from ..engine.images import Images
            from ..image import build

        build.ensure(Images(), self._launch.image, self._workspace.host)
        # Without its image the sidecar has ended as well, or is about to: only one that has can start again.
        with contextlib.suppress(EngineError):
            self._sidecar.wait_until_made()
        self._create_container()

    def _remove_unknown(self) -> None:
        """Remove the container whose id is unknown: the engine had no answer in time."""
        with contextlib.suppress(EngineError):
            containers.remove(*containers.of_session(self._launch.key))

    def _create_container(self) -> None:
        self._sidecar.start()
        plan = self._launch.egress.sidecar
        if plan is not None and plan.must_exist_first:
            self._sidecar.wait_until_made()
        launch = self._launch
        with timing.phase("create"):
            self._container, self._name = containers.create(launch.name, launch.create_arguments, launch.private)
        self._guard.session = self._name
        self._teller.container = self._container

    def attend(self, notes: Iterable[str]) -> int:
        """Attach this process's terminal or pipes to the session, and return the exit code of its command.

        ``notes`` are printed first, now that nothing but the engine can fail.
        """
        self._signals.check()
        plan = self._launch.egress.sidecar
        if plan is not None and plan.must_run_first:
            with timing.phase("sidecar"):
                self._sidecar.wait_until_started()
        for note in notes:
            say(note)
        observation = self._observe() if timing.is_wanted() else None
        launch = self._launch
        with contextlib.ExitStack() as stack:
            loop = stack.enter_context(EventLoop(self._signals))
            with signals.interruptible():
                stream = stack.enter_context(containers.attach(self._container, stdin=launch.stdin))
                end = stack.enter_context(containers.end_of(self._container))
                place = f"containers/{self._container}"
                attachment = stack.enter_context(Attachment(loop, stream, place, terminal=launch.terminal))
                self._start()
            self._settled = time.monotonic() + SETTLING_SECONDS
            attachment.begin(stdin=launch.stdin)
            self._watch_sidecar(loop)
            if self._watch is not None:
                loop.every(WATCH_SECONDS, self._watch.look)
            if self._renewals:
                loop.every(WATCH_SECONDS, lambda: self._renewals.look(self._give))
            loop.after(strays.STARTING_SECONDS, self._tidy)
            code = attachment.wait_for(code_of(loop, end), lambda: containers.interrupt(self._container))
            self._is_removed = True
        if observation is not None:
            observation.end(attachment.first_output)
            timing.note_later(observation.phases)
        signals.reset_screen()
        if code == ENGINE:
            self._sidecar.check()
        if code:
            self._explain(code)
        return code

    def _start(self) -> None:
        """Start the container. Raises EngineError with the reason if that cannot be."""
        Background(_import_for_the_end)  # the engine takes longer, and this process would only wait
        try:
            containers.start(self._container, self._name)
        except EngineError as error:
            self._sidecar.check()
            if self._workspace.settings.ports:
                error.hint += " If a port is taken, choose others with the setting `ports`."
            raise

    def _observe(self) -> Observation:
        from ..engine.observation import Observation

        return Observation(self._container)

    def _watch_sidecar(self, loop: EventLoop) -> None:
        if self._sidecar.output is None:
            return
        self._sidecar.wait_until_started()
        fd = self._sidecar.output.fileno()

        def receive() -> None:
            if not self._sidecar.receive():
                loop.forget(fd)
                loop.after(TOGETHER_SECONDS, lambda: self._teller.tell(_CLOSED))

        loop.when_readable(fd, receive)
        if self._sidecar.has_config:
            loop.every(WATCH_SECONDS, self._refresh)

    def _tidy(self) -> None:
        """Remove, in the background, what there is no record of that earlier starts have left."""
        Background(lambda: containers.remove(*strays.sidecars(self._workspace.host)))

    def _refresh(self) -> None:
        """Bring the sidecar's configuration up to date with the settings."""
        with contextlib.suppress(ConfinedError):  # settings that are wrong, or wait for trust, change nothing
            workspace, opens_all = self._workspace.reloaded(), self._launch.egress.join == "internet"
            self._sidecar.configure(allowlist_config(workspace, self._launch.networks, opens_all=opens_all))

    def _give(self, value: str) -> None:
        """Give the session a newer credential. Raises EngineError, for instance if the session is ending."""
        inside.replace_file(self._container, VALUE_FILE, value, user=self._launch.user)

    def _explain(self, code: int) -> None:
        """Print what on this machine may have ended the session."""
        with contextlib.suppress(EngineError):  # gone since: the exit code is known
            if code == containers.KILLED and containers.ran_out_of_memory(self._container):
                say("The session used all the memory it may have, and was killed.")
                say("Set `memory` to more, for instance with CONFINED_CLAUDE_MEMORY=16g, or let it do less at once.")
            elif code in containers.STOPPED and containers.was_stopped(self._container):
                say("The session was stopped.")
        for directory in (self._launch.workdir, self._workspace.host.data):
            with contextlib.suppress(OSError):
                status = os.statvfs(directory)
                if status.f_bavail * status.f_frsize < _FULL_BYTES:
                    say(f"The disk of {directory} is full. Free some space; what the session could not write is lost.")
                    return


def _import_for_the_end() -> None:
    """Import what is needed once the session has ended."""
    for module in _FOR_THE_END:
        import_module(f"..{module}", __package__)
