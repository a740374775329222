"""The template that comes with the tool, and copier, which applies it to projects."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import ConfinedError, system_error
from ..fs.directory import Location, read_config
from ..host import Host
from ..project import SCAFFOLD
from ..settings.files import ProjectFiles
from ..text import escape

# As answers name the template that comes with the tool: the same for everyone who works on a project.
SOURCE = "~/.local/share/confined-claude/template.bundle"
# The first is for projects in which another template owns copier's usual file; see copier.yml.
_ANSWERS = (f"{SCAFFOLD}/answers.yml", ".copier-answers.yml")
_MARK = "confined_claude_shim"
_BUNDLE = Path(__file__).parents[1] / "template.bundle"
# Copier runs git in the project, and needs none of its hooks and monitors.
_QUIET_GIT = (("core.hooksPath", os.devnull), ("core.fsmonitor", "false"))
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


class Versions:
    """The versions in the template that comes with the tool, and the newest of them, by their tags."""

    def __init__(self) -> None:
        head, *lines = _BUNDLE.read_bytes().partition(b"\n\n")[0].decode().splitlines()[1:]
        of_tag = {tag: commit for commit, _, tag in (line.partition(" refs/tags/") for line in lines) if tag}
        self.tags = frozenset(of_tag)
        self.newest = next(tag for tag, commit in of_tag.items() if commit == head.split()[0])


def place(host: Host) -> None:
    """Put the template that comes with the tool where ``SOURCE`` is. Raises ConfinedError."""
    content = _BUNDLE.read_bytes()
    with Location(host.template.parent.parent, (host.template.parent.name,)).make() as directory:
        try:
            if directory.read(host.template.name) != content:
                directory.write(host.template.name, content)
        except OSError as error:
            raise system_error("write to", directory.path, error) from None


def answers_of(root: Path) -> str | None:
    """Return the name of the file in ``root`` with copier's answers for our scaffold; None if there is none."""
    return next((name for name in _ANSWERS if _MARK in text_of(root / name)), None)


def answer(name: str, answers: str) -> str:
    """Return what copier noted under ``name``; empty if it noted nothing."""
    found = re.search(rf"^{name}: (.*)$", answers, re.MULTILINE)
    return found[1].strip("\"' ") if found else ""


def answered(root: Path) -> dict[str, Any]:
    """Return the answers to copier that the project's config shows, as nothing else keeps them."""
    try:
        found = ProjectFiles.read(root / SCAFFOLD).values()
    except ConfinedError:  # then someone has edited it
        return {}
    names = [str(name) for name in found.get("packages", ())]
    return {
        "confined_claude_yolo": found.get("yolo") == "on",
        "confined_claude_network": found["network"] if found.get("network") in ("allowlist", "none") else "internet",
        "confined_claude_packages": " ".join(names) if all(map(_is_package, names)) else "",
    }


def _is_package(name: str) -> bool:
    """Return whether copier takes this for the name of a Debian package, see copier.yml."""
    return re.fullmatch(r"[a-z0-9][a-z0-9+.-]*[a-z0-9+.]", name) is not None


def render(host: Host, version: str, directory: Path, answers: Mapping[str, Any]) -> None:
    """Fill ``directory`` with what a ``version`` of the tool's own template makes of ``answers``.

    Raises ConfinedError.
    """
    place(host)
    from copier import run_copy

    with explained():
        run_copy(SOURCE, directory, data=dict(answers), vcs_ref=version, defaults=True, quiet=True)


def text_of(file: Path) -> str:
    """Return the text of a file; empty if it is missing. Raises ConfinedError for a FIFO, a device, or no text."""
    return read_config(file) or ""


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Run copier in the block: git runs quietly for it, and what it refuses is explained with the way out."""
    from copier.errors import CopierAnswersInterrupt, CopierError

    for number, (name, value) in enumerate(_QUIET_GIT):
        os.environ |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    os.environ["GIT_CONFIG_COUNT"] = str(len(_QUIET_GIT))
    try:
        yield
    except CopierAnswersInterrupt:
        raise KeyboardInterrupt from None
    except CopierError as error:
        raise _explanation(str(error)) from None
    except (OSError, ValueError) as error:  # copier's git has failed, for one
        raise _explanation((str(getattr(error, "stderr", "") or error)).strip().rpartition("\n")[2]) from None


def _explanation(reason: str) -> ConfinedError:
    """Return what copier, or its git, does not do, in words that name the way out."""
    for pattern, message, hint in _EXPLAINED:
        if re.search(pattern, reason):
            return ConfinedError(message, hint)
    return ConfinedError(f"copier refuses: {escape(' '.join(reason.split()))}", "Correct that, and start again.")
