"""A session from start to end: prepare, create, attach, clean up."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from . import client, credentials, image, mounts, project, safefs, settings, trust
from .console import say
from .errors import INTERRUPTED, ConfinedError, EngineError
from .guard import repository, watch
from .host import Host
from .plan import Plan, plan_session

if TYPE_CHECKING:
    from .engine import Engine

# The client's command, and a shell for people.
CLAUDE = ("claude",)
YOLO = "--dangerously-skip-permissions"
SHELL = ("bash",)

_IGNORE_ALL = "*\n"
_PRIVATE = 0o700
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_CLIENT_SECONDS = 5
# A container's first process loses signals until it has set itself up.
_SETTLING_SECONDS = 1.0


def run(host: Host, arguments: Sequence[str], flags: Mapping[str, str | None], *, yolo: bool = False) -> int:
    """Run Claude Code in the current project; gives its exit code."""
    return start(host, [*CLAUDE, *([YOLO] if yolo else []), *arguments], flags, needs_sign_in=True)


def shell(host: Host, command: Sequence[str], flags: Mapping[str, str | None]) -> int:
    """Run a shell, or ``command``, where Claude Code would run; gives its exit code."""
    return start(host, command or SHELL, flags, needs_sign_in=False)


def ground(host: Host) -> watch.Ground:
    """The current project as the guard sees it, for a look at what is open."""
    here = current_project(host)
    try:
        return watch.Ground(here, _here(host, {})[1], host.git_config, forgiving=True)
    except ConfinedError:  # its settings wait for trust, or are wrong: the look does not depend on them
        return watch.Ground(here, settings.Settings(), host.git_config, forgiving=True)


def build(host: Host, flags: Mapping[str, str | None], *, fresh: bool) -> None:
    """Build the image if it is missing, or from scratch."""
    chosen = settings.load(host.user_config_file, None, host.environ, flags)
    image.ensure(_engine(host), chosen, host, fresh=fresh)


def start(host: Host, command: Sequence[str], flags: Mapping[str, str | None], *, needs_sign_in: bool) -> int:
    """Start a session that runs ``command`` in the current project, and stay with it to its end.

    Gives the command's exit code. Raises ConfinedError where no session can be had.
    """
    with _signals_handled() as interrupt:
        return _start(host, command, flags, interrupt, needs_sign_in=needs_sign_in)


def _start(
    host: Host, command: Sequence[str], flags: Mapping[str, str | None], interrupt: _Interrupt, *, needs_sign_in: bool
) -> int:
    here, chosen = _here(host, flags)
    if not client.is_listening(client.engine_address(host.environ)):
        _engine(host)  # says what is wrong, before anything is made

    config = mounts.claude_config(here, host, chosen)
    with safefs.open_folder(config.base, *config.parts[:-1]):  # no link on the way there
        sign_in = credentials.prepare(config.source, host)
    notes = list(sign_in.notes if needs_sign_in or sign_in.kind else ())
    _prepare_scaffold(here, host)
    with watch.watched(here, chosen, host, client.is_running) as watching:
        plan = plan_session(
            here,
            host,
            chosen,
            image=image.recipe(chosen, host).name,
            command=command,
            stdin_is_terminal=sys.stdin.isatty(),
            stdout_is_terminal=sys.stdout.isatty(),
            git_settings=host.git_settings(),
            guard_mounts=watching.mounts,
            guard_key=watching.key,
        )
        if plan.terminal:
            notes += _remarks(here, host)
        _prepare_folders(here, plan)
        return _attach(plan, host, chosen, notes, interrupt=interrupt, watching=watching)


def _here(host: Host, flags: Mapping[str, str | None]) -> tuple[project.Project, settings.Settings]:
    """The current project and the settings in force there."""
    here = current_project(host)
    trusted = partial(trust.is_trusted, here, host)
    return here, settings.load(host.user_config_file, here.config_file, host.environ, flags, trusted)


def _remarks(here: project.Project, host: Host) -> Iterator[str]:
    if host.uid == 0:
        yield "You are root, so this session is uid 0 inside its container; SECURITY.md says what that means."
    if not (here.root / ".git").exists() and (above := repository.above(here.root)):
        yield f"This folder is part of the repository at {above}, which the session does not see; git works from there."


def current_project(host: Host) -> project.Project:
    """The project that the current folder belongs to. Raises ConfinedError if there can be none."""
    return project.find(_current_folder(), host)


def _current_folder() -> Path:
    try:
        return Path.cwd()
    except OSError:
        raise ConfinedError("The current folder is gone.", "Go into a project's folder, and start again.") from None


def _prepare_scaffold(here: project.Project, host: Host) -> None:
    with safefs.open_folder(here.root, project.SCAFFOLD) as folder:
        # What sessions keep below it must be out of others' reach: a file that runs as its owner, say.
        if os.fstat(folder).st_uid == host.uid:
            os.fchmod(folder, _PRIVATE)
        if not safefs.exists(folder, "config.toml") and not safefs.exists(folder, ".gitignore"):
            # No scaffold here: then nothing of ours may show up in the project's git status.
            try:
                safefs.write(folder, ".gitignore", _IGNORE_ALL.encode(), mode=0o644)
            except OSError as error:
                raise safefs.cannot("write to", here.scaffold, error) from None


def _prepare_folders(here: project.Project, plan: Plan) -> None:
    """Make what is mounted, owned by the caller: the engine would make it root's."""
    for mount in plan.mounts:
        if not mount.pin:
            mode = 0o755 if mount.base == here.root else 0o700
            with safefs.open_folder(mount.base, *mount.parts, mode=mode):
                pass


