"""Sign-in and settings: copied into the container's own Claude config, never out of it.

The copy has no refresh token. Those work once: a second owner logs the first one out. Without one the client uses
the access token and never refreshes.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import environment
from ..errors import ConfinedError, system_error
from ..fs.directory import Directory, Location
from ..fs.lock import lock_directory
from ..host import Host
from ..text import parse_json

CREDENTIALS = ".credentials.json"
GLOBAL_STATE = ".claude.json"
# What of the sign-in a session needs; the refresh token and MCP servers' tokens stay on the host.
_OAUTH_KEYS = ("accessToken", "expiresAt", "scopes", "subscriptionType", "rateLimitTier")
# What the first start copies of the user's own setup.
_SETTINGS = ("settings.json", "CLAUDE.md", "agents", "commands", "output-styles", "rules", "skills")
_SETTINGS_LIMIT = 64 << 20
# The year 5138. What is later is no date that anyone means, nor one that Python can format.
_NEVER_MS = 10**14
# Claude Code remembers an approved API key by its last 20 characters.
_KEY_SUFFIX = 20

HOW_TO_SIGN_IN = (
    "Sign in with `claude` on this machine, set CLAUDE_CODE_OAUTH_TOKEN or ANTHROPIC_API_KEY, "
    "or use /login inside: it is kept for the next session."
)


@dataclass(frozen=True)
class SignIn:
    """How a session is signed in, as far as can be told without asking anyone.

    ``kind`` is a variable's name, "credentials", or empty; ``notes`` are lines for the user.
    """

    kind: str
    notes: tuple[str, ...] = ()


class ClaudeConfig:
    """The container's own Claude config, at ``location``, beside that of the host which it is copied from."""

    def __init__(self, location: Location, host: Host) -> None:
        self._location = location
        self._source = host.claude_config
        self._environ = host.environ

    def prepare(self) -> SignIn:
        """Bring it up to date before a session; return how that is signed in.

        The first time it is made, with a copy of the user's settings. Every time the host's credentials are copied if
        they are newer, and the first screen is made to be the prompt. Raises ConfinedError where the host's
        credentials are the only sign-in and cannot be read, and where it cannot be written; then nothing has changed.
        """
        self._make()
        with self._location.make() as config:
            try:
                existing = parse_json(config.read(CREDENTIALS))
                sign_in, is_new, oauth = self._choose(existing)
                if is_new:
                    # What else is there was signed in to inside, MCP servers for instance.
                    others = existing if isinstance(existing, dict) else {}
                    config.write(CREDENTIALS, json.dumps({**others, "claudeAiOauth": oauth}).encode())
                if sign_in.kind:
                    _skip_onboarding(config, self._environ.get("ANTHROPIC_API_KEY", ""))
            except OSError as error:
                raise system_error("write to", config.path, error) from None
        return sign_in

    def look(self) -> tuple[SignIn, float | None]:
        """Return how a session would be signed in, and until when; nothing is changed.

        The end is in epoch seconds, 0 if it is not known, None where there is none. Raises ConfinedError as
        ``prepare`` does for the host's credentials.
        """
        existing = None
        with contextlib.suppress(OSError), self._location.open() as config:
            existing = parse_json(config.read(CREDENTIALS))
        sign_in, _, oauth = self._choose(existing)
        renews = sign_in.kind != "credentials" or oauth is None or bool(oauth.get("refreshToken"))
        return sign_in, None if renews or oauth is None else _expiry(oauth) / 1000

    def _make(self) -> None:
        """Make it with a copy of the settings of the host: completely, or not at all."""
        path = self._location.path
        with Location(self._location.base, self._location.parts[:-1]).make() as parent:
            if parent.exists(path.name):
                return
            new = f".{path.name}.{secrets.token_hex(6)}"
            try:
                parent.mkdir(new)
                for name in _SETTINGS:
                    _copy_readable(self._source / name, path.parent / new / name)
                # Fails if another session was first, and then its directory is as good.
                with contextlib.suppress(FileExistsError):
                    parent.rename(new, path.name)
            except OSError as error:
                if not path.is_dir():
                    raise system_error("make", path, error) from None
            finally:
                shutil.rmtree(path.parent / new, ignore_errors=True)

    def _choose(self, existing: Any) -> tuple[SignIn, bool, Mapping[str, Any] | None]:
        """Return a session's sign-in, whether it is newly the host's, and its OAuth part.

        ``existing`` are the container's own credentials. Raises ConfinedError where the host's credentials are the
        only sign-in and cannot be read.
        """
        variable = next((name for name in environment.SIGN_IN if self._environ.get(name)), "")
        mine = _usable(existing)
        try:
            theirs = _usable(_host_credentials(self._source / CREDENTIALS))
        except ConfinedError as error:
            if not variable and mine is None:
                raise
            return SignIn(variable or "credentials", (error.message,)), False, mine
        is_new = theirs is not None and (mine is None or _is_newer(theirs, mine))
        if theirs is not None and is_new:
            mine = {key: theirs[key] for key in _OAUTH_KEYS if key in theirs}
        if variable:
            return SignIn(variable), is_new, mine
        if mine is None:
            return SignIn("", ("Not signed in to Claude.", HOW_TO_SIGN_IN)), False, None
        if not mine.get("refreshToken") and 0 < _expiry(mine) < time.time() * 1000:
            notes = ("The copied sign-in has expired.", "Run `claude` on this machine once: it renews it.")
            return SignIn("credentials", notes), is_new, mine
        return SignIn("credentials"), is_new, mine


