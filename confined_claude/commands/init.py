"""``init``: put the scaffold into a directory, from the template that comes with the tool."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .. import project as projects
from .. import signals
from ..console import show
from ..errors import system_error
from ..fs.directory import Location, link_error
from ..host import Host
from ..project import SCAFFOLD, Project
from ..settings import Value
from ..settings.files import ProjectFiles
from ..state import trust
from ..state.current import current_directory
from ..state.store import records_of
from ..workspace import Workspace
from . import template

_OWN_TASKS = """\
It has tasks of its own, which stay as they are. Add these lines at their end for `inv claude.run`:

    import sys, invoke, confined_claude.tasks
    ns = invoke.Collection.from_module(sys.modules[__name__])
    ns.add_collection(confined_claude.tasks.ns, name="claude")
"""


def init(host: Host, directory: str | None, *, defaults: bool) -> None:
    """Put the scaffold into ``directory``, by default the current one; it is made if it is missing.

    At a terminal copier asks its questions, unless the ``defaults`` are wanted, what the answers make the project's
    config ask for is allowed, and editors get a devcontainer.json if that is an answer. Raises ConfinedError for a
    directory that can be no project, for links where copier would write, and for what copier refuses.
    """
    root = current_directory() / (directory or "")
    projects.check_new(root, host)
    asks = not defaults and signals.is_interactive()
    with _all_or_nothing(root):
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise system_error("make", root, error) from None
        project = Project(root.resolve())
        for name in template.FILES:
            if (file := project.root / name).is_symlink():
                raise link_error(file)
        if template.answers_of(project.root):
            print(f"{project.root} has the scaffold. `confined-claude update` brings it up to date.")
            return
        template.check_answers(project.root)
        template.place(host)
        from copier import run_copy

        newest = template.Versions().newest
        with template.explained():
            made = run_copy(template.SOURCE, project.root, vcs_ref=newest, defaults=not asks, quiet=True)
    answers = made.answers.combined
    if asks:
        _allow(host, project, answers)
    show(f"The scaffold is in {project.root}. Start Claude Code there, confined:    confined-claude")
    if not answers[template.SHIM]:
        print(_OWN_TASKS, end="")
    if asks and answers.get("confined_claude_devcontainer"):
        from .export import export_devcontainer

        export_devcontainer(Workspace.load(host, project))


@contextlib.contextmanager
def _all_or_nothing(root: Path) -> Iterator[None]:
    """Remove what the block has made if it fails, also a new ``root``: half a scaffold would pass for one."""
    files = [name for name in template.FILES if not os.path.lexists(root / name)]
    directories = [path for path in (root / SCAFFOLD, root, *root.parents) if not os.path.lexists(path)]
    try:
        yield
    except BaseException:
        for name in files:
            *parents, last = name.split("/")
            with contextlib.suppress(OSError), Location(root, tuple(parents)).open() as directory:
                directory.unlink(last)
        for path in directories:
            with contextlib.suppress(OSError):  # someone else may have put something there
                path.rmdir()
        raise


def _allow(host: Host, project: Project, answers: Mapping[str, Any]) -> None:
    """Allow the project's files what they ask for, if that is what its user has just answered, and nothing else."""
    files = ProjectFiles.read(project.scaffold)
    if files.requests() and not files.dockerfile and files.values() == _answered(answers):
        trust.allow(records_of(host, project.id), files, trust.digest_of(files))


def _answered(answers: Mapping[str, Any]) -> dict[str, Value]:
    """Return the settings that the template makes of the answers."""
    found: dict[str, Value] = {"yolo": "on"} if answers["confined_claude_yolo"] else {}
    if answers["confined_claude_network"] != "internet":
        found["network"] = answers["confined_claude_network"]
    if packages := answers["confined_claude_packages"].split():
        found["packages"] = tuple(packages)
    return found
