"""A session from start to end: prepare, create, attach, clean up."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from .. import environment, project
from .. import signals as terminal
from ..console import say
from ..egress import blocked
from ..egress import local_networks as nearby
from ..egress import network as modes
from ..egress.sidecar import Companion
from ..engine import command as client
from ..engine import context
from ..errors import ENGINE, INTERRUPTED, EngineError
from ..fs import safefs
from ..guard import guard, repository
from ..host import Host
from ..image import build as image
from ..image import inventory
from ..image.recipe import ImageChain, image_chain
from ..settings import Settings
from ..settings.files import ProjectFiles
from ..settings.resolution import resolve
from ..state import locks as shared
from ..state import projects as known
from ..state import trust
from ..state.facts import EngineFacts, current_facts
from ..state.store import records_of, state_of
from ..workspace import Workspace, current_project
from . import credentials, limits, mounts
from . import orphans as leftovers
from .launch import SECRETS_FILE, Plan, plan_session

if TYPE_CHECKING:
    from ..engine.sdk import Engine

_PRIVATE = 0o700
_KEY_BYTES = 8
_KILLED = 128 + signal.SIGKILL
_FULL_BYTES = 1 << 20


def start(host: Host, command: Sequence[str], flags: Mapping[str, str | None], *, needs_sign_in: bool) -> int:
    """Start a session that runs ``command`` in the current project, and stay with it to its end.

    Gives the command's exit code. Raises ConfinedError where no session can be had.
    """
    with terminal.signals_handled() as interrupt:
        code = _start(host, command, flags, interrupt, needs_sign_in=needs_sign_in)
        if inventory.is_prune_pending(state_of(host)):
            with contextlib.suppress(EngineError):
                inventory.Inventory(_engine(host), host).prune()
        return code


def foretell(host: Host, command: Sequence[str], flags: Mapping[str, str | None]) -> int:
    """Write the shell script to standard output that starts the session which ``start`` would; gives 0.

    Nothing is made or changed. Raises ConfinedError where ``start`` would refuse.
    """
    from . import dry_run as script

    here, chosen, files = _here(host, flags)
    facts = current_facts(state_of(host), _address(host), record=False)
    wanted = image_chain(chosen, host.environ, files.dockerfile)
    network = _network(here, host, chosen, wanted, facts)
    egress = modes.plan_egress(network)
    foreseen = guard.plan_dry_run(Workspace(host, here, chosen, files), network.key)
    plan = partial(
        plan_session,
        here,
        host,
        chosen,
        image=wanted.name,
        command=command,
        git_settings=host.git_settings(),
        guard_mounts=foreseen.mounts,
        guard_key=network.key,
        egress=egress,
        facts=facts,
    )
    text = script.script(
        lambda stdin, stdout: plan(stdin_is_terminal=stdin, stdout_is_terminal=stdout),
        here,
        host,
        name=client.free_name(plan(stdin_is_terminal=True, stdout_is_terminal=True).name),
        upstream=modes.upstream_of(network.endpoints),
        foreseen=foreseen,
        remarks=[*_image_remark(wanted, chosen, host), *_remarks(here, host, chosen, facts)],
    )
    sys.stdout.buffer.write(os.fsencode(text))
    sys.stdout.flush()
    return 0


def _start(
    host: Host,
    command: Sequence[str],
    flags: Mapping[str, str | None],
    interrupt: terminal.Interrupt,
    *,
    needs_sign_in: bool,
) -> int:
    here, chosen, files = _here(host, flags)
    address = _address(host)
    if (code := leftovers.settle(host, here)) is not None:
        return code
    facts = current_facts(state_of(host), address)

    wanted = image_chain(chosen, host.environ, files.dockerfile)
    network = _network(here, host, chosen, wanted, facts)
    egress = modes.plan_egress(network)
    with _companion(here, host, network.key) as companion, contextlib.ExitStack() as stack:
        # First of all, as it takes the longest.
        companion.start(egress.sidecar)
        config = mounts.claude_config(here, host, chosen)
        stack.enter_context(shared.in_use(state_of(host)))
        notes: list[str] = []

        def prepare() -> None:
            with safefs.open_folder(config.base, *config.parts[:-1]):  # no link on the way there
                sign_in = credentials.prepare(config.source, host)
            notes.extend(sign_in.notes if needs_sign_in or sign_in.kind else ())
            _prepare_scaffold(here, host)
            known.remember(records_of(host, here.id), here.root)

        watching = stack.enter_context(guard.guarded(Workspace(host, here, chosen, files), network.key, prepare))
        plan = plan_session(
            here,
            host,
            chosen,
            image=wanted.name,
            command=command,
            stdin_is_terminal=sys.stdin.isatty(),
            stdout_is_terminal=sys.stdout.isatty(),
            git_settings=host.git_settings(),
            guard_mounts=watching.mounts,
            guard_key=watching.key,
            egress=egress,
            facts=facts,
        )
        notes += plan.notes
        if plan.terminal:
            notes += _remarks(here, host, chosen, facts)
        _prepare_folders(here, plan)

        def refreshed() -> str:
            """What the sidecar is to read now. Raises ConfinedError for settings that are wrong or wait for trust."""
            return modes.allowlist_config(replace(network, settings=_here(host, flags)[1]))

        return _attach(
            plan,
            host,
            wanted,
            notes=notes,
            interrupt=interrupt,
            watching=watching,
            companion=companion,
            refreshed=refreshed,
        )


def _image_remark(wanted: ImageChain, chosen: Settings, host: Host) -> Iterator[str]:
    if not _engine(host).image(wanted.name):
        given = "CONFINED_CLAUDE_SUDO=full " if chosen.sudo == "full" else ""
        yield f"Its image {wanted.name} is not built yet. Do that first: {given}confined-claude build"


def _address(host: Host) -> str:
    """Where the engine listens. Raises EngineError with what is wrong if it does not."""
    address = context.engine_address(host.environ) or context.DEFAULT_ADDRESS
    if not context.is_listening(address):
        _engine(host)
    return address


def _network(
    here: project.Project, host: Host, chosen: Settings, wanted: ImageChain, facts: EngineFacts
) -> modes.Session:
    """A new session, as far as its network is concerned."""
    return modes.Session(
        here,
        host,
        chosen,
        image=wanted.shared,  # no project has a say in what keeps its network
        key=secrets.token_hex(_KEY_BYTES),
        endpoints=modes.endpoints_of(environment.split(host.environ)[1]),
        closed=nearby.networks(),
        namespaces=facts.namespaces,
    )


@contextlib.contextmanager
def _companion(here: project.Project, host: Host, key: str) -> Iterator[Companion]:
    """The place of the session's sidecar; what that has blocked is kept when both are gone."""
    companion = Companion()
    try:
        with companion:
            yield companion
    finally:
        if companion.has_folder:
            folder = host.state / "projects" / here.id
            blocked.keep(here, host, key, lambda other: (folder / f"{other}.session").exists())


