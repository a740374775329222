"""A session's sidecar while it runs: started, waited for, and gone at the end."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from typing import IO

from .. import signals
from ..engine import command, containers
from ..engine.failures import hint_on
from ..errors import EngineError, system_error
from ..text import strip_controls
from ..workspace import Workspace
from . import blocked
from .network import CONFIG, SidecarPlan

_READY = b"ready\n"
_JOINED = b"joined\n"
_MOST_BYTES = 1 << 10
# What docker and podman print beside the reason.
_REMARKS = ("WARNING", "Resource limits are not supported", "time=")
_LOOK_SECONDS = 0.002
# A sidecar ends with its session, and may be seen to have done so a little before.
TOGETHER_SECONDS = 5.0
_REMOVE_ATTEMPTS = 50
_RETRY_SECONDS = 0.1


class Sidecar:
    """The sidecar of one session. At the end of the block, however that comes, it is gone.

    A session may have none: ``plan`` is None then, and every method does nothing. ``lent`` is the line that tells it
    what it lends, empty if that is nothing.
    """

    def __init__(self, plan: SidecarPlan | None, workspace: Workspace, key: str, lent: bytes = b"") -> None:
        self._plan = plan
        self._lent = lent
        self._workspace = workspace
        self._key = key
        self._config = ""
        self._printed = b""
        self._process: subprocess.Popen[bytes] | None = None
        self._is_ready = False

    def __enter__(self) -> Sidecar:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it, and keep what it has refused; nothing if that is done."""
        try:
            self._remove()
            if self._process is not None and self._process.stdin is not None:
                self._process.stdin.close()
            self._process = None
        finally:
            if self._plan is not None and self._plan.directory is not None:
                blocked.collect(self._workspace, self._key)

    @property
    def has_config(self) -> bool:
        """Whether it reads its configuration from a file, which may change."""
        return self._plan is not None and self._plan.directory is not None

    @property
    def output(self) -> IO[bytes] | None:
        """What it prints, which ends when it does; None while none runs. To be read by ``receive`` alone."""
        return None if self._process is None else self._process.stdout

    def start(self) -> None:
        """Start it in the background, unless it runs."""
        if self._plan is None or (self._process is not None and self._process.poll() is None):
            return
        if self._process is not None:  # it may have left a container
            containers.remove(self._plan.name)
        self.configure(self._plan.config)
        self._process = command.run(self._plan.arguments, podman=self._plan.podman, has_input=bool(self._lent))
        self.lend(self._lent)

    def lend(self, lent: bytes) -> None:
        """Have it lend what the line ``lent`` says, and nothing of before; it may have ended."""
        self._lent = lent
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.write(lent)

    def configure(self, config: str) -> None:
        """Write ``config`` to where the sidecar reads it. Raises ConfinedError."""
        if self._plan is not None and self._plan.directory is not None and config != self._config:
            with self._plan.directory.make() as directory:
                try:
                    directory.write(CONFIG, config.encode())
                except OSError as error:
                    raise system_error("write to", directory.path, error) from None
            self._config = config

    def wait_until_made(self) -> None:
        """Return when its container exists, running or not. Raises EngineError with the reason if it never will."""
        if self._plan is None or self._process is None:
            return
        with signals.interruptible():
            while not containers.exists(self._plan.name):
                if self._process.poll() is not None:
                    raise self._failure()
                time.sleep(_LOOK_SECONDS)

    def wait_until_ready(self) -> None:
        """Return when the session's container can be started. Raises EngineError with the sidecar's reason if not."""
        if self._is_ready or self.output is None:
            return
        with signals.interruptible():
            self._is_ready = self.output.readline() == _READY
        if not self._is_ready:
            raise self._failure()

    def receive(self) -> bool:
        """Read what it has printed, without waiting; return whether it may print more.

        Raises EngineError with the reason if it has ended before it was ready.
        """
        if self.output is None:
            return False
        os.set_blocking(self.output.fileno(), False)
        printed = self.output.read(_MOST_BYTES)
        self._printed += printed or b""
        self._is_ready = self._is_ready or self._printed.startswith(_READY)
        if printed == b"" and not self._is_ready:
            raise self._failure()
        return printed != b""

    def _failure(self) -> EngineError:
        """Return the error for a sidecar that has ended before it was ready."""
        try:
            self.check()
        except EngineError as error:
            return error
        return EngineError("The session's sidecar ended before it began.", _hint(""))

    def check(self) -> None:
        """Raise EngineError with the sidecar's reason if it has failed; one that still serves a session has not."""
        if self._process is None or self._process.stderr is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(TOGETHER_SECONDS)
        if not self._process.returncode:
            return
        lines = self._process.stderr.read().decode("utf-8", "replace").strip().splitlines()
        reason = next((line for line in lines if not line.startswith(_REMARKS)), "it gave no reason")
        raise EngineError(f"The session's network could not be made: {strip_controls(reason)}", _hint(reason))

    def _remove(self) -> None:
        if self._process is None or self._plan is None:
            return
        with contextlib.suppress(EngineError):
            self.receive()
        # It ends by itself with a session that has joined it; else it would still wait for one.
        patience = TOGETHER_SECONDS if _JOINED in self._printed else 0
        # One that the engine is still making cannot be removed yet.
        with contextlib.suppress(EngineError):
            for _ in range(_REMOVE_ATTEMPTS):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    # A command that was killed may have left a container, and Podman keeps one that was still joined.
                    if self._process.wait(patience) or self._plan.podman:
                        containers.remove(self._plan.name)
                    return
                containers.remove(self._plan.name)
                patience = _RETRY_SECONDS


def _hint(reason: str) -> str:
    if "already allocated" in reason or "address already in use" in reason:
        return "Something on this machine has that port: end it, or choose others with the setting `ports`."
    if "kernel" in reason:
        return 'The engine\'s kernel needs nf_tables for that. Choose network = "allowlist", "none" or "open".'
    if "network" in reason:
        return 'The network needs the engine\'s default bridge. Choose network = "none", or "docker:NAME".'
    return hint_on(reason) or 'See the engine\'s own log for more, or choose another network, such as "none".'
