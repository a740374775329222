"""What the user has allowed a project's files to ask for beyond the defaults: one content of them, by its hash.

The contents are in the project's records, so that a change can be compared with what was allowed before.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from ..errors import ReviewNeeded, system_error
from ..fs.directory import Location
from ..settings.files import ProjectFiles

_DIRECTORY = "trusted"
# Between the two files. No TOML holds it, so no config file reads like one with a Dockerfile.
_SEPARATOR = "\0"


def is_trusted(records: Location, files: ProjectFiles) -> bool:
    """Return whether the user has allowed this very content of the project's files."""
    try:
        with records.at(_DIRECTORY).open() as directory:
            return directory.read(digest_of(files)) == _content(files)
    except OSError:
        return False


def digest_of(files: ProjectFiles) -> str:
    """Return the hash of both files; that of the config file alone if there is no Dockerfile."""
    return hashlib.sha256(_content(files)).hexdigest()


def last_allowed(records: Location) -> ProjectFiles | None:
    """Return the content that was allowed last; None if none was."""
    try:
        with records.at(_DIRECTORY).open() as directory:
            names = sorted(directory.names(), key=lambda name: directory.stat(name).st_mtime)
            content = directory.read(names[-1]) if names else None
    except OSError:
        return None
    if content is None:
        return None
    config, _, dockerfile = content.decode("utf-8", "replace").partition(_SEPARATOR)
    return ProjectFiles(Path(), config, dockerfile)


def allow(records: Location, files: ProjectFiles, digest: str) -> None:
    """Allow ``files`` what they ask for. Raises ReviewNeeded if their content does not have this hash."""
    files.requests()  # raises for invalid files
    if digest_of(files) != digest:
        raise ReviewNeeded(
            f"The hash of what {files.scaffold} asks for is {digest_of(files)}, not that.",
            "See `confined-claude trust` again.",
        )
    with records.at(_DIRECTORY).make() as directory:
        try:
            directory.write(digest, _content(files))
        except OSError as error:
            raise system_error("write to", directory.path, error) from None


def _content(files: ProjectFiles) -> bytes:
    return (files.config + (_SEPARATOR + files.dockerfile if files.dockerfile else "")).encode()
