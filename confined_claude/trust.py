"""What a project's config file asks for beyond the defaults, and what of it the user has allowed.

Allowed is one content of the file, by its hash. The contents are kept in ``<state>``, so that a
changed file can be shown against what was allowed before.
"""

from __future__ import annotations

import hashlib
import os

from . import safefs, settings
from .console import plain
from .errors import ReviewNeeded
from .guard.report import changed_lines
from .host import Host
from .project import Project

_FOLDER = "trusted"


def is_trusted(project: Project, host: Host, text: str) -> bool:
    """Whether the user has allowed this very content of the project's config file."""
    try:
        with safefs.opened(host.state.parent, host.state.name, "projects", project.id, _FOLDER) as folder:
            return safefs.read(folder, digest_of(text)) == text.encode()
    except OSError:
        return False


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def explain(project: Project, host: Host) -> tuple[str, list[str]]:
    """The hash of the project's config file and what it asks for, line by line; no lines if nothing.

    The lines end with the difference from what was allowed last.
    """
    text, asked = settings.wishes(project.config_file)
    if not asked or is_trusted(project, host, text):
        return digest_of(text), []
    lines = [f"{project.config_file} asks for more than the defaults:"]
    lines += [f"  {wish.name} = {plain(wish.value)}: {wish.consequence}" for wish in asked]
    if (last := _last(project, host)) is not None:
        lines.append("It has changed since you last allowed it:")
        lines += [f"  {plain(line)}" for line in changed_lines(last.splitlines(), text.splitlines(), context=0)]
    return digest_of(text), lines


def allow(project: Project, host: Host, digest: str) -> None:
    """Allow the project's config file what it asks for, if its content still has this hash.

    Raises ReviewNeeded if it has another.
    """
    text, _ = settings.wishes(project.config_file)
    if digest_of(text) != digest:
        raise ReviewNeeded(
            f"The hash of {project.config_file} is {digest_of(text)}, not that.", "See `confined-claude trust` again."
        )
    with safefs.open_folder(host.state.parent, host.state.name, "projects", project.id, _FOLDER) as folder:
        try:
            safefs.write(folder, digest, text.encode())
        except OSError as error:
            raise safefs.cannot("write to", host.state, error) from None


def _last(project: Project, host: Host) -> str | None:
    """The content that was allowed last; None if none was."""
    try:
        with safefs.opened(host.state.parent, host.state.name, "projects", project.id, _FOLDER) as folder:
            names = sorted(os.listdir(folder), key=lambda name: os.stat(name, dir_fd=folder).st_mtime)
            content = safefs.read(folder, names[-1]) if names else None
    except OSError:
        return None
    return None if content is None else content.decode("utf-8", "replace")