def _attach(
    plan: Plan,
    host: Host,
    chosen: settings.Settings,
    notes: Sequence[str],
    *,
    interrupt: _Interrupt,
    watching: watch.Watch,
) -> int:
    """Carry out ``plan`` with this process's terminal; gives the exit code of its command.

    ``notes`` are said once there is a container to start. However this ends (the command's end, a
    signal, a closed terminal, an error), the container is gone afterwards.
    """
    with _terminal_restored():
        attached: subprocess.Popen[bytes] | None = None
        ended = False
        try:
            identity, name = _create(plan, host, chosen, watching)
            watching.session = name
            try:
                _release_signals()
                if interrupt.seen:  # what it raised was lost: exceptions in callbacks of the import system are
                    raise SystemExit(INTERRUPTED)
                for note in notes:
                    say(note)
                attached = client.attach(identity, stdin=plan.stdin, terminal=plan.terminal)
                interrupt.belongs_to(lambda: _engine(host).interrupt(identity))
                code = attached.wait()
                ended = code == 0 and not interrupt.seen
                if code and not _engine(host).was_started(identity):
                    raise EngineError(f"The engine could not start {name}.", "Its reason stands above.")
                return code
            finally:
                _hold_signals()
                if not ended:  # else the engine has removed it: the docker command waits for that
                    _engine(host).remove(identity, at_once=not interrupt.has_settled)
                _end(attached)
        finally:
            _release_signals()


def _create(plan: Plan, host: Host, chosen: settings.Settings, watching: watch.Watch) -> tuple[str, str]:
    """The (id, name) of the container of ``plan``, its image built first where it is missing.

    The guard looks through the project meanwhile. Signals are held back when this returns: between
    here and the caller's ``try`` one would leave a container that nobody knows of.
    """
    _hold_signals()
    with watching.looking(plan.name), contextlib.suppress(EngineError):
        return client.create(plan)
    # Most likely the image is missing; whatever else it is, the engine says it better.
    _release_signals()
    image.ensure(_engine(host), chosen, host)
    _hold_signals()
    return client.create(plan)


def _engine(host: Host) -> Engine:
    from .engine import Engine

    return Engine.connect(host.environ)


def _hold_signals() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)


def _release_signals() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)


def _end(attached: subprocess.Popen[bytes] | None) -> None:
    """The attached docker command ends by itself once its container is gone; make sure of it."""
    if attached is None:
        return
    try:
        attached.wait(_CLIENT_SECONDS)
    except subprocess.TimeoutExpired:
        attached.kill()
        attached.wait()


class _Interrupt:
    """What Ctrl-C does: it leaves, until there is a session that takes it."""

    def __init__(self) -> None:
        self._hand_over: Callable[[], bool] | None = None
        self._since = 0.0
        self.seen = False

    def belongs_to(self, hand_over: Callable[[], bool]) -> None:
        """From now on ``hand_over`` takes it, and says whether it could."""
        self._hand_over, self._since = hand_over, time.monotonic()

    @property
    def has_settled(self) -> bool:
        """Whether the session has been there for long enough to take a signal."""
        return self._hand_over is not None and time.monotonic() - self._since > _SETTLING_SECONDS

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        self.seen = True
        if self._hand_over is None or not self.has_settled or not self._hand_over():
            raise SystemExit(INTERRUPTED)


@contextlib.contextmanager
def _signals_handled() -> Iterator[_Interrupt]:
    """SIGTERM and a closed terminal raise SystemExit here; Ctrl-C does what the object given says."""
    interrupt = _Interrupt()

    def leave(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    handlers: dict[int, Callable[[int, FrameType | None], None]]
    handlers = {signal.SIGINT: interrupt, signal.SIGTERM: leave, signal.SIGHUP: leave}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _terminal_restored() -> Iterator[None]:
    """Give the terminal back as it was, without what was typed, or answered by it, meanwhile.

    What is left in its input would be run by the user's shell.
    """
    if not sys.stdin.isatty():
        yield
        return
    handle = sys.stdin.fileno()
    state = termios.tcgetattr(handle)
    try:
        yield
    finally:
        # A closed terminal has nothing to restore.
        with contextlib.suppress(termios.error):
            termios.tcsetattr(handle, termios.TCSAFLUSH, state)
