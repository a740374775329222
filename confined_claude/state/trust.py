"""What a project's files ask for beyond the defaults, and what of it the user has allowed.

Allowed is one content of them, by its hash. The contents are kept in ``<state>``, so that a change
can be shown against what was allowed before.
"""

from __future__ import annotations

import hashlib
import os

from .. import dockerfile
from ..errors import ReviewNeeded
from ..fs import safefs
from ..guard.report import changed_lines, shown
from ..host import Host
from ..project import Project
from ..settings.files import ProjectFiles
from . import store as state

_FOLDER = "trusted"
# Between the two files, as no TOML holds it: no config file reads like one with a Dockerfile.
_BETWEEN = "\0"


def is_trusted(project: Project, host: Host, files: ProjectFiles) -> bool:
    """Whether the user has allowed this very content of the project's files."""
    try:
        with state.opened(host, "projects", project.id, _FOLDER) as folder:
            return safefs.read(folder, digest_of(files)) == _content(files)
    except OSError:
        return False


def digest_of(files: ProjectFiles) -> str:
    """The hash of both files; that of the config file alone where there is no Dockerfile."""
    return hashlib.sha256(_content(files)).hexdigest()


def explain(project: Project, host: Host) -> tuple[str, list[str]]:
    """The hash of the project's files and what they ask for, line by line; no lines if nothing.

    The lines end with the Dockerfile, and with the difference from what was allowed last.
    """
    files = ProjectFiles.read(project.scaffold)
    requests = files.requests()
    if not requests or is_trusted(project, host, files):
        return digest_of(files), []
    lines = [f"{project.scaffold} asks for more than the defaults:"]
    lines += [f"  {shown(request.what)}: {request.consequence}" for request in requests]
    last = _last(project, host)
    if files.dockerfile and not (last and last.dockerfile):
        lines += [f"The {dockerfile.NAME}:", *_indented(files.dockerfile.splitlines())]
    if last is not None:
        changes = _changes(last.config, files.config)
        changes += _changes(last.dockerfile, files.dockerfile) if last.dockerfile else []
        lines += ["It has changed since you last allowed it:", *_indented(changes)] if changes else []
    return digest_of(files), lines


def allow(project: Project, host: Host, digest: str) -> None:
    """Allow the project's files what they ask for, if their content still has this hash.

    Raises ReviewNeeded if it has another.
    """
    files = ProjectFiles.read(project.scaffold)
    files.requests()  # raises for invalid ones
    if digest_of(files) != digest:
        raise ReviewNeeded(
            f"The hash of what {project.scaffold} asks for is {digest_of(files)}, not that.",
            "See `confined-claude trust` again.",
        )
    with state.made(host, "projects", project.id, _FOLDER) as folder:
        try:
            safefs.write(folder, digest, _content(files))
        except OSError as error:
            raise safefs.cannot("write to", host.state, error) from None


def _content(files: ProjectFiles) -> bytes:
    return (files.config + (_BETWEEN + files.dockerfile if files.dockerfile else "")).encode()


def _last(project: Project, host: Host) -> ProjectFiles | None:
    """The content that was allowed last; None if none was."""
    try:
        with state.opened(host, "projects", project.id, _FOLDER) as folder:
            names = sorted(os.listdir(folder), key=lambda name: os.stat(name, dir_fd=folder).st_mtime)
            content = safefs.read(folder, names[-1]) if names else None
    except OSError:
        return None
    if content is None:
        return None
    config, _, its_dockerfile = content.decode("utf-8", "replace").partition(_BETWEEN)
    return ProjectFiles(project.scaffold, config, its_dockerfile)


def _changes(before: str, after: str) -> list[str]:
    return changed_lines(before.splitlines(), after.splitlines(), context=0)


def _indented(lines: list[str]) -> list[str]:
    return [f"  {shown(line)}" for line in lines]
