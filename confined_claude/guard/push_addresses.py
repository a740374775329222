"""The addresses to which a person has agreed to a push from a project: no other is pushed to without a question.

A session decides what the next start finds in the settings of a repository: it can make one, or unpack one.
"""

from __future__ import annotations

from typing import Any

from ..fs.directory import Location
from ..fs.lock import locked
from ..state.store import LOCK, read_json, write_json

_FILE = "pushes.json"


def is_agreed(records: Location, url: str) -> bool:
    """Return whether a person has agreed to a push to ``url`` from the project with these records.

    Raises ConfinedError if they are damaged.
    """
    with records.open_if_exists() as directory:
        return directory is not None and url in (read_json(directory, _FILE, _decode) or ())


def agree(records: Location, url: str) -> None:
    """Record that a person agrees to a push to ``url``. Raises ConfinedError."""
    with locked(records, LOCK) as directory:
        known = read_json(directory, _FILE, _decode) or []
        if url not in known:
            write_json(directory, _FILE, {"agreed": [*known, url]})


def _decode(value: Any) -> list[str]:
    return [str(url) for url in value["agreed"]]
