"""A session from start to end: what it needs is found out and prepared, then the supervisor stays with it."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from .. import signals, timing
from ..claude import choosing
from ..claude.carried import Carried, HostSetup
from ..claude.config import ClaudeConfig
from ..claude.names import any_may_be_of, has_conversations
from ..claude.setup import OFF, Setup
from ..claude.setup import make as make_config
from ..claude.sign_in import CREDENTIALS_KIND, Chosen
from ..console import say
from ..egress import local_networks
from ..egress.ports import Published, Reservation
from ..egress.sidecar import Sidecar
from ..engine import containers, context
from ..errors import ConfinedError, EngineError, system_error
from ..guard import enclosing, repository
from ..guard.guards import guarded
from ..host import Host, time_zone
from ..image.recipe import image_chain
from ..project import IGNORED, IGNORED_BEFORE, Project
from ..project.boundaries import REPOSITORIES, mark_of
from ..state import locks, profiles, projects
from ..state.facts import current_facts
from ..state.store import state_of
from ..workspace import CLAUDE_PROJECTS, Workspace
from . import CLAUDE, orphans, runtimes
from .git import plan_git
from .host_facts import HostFacts, gather_given, hide_lent, lent_sign_in, places, sees_files
from .launch import Launch, plan_launch
from .mounts import bound_mounts, kept_groups, make_directories, replaceable
from .renewals import Renewals
from .supervisor import Supervisor
from .telling import Teller

if TYPE_CHECKING:
    from ..guard.beside import Beside

_KEY_BYTES = 8
_PRIVATE = 0o700
_CONTINUES = frozenset(("-c", "--continue"))


def start(workspace: Workspace, command: Sequence[str], *, needs_sign_in: bool, sign_in: Chosen | None = None) -> int:
    """Start a session that runs ``command`` and stay with it to its end; return the exit code of the command.

    ``sign_in`` is by default what signs in on this host. Raises ConfinedError where no session can be had.
    """
    with signals.handled() as caught:
        with signals.interruptible():
            address = engine_address(workspace.host)
            code = orphans.recover_interrupted(workspace)
            if (old := projects.moved_from(state_of(workspace.host), workspace.project)) is not None:
                from . import moved

                moved.carry_records(workspace, old)
            enclosing.refuse_while_red(workspace)
        if code is None:
            with Reservation() as reservation:
                with timing.phase("launch"):
                    given = gather_given(workspace)
                    workspace, chosen = signed_in(at_its_conversation(workspace, command), sign_in)
                    chosen, given = lent_sign_in(workspace, chosen, given)
                    seen = hide_lent(workspace, given)
                    facts = gather_facts(seen, address, chosen, reservation)._replace(given=given)
                    launch = plan(workspace, facts, command)
                    places = beside(workspace, facts)
                code = _start(workspace, launch, chosen, facts, caught, places=places, needs_sign_in=needs_sign_in)
        from ..engine.images import Images
        from ..image.inventory import Inventory, is_prune_pending

        if is_prune_pending(state_of(workspace.host)):
            with contextlib.suppress(EngineError), signals.interruptible():
                Inventory(Images(), workspace.host).prune()
        timing.report()
        return code


def engine_address(host: Host) -> str:
    """Return where the engine listens. Raises EngineError with what is wrong if it does not."""
    address = context.address_in_use(host.environ)
    if not context.is_listening(address):
        containers.version()
    return address


def at_its_conversation(workspace: Workspace, command: Sequence[str]) -> Workspace:
    """Return ``workspace`` at the project's root if the conversation that ``command`` continues was held there.

    Claude looks for it in the current directory alone. One that was held where the caller stands comes first.
    """
    root, held = workspace.project.root, workspace.conversations
    continues = command[0] == CLAUDE and not _CONTINUES.isdisjoint(command)
    if workspace.workdir == root or not continues or has_conversations(held, workspace.workdir):
        return workspace
    return workspace._replace(directory=root) if has_conversations(held, root) else workspace


def signed_in(workspace: Workspace, chosen: Chosen | None = None) -> tuple[Workspace, Chosen]:
    """Return ``workspace`` with no more of sign-ins in its environment than what is used, and what that is.

    Both have the proxies that the docker command knows of.

    ``chosen`` is by default what signs in on this host. Raises ConfinedError as ``choosing.find`` does.
    """
    chosen = chosen or choosing.find(workspace.host, workspace.written, workspace.profile_config)
    chosen = chosen._replace(environ=context.with_proxies(chosen.environ))
    return workspace._replace(host=workspace.host._replace(environ=chosen.environ)), chosen


def gather_facts(
    workspace: Workspace, address: str, sign_in: Chosen, reservation: Reservation, *, record: bool = True
) -> HostFacts:
    """Find out what a launch depends on beside the workspace; its ports are chosen by ``reservation``.

    The engine's part is recorded if ``record``. Raises EngineError for one that has other files than this machine.
    """
    root = workspace.project.root
    mounts = bound_mounts(workspace)
    seen = places(workspace, mounts)
    check = sees_files(workspace.host, address, seen)
    with signals.interruptible():
        engine = current_facts(state_of(workspace.host), address, check, seen, record=record)
    runtimes.refuse_missing(workspace.settings, engine)
    git = plan_git(workspace.host, root, workspace.settings)
    runtimes.refuse_ways(workspace.settings, git.pushes, engine)
    has_repository = (root / ".git").exists()
    is_versioned = any((root / name).is_dir() for name in REPOSITORIES)
    own = None
    with contextlib.suppress(ConfinedError):  # the guard says what is wrong
        own = repository.find(root)
    below = [place for place in (workspace.workdir, *workspace.workdir.parents) if root in place.parents]
    theirs = HostSetup(workspace.host, root)
    return HostFacts(
        engine=engine,
        networks=local_networks.networks(),
        git=git,
        time_zone=time_zone(workspace.host.environ),
        has_repository=has_repository,
        repository_above=None if has_repository or is_versioned else repository.above(root),
        is_versioned=is_versioned,
        alternates=repository.Alternates() if own is None else own.alternates(root),
        passed_over=next(filter(mark_of, below), None),
        former=next((place for place in below if projects.is_known(workspace.host, Project(place))), None),
        stdin_is_terminal=sys.stdin.isatty(),
        stdout_is_terminal=sys.stdout.isatty(),
        sign_in=sign_in,
        set_inside=choosing.set_inside(root, workspace.workdir, workspace.claude_config, sign_in.environ),
        carried=Carried() if workspace.settings.setup == OFF else theirs.carried(state_of(workspace.host)),
        published=_published(workspace, reservation),
        engine_port=context.port_of(address),
        mounts=mounts,
        shares_kernel=runtimes.shares_kernel(workspace.settings, engine),
    )


def _published(workspace: Workspace, reservation: Reservation) -> tuple[Published, ...]:
    """Return where this machine finds the session's ports, if its network takes connections."""
    settings = workspace.settings
    return () if settings.network in ("none", "allowlist") or not settings.ports else reservation.choose(settings.ports)


