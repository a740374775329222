"""What the user has allowed a project's files to ask for beyond the defaults: one content of them, by its hash.

The contents are kept in ``<state>``, so that a change can be compared with what was allowed before.
"""

from __future__ import annotations

import hashlib

from ..errors import ReviewNeeded, system_error
from ..fs.directory import Location
from ..host import Host
from ..project import Project
from ..settings.files import ProjectFiles
from . import store

# Between the two files. No TOML holds it, so no config file reads like one with a Dockerfile.
_SEPARATOR = "\0"


def is_trusted(project: Project, host: Host, files: ProjectFiles) -> bool:
    """Return whether the user has allowed this very content of the project's files."""
    try:
        with _location(project, host).open() as directory:
            return directory.read(digest_of(files)) == _content(files)
    except OSError:
        return False


def digest_of(files: ProjectFiles) -> str:
    """Return the hash of both files; that of the config file alone if there is no Dockerfile."""
    return hashlib.sha256(_content(files)).hexdigest()


def last_allowed(project: Project, host: Host) -> ProjectFiles | None:
    """Return the content that was allowed last; None if none was."""
    try:
        with _location(project, host).open() as directory:
            names = sorted(directory.names(), key=lambda name: directory.stat(name).st_mtime)
            content = directory.read(names[-1]) if names else None
    except OSError:
        return None
    if content is None:
        return None
    config, _, dockerfile = content.decode("utf-8", "replace").partition(_SEPARATOR)
    return ProjectFiles(project.scaffold, config, dockerfile)


def allow(project: Project, host: Host, digest: str) -> None:
    """Allow the project's files what they ask for. Raises ReviewNeeded if their content does not have this hash."""
    files = ProjectFiles.read(project.scaffold)
    files.requests()  # raises for invalid files
    if digest_of(files) != digest:
        raise ReviewNeeded(
            f"The hash of what {project.scaffold} asks for is {digest_of(files)}, not that.",
            "See `confined-claude trust` again.",
        )
    with _location(project, host).make() as directory:
        try:
            directory.write(digest, _content(files))
        except OSError as error:
            raise system_error("write to", host.state, error) from None


def _location(project: Project, host: Host) -> Location:
    return store.location(host, "projects", project.id, "trusted")


def _content(files: ProjectFiles) -> bytes:
    return (files.config + (_SEPARATOR + files.dockerfile if files.dockerfile else "")).encode()
