"""Keeps sign-ins out of the Claude config of sessions whose sign-in is lent: a `/login` made inside is removed."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator

from ..errors import ConfinedError, system_error
from ..fs.directory import Directory, Location
from ..fs.lock import Lock, lock_directory
from ..fs.removal import remove_tree
from ..text import parse_json, sha256
from .credentials import CREDENTIALS, LIMIT_BYTES, claudes_lock
from .onboarding import GLOBAL_STATE, LEGACY_STATE

_BACKUPS = "backups"
# Credentials, and the API key that the client (2.1.332) makes at a sign-in to the Console.
_KEY = "primaryApiKey"
_SIGN_IN = frozenset(("claudeAiOauth", _KEY))
# The client keeps five backups. A session may leave any number, which nobody reads to the end.
_MOST_COPIES = 50
# A session that never gives a lock of Claude's away does not keep a sign-in.
_PATIENCE_SECONDS = 3.0


@contextlib.contextmanager
def kept_signed_out(config: Location, state: Location, tell: Callable[[str], object]) -> Iterator[None]:
    """Remove what someone has signed in with inside from ``config`` at the end of the block, and ``tell`` so.

    Sessions that run at the same time share it: the last of them does it. ``state`` has their lock.
    """
    with state.at("locks").make() as directory, Lock.make(directory, _lock_name(config)) as lock:
        lock.acquire(shared=True)
        try:
            yield
        finally:
            if lock.try_acquire():
                try:
                    with config.open_if_exists() as opened:
                        for line in remove_sign_in(opened) if opened is not None else ():
                            tell(line)
                except ConfinedError as error:
                    tell(error.message)


def _lock_name(config: Location) -> str:
    return f"lent-{sha256(os.fsencode(config.path))[:16]}"


def remove_sign_in(config: Directory) -> Iterator[str]:
    """Remove what someone signed in with inside from ``config``, and yield a line on it. Raises ConfinedError.

    This covers the backups and copies that Claude and this tool make. Files without a sign-in are not written.
    """
    try:
        if _remove_credentials(config) | _remove_key(config) | _remove_copies(config):
            yield f"The sign-in made inside a session is removed from {config.path}: where it is lent, none is kept."
    except OSError as error:
        raise system_error("write to", config.path, error) from None


def _remove_credentials(config: Directory) -> bool:
    if not _has_sign_in(config, CREDENTIALS, LIMIT_BYTES):
        return False
    with claudes_lock(config, _PATIENCE_SECONDS):
        content = parse_json(config.read(CREDENTIALS, LIMIT_BYTES))  # a client may have written meanwhile
        # What else is there was signed in to inside, MCP servers for instance.
        kept = {key: content[key] for key in content if key not in _SIGN_IN} if isinstance(content, dict) else {}
        if kept:
            config.write(CREDENTIALS, json.dumps(kept).encode())
        else:
            remove_tree(config, CREDENTIALS)
    return True


def _remove_key(config: Directory) -> bool:
    if not _has_key(config):
        return False
    with lock_directory(config, f"{GLOBAL_STATE}.lock", _PATIENCE_SECONDS):
        if state := _has_key(config):
            config.write(GLOBAL_STATE, json.dumps({key: state[key] for key in state if key != _KEY}, indent=2).encode())
    return True


def _has_key(config: Directory) -> dict[str, object] | None:
    """Return the global state if a client could use a key in it, else None."""
    state = parse_json(config.read(GLOBAL_STATE))
    return state if isinstance(state, dict) and _KEY in state else None


def _remove_copies(config: Directory) -> bool:
    """Remove the backups and the files set aside that have a sign-in."""
    beginnings = (f"{CREDENTIALS}.", f"{GLOBAL_STATE}.", LEGACY_STATE)
    found = _remove_those(config, [name for name in config.names() if name.startswith(beginnings)])
    with config.child_or_none(_BACKUPS) as backups:
        return (backups is not None and _remove_those(backups, backups.names())) or found


def _remove_those(directory: Directory, names: list[str]) -> bool:
    """Remove each of ``names`` that has a sign-in; return whether there is one."""
    files = [name for name in sorted(names, reverse=True) if not directory.is_directory(name)]
    found = [name for number, name in enumerate(files) if number >= _MOST_COPIES or _has_sign_in(directory, name)]
    for name in found:
        remove_tree(directory, name)
    return bool(found)


def _has_sign_in(directory: Directory, name: str, limit: int = 16 << 20) -> bool:
    """Return whether a client could find a sign-in in a file, or nobody can tell; no client reads a directory."""
    if not directory.exists(name) or directory.is_directory(name):
        return False
    content = directory.read(name, limit)
    parsed = parse_json(content)
    if isinstance(parsed, dict):
        return not _SIGN_IN.isdisjoint(parsed)
    return content is None or any(key.encode() in content for key in _SIGN_IN)