def beside(workspace: Workspace, facts: HostFacts) -> tuple[Beside, ...]:
    """Return what a session writes beside its project. Raises ConfinedError for what cannot be guarded."""
    if not facts.mounts:
        return ()
    from ..guard import beside

    return tuple(beside.writable(workspace, facts.mounts))


def plan(workspace: Workspace, facts: HostFacts, command: Sequence[str]) -> Launch:
    """Return the launch of a new session that runs ``command``; the guard's mounts are not among its own yet."""
    chain = image_chain(workspace.settings, workspace.host.environ, workspace.files.dockerfile)
    launch = plan_launch(workspace, facts, chain, command, key=os.urandom(_KEY_BYTES).hex())
    if not (facts.mounts and workspace.settings.hide):
        return launch
    from ..guard import beside

    return launch.with_mounts(beside.hidden(workspace, facts.mounts))


def in_groups(workspace: Workspace, launch: Launch) -> Launch:
    """Return ``launch`` with the groups in which its user may write in all that is mounted."""
    if launch.command[0].startswith("0:"):  # its root needs none
        return launch
    groups = (word for group in kept_groups(launch.mounts, workspace.host) for word in ("--group-add", str(group)))
    return launch._replace(privileges=(*launch.privileges, *groups))


def _start(
    workspace: Workspace,
    launch: Launch,
    sign_in: Chosen,
    facts: HostFacts,
    caught: signals.Signals,
    *,
    places: Sequence[Beside],
    needs_sign_in: bool,
) -> int:
    """Carry out ``launch``, to which the guard's mounts and the credential of ``sign_in`` are yet to come.

    ``places`` are what the session writes beside its project.
    """
    with contextlib.ExitStack() as stack:
        sidecar = stack.enter_context(
            Sidecar(launch.egress.sidecar, workspace, launch.key, facts.given.message if facts.given else b"")
        )
        with signals.interruptible():
            stack.enter_context(locks.in_use(state_of(workspace.host)))
        sidecar.start()  # first of all, as it takes the longest
        if sign_in.is_lent:
            from ..claude.signing_out import kept_signed_out

            stack.enter_context(kept_signed_out(workspace.claude_config, state_of(workspace.host), say))
        renewals = stack.enter_context(Renewals(workspace, sign_in, facts.given, sidecar))
        lend = partial(renewals.lend, sign_in.placeholder or "")
        claude = ClaudeConfig(workspace.claude_config, workspace.host, sign_in, lend)
        notes: list[str] = []
        teller = Teller(launch)
        ways = None
        if launch.egress.relayed or facts.git.pushes or workspace.settings.ssh_agent:
            from .ways import Ways  # most sessions have none

            ways = stack.enter_context(Ways(workspace, launch, facts.git.pushes, teller.tell))
        since = 0.0

        def prepare() -> None:
            prepared = _prepare(
                workspace, claude, facts.carried, needs_sign_in=needs_sign_in, is_watched=launch.terminal
            )
            notes.extend(prepared)

        def closing() -> list[str]:
            if not since:  # nothing has run
                return []
            sidecar.close()  # it writes down what it has refused
            if watch is not None:
                watch.close()
            for failure in renewals.failures:
                teller.tell(failure)
            from .closing import closing_lines

            meanwhile = [*teller.kept, *(ways.lines() if ways else ())]
            return list(closing_lines(workspace, launch, notes, meanwhile, since))

        with guarded(workspace, launch.key, prepare, closing, places) as guard:
            notes += (*guard.notes, *launch.notes, *(launch.remarks if launch.terminal else ()))
            launch = renewals.with_credential(launch, notes)
            launch = launch.with_mounts(guard.mounts, guard.bound() if launch.bound else ())
            launch = in_groups(workspace, launch).telling(notes)
            make_directories(workspace, launch.mounts)
            if facts.shares_kernel:
                launch = launch.with_mounts((), replaceable(launch.mounts, launch.bound, workspace.host))
            watch = claude.watch(teller.tell)
            supervisor = Supervisor(
                workspace,
                launch,
                guard=guard,
                sidecar=sidecar,
                watch=watch,
                renewals=renewals,
                teller=teller,
                signals=caught,
            )
            with signals.terminal_restored(), supervisor:
                supervisor.create()
                since = time.time()
                return supervisor.attend(notes)