def _here(host: Host, flags: Mapping[str, str | None]) -> tuple[project.Project, Settings, ProjectFiles]:
    """The current project, the settings in force there, and the files of the project that had a say in it."""
    here = current_project(host)
    return here, *_settings(host, here, flags)


def _settings(host: Host, here: project.Project, flags: Mapping[str, str | None]) -> tuple[Settings, ProjectFiles]:
    """The settings in force in a project, and its files that had a say in them."""
    files = ProjectFiles.read(here.scaffold)
    trusted = partial(trust.is_trusted, records_of(host, here.id))
    return resolve(host.user_config_file, files, host.environ, flags, trusted).settings, files


def _remarks(here: project.Project, host: Host, chosen: Settings, facts: EngineFacts) -> Iterator[str]:
    """What a person should know of this session, a script need not."""
    if facts.rootless:
        yield "This engine is rootless: in the session you are uid 0, which is you on this machine."
    elif host.uid == 0:
        yield "You are root, so this session is uid 0 inside its container; SECURITY.md says what that means."
    if unkept := limits.missing(chosen, facts):
        yield f"This engine's kernel cannot limit {' and '.join(unkept)}: a session takes what it wants of that."
    if not (here.root / ".git").exists() and (above := repository.above(here.root)):
        yield f"This folder is part of the repository at {above}, which the session does not see; git works from there."


