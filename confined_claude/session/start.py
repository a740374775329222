"""A session from start to end: what it needs is found out and prepared, then the supervisor stays with it."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from .. import signals, timing
from ..claude.carried import HostSetup
from ..claude.config import ClaudeConfig
from ..claude.names import any_may_be_of
from ..claude.setup import Setup
from ..claude.setup import make as make_config
from ..claude.sign_in import CREDENTIALS_KIND, Chosen
from ..console import say
from ..egress.ports import Reservation
from ..egress.sidecar import Sidecar
from ..errors import EngineError, system_error
from ..guard import enclosing
from ..guard.guards import guarded
from ..project import IGNORED, IGNORED_BEFORE
from ..state import locks, profiles, projects
from ..state.store import state_of
from ..workspace import CLAUDE_PROJECTS, Workspace
from . import orphans
from .mounts import make_directories, replaceable
from .planning import Planned, in_groups, listening_engine, plan_start
from .renewals import Renewals
from .supervisor import Supervisor
from .telling import Teller

if TYPE_CHECKING:
    from ..claude.following import Watch
    from ..guard.guards import Guards
    from .ways import Ways

_PRIVATE = 0o700


def start(workspace: Workspace, command: Sequence[str], *, needs_sign_in: bool, sign_in: Chosen | None = None) -> int:
    """Start a session that runs ``command`` and stay with it to its end; return the exit code of the command.

    ``sign_in`` is by default what signs in on this host. Raises ConfinedError where no session can be had.
    """
    with signals.handled() as caught:
        with signals.interruptible():
            address = listening_engine(workspace.host)
            code = orphans.recover_interrupted(workspace)
            if (old := projects.moved_from(state_of(workspace.host), workspace.project)) is not None:
                from . import moved

                moved.carry_records(workspace, old)
            enclosing.refuse_while_red(workspace)
        if code is None:
            with Reservation() as reservation:
                with timing.phase("launch"):
                    planned = plan_start(workspace, command, address, reservation, sign_in=sign_in)
                code = _start(planned, caught, needs_sign_in=needs_sign_in)
        from ..engine.images import Images
        from ..image.inventory import Inventory, is_prune_pending

        if is_prune_pending(state_of(workspace.host)):
            with contextlib.suppress(EngineError), signals.interruptible():
                Inventory(Images(), workspace.host).prune()
        timing.report()
        return code


def _start(planned: Planned, caught: signals.Signals, *, needs_sign_in: bool) -> int:
    """Carry out what is ``planned``, to whose launch the guard's mounts and a credential are yet to come."""
    workspace, launch, given = planned.workspace, planned.launch, planned.facts.given
    state = state_of(workspace.host)
    with contextlib.ExitStack() as stack:
        told = given.message if given else b""
        sidecar = stack.enter_context(Sidecar(launch.egress.sidecar, workspace, launch.key, told))
        with signals.interruptible():
            stack.enter_context(locks.in_use(state))
        sidecar.start()  # first of all, as it takes the longest
        if planned.sign_in.is_lent:
            from ..claude.signing_out import kept_signed_out

            stack.enter_context(kept_signed_out(workspace.claude_config, state, say))
        renewals = stack.enter_context(Renewals(workspace, planned.sign_in, given, sidecar))
        session = _Session(planned, sidecar, renewals, needs_sign_in=needs_sign_in)
        stack.enter_context(session.ways())
        with guarded(workspace, launch.key, session.prepare, session.closing_lines, planned.writable) as guard:
            return session.run(guard, caught)


