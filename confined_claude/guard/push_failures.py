"""Why git fails at a push that a session asks for: its words for the user, and what the session may know. Pure."""

from __future__ import annotations

import re

from ..text import strip_controls
from .push_request import with_masked_urls

# What git says where nothing that it has, or may ask for, signs in.
_NO_SIGN_IN = re.compile(
    r"could not read (Username|Password)|Authentication failed|Permission denied|prompts disabled|Host key verification"
)
_MOST_LINES, _LENGTH = 3, 400


class CannotPush(Exception):
    """A push that a session asks for cannot be made. ``reason`` is a clause on why; ``told`` is what the session hears.

    It never ends a command: the request is refused with it.
    """

    def __init__(self, reason: str, told: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.told = told or reason


class GitError(CannotPush):
    """git has failed. ``reason`` has its words, for the user alone.

    They may have what signs in, such as a token in an address of the user's settings.
    """

    def __init__(self, command: str, said: bytes | None, *, is_local: bool) -> None:
        """Take what git has ``said``, None if it was killed; it ``is_local`` if no remote takes part."""
        reason = told = "it takes too long"
        if said is not None:
            text = with_masked_urls(strip_controls(said.decode("utf-8", "replace")))
            lines = [line.strip() for line in text.splitlines()]
            reason = _last_words(lines)
            told = f"git {command} fails" if is_local else _kind(lines)
        super().__init__(f"git {command} fails: {reason}", told)


def _last_words(lines: list[str]) -> str:
    words = [line for line in lines if line.startswith(("!", "remote:", "fatal:", "error:"))]
    return _joined(words or [*filter(None, lines)]) or "it does not say why"


def _kind(lines: list[str]) -> str:
    """Return what the remote says, if it rejects a push, else what kind of failure it is."""
    words = [line for line in lines if line.startswith(("!", "remote:"))]
    if any(line.startswith("!") for line in words):
        return f"the remote rejects it: {_joined(words)}"
    if any(map(_NO_SIGN_IN.search, lines)):
        return "your machine has no sign-in for the remote that needs no question, or the remote refuses it"
    return "the remote cannot be reached, or does not answer"


def _joined(lines: list[str]) -> str:
    return " · ".join(lines[-_MOST_LINES:])[-_LENGTH:]
