"""``update``: bring the scaffold up to date with copier, once nothing red is open."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from pathlib import Path

from ..errors import ConfinedError
from ..fs.directory import read_config
from ..guard.review import refuse_while_red
from ..host import Host
from ..project import SCAFFOLD
from ..text import escape
from ..workspace import Workspace, current_project

# The first is for projects in which another template owns copier's usual file; see copier.yml.
_ANSWERS = (f"{SCAFFOLD}/answers.yml", ".copier-answers.yml")
_MARK = "confined_claude_shim"
# The files that copier may write.
_FILES = ("tasks.py", ".copier-answers.yml", f"{SCAFFOLD}/*")
# How copier marks lines that both the user and the template have changed.
_CONFLICT = "<<<<<<< "
_SOURCE = "_src_path: "
# What copier and git say, what it means here, and what to do about it.
_EXPLAINED = (
    (
        "repository is dirty",
        "The project has changes that are not committed, and an update would mix with them.",
        "Commit the scaffold first, with all else: git add --all && git commit    (or: git stash)",
    ),
    (
        "git-tracked subprojects",
        "The project is no git repository, and an update needs the scaffold's earlier version from it.",
        "Commit the scaffold first: git init && git add --all && git commit",
    ),
    (
        "You are downgrading",
        "The project's scaffold is newer than its template.",
        "Bring the template up to date, with `git pull` if it is a clone.",
    ),
    (
        "Unknown revision",
        "The template no longer has the version from which this scaffold was made.",
        "Copy it again: copier copy --defaults PATH-OR-URL .",
    ),
    (
        "must be a directory|does not exist|not found",
        "The template is no longer where the scaffold came from.",
        "Put its new path or URL into the line `_src_path` of the answers file, commit that, and start again.",
    ),
)
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
        version = _committed_version(_text(root / answers))
        run_update(root, answers_file=answers, defaults=True, overwrite=True, quiet=True, vcs_ref=version)
    except CopierError as error:
        raise _explained(str(error)) from None
    except (OSError, ValueError) as error:  # copier's git has failed, for one
        raise _explained((str(getattr(error, "stderr", "") or error)).strip().rpartition("\n")[2]) from None
    files = [path for pattern in _FILES for path in sorted(root.glob(pattern)) if path.is_file()]
    if names := [str(path.relative_to(root)) for path in files if _has_conflict(path)]:
        raise ConfinedError(
            f"Updated, but your own changes and the new version do not go together in {', '.join(names)}.",
            "Edit there what stands between <<<<<<< and >>>>>>>. `confined-claude` works meanwhile; `inv` may not.",
        )
    print("The scaffold is up to date.")


def _explained(reason: str) -> ConfinedError:
    """Return what copier, or its git, does not do, in words that name the way out."""
    for pattern, message, hint in _EXPLAINED:
        if re.search(pattern, reason):
            return ConfinedError(message, hint)
    return ConfinedError(f"copier refuses: {escape(' '.join(reason.split()))}", "Correct that, and start again.")


def _committed_version(answers: str) -> str | None:
    """Return the commit of a template that is a local repository without tags; None where copier chooses the version.

    There copier would take what is not committed along, as a version that nobody else has.
    """
    source = next((line[len(_SOURCE) :] for line in answers.splitlines() if line.startswith(_SOURCE)), "").strip("\"' ")
    if not Path(source).is_absolute() or not (Path(source) / ".git").exists() or _git(source, "tag"):
        return None
    return _git(source, "rev-parse", "--verify", "--quiet", "HEAD") or None


def _git(directory: str, *words: str) -> str:
    return subprocess.run(["git", "-C", directory, *words], capture_output=True, text=True, check=False).stdout.strip()


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
