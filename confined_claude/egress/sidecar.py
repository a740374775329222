"""A session's sidecar while it runs: started, waited for, and gone at the end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from .. import signals
from ..background import Unfinished
from ..engine.attached import Attached
from ..engine.failures import SECONDS, hint_on, no_answer
from ..errors import EngineError, system_error
from ..text import strip_controls
from ..workspace import Workspace
from . import blocked
from .network import CONFIG, SidecarPlan

_JOINED = b"joined\n"
# A sidecar ends with its session, and may be seen to have done so a little before.
TOGETHER_SECONDS = 5.0
# One whose failure has ended a session is about to end.
_FAILING_SECONDS = 1.0


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
        self._container: Attached | None = None

    def __enter__(self) -> Sidecar:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it, and keep what it has refused; nothing if that is done."""
        try:
            if self._container is not None:
                # It ends by itself with a session that has joined it; else it would still wait for one.
                is_ending = not self._container.has_ended and self._has_joined
                with contextlib.suppress(EngineError):
                    self._container.remove(TOGETHER_SECONDS if is_ending else 0)
            self._container = None
        finally:
            if self._plan is not None and self._plan.directory is not None:
                blocked.collect(self._workspace, self._key)

    @property
    def has_config(self) -> bool:
        """Whether it reads its configuration from a file, which may change."""
        return self._plan is not None and self._plan.directory is not None

    @property
    def output(self) -> Attached | None:
        """What it prints, which ends when it does; None while none runs. To be read by ``receive`` alone."""
        return self._container

    def start(self) -> None:
        """Start it in the background, unless it runs."""
        if self._plan is None or (self._container is not None and not self._container.has_ended):
            return
        if self._container is not None:  # it may have left a container
            self._container.remove()
        self.configure(self._plan.config)
        self._container = Attached(self._plan.name, self._plan.arguments, self._lent)

    def lend(self, lent: bytes) -> bool:
        """Have it lend only what the line ``lent`` says from now on; return whether it will, or has ended.

        Raises EngineError if the engine takes too long to start it.
        """
        self._lent = lent
        if self._container is None:
            return True
        try:
            if self._container.is_starting:  # later the event loop handles signals
                with signals.interruptible():
                    self._container.wait_until_started(SECONDS)
            return self._container.send(lent) or self._container.has_ended
        except EngineError:
            return False
        except Unfinished:
            raise no_answer(SECONDS) from None

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
        if self._container is not None:
            with signals.interruptible(), _explained():
                self._container.wait_until_made()

    def wait_until_started(self) -> None:
        """Return when its network can be joined. Raises EngineError with the reason if it never can."""
        if self._container is not None:
            with signals.interruptible(), _explained():
                self._container.wait_until_started()

    def receive(self) -> bool:
        """Read what it has printed, without waiting; return whether it may print more. It must have started.

        Raises EngineError with the reason if it has ended before a session joined it.
        """
        if self._container is None:
            return False
        if goes_on := self._container.read():
            return goes_on
        self.check()
        return False

    def check(self) -> None:
        """Raise EngineError with the sidecar's reason if it has ended before a session joined it."""
        if self._container is None:
            return
        self.wait_until_started()
        if self._container.read(_FAILING_SECONDS) or self._has_joined:
            return
        lines = self._container.errors.decode("utf-8", "replace").strip().splitlines()
        reason = lines[0] if lines else "it gave no reason"
        raise EngineError(
            f"The session's network could not be set up: {strip_controls(reason)}",
            _hint(reason) or 'See the engine\'s own log for more, or choose another network, such as "none".',
        )

    @property
    def _has_joined(self) -> bool:
        """Whether a session is known to have joined it."""
        return self._container is not None and _JOINED in self._container.printed


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Give an error of the engine's, about a container or its network, the hint that helps most here."""
    try:
        yield
    except EngineError as error:
        error.hint = _hint(error.message) or error.hint
        raise


def _hint(reason: str) -> str:
    if "already allocated" in reason or "address already in use" in reason:
        return "Something on your machine uses that port: end it, or choose another port with the setting `ports`."
    if "kernel" in reason:
        return 'The engine\'s kernel needs nf_tables for that. Choose network = "allowlist", "none" or "open".'
    if "network" in reason:
        return 'The network needs the engine\'s default bridge. Choose network = "none", or "docker:NAME".'
    return hint_on(reason)
