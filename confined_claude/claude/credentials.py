"""The credentials of the host's Claude client, and what of them a session may have.

A copy has no refresh token. Those work once: a second owner logs the first one out. Without one the client uses
the access token and never refreshes.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ConfinedError, system_error
from ..text import parse_json

CREDENTIALS = ".credentials.json"
# What of the sign-in a session needs; the refresh token and MCP servers' tokens stay on the host.
OAUTH_KEYS = ("accessToken", "expiresAt", "scopes", "subscriptionType", "rateLimitTier")
# The year 5138. What is later is no date that anyone means, nor one that Python can format.
_NEVER_MS = 10**14


def read_host(source: Path) -> Any:
    """Return the parsed credentials of the host; None if there are none. Raises ConfinedError."""
    try:
        if not stat.S_ISREG(source.stat().st_mode):  # reading a FIFO would block
            raise ConfinedError(f"Cannot read {source}: it is no regular file.", "Look at it, and remove it.")
        content = source.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise system_error("read", source, error) from None
    if not content.strip():
        return None
    if (parsed := parse_json(content)) is None:
        raise ConfinedError(
            f"{source} is broken: it is not JSON.", "Sign in again with `claude` and /login on this machine."
        )
    return parsed


def usable(credentials: Any) -> Mapping[str, Any] | None:
    """Return the OAuth part if it has an access token; a logged-out client leaves an empty one."""
    oauth = credentials.get("claudeAiOauth") if isinstance(credentials, dict) else None
    token = oauth.get("accessToken") if isinstance(oauth, dict) else None
    return oauth if isinstance(token, str) and token else None


def is_newer(theirs: Mapping[str, Any], mine: Mapping[str, Any]) -> bool:
    """Return whether the host's sign-in replaces the container's; one of the same age replaces only another copy."""
    if expiry(theirs) == expiry(mine):
        return not mine.get("refreshToken") and theirs["accessToken"] != mine["accessToken"]
    return expiry(theirs) > expiry(mine)


def expiry(oauth: Mapping[str, Any]) -> float:
    """Return when the access token expires, in milliseconds since 1970; 0 if that is missing or makes no sense."""
    end = oauth.get("expiresAt")
    return end if isinstance(end, (int, float)) and 0 < end < _NEVER_MS else 0
