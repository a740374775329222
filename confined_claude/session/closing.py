"""What is said once a session is over, in the block with the guard's report: the screen was Claude's until then."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..egress.blocked import blocked_in
from ..workspace import Workspace
from . import CLAUDE
from .launch import Launch

# With these Claude prints and ends, so what was printed before it is still in sight.
_PRINTING = frozenset(("-p", "--print", "-v", "--version", "-h", "--help"))


def closing_lines(workspace: Workspace, launch: Launch, notes: Sequence[str], since: float) -> Iterator[str]:
    """Yield the lines on a session that is over: refused hosts, the ``notes`` of its start, and how to continue.

    ``since`` is when it started, in epoch seconds.
    """
    if refused := blocked_in(workspace, launch.key):
        were = "connection was" if refused == 1 else "connections were"
        yield f"{refused} {were} refused: `confined-claude blocked` shows them."
    command = launch.command[2:]  # after what the entrypoint takes
    if not launch.terminal or command[0] != CLAUDE or _PRINTING.intersection(command):
        return
    from ..claude import history  # with what it needs it takes longer than a start may

    if notes:
        yield "At its start there was this to say:"
        yield from (f"  {note}" for note in notes)
    if history.has_conversation(workspace.claude_config, workspace.project.root, since):
        yield "To continue this conversation: `confined-claude --continue`"
