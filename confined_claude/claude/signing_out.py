"""Keeps sign-ins out of the Claude config of sessions whose sign-in is lent: a `/login` made inside is removed."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from ..errors import ConfinedError, system_error
from ..fs.directory import Directory, Location
from ..fs.lock import Lock, lock_directory
from ..fs.removal import remove_tree
from ..state.locks import locks_in
from ..text import parse_json, sha256
from .credentials import CREDENTIALS, LIMIT_BYTES, OAUTH, claudes_lock
from .onboarding import BACKUPS, GLOBAL_STATE, LEGACY_STATE, STATE_LOCK

# Credentials, and the API key that the client (2.1.332) makes at a sign-in to the Console.
_SIGN_IN = frozenset((OAUTH, "primaryApiKey"))
_STATE_BYTES = 64 << 20  # as much as is carried into a session
# The client keeps five backups. A session may leave any number of any size, which nobody reads to the end.
_MOST_COPIES, _MOST_BYTES = 50, 8 << 20
# A session that never gives a lock of Claude's away does not keep a sign-in.
_PATIENCE_SECONDS = 3.0


@contextlib.contextmanager
def kept_signed_out(config: Location, state: Location, tell: Callable[[str], object]) -> Iterator[None]:
    """Remove what someone has signed in with inside from ``config`` at the end of the block, and ``tell`` so.

    Sessions that run at the same time share it: the last of them does it. ``state`` has their lock.
    """
    with locks_in(state).make() as directory, Lock.make(directory, _lock_name(config)) as lock:
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

    This covers the backups and copies that Claude and this tool make. What is no JSON object for this tool may be one
    for the client, and goes as a whole. Other files without a sign-in are not written.
    """
    try:
        found = [  # a list, as every place is cleaned whatever another had
            _remove(config, CREDENTIALS, LIMIT_BYTES, claudes_lock(config, _PATIENCE_SECONDS)),
            _remove(config, GLOBAL_STATE, _STATE_BYTES, lock_directory(config, STATE_LOCK, _PATIENCE_SECONDS)),
            (copies := _Copies()).remove_all(config),
        ]
    except OSError as error:
        raise system_error("write to", config.path, error) from None
    if any(found):
        yield (
            f"A sign-in made inside a session, or a file that could hide one, is removed from {config.path}: "
            "where it is lent, none is kept."
        )
    if copies.too_much:
        yield f"Old backups in {config.path} are removed: there are more of them than are searched for a sign-in."


def _remove(config: Directory, name: str, limit: int, lock: AbstractContextManager[bool]) -> bool:
    """Remove the sign-in from a file that has more than that; return whether there is one."""
    if not _signs_in(config, name, config.read(name, limit)):
        return False
    with lock:
        content = parse_json(config.read(name, limit))  # a client may have written meanwhile
        # What else is there was signed in to inside, MCP servers for instance.
        kept = {key: content[key] for key in content if key not in _SIGN_IN} if isinstance(content, dict) else {}
        text = ""
        with contextlib.suppress(RecursionError):  # nested deeper than can be written
            text = json.dumps(kept, indent=2 if name == GLOBAL_STATE else None)  # as the client writes them
        if kept and text:
            config.write(name, text.encode())
        else:
            remove_tree(config, name)
    return True


class _Copies:
    """Copies of Claude's files, of which so much is read in all, and whether there was too much of them."""

    def __init__(self) -> None:
        self._left = _MOST_BYTES
        self.too_much = False

    def remove_all(self, config: Directory) -> bool:
        """Remove backups and files set aside with a sign-in, or too much to be read; return whether one has that."""
        beginnings = (f"{CREDENTIALS}.", f"{GLOBAL_STATE}.", LEGACY_STATE)
        is_found = self._remove(config, [name for name in config.names() if name.startswith(beginnings)])
        with config.child_or_none(BACKUPS) as backups:
            return (backups is not None and self._remove(backups, backups.names())) or is_found

    def _remove(self, directory: Directory, names: list[str]) -> bool:
        is_found = False
        files = [name for name in sorted(names, reverse=True) if not directory.is_directory(name)]
        for number, name in enumerate(files):
            is_too_much = number >= _MOST_COPIES or _size(directory, name) > self._left
            content = None if is_too_much else directory.read(name, self._left)
            self._left -= len(content or b"")
            if _signs_in(directory, name, content):
                self.too_much |= is_too_much
                is_found |= not is_too_much
                remove_tree(directory, name)
        return is_found


def _size(directory: Directory, name: str) -> int:
    """Return the size of a file; 0 for anything else, and for one that is gone."""
    with contextlib.suppress(OSError):
        status = directory.stat(name)
        return status.st_size if stat.S_ISREG(status.st_mode) else 0
    return 0


def _signs_in(directory: Directory, name: str, content: bytes | None) -> bool:
    """Return whether a client could find a sign-in in a file with this ``content``, None if that cannot be read.

    No client reads a directory, or finds one in an empty file.
    """
    if content is None:
        return directory.exists(name) and not directory.is_directory(name)
    parsed = parse_json(content)
    return bool(content.strip()) and not (isinstance(parsed, dict) and _SIGN_IN.isdisjoint(parsed))
