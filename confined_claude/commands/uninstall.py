"""What ``install.sh --uninstall`` needs of the tool, a step at a time: ``plan``, ``losses``, and ``images`` that go.

Only this user's sessions, images and projects count; others may share the engine.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from rich.filesize import decimal

from ..console import say
from ..engine import containers
from ..engine.images import Images
from ..errors import ConfinedError, EngineError
from ..host import Host
from ..image.inventory import Inventory, footprint
from ..session import listing, strays
from ..state import projects
from ..state.store import state_of
from ..text import counted, escape
from .clean.project import ProjectCleanup


def plan(host: Host) -> Iterator[str]:
    """Yield what is removed from the engine. Raises ConfinedError while a session of this user runs."""
    try:
        sessions = listing.sessions(host)
        if running := [session.name for session in sessions if session.is_up]:
            raise ConfinedError(
                f"Sessions are still running: {', '.join(running)}.", "End them first: confined-claude stop --all"
            )
        parts = [f"what is left of {counted(len(sessions), 'interrupted session')}"] if sessions else []
        if own := Inventory(Images(), host).own():
            parts.insert(0, f"{counted(len(own), 'image')} that you have built, {decimal(footprint(own))}")
        yield " and ".join(parts)
    except EngineError as error:
        say(f"{error.message} Images stay.")


def losses(host: Host) -> Iterator[str]:
    """Yield what a person may want to have before the data goes: findings, and commits that nobody has fetched."""
    for known in projects.projects(state_of(host)):
        for line in ProjectCleanup(host, known.id, known.root, known.exists).losses():
            yield escape(f"{known.root or known.id}: {line}")


def images(host: Host) -> Iterator[str]:
    """Remove the images that this user has built, and what is left of interrupted sessions."""
    try:
        containers.remove(*(session.id for session in listing.sessions(host) if not session.is_up))
        containers.remove(*strays.sidecars(host))
        inventory = Inventory(Images(), host)
        inventory.remove(inventory.own())
        if remaining := inventory.own():
            yield f"Kept, as something else uses it: {', '.join(image.names[0] for image in remaining if image.names)}"
    except EngineError as error:
        say(f"{error.message} Images stay.")


if __name__ == "__main__":
    try:
        for text in {"plan": plan, "losses": losses, "images": images}[sys.argv[1]](Host.current()):
            print(text)
    except ConfinedError as error:
        sys.exit(f"confined-claude: {error}")
