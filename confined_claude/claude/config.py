"""The container's own Claude config: brought up to date from the host's, never the other way round."""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .. import environment
from ..errors import ConfinedError, system_error
from ..fs.directory import Location
from ..host import Host
from ..text import parse_json
from . import credentials, onboarding, setup
from .credentials import CREDENTIALS

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
                    onboarding.skip(config, self._environ.get("ANTHROPIC_API_KEY", ""))
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
        return sign_in, None if renews or oauth is None else credentials.expiry(oauth) / 1000

    def _make(self) -> None:
        """Make it with a copy of the settings of the host: completely, or not at all."""
        path = self._location.path
        with Location(self._location.base, self._location.parts[:-1]).make() as parent:
            if parent.exists(path.name):
                return
            new = f".{path.name}.{secrets.token_hex(6)}"
            try:
                parent.mkdir(new)
                setup.copy(self._source, path.parent / new)
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
        mine = credentials.usable(existing)
        try:
            theirs = credentials.usable(credentials.read_host(self._source / CREDENTIALS))
        except ConfinedError as error:
            if not variable and mine is None:
                raise
            return SignIn(variable or "credentials", (error.message,)), False, mine
        is_new = theirs is not None and (mine is None or credentials.is_newer(theirs, mine))
        if theirs is not None and is_new:
            mine = {key: theirs[key] for key in credentials.OAUTH_KEYS if key in theirs}
        if variable:
            return SignIn(variable), is_new, mine
        if mine is None:
            return SignIn("", ("Not signed in to Claude.", HOW_TO_SIGN_IN)), False, None
        if not mine.get("refreshToken") and 0 < credentials.expiry(mine) < time.time() * 1000:
            notes = ("The copied sign-in has expired.", "Run `claude` on this machine once: it renews it.")
            return SignIn("credentials", notes), is_new, mine
        return SignIn("credentials"), is_new, mine
