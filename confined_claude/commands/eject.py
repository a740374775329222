"""``eject``: leave a project without a trace of the tool."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from .. import console, signals
from ..errors import ReviewNeeded
from ..host import Host
from ..session import devcontainer
from ..state.current import current_project
from . import template
from .clean import Options
from .clean.confirm import carry_out
from .clean.project import ProjectCleanup

_TASKS = "tasks.py"


def eject(host: Host, options: Options) -> None:
    """Remove the scaffold from the current project, what sessions have made in it, and what is remembered about it.

    Files of the scaffold that someone has edited stay, unless the person at the terminal agrees about each. Raises
    ReviewNeeded while commits wait in a copy of the repository, and ConfinedError as ``clean`` does.
    """
    here = current_project(host)
    root, cleanup = here.root, ProjectCleanup(host, here.id, here.root, exists=True)
    for copy in cleanup.unfetched():
        raise ReviewNeeded(
            f"Commits were never fetched, on {', '.join(copy.branches)}. Nothing is removed.",
            f"Get them first: {copy.command}",
        )
    answers = template.answers_of(root)
    own, edited = _files(host, root, answers) if answers else ([], [])
    asks = not (options.sure or options.dry_run) and signals.is_interactive()
    kept = [name for name in edited if not (asks and console.confirmed(f"{name} has been edited. Remove it too?"))]
    files = [*own, *(name for name in edited if name not in kept)]
    nothing = f"{root} has no scaffold, and nothing is kept of it."
    carry_out(cleanup._replace(files=tuple(files)), options, nothing)
    if kept:
        print(f"Kept, as they have been edited: {', '.join(kept)}.")
    if _TASKS not in files and "confined_claude" in template.text_of(root / _TASKS):
        print(f"Remove the lines with confined_claude from {_TASKS} yourself.")
    exported = f"{devcontainer.DIRECTORY}/{devcontainer.FILE}"
    if "confined-claude:" in template.text_of(root / exported):
        print(f"Kept, as an editor may use it: {exported}, which `export devcontainer` has written.")


def _files(host: Host, root: Path, answers: str) -> tuple[list[str], list[str]]:
    """Return the files of the scaffold that are as the template has them, and those that have been edited.

    They are compared with what comes with the tool: where the answers lead to, nothing is read.
    """
    text = template.text_of(root / answers)
    names = [*template.OWN_FILES, *([_TASKS] if template.answer(template.SHIM, text) == "true" else [])]
    versions = template.Versions()
    version = template.answer("_commit", text)
    with tempfile.TemporaryDirectory() as directory:
        known = version if version in versions.tags else versions.newest
        template.render(host, known, Path(directory), template.answered(root))
        as_made = {name: template.text_of(Path(directory, name)) for name in names}
    there = {name: file for name in names if os.path.lexists(file := root / name)}
    own = [name for name, file in there.items() if not file.is_symlink() and template.text_of(file) == as_made[name]]
    return [*own, answers], [name for name in there if name not in own]
