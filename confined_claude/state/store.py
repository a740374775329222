"""``<state>``, the host-only records: the one way to its directories, and the JSON files in them.

A link in its place, or below it, is refused.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from ..errors import ConfinedError, system_error
from ..fs.directory import Directory, Location
from ..host import Host
from ..text import as_dict, parse_json

PROJECTS, LOGS = "projects", "logs"
LOCK = "lock"  # of a project's records
# Of the records' formats. Code that changes one makes it an object with a greater "version", or that of project.json,
# which stands for all records of its project: then this code refuses it.
VERSION = 1
_MAX_BYTES = 1 << 30

Record = TypeVar("Record")


def state_of(host: Host) -> Location:
    """Return the location of ``<state>``."""
    return Location(host.state.parent, (host.state.name,))


def records_of(host: Host, project_id: str) -> Location:
    """Return the location of the records of a project."""
    return state_of(host).at(PROJECTS, project_id)


def read_json(directory: Directory, name: str, decode: Callable[[Any], Record]) -> Record | None:
    """Return what ``decode`` makes of a JSON file; None if there is none.

    Raises ConfinedError if it cannot be read or decoded, or is from a newer version. It stays as it is, as nobody
    knows what it would have said.
    """
    content = directory.read(name, _MAX_BYTES)
    if content is None and not directory.exists(name):
        return None
    try:
        value = json.loads(content or b"")
        refuse_newer(value, directory.path / name)
        return decode(value)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        raise ConfinedError(
            f"{directory.path / name} is damaged, or from a newer version.",
            "Look through the project yourself, then remove that file, and start again.",
        ) from None


def read_entries(directory: Directory, name: str, key: str) -> dict[str, Any]:
    """Return the object at ``key`` of a JSON file; an empty one if there is none, or the file is damaged.

    Raises ConfinedError if it is from a newer version.
    """
    value = parse_json(directory.read(name))
    refuse_newer(value, directory.path / name)
    return as_dict(as_dict(value).get(key))


def write_json(directory: Directory, name: str, value: Any) -> None:
    """Replace a JSON file, completely or not at all; remove it if ``value`` is empty. Raises ConfinedError."""
    try:
        if value:
            directory.write(name, json.dumps(value).encode())
        else:
            with contextlib.suppress(FileNotFoundError):
                directory.unlink(name)
    except OSError as error:
        raise system_error("write", directory.path / name, error) from None


def refuse_newer(record: object, path: Path) -> None:
    """Raise ConfinedError if ``record``, the JSON value at ``path``, has a format that only newer code knows."""
    version = as_dict(record).get("version")
    if isinstance(version, int) and version > VERSION:
        raise ConfinedError(
            f"{path} is from a newer version of Confined Claude.",
            "Bring this one up to date with the install.sh of the newer one, and start again.",
        )
