"""``fetch``: get the commits that sessions have made in copies of the repository (``git = "isolated"``)."""

from __future__ import annotations

import itertools
import os
import shlex
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ..errors import ConfinedError
from ..fs.directory import Location
from ..guard import fetching, isolation
from ..guard import review as guard_review
from ..guard.beside import workspace_at
from ..guard.repository import find
from ..host import Host, missing
from ..state.current import current_project
from ..text import escape
from ..workspace import Workspace
from .undisturbed import undisturbed

_ERRORS_KEPT = 1 << 14


def _environ() -> dict[str, str]:
    """Return the environment of git: nothing of the copy runs, and no object that it lacks is asked for elsewhere."""
    return {**os.environ, "GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0"}


def fetch(host: Host) -> None:
    """Fetch into the current project's repository what waits in copies of it, as branches ``confined/NAME``.

    Raises ReviewNeeded while something red is open, as git might run it, and ConfinedError while a session runs that
    writes the repository, or if git fails.
    """
    workspace = Workspace.load_leniently(host, current_project(host))
    copies = guard_review.review(workspace).unfetched
    if not copies:
        print("There is nothing to fetch.")
        return
    watched = guard_review.Branches(workspace)
    # Those of the project, and of each repository that is mounted beside it.
    for root, waiting in itertools.groupby(copies, lambda copy: copy.root):
        is_beside = root != workspace.project.root
        place = workspace_at(workspace, root) if is_beside else workspace
        nothing = f"Nothing was fetched into {root}."
        # Sessions on copies write neither the repository nor what git reads of their copies.
        with undisturbed(place, nothing, "fetch again", isolated=False, is_beside=is_beside):
            for copy in waiting:
                _fetch(copy)
    for branch, paths in watched.changed().items():
        says = f"{escape(branch)} changes what your machine runs by itself once it is merged or checked out"
        print(f"{says}: {', '.join(map(escape, paths)) or 'it could not be scanned'}.")


def _fetch(copy: isolation.Unfetched) -> None:
    with fetching.fetching(copy) as words:
        reason = _failure(words)
    if reason is not None:
        hint = f"Remove what prevents it, and fetch again: the commits stay in {copy.copy.path}."
        raise ConfinedError(f"git could not fetch: {escape(reason)}", hint)
    for branch in copy.branches:
        says = _way_on(copy.root, branch, is_checked_out=branch == copy.checked_out)
        print(f"Fetched {escape(f'confined/{branch}')}. {escape(says)}")


def _failure(words: Sequence[str]) -> str | None:
    """Run a git command; return the last line of its errors if it fails. A session can have it say a lot.

    Raises ConfinedError if there is no git.
    """
    with tempfile.TemporaryFile() as errors:
        try:
            done = subprocess.run(words, env=_environ(), stdout=subprocess.DEVNULL, stderr=errors, check=False)
        except FileNotFoundError:
            raise ConfinedError(f"{missing('git', 'git')}.", "Install git and start again.") from None
        errors.seek(max(0, errors.seek(0, os.SEEK_END) - _ERRORS_KEPT))
        return os.fsdecode(errors.read()).strip().rpartition("\n")[2] if done.returncode else None


def _way_on(root: Path, branch: str, *, is_checked_out: bool) -> str:
    """Return how the user goes on with a branch that was fetched.

    Of one that ``is_checked_out`` in the copy the project has the files already: a merge would find them in its way.
    """
    name, quoted = shlex.quote(f"confined/{branch}"), shlex.quote(branch)
    repository = find(root) if is_checked_out else None
    if repository is not None:
        if f"refs/heads/{branch}" not in isolation.references(Location(repository.common)):
            return f"Your files are there already. To go on there: git checkout -b {quoted} && git reset {name}"
        is_here = isolation.head(Location(repository.own))["HEAD"] == isolation.BRANCH_IS + branch
        comparing = ("merge-base", "--is-ancestor", "HEAD", f"refs/remotes/confined/{branch}")
        if is_here and _failure((*fetching.git_words(repository), *comparing)) is None:
            return f"Your files are there already. To go on there: git reset {name}"
    return f"To merge it: git merge {name}"
