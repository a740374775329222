"""What a start finds out of this machine and its engine, and the launch that it plans by that. Nothing is made yet."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from .. import signals
from ..claude import choosing
from ..claude.carried import Carried, HostSetup
from ..claude.names import has_conversations
from ..claude.sign_in import Chosen
from ..egress import local_networks
from ..egress.ports import Published, Reservation
from ..engine import containers, context
from ..errors import ConfinedError
from ..guard import repository
from ..guard.repository import Alternates, Repository
from ..host import Host, time_zone
from ..image.recipe import image_chain
from ..project import Project
from ..project.boundaries import REPOSITORIES, mark_of
from ..settings.specs import OFF
from ..state import liveness, projects
from ..state.facts import current_facts
from ..state.store import state_of
from ..workspace import Workspace
from . import CLAUDE, runtimes
from .git import plan_git
from .host_facts import HostFacts, gather_given, hide_lent, lent_sign_in, places, sees_files
from .launch import Launch, plan_launch
from .mounts import bound_mounts, kept_groups

if TYPE_CHECKING:
    from ..guard.beside import WritableMount

_KEY_BYTES = 8
_CONTINUES = frozenset(("-c", "--continue"))


class Planned(NamedTuple):
    """A start that is planned: its ``launch``, and what that follows from.

    ``workspace`` has only the sign-in in its environment that is used, which is ``sign_in``. ``writable`` is what the
    session writes beside its project.
    """

    workspace: Workspace
    launch: Launch
    facts: HostFacts
    sign_in: Chosen
    writable: tuple[WritableMount, ...]


def plan_start(
    workspace: Workspace,
    command: Sequence[str],
    address: str,
    reservation: Reservation,
    *,
    sign_in: Chosen | None = None,
    dry_run: bool = False,
) -> Planned:
    """Plan a session that runs ``command`` on the engine at ``address``; its ports are chosen by ``reservation``.

    ``sign_in`` is by default what signs in on this host. A ``dry_run`` runs no command that prints a secret, and
    records nothing. Raises ConfinedError where no session can be had.
    """
    given = gather_given(workspace, runs_commands=not dry_run)
    workspace, chosen = signed_in(_at_its_conversation(workspace, command), sign_in)
    chosen, given = lent_sign_in(workspace, chosen, given)
    facts = gather_facts(hide_lent(workspace, given), address, chosen, reservation, record=not dry_run)
    facts = facts._replace(given=given)
    launch = plan(workspace, facts, command)
    return Planned(workspace, launch, facts, chosen, _writable_mounts(workspace, facts))


def listening_engine(host: Host) -> str:
    """Return the address at which the engine listens. Raises EngineError with what is wrong if it does not."""
    address = context.address_in_use(host.environ)
    if not context.is_listening(address):
        containers.version()
    return address


def _at_its_conversation(workspace: Workspace, command: Sequence[str]) -> Workspace:
    """Return ``workspace`` at the project's root if the conversation that ``command`` continues was held there.

    Claude looks for it in the current directory alone. One that was held where the caller stands comes first.
    """
    root, held = workspace.project.root, workspace.conversations
    continues = command[0] == CLAUDE and not _CONTINUES.isdisjoint(command)
    if workspace.workdir == root or not continues or has_conversations(held, workspace.workdir):
        return workspace
    return workspace._replace(directory=root) if has_conversations(held, root) else workspace


def signed_in(workspace: Workspace, chosen: Chosen | None = None) -> tuple[Workspace, Chosen]:
    """Return ``workspace`` with only the sign-in in its environment that is used, and what that is.

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
        alternates=alternates_of(workspace, own),
        passed_over=next(filter(mark_of, below), None),
        former=next((place for place in below if projects.is_known(workspace.host, Project(place))), None),
        stdin_is_terminal=sys.stdin.isatty(),
        stdout_is_terminal=sys.stdout.isatty(),
        sign_in=sign_in,
        set_inside=choosing.set_inside(root, workspace.workdir, workspace.claude_config, sign_in.environ),
        carried=Carried() if workspace.settings.setup == OFF else theirs.carried(state_of(workspace.host)),
        published=_published_ports(workspace, reservation),
        engine_port=context.port_of(address),
        mounts=mounts,
        shares_kernel=runtimes.shares_kernel(workspace.settings, engine),
    )


def alternates_of(workspace: Workspace, own: Repository | None) -> Alternates:
    """Return where the repository takes objects from; nothing while a session is on record, which may have set that."""
    if own is None or not (found := own.alternates(workspace.project.root)).directories:
        return Alternates()
    with workspace.state.open_if_exists() as records:
        return Alternates() if records is not None and liveness.sessions(records) else found


def _published_ports(workspace: Workspace, reservation: Reservation) -> tuple[Published, ...]:
    """Return where this machine finds the session's ports, if its network takes connections."""
    settings = workspace.settings
    return () if settings.network in ("none", "allowlist") or not settings.ports else reservation.choose(settings.ports)


def _writable_mounts(workspace: Workspace, facts: HostFacts) -> tuple[WritableMount, ...]:
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
    if launch.user.startswith("0:"):  # its root needs none
        return launch
    groups = (word for group in kept_groups(launch.mounts, workspace.host) for word in ("--group-add", str(group)))
    return launch._replace(privileges=(*launch.privileges, *groups))
