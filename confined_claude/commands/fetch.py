"""``fetch``: get the commits that sessions have made in copies of the repository (``git = "isolated"``)."""

from __future__ import annotations

import os
import shlex
import subprocess

from ..errors import ConfinedError
from ..guard import review as guard
from ..host import Host
from ..state.current import current_project
from ..text import escape
from ..workspace import Workspace

# Nothing of the copy runs, and no object that it lacks is asked for elsewhere.
_GIT = {"GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0"}


def fetch(host: Host) -> None:
    """Fetch into the current project's repository what waits in copies of it, as branches ``confined/NAME``.

    Raises ReviewNeeded while something red is open, as git might run it, and ConfinedError if git fails.
    """
    workspace = Workspace.load_leniently(host, current_project(host))
    guard.refuse_while_red(workspace)
    copies = guard.review(workspace).unfetched
    watched = guard.Branches(workspace)
    for copy in copies:
        done = subprocess.run(shlex.split(copy.command), env={**os.environ, **_GIT}, capture_output=True, check=False)
        if done.returncode:
            reason = escape(os.fsdecode(done.stderr).strip().rpartition("\n")[2])
            raise ConfinedError(f"git could not fetch: {reason}", f"To see why: {escape(copy.command)}")
        for branch in copy.branches:
            name = f"confined/{branch}"
            print(f"Fetched {escape(name)}. To merge it: git merge {escape(shlex.quote(name))}")
    for branch, paths in watched.changed().items():
        says = f"{escape(branch)} changes what your computer runs by itself once it is merged or checked out"
        print(f"{says}: {', '.join(map(escape, paths)) or 'it could not be looked through'}.")
    if not copies:
        print("There is nothing to fetch.")
