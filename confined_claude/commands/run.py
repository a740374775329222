"""``run`` and ``shell``: Claude Code, or a shell, in a new session of the current project."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..host import Host
from ..session import supervisor
from ..session.launch import SHELL

_YOLO = "--dangerously-skip-permissions"


def run(
    host: Host, arguments: Sequence[str], flags: Mapping[str, str | None], *, yolo: bool = False, dry_run: bool = False
) -> int:
    """Run Claude Code with ``arguments``; return its exit code. A ``dry_run`` only prints how."""
    command = ["claude", *([_YOLO] if yolo else []), *arguments]
    if dry_run:
        return supervisor.foretell(host, command, flags)
    return supervisor.start(host, command, flags, needs_sign_in=True)


def shell(host: Host, command: Sequence[str], flags: Mapping[str, str | None], *, dry_run: bool = False) -> int:
    """Run ``command``, or a shell, where Claude Code would run; return its exit code. ``dry_run`` as for ``run``."""
    if dry_run:
        return supervisor.foretell(host, command or SHELL, flags)
    return supervisor.start(host, command or SHELL, flags, needs_sign_in=False)