def _prepare(
    workspace: Workspace, claude: ClaudeConfig, carried: Carried, *, needs_sign_in: bool, is_watched: bool
) -> Iterator[str]:
    """Make what a session needs on the host beside its directories; yield what to say of that.

    Whose profile it is need not be said where nobody watches.
    """
    profiles.remember(workspace.host, workspace.profile)
    _prepare_scaffold(workspace)
    if (old := projects.moved_from(state_of(workspace.host), workspace.project)) is not None:
        from . import moved

        yield from moved.carry_over(workspace, old)
    with timing.phase("credentials"):
        make_config(workspace.profile_config, workspace.host)  # it may have the conversations
        sign_in = claude.prepare()
    with timing.phase("setup"):
        theirs = HostSetup(workspace.host, workspace.project.root)
        followed = Setup(workspace.claude_config, workspace.host, theirs, carried.scripts)
        remarks = followed.bring(workspace.settings.setup)
    yield from _gather_conversations(workspace)
    if not (workspace.settings.hide or os.path.lexists(workspace.state.at(projects.FILE).path)):
        from ..guard import secret_look  # once for each project

        yield from secret_look.remarks(workspace.project.root)
    projects.remember(workspace.state, workspace.project.root)
    if workspace.profile.is_new or (is_watched and workspace.profile.name != profiles.DEFAULT):
        yield _profile_line(workspace, sign_in.kind)
    if needs_sign_in or sign_in.kind:
        yield from (*sign_in.notes, *(sign_in.remarks if is_watched else ()))
    yield from remarks if is_watched else ()


def _gather_conversations(workspace: Workspace) -> Iterator[str]:
    """Make the directory that the project's own conversations are mounted over, and move earlier ones out of it."""
    root = workspace.project.root
    with workspace.claude_config.at(CLAUDE_PROJECTS).make() as held:
        is_own = workspace.conversations == workspace.claude_config.at(CLAUDE_PROJECTS)
        if is_own or not any_may_be_of(held.names(), root):
            return
    from ..claude import conversations, history  # an import that is needed once for each project

    scope = history.scope_of(root, projects.projects(state_of(workspace.host)))
    yield from conversations.gather(workspace.claude_config, workspace.conversations, scope)


def _profile_line(workspace: Workspace, sign_in: str) -> str:
    from ..claude import account  # most starts have nothing to say of it

    profile = workspace.profile
    address = account.signed_in_as(workspace.claude_config, workspace.host) if sign_in == CREDENTIALS_KIND else ""
    line = f"This session uses the profile {profile.name}{address and f', signed in as {address}'}."
    if profile.is_new:
        line += f" It is new, with a config, sign-in and history of its own, and copies from {profile.source}."
    return line


def _prepare_scaffold(workspace: Workspace) -> None:
    with workspace.scaffold.make() as scaffold:
        # What sessions install below it must be out of others' reach: a file that runs as its owner, say.
        try:
            if scaffold.stat().st_uid == workspace.host.uid:
                os.fchmod(scaffold.fileno(), _PRIVATE)
            if not scaffold.exists(".gitignore") or scaffold.read(".gitignore") == IGNORED_BEFORE:
                scaffold.write(".gitignore", IGNORED, mode=0o644)
        except OSError as error:
            raise system_error("write to", workspace.scaffold.path, error) from None
