"""What the user has allowed a project's files to ask for beyond the defaults: one content of them, by its hash.

To the content belong the places on this machine that the files lead to, with links resolved: a link that leads
elsewhere later is another content. The contents are in the project's records, so that a change can be compared with
what was allowed before.
"""

from __future__ import annotations

import contextlib
from typing import NamedTuple

from ..errors import ConfinedError, ReviewNeeded, system_error
from ..fs.directory import Location
from ..settings.files import ProjectFiles
from ..text import sha256

_DIRECTORY = "trusted"
# Between the files, and the places. No TOML and no path holds it, so no config file reads like one with a Dockerfile.
_SEPARATOR = "\0"


class Allowed(NamedTuple):
    """A content that was allowed: the text of both files, and the places that they led to."""

    config: str
    dockerfile: str
    places: tuple[str, ...] = ()


def is_trusted(records: Location, files: ProjectFiles) -> bool:
    """Return whether the user has allowed this very content of the project's files."""
    return records.at(_DIRECTORY).read(digest_of(files)) == _content(files)


def digest_of(files: ProjectFiles) -> str:
    """Return the hash of both files and the places; that of the config file alone if there is nothing else."""
    return sha256(_content(files))


def last_allowed(records: Location) -> Allowed | None:
    """Return the content that was allowed last; None if none was."""
    try:
        with records.at(_DIRECTORY).open() as directory:
            names = sorted(directory.names(), key=lambda name: directory.stat(name).st_mtime)
            content = directory.read(names[-1]) if names else None
    except OSError:
        return None
    if content is None:
        return None
    config, dockerfile, *places = (*content.decode("utf-8", "replace").split(_SEPARATOR), "")
    return Allowed(config, dockerfile, tuple(filter(None, places)))


def allow(records: Location, files: ProjectFiles, digest: str) -> None:
    """Allow ``files`` what they ask for. Raises ReviewNeeded if their content does not have this hash."""
    files.requests()  # raises for invalid files
    if digest_of(files) != digest:
        raise ReviewNeeded(
            f"The hash of what {files.scaffold} asks for is {digest_of(files)}, not that.",
            "Look at `confined-claude trust` again.",
        )
    with records.at(_DIRECTORY).make() as directory:
        try:
            directory.write(digest, _content(files))
        except OSError as error:
            raise system_error("write to", directory.path, error) from None


def _content(files: ProjectFiles) -> bytes:
    places: tuple[str, ...] = ()
    with contextlib.suppress(ConfinedError):  # what is wrong is allowed to nobody, see ``allow``
        places = files.places()
    parts = (files.config, *((files.dockerfile, *places) if files.dockerfile or places else ()))
    return _SEPARATOR.join(parts).encode("utf-8", "surrogateescape")
