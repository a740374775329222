"""``status``: what runs, what it takes, and how to remove it."""

from __future__ import annotations

from ...errors import ENGINE, ConfinedError
from ...host import Host


def status(host: Host, *, as_json: bool, watch: bool) -> int | None:
    """Print a status, or keep printing it until Ctrl-C; return ENGINE if the engine cannot be asked."""
    from . import view
    from .collector import StatusCollector

    if as_json and watch:
        raise ConfinedError("--json and --watch cannot be combined.", "Leave out one of them.")
    collector = StatusCollector(host)
    if watch:
        view.watch(collector, host.home)
        return None
    return None if view.show(collector, host.home, as_json=as_json) else ENGINE
