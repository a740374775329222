"""The credentials of the host's Claude client, and what of them a session may have.

A copy has no refresh token. Those work once: a second owner logs the first one out. Without one the client uses
the access token and never refreshes.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import ConfinedError
from ..fs.directory import Directory, read_config
from ..fs.lock import lock_directory
from ..text import as_dict, parse_json, repr_without

CREDENTIALS = ".credentials.json"
OAUTH = "claudeAiOauth"  # the sign-in in them
LIMIT_BYTES = 1 << 20
# Claude Code (2.1.332) holds it whenever it writes its credentials, and considers it stale after 15 s.
_CLAUDES_LOCK = ".storage-write.lock"
_STALE_SECONDS = 15.0
# What of the sign-in a session needs; the refresh token and MCP servers' tokens stay on the host.
OAUTH_KEYS = ("accessToken", "expiresAt", "scopes", "subscriptionType", "rateLimitTier")
# The year 5138. What is later is no date that anyone means, nor one that Python can format.
_NEVER_MS = 10**14


class HostSignIn(NamedTuple):
    """What the host's client is signed in with.

    ``source`` says where that is stored. ``oauth`` is None if the client is signed out; if that cannot be told,
    ``problem`` says why, in one line.
    """

    source: str
    oauth: Mapping[str, Any] | None = None
    problem: str = ""

    def __repr__(self) -> str:
        return repr_without(self, "oauth")

    @property
    def is_signed_out(self) -> bool:
        return self.oauth is None and not self.problem


def claudes_lock(config: Directory, seconds: float) -> AbstractContextManager[bool]:
    """Hold Claude's lock on the credentials in ``config``; yield False if it could not be had within ``seconds``."""
    return lock_directory(config, _CLAUDES_LOCK, seconds, _STALE_SECONDS)


def read_host(path: Path) -> HostSignIn:
    """Return the sign-in in the host's credentials file at ``path``."""
    try:
        content = read_config(path, LIMIT_BYTES)
    except ConfinedError as error:
        return HostSignIn(str(path), problem=error.message)
    parsed = parse_json(content)
    if parsed is None and content and content.strip():
        return HostSignIn(str(path), problem=f"{path} is broken: it is not JSON.")
    return HostSignIn(str(path), usable(parsed))


def usable(credentials: Any) -> Mapping[str, Any] | None:
    """Return the OAuth part if it has an access token; a logged-out client leaves an empty one."""
    oauth = as_dict(as_dict(credentials).get(OAUTH))
    token = oauth.get("accessToken")
    return oauth if isinstance(token, str) and token else None


def can_renew(oauth: Mapping[str, Any] | None) -> bool:
    """Return whether a client with this sign-in can renew it."""
    token = oauth.get("refreshToken") if oauth else None
    return isinstance(token, str) and bool(token)


def expiry(oauth: Mapping[str, Any]) -> float:
    """Return when the access token expires, in milliseconds since 1970; 0 if that is missing or makes no sense."""
    end = oauth.get("expiresAt")
    return end if isinstance(end, (int, float)) and 0 < end < _NEVER_MS else 0
