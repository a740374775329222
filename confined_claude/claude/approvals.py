"""What of the user's hooks and MCP servers may be in sessions: each is allowed once, by the hash of its definition.

The record is in ``<state>``, for all projects alike. What changes on the host has another hash, and waits again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..fs.directory import Location
from ..fs.lock import locked
from ..state import store
from ..text import as_dict, sha256

DIRECTORY, LOCK = "setup", "lock"
_FILE = "allowed.json"


class Item(NamedTuple):
    """A hook or an MCP server of the user's.

    ``name`` is what ``setup --allow`` takes, ``what`` says in plain words what it does, ``problem`` why it cannot be
    in a session, if it cannot. ``inside`` is its definition in a session, which needs the ``scripts`` of the config and
    begins with ``program``; ``place`` is where in the settings it belongs: (event, matcher) for a hook.
    """

    name: str
    what: str
    digest: str
    inside: Mapping[str, Any]
    problem: str = ""
    scripts: tuple[str, ...] = ()
    program: str = ""
    place: tuple[str, ...] = ()


def digest_of(*definition: Any) -> str:
    """Return the hash (64 hex digits) of a definition, which is JSON."""
    return sha256(json.dumps(definition, sort_keys=True).encode())


def decisions(state: Location) -> dict[str, bool]:
    """Return by hash what the user has allowed, and what not. Raises ConfinedError for a record of a newer version."""
    with state.at(DIRECTORY).open_if_exists() as directory:
        found = directory and store.read_json(directory, _FILE, lambda value: value["decided"])
    return {digest: is_allowed is True for digest, is_allowed in as_dict(found).items()}


def decide(state: Location, decided: Mapping[str, bool]) -> None:
    """Record by hash what the user allows, and what not. Raises ConfinedError."""
    with locked(state.at(DIRECTORY), LOCK) as directory:
        store.write_json(directory, _FILE, {"version": store.VERSION, "decided": {**decisions(state), **decided}})