class _Session:
    """A session that is ``planned``; its launch is completed once its guard has begun."""

    def __init__(self, planned: Planned, sidecar: Sidecar, renewals: Renewals, *, needs_sign_in: bool) -> None:
        workspace, sign_in = planned.workspace, planned.sign_in
        self._workspace = workspace
        self._launch = planned.launch
        self._facts = planned.facts
        self._sidecar = sidecar
        self._renewals = renewals
        self._needs_sign_in = needs_sign_in
        lend = partial(renewals.lend, sign_in.placeholder)
        self._claude = ClaudeConfig(workspace.claude_config, workspace.host, sign_in, lend)
        self._teller = Teller(planned.launch)
        self._notes: list[str] = []
        self._ways: Ways | None = None
        self._watch: Watch | None = None
        self._since = 0.0  # when its container was created, in epoch seconds; 0 before that

    @contextlib.contextmanager
    def ways(self) -> Iterator[None]:
        """Serve the session's ways to this machine within the block. Raises ConfinedError where one cannot be had."""
        pushes = self._facts.git.pushes
        if not (self._launch.egress.relayed or pushes or self._workspace.settings.ssh_agent):
            yield
            return
        from .ways import Ways  # most sessions have none

        with Ways(self._workspace, self._launch, pushes, self._teller.tell) as self._ways:
            yield

    def prepare(self) -> None:
        """Make what it needs on the host beside its directories, and note what to say of that."""
        self._notes += self._prepare()

    def _prepare(self) -> Iterator[str]:
        """Make it, and yield what to say of that; whose profile it is need not be said where nobody watches."""
        workspace, is_watched = self._workspace, self._launch.terminal
        profiles.remember(workspace.host, workspace.profile)
        _prepare_scaffold(workspace)
        if (old := projects.moved_from(state_of(workspace.host), workspace.project)) is not None:
            from . import moved

            yield from moved.carry_over(workspace, old)
        with timing.phase("credentials"):
            make_config(workspace.profile_config, workspace.host)  # it may have the conversations
            sign_in = self._claude.prepare()
        with timing.phase("setup"):
            theirs = HostSetup(workspace.host, workspace.project.root)
            followed = Setup(workspace.claude_config, workspace.host, theirs, self._facts.carried.scripts)
            remarks = followed.bring(workspace.settings.setup)
        yield from _gather_conversations(workspace)
        if not (workspace.settings.hide or os.path.lexists(workspace.state.at(projects.FILE).path)):
            from ..guard import secret_look  # once for each project

            yield from secret_look.remarks(workspace.project.root)
        projects.remember(workspace.state, workspace.project.root)
        if workspace.profile.is_new or (is_watched and workspace.profile.name != profiles.DEFAULT):
            yield _profile_line(workspace, sign_in.kind)
        if self._needs_sign_in or sign_in.kind:
            yield from (*sign_in.notes, *(sign_in.remarks if is_watched else ()))
        yield from remarks if is_watched else ()

    def run(self, guard: Guards, caught: signals.Signals) -> int:
        """Stay with it to its end, whatever signals are ``caught``; return the exit code of its command."""
        self._complete_launch(guard)
        self._watch = self._claude.watch(self._teller.tell)
        supervisor = Supervisor(
            self._workspace,
            self._launch,
            guard=guard,
            sidecar=self._sidecar,
            watch=self._watch,
            renewals=self._renewals,
            teller=self._teller,
            signals=caught,
        )
        with signals.terminal_restored(), supervisor:
            supervisor.create()
            self._since = time.time()
            return supervisor.attend(self._notes)

    def _complete_launch(self, guard: Guards) -> None:
        """Add to the launch what is known once ``guard`` has begun, and make the directories that it mounts."""
        workspace, launch = self._workspace, self._launch
        self._notes += (*guard.notes, *launch.notes, *(launch.remarks if launch.terminal else ()))
        launch = self._renewals.with_credential(launch, self._notes)
        launch = launch.with_mounts(guard.mounts, guard.bound() if launch.bound else ())
        launch = in_groups(workspace, launch).telling(self._notes)
        make_directories(workspace, launch.mounts)
        if self._facts.shares_kernel:
            launch = launch.with_mounts((), replaceable(launch.mounts, launch.bound, workspace.host))
        self._launch = launch

    def closing_lines(self) -> list[str]:
        """Return what to say of it after the guard's report; nothing if it has not run."""
        if not self._since:
            return []
        self._sidecar.close()  # it writes down what it has refused
        if self._watch is not None:
            self._watch.close()
        for failure in self._renewals.failures:
            self._teller.tell(failure)
        from .closing import closing_lines

        meanwhile = [*self._teller.kept, *(self._ways.lines() if self._ways else ())]
        return list(closing_lines(self._workspace, self._launch, self._notes, meanwhile, self._since))


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
