"""What of a sign-in is on record on the host: tokens of ``login``, and the API keys that the user refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ..fs.directory import Directory
from ..fs.lock import locked
from ..host import Host
from ..state import store
from ..text import as_dict
from .account import host_state
from .onboarding import KEY_ANSWERS

_FILE, _KEY, _LOCK = "tokens.json", "tokens", "tokens.lock"


def stored(host: Host, config: Path) -> str:
    """Return the token for sessions with the Claude config at ``config``; empty if there is none.

    Raises ConfinedError for a record of a newer version.
    """
    with store.state_of(host).open_if_exists() as state:
        token = None if state is None else store.read_entries(state, _FILE, _KEY).get(str(config))
    return token if isinstance(token, str) else ""


def store_token(host: Host, config: Path, token: str) -> None:
    """Keep ``token`` for sessions with the Claude config at ``config``; forget the one there is if it is empty.

    Only this user can read it. Raises ConfinedError.
    """
    with locked(store.state_of(host), _LOCK) as state:
        entries = {**store.read_entries(state, _FILE, _KEY), str(config): token}
        _write(state, {path: each for path, each in entries.items() if each})


def forget_gone(host: Host) -> None:
    """Forget the tokens for Claude configs that do not exist any more. Raises ConfinedError."""
    if path(host).exists():
        with locked(store.state_of(host), _LOCK) as state:
            entries = store.read_entries(state, _FILE, _KEY)
            _write(state, {config: each for config, each in entries.items() if os.path.lexists(config)})


def _write(state: Directory, tokens: dict[str, Any]) -> None:
    store.write_json(state, _FILE, {"version": store.VERSION, _KEY: tokens} if tokens else None)


def path(host: Host) -> Path:
    """Return where the tokens are stored."""
    return store.state_of(host).path / _FILE


def refused_keys(host: Host) -> frozenset[str]:
    """Return the ends of the API keys that the user refused when the host's client asked."""
    found = as_dict(as_dict(host_state(host)).get(KEY_ANSWERS)).get("rejected")
    return frozenset(each for each in found if isinstance(each, str)) if isinstance(found, list) else frozenset()