def _prepare_scaffold(here: project.Project, host: Host) -> None:
    with safefs.open_folder(here.root, project.SCAFFOLD) as folder:
        # What sessions keep below it must be out of others' reach: a file that runs as its owner, say.
        try:
            if os.fstat(folder).st_uid == host.uid:
                os.fchmod(folder, _PRIVATE)
            if not safefs.exists(folder, ".gitignore") or safefs.read(folder, ".gitignore") == project.IGNORED_BEFORE:
                safefs.write(folder, ".gitignore", project.IGNORED, mode=0o644)
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
    wanted: ImageChain,
    *,
    notes: Sequence[str],
    interrupt: terminal.Interrupt,
    watching: guard.Guard,
    companion: Companion,
    refreshed: Callable[[], str],
) -> int:
    """Carry out ``plan`` with this process's terminal; gives the exit code of its command.

    ``wanted`` is its image, ``refreshed`` gives what its sidecar is to read from now on. ``notes`` are said
    once there is a container to start. However this ends (the command's end, a signal, a closed terminal,
    an error), the container is gone afterwards.
    """
    with terminal.restored():
        attached: subprocess.Popen[bytes] | None = None
        ended = False
        try:
            identity, name = _create(plan, host, wanted, watching, companion)
            watching.session = name
            try:
                terminal.release_signals()
                if interrupt.seen or interrupt.code:  # what that raised was lost, as in callbacks of the import system
                    raise SystemExit(interrupt.code or INTERRUPTED)
                companion.wait_until_ready()
                for note in notes:
                    say(note)
                attached = client.start(identity, stdin=plan.stdin, terminal=plan.terminal)
                interrupt.belongs_to(lambda: client.interrupt(identity))
                companion.supervise(refreshed)
                if interrupt.code:  # lost in the same way, meanwhile
                    raise SystemExit(interrupt.code)
                code = attached.wait()
                said = attached.stderr.read() if attached.stderr else b""
                if code < 0:
                    say("The docker command was killed, and so the session has ended.")
                    return 128 - code
                ended = code == 0 and not interrupt.seen
                started = not code or client.was_started(identity)
                if not started and client.was_interrupted(said):
                    raise SystemExit(INTERRUPTED)
                sys.stderr.buffer.write(said)
                sys.stderr.flush()
                if code == ENGINE or not started:
                    companion.check()
                if not started:
                    raise EngineError(f"The engine could not start {name}.", "Its reason stands above.")
                if code:
                    _explain(code, identity, plan, host)
                return code
            finally:
                terminal.hold_signals()
                if not ended:  # else the engine has removed it: the docker command waits for that
                    _end(attached)
                    client.remove(identity, gracefully=interrupt.has_settled)
        finally:
            terminal.release_signals()


def _explain(code: int, identity: str, plan: Plan, host: Host) -> None:
    """Say what of the machine's a session may have died of."""
    if code == _KILLED and client.ran_out_of_memory(identity):
        say("The session used all the memory it may have, and was killed.")
        say("Set `memory` to more, for instance with CONFINED_CLAUDE_MEMORY=16g, or let it do less at once.")
    for folder in (plan.workdir, host.data):
        with contextlib.suppress(OSError):
            if os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize < _FULL_BYTES:
                say(f"The disk of {folder} is full. Free some space there; what the session could not write is lost.")
                return


def _create(plan: Plan, host: Host, wanted: ImageChain, watching: guard.Guard, companion: Companion) -> tuple[str, str]:
    """The (id, name) of the container of ``plan``, its image built first where it is missing.

    Its sidecar is started, and the guard looks through the project meanwhile. Signals are held back when
    this returns: between here and the caller's ``try`` one would leave a container that nobody knows of.
    """
    terminal.hold_signals()
    made: tuple[str, str] | None = None
    try:
        with watching.scanning(plan.name), contextlib.suppress(EngineError):
            made = _create_beside(plan, companion)
    except BaseException:  # without a look before there is no session
        if made is not None:
            with contextlib.suppress(EngineError):
                client.remove(made[0])
        raise
    if made is not None:
        return made
    # Most likely the image is missing; whatever else it is, the engine says it better. A command that was killed
    # may have left a container.
    with contextlib.suppress(EngineError):
        client.remove(*client.of_session(watching.key))
    terminal.release_signals()
    image.ensure(_engine(host), wanted, host)
    terminal.hold_signals()
    return _create_beside(plan, companion)


def _create_beside(plan: Plan, companion: Companion) -> tuple[str, str]:
    sidecar = plan.egress.sidecar
    companion.start(sidecar)
    if sidecar is not None and sidecar.first:
        companion.wait_until_ready()
    return client.create(plan.name, plan.create_arguments, {SECRETS_FILE: plan.secrets} if plan.secrets else {})


def _engine(host: Host) -> Engine:
    from ..engine.sdk import Engine

    return Engine.connect(host.environ)


def _end(attached: subprocess.Popen[bytes] | None) -> None:
    """End the attached docker command. Output that nobody reads would hold up the container's end as well."""
    if attached is not None:
        attached.kill()
        attached.wait()
