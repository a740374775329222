"""``status``: what runs, what it takes, and how to get rid of it."""

from __future__ import annotations

from ...errors import ENGINE, ConfinedError
from ...host import Host
from ...workspace import current_project


def status(host: Host, *, as_json: bool, watch: bool) -> int | None:
    """Print a status, or keep printing it until Ctrl-C; return ENGINE if the engine cannot be asked."""
    from . import view
    from .collector import Looker

    if as_json and watch:
        raise ConfinedError("--json and --watch do not go together.", "Leave out one of them.")
    looker = Looker(host, lambda: current_project(host))
    if watch:
        view.watch(looker, host.home)
        return None
    return None if view.show(looker, host.home, as_json=as_json) else ENGINE
