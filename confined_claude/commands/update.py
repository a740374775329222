"""``update``: bring the scaffold up to date with copier, while no session writes there and nothing red is open."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from pathlib import Path

from ..errors import ConfinedError
from ..host import Host
from ..project import SCAFFOLD, Project
from ..state.current import current_project
from ..workspace import Workspace, scaffold_of
from . import template
from .undisturbed import undisturbed

# The files that copier may write.
_FILES = ("tasks.py", ".copier-answers.yml", f"{SCAFFOLD}/*")
# Those in the scaffold's directory that copier never writes again.
_USERS_OWN = ("config.toml", "Dockerfile")
# How copier marks lines that both the user and the template have changed.
_CONFLICT = "<<<<<<< "


def update(host: Host) -> None:
    """Update the current project's scaffold from the template that its answers name.

    Raises ReviewNeeded while something red is open, and ConfinedError while a session writes where copier's git works,
    and for what copier refuses or could not merge.
    """
    here = current_project(host)
    with undisturbed(Workspace.load_leniently(host, here), "Nothing was updated.", "update again"):
        _update(host, here)
    print("The scaffold is up to date.")


def _update(host: Host, here: Project) -> None:
    root = here.root
    answers = template.answers_of(root)
    if answers is None:
        raise ConfinedError(f"{root} has no scaffold that copier made.", "Make one with `confined-claude init`.")
    template.check_answers(root)
    text = template.text_of(root / answers)
    version, source = template.answer("_commit", text), template.answer("_src_path", text)
    if not version:  # for a template without git, or in another user's clone
        raise ConfinedError(
            f"{answers} does not say which version of the template this is: git could not read where it came from.",
            "Copy it again from a clone that is yours, or from its URL: copier copy --defaults PATH-OR-URL .",
        )
    from copier import run_update

    with template.explained(source):
        wanted = _carried(host, version) if source == template.SOURCE else _committed(source)
        run_update(root, answers_file=answers, defaults=True, overwrite=True, quiet=True, vcs_ref=wanted)
        new = template.answer("_commit", template.text_of(root / answers))
        if new and new != version:
            _follow(here, source, version, new)
    files = [path for pattern in _FILES for path in sorted(root.glob(pattern)) if path.is_file()]
    if names := [str(path.relative_to(root)) for path in files if _has_conflict(path)]:
        raise ConfinedError(
            f"Updated, but your own changes conflict with the new version in {', '.join(names)}.",
            "Edit the lines between <<<<<<< and >>>>>>> there. `confined-claude` works meanwhile; `inv` may not.",
        )


def _follow(project: Project, source: str, old: str, new: str) -> None:
    """Bring the files up to date that copier leaves alone, where they still are as the ``old`` version has them.

    So nothing is ever merged there, and a file that someone has edited stays.
    """
    from copier import run_copy

    answers = template.answered(project.root)
    with tempfile.TemporaryDirectory() as directory, scaffold_of(project.root).make() as scaffold:
        for place, version in (("old", old), ("new", new)):
            run_copy(source, Path(directory, place), data=answers, vcs_ref=version, defaults=True, quiet=True)
        for name in _USERS_OWN:
            was, now = (Path(directory, place, SCAFFOLD, name) for place in ("old", "new"))
            if was.exists() and now.exists() and scaffold.read(name) == was.read_bytes() != now.read_bytes():
                scaffold.overwrite(name, now.read_bytes())


def _carried(host: Host, version: str) -> str:
    """Return the newest version in the template that comes with the tool, after putting it where answers name it.

    Raises ConfinedError if the template has no such ``version``, which is the project's.
    """
    versions = template.Versions()
    if version not in versions.tags:
        raise ConfinedError(
            f"This project's scaffold is of version {version}, which this installation does not know.",
            "Bring Confined Claude up to date, and start again: whoever updated the project has a newer version.",
        )
    template.place(host)
    return versions.newest


def _committed(source: str) -> str | None:
    """Return the commit of a template that is a local repository without tags; None where copier chooses the version.

    There copier would include what is not committed, as a version that nobody else has.
    """
    if not Path(source).is_absolute() or not (Path(source) / ".git").exists() or _git(source, "tag"):
        return None
    return _git(source, "rev-parse", "--verify", "--quiet", "HEAD") or None


def _git(directory: str, *words: str) -> str:
    return subprocess.run(["git", "-C", directory, *words], capture_output=True, text=True, check=False).stdout.strip()


def _has_conflict(file: Path) -> bool:
    with contextlib.suppress(ConfinedError):  # what is no text has no such lines
        return any(line.startswith(_CONFLICT) for line in template.text_of(file).splitlines())
    return False
