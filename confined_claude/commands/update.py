"""``update``: bring the scaffold up to date with copier, once nothing red is open."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from ..errors import ConfinedError
from ..fs.directory import read_config
from ..guard.review import refuse_while_red
from ..host import Host
from ..project import SCAFFOLD
from ..workspace import Workspace, current_project

# The first is for projects in which another template owns copier's usual file; see copier.yml.
_ANSWERS = (f"{SCAFFOLD}/answers.yml", ".copier-answers.yml")
_MARK = "confined_claude_shim"
# The files that copier may write.
_FILES = ("tasks.py", ".copier-answers.yml", f"{SCAFFOLD}/*")
# How copier marks lines that both the user and the template have changed.
_CONFLICT = "<<<<<<< "
# Copier runs git in the project, and needs none of its hooks and monitors.
_QUIET_GIT = (("core.hooksPath", os.devnull), ("core.fsmonitor", "false"))


def update(host: Host) -> None:
    """Update the current project's scaffold from the template that its answers name.

    Raises ReviewNeeded while something red is open, and ConfinedError for what copier refuses or could not merge.
    """
    here = current_project(host)
    refuse_while_red(Workspace.load_leniently(host, here))
    root = here.root
    answers = next((name for name in _ANSWERS if _is_ours(root / name)), None)
    if answers is None:
        raise ConfinedError(
            f"{root} has no scaffold that copier made.", "Make one with `copier copy TEMPLATE .`, see the README."
        )
    if not _has_version(root / answers):
        raise ConfinedError(
            f"{answers} does not say which version of the template this is: git could not read where it came from.",
            "Copy it again from a clone that is yours, or from its URL: copier copy --defaults PATH-OR-URL .",
        )
    from copier import run_update
    from copier.errors import CopierError

    for number, (name, value) in enumerate(_QUIET_GIT):
        os.environ |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    os.environ["GIT_CONFIG_COUNT"] = str(len(_QUIET_GIT))
    try:
        run_update(root, answers_file=answers, defaults=True, overwrite=True)
    except CopierError as error:
        reason = " ".join(str(error).split())
        raise ConfinedError(f"copier refuses: {reason}", "Correct that, and start again.") from None
    files = [path for pattern in _FILES for path in sorted(root.glob(pattern)) if path.is_file()]
    if names := [str(path.relative_to(root)) for path in files if _has_conflict(path)]:
        raise ConfinedError(
            f"Updated, but your own changes and the new version do not go together in {', '.join(names)}.",
            "Edit there what stands between <<<<<<< and >>>>>>>. `confined-claude` works meanwhile; `inv` may not.",
        )


def _has_conflict(file: Path) -> bool:
    with contextlib.suppress(ConfinedError):  # what is no text has no such lines
        return any(line.startswith(_CONFLICT) for line in _text(file).splitlines())
    return False


def _is_ours(answers: Path) -> bool:
    return _MARK in _text(answers)


def _has_version(answers: Path) -> bool:
    """Return whether copier noted a version: it has none for a template without git, or in another user's clone."""
    return any(line.startswith("_commit:") for line in _text(answers).splitlines())


def _text(file: Path) -> str:
    """Return the text of a file; empty if it is missing. Raises ConfinedError for a FIFO, a device, or no text."""
    return read_config(file) or ""
