"""What starts that were cut off have left in the engine."""

from __future__ import annotations

from collections.abc import Iterator

from ...engine import containers
from ...errors import EngineError
from ...fs.removal import Leftover
from ...host import Host
from ...session import strays
from ...text import counted
from .plan import Item


def items(host: Host, project_id: str = "") -> Iterator[Item]:
    """Yield what there is, of one project if that is given; nothing if the engine does not answer."""
    if found := _found(host, project_id):
        yield Item(f"{counted(len(found), 'container')} that never started")


def remove(host: Host, project_id: str = "") -> Leftover:
    """Remove it, and return what could not be removed."""
    found = _found(host, project_id)
    try:
        containers.remove(*found)
    except EngineError as error:
        return Leftover(len(found), "containers", error.message)
    return Leftover()


def _found(host: Host, project_id: str) -> list[str]:
    try:
        return strays.sidecars(host, project_id)
    except EngineError:
        return []
