"""``run`` and ``shell``: Claude Code, or a shell, in a new session of the current project."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

from .. import timing
from ..errors import ConfinedError
from ..host import Host
from ..session import CLAUDE, SHELL, YOLO
from ..session.start import start
from ..settings import SEPARATOR, SPECS
from ..state.current import current_directory
from ..workspace import Workspace


def run(host: Host, arguments: Sequence[str], flags: Mapping[str, str | None], *, yolo: bool, dry_run: bool) -> int:
    """Run Claude Code with ``arguments``; return its exit code. A ``dry_run`` only prints what would be done."""
    workspace = _workspace(host, flags)
    command = [CLAUDE, *([YOLO] if yolo or workspace.settings.yolo == "on" else []), *arguments]
    return _start(workspace, command, needs_sign_in=True, dry_run=dry_run)


def shell(host: Host, command: Sequence[str], flags: Mapping[str, str | None], *, dry_run: bool) -> int:
    """Run ``command``, or a shell, where Claude Code would run; return its exit code. ``dry_run`` as for ``run``."""
    return _start(_workspace(host, flags), command or SHELL, needs_sign_in=False, dry_run=dry_run)


def _workspace(host: Host, flags: Mapping[str, str | None]) -> Workspace:
    """Return the current workspace. Raises ConfinedError as that does, and for a flag that would do nothing."""
    timing.note_imports()
    if mounts := flags.get("mount"):  # its relative paths count from here
        here = current_directory()
        entries = (
            entry if entry[:1] in ("~", "/", "") else f"{here}/{entry}" for entry in SPECS["mounts"].entries(mounts)
        )
        flags = {**flags, "mount": SEPARATOR.join(entries)}
    with timing.phase("settings"):
        workspace = Workspace.current(host, flags)
    network = workspace.settings.network
    if flags.get("allow") is not None and network != "allowlist":
        raise ConfinedError(
            f"--allow opens hosts of an allowlist, and the network here is {network!r}.",
            "Add --network allowlist, or leave out --allow.",
        )
    return workspace


def _start(workspace: Workspace, command: Sequence[str], *, needs_sign_in: bool, dry_run: bool) -> int:
    if not dry_run:
        return start(workspace, command, needs_sign_in=needs_sign_in)
    from ..session.dry_run import dry_run as describe

    text = "".join(f"{line}\n" for line in describe(workspace, command))
    sys.stdout.buffer.write(os.fsencode(text))  # whatever characters the locale has
    sys.stdout.flush()
    return 0
