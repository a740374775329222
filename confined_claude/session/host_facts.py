"""What a launch depends on beside the workspace."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from ..claude.carried import Carried
from ..claude.sign_in import Chosen
from ..egress.ports import Published
from ..guard.repository import Alternates
from ..settings.specs import GIVEN
from ..state.facts import Check, EngineFacts
from .git import SessionGit

if TYPE_CHECKING:
    from ..host import Host
    from ..project.mounts import HostMount
    from ..workspace import Workspace
    from .given import Given


class HostFacts(NamedTuple):
    """What a launch depends on beside the workspace, found out once for each start.

    ``networks`` are those that this machine is in (CIDR), ``git`` is what git is told, ``time_zone`` a value for TZ.
    ``has_repository`` says whether the project's root is that of a git repository, ``is_versioned`` whether any version
    control is there. ``repository_above`` is the directory of the repository that the project is only a part of,
    ``alternates`` are other places that the project's own takes objects from, unless a session may have set them. Where
    the caller stands in the project, ``passed_over`` has a repository or scaffold that a session has made, and
    ``former`` was a project of its own.

    ``sign_in`` is what signs in beside credentials in Claude's config, ``set_inside`` are the variables of sign-ins
    that are set in files which a session can write. ``carried`` is what the session gets of the user's hooks and
    servers, ``mounts`` what it sees beside the project, ``given`` what settings give it by name. ``published`` is where
    this machine finds the session's ports, ``engine_port`` the port at which the engine listens, or 0. If the engine
    ``shares_kernel``, a file has the same inode in a container.
    """

    engine: EngineFacts = EngineFacts()
    networks: tuple[str, ...] = ()
    git: SessionGit = SessionGit()
    time_zone: str = ""
    has_repository: bool = True
    is_versioned: bool = True
    repository_above: Path | None = None
    passed_over: Path | None = None
    former: Path | None = None
    alternates: Alternates = Alternates()
    stdin_is_terminal: bool = True
    stdout_is_terminal: bool = True
    sign_in: Chosen | None = None
    set_inside: Mapping[str, Path] = MappingProxyType({})
    carried: Carried = Carried()
    published: tuple[Published, ...] = ()
    engine_port: int = 0
    mounts: tuple[HostMount, ...] = ()
    shares_kernel: bool = True
    given: Given | None = None


def gather_given(workspace: Workspace, *, runs_commands: bool = True) -> Given | None:
    """Return what settings give to a session by name; None if they name nothing. Raises ConfinedError as that does."""
    settings = workspace.settings
    if not (settings.env or settings.env_file or settings.secrets):
        return None
    from .given import gather

    return gather(workspace, runs_commands=runs_commands)


def lent_sign_in(workspace: Workspace, chosen: Chosen, given: Given | None) -> tuple[Chosen, Given | None]:
    """Return ``chosen``, with placeholders if the settings lend it, and ``given`` with what is lent for that.

    Raises ConfinedError for a sign-in that cannot be lent.
    """
    if workspace.settings.sign_in == GIVEN:
        return chosen, given
    from .lent_sign_in import lend

    return lend(workspace, chosen, given)


def hide_lent(workspace: Workspace, given: Given | None) -> Workspace:
    """Return ``workspace`` with placeholders in its environment for what is lent: parts of it reach the session."""
    if given is None or not given.lent:
        return workspace
    return workspace._replace(host=workspace.host._replace(environ=given.hide(workspace.host.environ)))


def places(workspace: Workspace, mounts: Iterable[HostMount]) -> tuple[Path, ...]:
    """Return the directories that an engine must see for a session: the project, what is mounted, and its data."""
    data = workspace.host.data
    mounted = (mount.source if mount.source.is_dir() else mount.source.parent for mount in mounts)
    existing = next((place for place in (data, *data.parents) if place.is_dir()), data)
    return tuple(dict.fromkeys((workspace.project.root, *mounted, existing)))


def sees_files(host: Host, address: str, places: Sequence[Path]) -> Check:
    """Return the check that the engine at ``address`` has this machine's files, and ``places`` among them."""

    def check(info: Mapping[str, Any], version: Mapping[str, Any]) -> None:
        from ..state import sight  # once for each engine

        sight.check(host, address, info, version, places)

    return check
