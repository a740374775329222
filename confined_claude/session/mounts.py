"""Which directories of the host a session sees, and where."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..container.egress.networks import SOCKETS
from ..engine.context import address_in_use
from ..engine.mount import Mount
from ..fs.directory import Location
from ..fs.identity import identity_to_mount
from ..host import Host
from ..project import CONTAINER_HOME, Project, is_the_containers
from ..state.store import records_of
from ..workspace import CLAUDE_PROJECTS, DOWNLOADERS, Workspace

if TYPE_CHECKING:
    from ..project.mounts import HostMount

_ENGINE_GROUP = "docker"
_PRIVATE, _PUBLIC = 0o700, 0o755


def bound_mounts(workspace: Workspace) -> tuple[HostMount, ...]:
    """Return what the settings mount beside the project, as it is now. Raises ConfinedError for what is refused."""
    if not workspace.settings.mounts:
        return ()
    from ..project import mounts  # most starts have none

    return mounts.bind(workspace.settings.mounts, workspace.project.root, workspace.host)


def plan_mounts(workspace: Workspace, beside: Iterable[HostMount] = ()) -> tuple[Mount, ...]:
    """Return every mount of a session, the project first, and what the user's settings mount ``beside`` it last. Pure.

    ``local-bin/.lib`` has what pip and npm install for the user beside the commands in ``local-bin``, so that both
    outlive the session. Where it lies it is a mount point as well: a session that could replace it by a link would
    choose what the next one mounts.
    """
    home = str(CONTAINER_HOME)
    local_bin = workspace.scaffold.at("local-bin")
    return (
        _mount(Location(workspace.project.root), str(workspace.project.root)),
        _mount(workspace.scaffold.at("venvs"), f"{home}/venvs"),
        _mount(local_bin, f"{home}/.local/bin"),
        _mount(local_bin.at(".lib"), f"{home}/.local/lib"),
        _mount(local_bin.at(".lib"), f"{home}/.local/bin/.lib"),
        _mount(workspace.claude_config, f"{home}/.claude"),
        *_own_conversations(workspace, f"{home}/.claude/projects"),
        _mount(workspace.downloads, f"{home}/.cache/downloads"),
        *(Mount(one.source, (), str(one.target), read_only=not one.writable, pin=True) for one in beside),
    )


def _own_conversations(workspace: Workspace, target: str) -> Iterator[Mount]:
    """Yield the mount of the project's own conversations, where those in the config are others."""
    if workspace.conversations != workspace.claude_config.at(CLAUDE_PROJECTS):
        yield _mount(workspace.conversations, target)


def relay_mounts(workspace: Workspace, key: str, ways: Sequence[object]) -> list[Mount]:
    """Return the mount of the sockets that are the session's ``ways`` to this machine, if there are any."""
    location = workspace.relays.at(key)
    return [Mount(location.base, location.parts, SOCKETS, read_only=True)] if ways else []


def around_repositories(mounts: Collection[Mount], root: Path, files: Iterable[str]) -> Iterator[str]:
    """Yield the directory around each repository that is mounted outside of the project at ``root``. Pure.

    To a session it is to be empty: the engine makes it, and whoever is uid 0 inside could write there, as Claude Code
    does with its worktrees. All of that would be gone with the container. It is left out where the container, a mount
    or one of the session's own ``files`` has something.
    """
    taken = {Path(mount.target) for mount in mounts}
    own = {place for file in files for place in Path(file).parents}
    repositories = (Path(mount.target) for mount in mounts if not mount.pin)
    for place in dict.fromkeys(path.parent for path in repositories if not path.is_relative_to(root)):
        if not (is_the_containers(place) or place in own or taken & {place, *place.parents}):
            yield str(place)


def make_directories(workspace: Workspace, mounts: Iterable[Mount]) -> None:
    """Make what is mounted, owned by the caller: the engine would make it root's. Pins are there already."""
    for mount in mounts:
        if not mount.pin:
            mode = _PUBLIC if mount.base == workspace.project.root else _PRIVATE
            Location(mount.base, mount.parts).make(mode).close()
    with workspace.downloads.make() as downloads:
        for name in DOWNLOADERS:
            with contextlib.suppress(OSError):  # it is there, or a session has put something else in its place
                downloads.mkdir(name)


def replaceable(mounts: Iterable[Mount], bound: Collection[str], host: Host) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield the targets of ``mounts`` that sessions of known projects around them can replace, with device and inode.

    Those at or below one of the targets ``bound`` are left out. Raises ConfinedError for what is gone, or behind a
    link.
    """
    mounts = tuple(mounts)
    bases = {base for base in {mount.base for mount in mounts} if _is_in_a_known_project(base, host)}
    for mount in mounts:
        if mount.base in bases and not any(f"{mount.target}/".startswith(f"{target}/") for target in bound):
            yield mount.target, identity_to_mount(mount.source)


def _is_in_a_known_project(place: Path, host: Host) -> bool:
    return any(os.path.lexists(records_of(host, Project(root).id).path) for root in place.parents)


def kept_groups(mounts: Iterable[Mount], host: Host) -> list[int]:
    """Return the groups of mounted directories that the caller is a member of and keeps in a session.

    Root's is never one, nor one whose members may use the engine.
    """
    found: set[int] = set()
    # The guard's are parts of one that counts.
    for mount in (mount for mount in mounts if not (mount.pin and mount.parts)):
        with contextlib.suppress(OSError):  # a dry run makes none
            found.add(mount.source.stat().st_gid)
    groups = found.intersection(host.groups) - {0, host.gid}
    if groups:
        import grp  # most users' files have their own group

        with contextlib.suppress(KeyError):
            groups.discard(grp.getgrnam(_ENGINE_GROUP).gr_gid)
        address = address_in_use(host.environ)
        with contextlib.suppress(OSError):
            groups.discard(Path(address.partition("://")[2]).stat().st_gid)
    return sorted(groups)


def _mount(location: Location, target: str) -> Mount:
    return Mount(location.base, location.parts, target)
