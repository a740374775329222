"""The sign-in in a container's config follows the host's: when a session starts, and while sessions run."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import system_error
from ..fs.directory import Directory, Location
from ..fs.lock import lock_directory, locked
from ..host import Host
from ..state.store import state_of
from ..text import escape, parse_json
from . import copied, credentials
from .copied import Action, Decision
from .credentials import CREDENTIALS, HostSignIn
from .onboarding import GLOBAL_STATE

_LOCK = "sign-ins.lock"
# Claude Code (2.1.332) holds it whenever it writes its credentials, and takes it for stale after 15 s.
_CLAUDES_LOCK = ".storage-write.lock"
_STALE_SECONDS = 15.0
_ACCOUNT_LENGTH = 80


@dataclass(frozen=True)
class Followed:
    """How things stand: the host's sign-in, that of the container's config by now, and what to tell the user."""

    theirs: HostSignIn
    mine: Mapping[str, Any] | None
    notes: tuple[str, ...] = ()


class Follower:
    """Brings the sign-in in the Claude config at ``location`` in line with that of ``host``."""

    def __init__(self, location: Location, host: Host) -> None:
        self._location = location
        self._state = state_of(host)
        self._source = host.claude_config / CREDENTIALS

    def look(self) -> tuple[HostSignIn, Mapping[str, Any] | None, Decision]:
        """Return the host's sign-in, that of the config, and what a start would do; nothing is changed.

        Raises ConfinedError for a record of a newer version.
        """
        theirs, credentials_inside, account, record = credentials.read_host(self._source), None, "", None
        with contextlib.suppress(OSError), self._location.open() as config:
            credentials_inside, account = _read(config), _account(config)
        with self._state.open_if_exists() as state:
            if state is not None:
                record = copied.read_record(state, self._location.path)
        mine = credentials.usable(credentials_inside)
        return theirs, mine, copied.decide(theirs, mine, record, account)

    def follow(self, config: Directory, *, from_host: bool = False) -> Followed:
        """Do what is to be done when a session starts; with ``from_host`` also an own sign-in gives way.

        Raises ConfinedError where something cannot be written, and for a record of a newer version.
        """
        with locked(self._state, _LOCK) as state:
            record = copied.read_record(state, self._location.path)
            theirs = credentials.read_host(self._source)
            aside = _make_room(config)
            inside = _read(config)
            mine = None if from_host else credentials.usable(inside)
            decision = copied.decide(theirs, mine, record, _account(config))
            if decision.action is not Action.KEEP:
                mine = self._write(config, inside, theirs)
            if decision.record != record:
                copied.write_record(state, self._location.path, decision.record)
        return Followed(theirs, mine, aside + decision.notes)

    def _write(self, config: Directory, inside: Any, theirs: HostSignIn) -> Mapping[str, Any] | None:
        """Replace the sign-in in ``config``, whose credentials are ``inside``, by a copy of the host's, or by none."""
        # What else is there was signed in to inside, MCP servers for instance.
        content = {key: value for key, value in inside.items() if key != "claudeAiOauth"} if inside else {}
        copy = copied.copy_of(theirs.oauth) if theirs.oauth else None
        if copy is not None:
            content["claudeAiOauth"] = copy
        try:
            # A session that never gives the lock away does not keep the host's sign-in out.
            with lock_directory(config, _CLAUDES_LOCK, stale=_STALE_SECONDS):
                if content:
                    config.write(CREDENTIALS, json.dumps(content).encode())
                else:
                    config.unlink(CREDENTIALS)
        except OSError as error:
            raise system_error("write to", config.path, error) from None
        return copy


def _read(config: Directory) -> dict[str, Any]:
    parsed = parse_json(config.read(CREDENTIALS, credentials.LIMIT_BYTES))
    return parsed if isinstance(parsed, dict) else {}


def _account(config: Directory) -> str:
    """Return the address of the account that the config names, for a message; empty if it names none."""
    state = parse_json(config.read(GLOBAL_STATE))
    account = state.get("oauthAccount") if isinstance(state, dict) else None
    address = account.get("emailAddress") if isinstance(account, dict) else None
    return escape(address)[:_ACCOUNT_LENGTH] if isinstance(address, str) else ""


def _make_room(config: Directory) -> tuple[str, ...]:
    """Rename what a client cannot use in place of its credentials, and return what to say of it."""
    if not config.exists(CREDENTIALS) or config.is_link(CREDENTIALS):
        return ()
    if config.is_file(CREDENTIALS) and config.stat(CREDENTIALS).st_size <= credentials.LIMIT_BYTES:
        return ()
    aside = f"{CREDENTIALS}.{time.strftime('%Y%m%d-%H%M%S')}"
    try:
        config.rename(CREDENTIALS, aside)
    except OSError as error:
        raise system_error("rename", config.path / CREDENTIALS, error) from None
    return (f"{config.path / CREDENTIALS} is no file with credentials, and is now {aside}.",)
