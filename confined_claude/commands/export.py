"""``export``: the current project's container for what starts containers itself."""

from __future__ import annotations

import json

from ..console import show
from ..egress.ports import Reservation
from ..engine.images import Images
from ..errors import ConfinedError, system_error
from ..fs.directory import Location
from ..guard import review as guard_review
from ..host import Host
from ..image import build
from ..session import devcontainer
from ..session.mounts import make_directories
from ..session.planning import gather_facts, in_groups, listening_engine, plan, signed_in
from ..settings.specs import LENT, NEVER
from ..workspace import Workspace

_DEVCONTAINER = "devcontainer"
_COMMAND = ("sleep", "infinity")
_DIRECTORY_MODE, _FILE_MODE = 0o755, 0o644


def export(host: Host, to: str | None, *, force: bool) -> None:
    """Write the current project's ``.devcontainer/devcontainer.json``; see ``export_devcontainer``."""
    if to != _DEVCONTAINER:
        raise ConfinedError("There is nothing of that name to export.", "Try `confined-claude export devcontainer`.")
    export_devcontainer(Workspace.current(host), force=force)


def export_devcontainer(workspace: Workspace, *, force: bool = False) -> None:
    """Write a project's ``.devcontainer/devcontainer.json``, and say what is lost with it.

    One that is there already, and is another, is only replaced with ``force``. Raises ConfinedError as a start does.
    """
    host = workspace.host
    guard_review.refuse_while_red(workspace)
    # Nobody stays with the container to serve these.
    settings = workspace.settings._replace(ports=(), host_ports=(), push=NEVER, ssh_agent=())
    workspace, sign_in = signed_in(workspace._replace(settings=settings))
    with Reservation() as reservation:
        facts = gather_facts(workspace, listening_engine(workspace.host), sign_in, reservation)
    launch = in_groups(workspace, plan(workspace, facts, _COMMAND))
    content = json.dumps(devcontainer.describe(launch), indent=2).encode() + b"\n"
    root = workspace.project.root
    path = root / devcontainer.DIRECTORY / devcontainer.FILE
    other = root / f".{devcontainer.FILE}"
    place = Location(root, (devcontainer.DIRECTORY,))
    with place.open_if_exists() as directory:
        is_there = directory is not None and directory.exists(devcontainer.FILE)
        before = None if directory is None else directory.read(devcontainer.FILE)
    if (other.exists() or is_there) and before != content and not force:
        raise ConfinedError(
            f"{path if is_there else other} is there with other content, which editors obey.",
            "Look at it; `confined-claude export devcontainer --force` replaces it.",
        )
    build.ensure(Images(), launch.image, host)
    make_directories(workspace, launch.mounts)
    with place.make(_DIRECTORY_MODE) as directory:
        try:
            directory.write(devcontainer.FILE, content, _FILE_MODE)
        except OSError as error:
            raise system_error("write", path, error) from None
    show(f"{'Replaced' if is_there and before != content else 'Wrote'} {path}.")
    show("A container that an editor starts from it has the image, mounts, limits and network of a session. It lacks:")
    for line in devcontainer.lost(is_lent=settings.sign_in == LENT):
        show(f"  {line}")
    show(devcontainer.ADDED)