def _copy_readable(source: Path, target: Path, above: frozenset[Path] = frozenset()) -> None:
    """Copy a file, or a directory's files, with links resolved; skip what cannot be read.

    ``above`` are the real directories on the way down: a link back to one of them ends there.
    """
    if _is_directory(source):
        real = Path(os.path.realpath(source))
        if real not in above:
            target.mkdir(mode=0o700)
            for entry in _listed(source):
                _copy_readable(entry, target / entry.name, above | {real})
        return
    try:
        status = source.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > _SETTINGS_LIMIT:
            return
        content = source.read_bytes()
    except OSError:
        return
    target.write_bytes(content)
    target.chmod(0o600 | (status.st_mode & 0o100))


def _is_directory(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # in a directory that may not be searched
        return False


def _listed(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except OSError:
        return []


def _host_credentials(source: Path) -> Any:
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


def _usable(credentials: Any) -> Mapping[str, Any] | None:
    """Return the OAuth part if it has an access token; a logged-out client leaves an empty one."""
    oauth = credentials.get("claudeAiOauth") if isinstance(credentials, dict) else None
    token = oauth.get("accessToken") if isinstance(oauth, dict) else None
    return oauth if isinstance(token, str) and token else None


def _is_newer(theirs: Mapping[str, Any], mine: Mapping[str, Any]) -> bool:
    """Return whether the host's sign-in replaces the container's; one of the same age replaces only another copy."""
    if _expiry(theirs) == _expiry(mine):
        return not mine.get("refreshToken") and theirs["accessToken"] != mine["accessToken"]
    return _expiry(theirs) > _expiry(mine)


def _expiry(oauth: Mapping[str, Any]) -> float:
    """Return when the access token expires, in milliseconds since 1970; 0 if that is missing or makes no sense."""
    expiry = oauth.get("expiresAt")
    return expiry if isinstance(expiry, (int, float)) and 0 < expiry < _NEVER_MS else 0


def _skip_onboarding(config: Directory, api_key: str) -> None:
    """Mark the first-run questions as answered, under the lock that Claude Code itself takes.

    A file that is not a JSON object is left to Claude Code, which keeps a copy of it.
    """
    if not _onboarded(config, api_key):
        return
    with lock_directory(config, f"{GLOBAL_STATE}.lock") as is_held:
        state = _onboarded(config, api_key) if is_held else None
        if state:
            with contextlib.suppress(RecursionError):  # nested deeper than can be written
                config.write(GLOBAL_STATE, json.dumps(state, indent=2).encode())


def _onboarded(config: Directory, api_key: str) -> dict[str, Any] | None:
    """Return the state with the questions answered; None if nothing is to be changed."""
    content = config.read(GLOBAL_STATE)
    if content is None and config.exists(GLOBAL_STATE):
        return None
    state = parse_json(content) if content and content.strip() else {}
    if not isinstance(state, dict):
        return None
    responses = state.get("customApiKeyResponses")
    responses = responses if isinstance(responses, dict) else {}
    approved = responses.get("approved")
    approved = approved if isinstance(approved, list) else []
    suffix = api_key[-_KEY_SUFFIX:]
    if state.get("hasCompletedOnboarding") is True and (not suffix or suffix in approved):
        return None
    state["hasCompletedOnboarding"] = True
    if suffix and suffix not in approved:
        rejected = responses.get("rejected")
        rejected = [key for key in rejected if key != suffix] if isinstance(rejected, list) else []
        state["customApiKeyResponses"] = {**responses, "approved": [*approved, suffix], "rejected": rejected}
    return state
