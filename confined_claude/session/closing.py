"""What is said once a session is over, in the block with the guard's report: the screen was Claude's until then."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..egress.blocked import blocked_in, lent_in
from ..text import counted
from ..workspace import Workspace
from . import YOLO
from .launch import Launch


def closing_lines(
    workspace: Workspace, launch: Launch, notes: Sequence[str], meanwhile: Sequence[str], since: float
) -> Iterator[str]:
    """Yield the lines on a session that is over: refusals, uses of what is lent, its ``notes``, how to continue.

    What was to be said ``meanwhile``, while Claude had the screen, comes first. ``since`` is when the session started,
    in epoch seconds.
    """
    yield from meanwhile
    if refused := blocked_in(workspace, launch.key):
        were = "connection was" if refused == 1 else "connections were"
        yield f"{refused} {were} refused: `confined-claude blocked` shows them."
    lent, file = lent_in(workspace, launch.key)
    if lent:
        yield f"Lent secrets went into {counted(lent, 'request')}, listed in {file}."
    if not launch.has_claudes_screen:
        return
    from ..claude import conversations  # with what it needs it takes longer than a start may

    if notes:
        yield "Remarks from its start:"
        yield from (f"  {note}" for note in notes)
    if held := conversations.since(workspace.conversations, since):
        # Of several, held in other sessions or begun anew in this one, Claude shows a list to choose from.
        words = ["--yolo"] if YOLO in launch.command else []
        words += ["--profile", profile] if (profile := workspace.flags.get("profile")) else []
        words += ["--resume"] if len(held) > 1 else ["--resume", held[0]]
        yield "To continue this conversation:"
        yield f"  confined-claude {' '.join(words)}"  # in full on a line of 80 columns
