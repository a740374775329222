"""What a session is signed in with: a variable of Claude Code's, or credentials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .. import environment

CREDENTIALS_KIND = "credentials"
NOT_SIGNED_IN = "Not signed in to Claude."
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


def variable_in(environ: Mapping[str, str]) -> str:
    """Return the name of the variable that signs in; empty if none does."""
    return next((name for name in environment.SIGN_IN if environ.get(name)), "")
