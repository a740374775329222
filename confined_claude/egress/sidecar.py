"""A session's sidecar while it runs: started, waited for, watched over, and gone at the end."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import Callable
from types import TracebackType

from .. import signals as terminal
from ..console import plain, say
from ..engine import command as client
from ..errors import ConfinedError, EngineError
from ..fs import safefs
from .network import CONFIG, Sidecar

_READY = b"ready\n"
_JOINED = b"joined\n"
_LOOK_SECONDS = 1.0
# A sidecar ends with its session, and may be seen to have done so a little before.
_TOGETHER_SECONDS = 5.0
_TRIES = 50
_AGAIN_SECONDS = 0.1


class Companion:
    """The sidecar of one session, which may have none. At the end of the block, however it ends, it is gone."""

    def __init__(self) -> None:
        self._sidecar: Sidecar | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._is_ready = False
        self._over = threading.Event()

    def __enter__(self) -> Companion:
        return self

    @property
    def has_folder(self) -> bool:
        """Whether there was a sidecar that shares a folder with the host."""
        return self._sidecar is not None and self._sidecar.folder is not None

    def start(self, sidecar: Sidecar | None) -> None:
        """Start a session's sidecar in the background, if it has one that does not run."""
        if sidecar is None or (self._process is not None and self._process.poll() is None):
            return
        if self._process is not None:  # what became of the first is not known
            client.remove(sidecar.name)
        if sidecar.folder is not None:
            write_config(sidecar, sidecar.config)
        self._sidecar = sidecar
        self._process = client.run(sidecar.arguments, sidecar.given.encode())

    def wait_until_ready(self) -> None:
        """Return when the session's container can be started. Raises EngineError with the sidecar's words if not."""
        if self._is_ready or self._process is None or self._process.stdout is None:
            return
        self._is_ready = self._process.stdout.readline() == _READY
        if not self._is_ready:
            self.check()
            raise EngineError("The session's sidecar has ended before it began.", _cure(""))

    def check(self) -> None:
        """Raise EngineError with the sidecar's words if it has failed; one that still serves a session has not."""
        if self._process is None or self._process.stderr is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_TOGETHER_SECONDS)
        if not self._process.returncode:
            return
        said = self._process.stderr.read().decode("utf-8", "replace").strip().splitlines()
        reason = next((line for line in said if not line.startswith("WARNING")), "it gave no reason")
        raise EngineError(f"The session's network could not be made: {plain(reason)}", _cure(reason))

    def supervise(self, refreshed: Callable[[], str]) -> None:
        """Watch over the sidecar of a session that runs now, and hand it what ``refreshed`` gives when that changes."""
        if self._process is not None:
            threading.Thread(target=self._supervise, args=(refreshed,), daemon=True).start()

    def _supervise(self, refreshed: Callable[[], str]) -> None:
        # One that this thread took would reach the main thread all the same, where they are held.
        terminal.hold_signals()
        assert self._process is not None  # noqa: S101 - for mypy
        assert self._sidecar is not None  # noqa: S101
        known = self._sidecar.config
        while not self._over.wait(_LOOK_SECONDS):
            if self._process.poll() is not None:
                if not self._over.wait(_TOGETHER_SECONDS):
                    say("The session's network is closed: its sidecar has ended. A new session has one again.\r")
                return
            if self._sidecar.folder is not None:
                # Settings that are wrong, or wait for trust, change nothing.
                with contextlib.suppress(OSError, ConfinedError):
                    if (config := refreshed()) != known:
                        write_config(self._sidecar, config)
                        known = config

    def _has_session(self) -> bool:
        """Whether a session's container has joined the sidecar, which so ends by itself with that."""
        if not self._is_ready or self._process is None or self._process.stdout is None:
            return False
        os.set_blocking(self._process.stdout.fileno(), False)
        return _JOINED in (self._process.stdout.read() or b"")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._process is None or self._sidecar is None:
            return
        # Without one it would wait for a session yet.
        patience = _TOGETHER_SECONDS if self._has_session() else 0
        # One that is only being made cannot be removed yet.
        with contextlib.suppress(EngineError):
            for _ in range(_TRIES):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    if self._process.wait(patience):  # a command that was killed may have left a container
                        client.remove(self._sidecar.name)
                    return
                client.remove(self._sidecar.name)
                patience = _AGAIN_SECONDS


def write_config(sidecar: Sidecar, config: str) -> None:
    """Put ``config`` where the sidecar reads it."""
    if sidecar.folder is not None:
        with safefs.open_folder(sidecar.folder.base, *sidecar.folder.parts) as folder:
            safefs.write(folder, CONFIG, config.encode())


def _cure(reason: str) -> str:
    if "already allocated" in reason or "address already in use" in reason:
        return "Something on this machine has that port: end it, or choose others with the setting `ports`."
    if "kernel" in reason:
        return 'The engine\'s kernel needs nf_tables for that. Choose network = "allowlist", "none" or "open".'
    if "network" in reason:
        return 'The network needs the engine\'s default bridge. Choose network = "none", or "docker:NAME".'
    return 'See the engine\'s own log for more, or choose another network, such as "none".'
