"""Claude's own sign-in where it is lent: what the session has in its place, and to which host."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from .. import environment
from ..claude.host_settings import KEY_HELPER
from ..claude.lending import LentFollower
from ..claude.sign_in import API, CREDENTIALS_KIND, OAUTH_TOKEN, Chosen
from ..egress.lending import LENDING
from ..errors import ConfinedError
from ..settings import SPECS
from ..settings.secrets import HTTPS_PORT, OWN
from ..text import escape
from ..workspace import Workspace
from .given import Given
from .lent import NOT_LENDABLE, Lent, is_lendable, placeholder

# Claude Code (2.1.332) sends a token in the one and a key in the other, and a helper's value in both.
_HEADERS = ("authorization", "x-api-key")
# What it knows of credentials beside their token, for a token that comes by a variable.
_INSIDE = {
    "scopes": "CLAUDE_CODE_OAUTH_SCOPES",
    "subscriptionType": "CLAUDE_CODE_SUBSCRIPTION_TYPE",
    "rateLimitTier": "CLAUDE_CODE_RATE_LIMIT_TIER",
}
_RENEWED = (KEY_HELPER, CREDENTIALS_KIND)
# What else can sign in: headers of these names, and any with a value of these forms.
_URL, _MORE_HEADERS = "ANTHROPIC_BASE_URL", "ANTHROPIC_CUSTOM_HEADERS"
_SIGNS_IN = re.compile(r"(?i).*(auth|authorization|cookie|token|key|secret|password|credentials?)")
_SCHEME = re.compile(r"(?i)(?:basic|bearer|token) +(.*)")
_PLAIN = re.compile(r"[A-Za-z0-9_:. -]{1,1000}")
# Of what is known only later, as of a key of Anthropic's.
_UNKNOWN = f"sk-ant-api03-{'x' * 95}"
_GIVE = 'give the session its sign-in: `--sign-in given`, or `sign_in = "given"` in your own config file.'


def lend(workspace: Workspace, chosen: Chosen, given: Given | None) -> tuple[Chosen, Given | None]:
    """Return ``chosen`` with placeholders in the place of what signs in, and ``given`` with that as lent.

    Without a sign-in nothing is. Raises ConfinedError for one that cannot be lent, and for one beside it.
    """
    chosen = chosen._replace(is_lent=True)
    if (cloud := environment.cloud_in(chosen.environ)) is not None:
        raise ConfinedError(f"The sign-in to {cloud.name} cannot be lent.", f"Sign in to Claude's API, or {_GIVE}")
    oauth = None if chosen.kind else LentFollower(workspace.claude_config, workspace.host).look().theirs.oauth
    lent: list[Lent] = []
    for kind, value in _values(chosen, oauth):
        if value and not is_lendable(value):
            raise ConfinedError(f"{kind} {NOT_LENDABLE}", f"Set it right, or {_GIVE}")
        mine, host = placeholder(value or _UNKNOWN), _host(chosen.environ)
        lent += (Lent((host,), header, mine, value or mine, kind) for header in _HEADERS)
        if kind in _RENEWED:
            chosen = chosen._replace(placeholder=mine)
        if oauth is not None:
            chosen = chosen._replace(environ={**chosen.environ, OAUTH_TOKEN: mine}, inside=_inside(oauth))
    mode = workspace.settings.network
    if lent and mode not in LENDING:
        raise ConfinedError(
            f"Claude's sign-in cannot be lent with network = {mode}: there is no sidecar that lends.",
            f"Choose network = {' or '.join(LENDING)}, or {_GIVE}",
        )
    if lent:
        given = given or Given()
        given = given._replace(lent=(*given.lent, *lent))
    if given is not None:
        chosen = chosen._replace(environ=given.hide(chosen.environ))
    _refuse_in_clear(chosen.environ, {one.placeholder for one in given.lent} if given else ())
    return chosen, given


def _refuse_in_clear(environ: Mapping[str, str], placeholders: Collection[str]) -> None:
    """Raise ConfinedError, without a value, for a sign-in in ``environ`` that is none of the ``placeholders``."""
    if re.search("[@?]", environ.get(_URL, "")):
        raise ConfinedError(
            f"{_URL} has a user, a password or a query, which the session would have in clear.",
            f"Take it out, and set ANTHROPIC_AUTH_TOKEN or ANTHROPIC_API_KEY, or {_GIVE}",
        )
    for line in environ.get(_MORE_HEADERS, "").splitlines():
        name, _, value = (part.strip() for part in line.partition(":"))
        word = found[1] if (found := _SCHEME.fullmatch(value)) else value
        if word and word not in placeholders and (found or _SIGNS_IN.fullmatch(name)):
            raise ConfinedError(
                f"{_MORE_HEADERS} has {escape(name)}, and its value is not lent: the session would have it in clear.",
                f"Set ANTHROPIC_AUTH_TOKEN or ANTHROPIC_API_KEY to it, or lend it by `[secrets.NAME]`, or {_GIVE}",
            )


def _values(chosen: Chosen, oauth: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    """Yield what signs in by its kind, empty where it comes later."""
    yield from ((name, value) for name in environment.SIGN_IN if (value := chosen.environ.get(name)))
    if chosen.source is not None:
        yield KEY_HELPER, ""
    if oauth is not None:
        yield CREDENTIALS_KIND, oauth["accessToken"]


def _host(environ: Mapping[str, str]) -> tuple[str, int]:
    """Return the host of Claude's API, and its port. Raises ConfinedError for one to which nothing can be lent."""
    scheme = host = ""
    with contextlib.suppress(ValueError):
        parts = urlsplit(environ.get(_URL) or API)
        scheme, host, port = parts.scheme, (parts.hostname or "").lower(), parts.port or HTTPS_PORT
        if scheme == "https" and SPECS["allow"].allows(f"{host}:{port}") and not re.fullmatch(OWN, host):
            return host, port
    raise ConfinedError(
        f"Claude's sign-in cannot be lent to {escape(f'{scheme}://{host}')}, which {_URL} names.",
        f"Use an https:// address with a name that is not your machine's, or {_GIVE}",
    )


def _inside(oauth: Mapping[str, Any]) -> dict[str, str]:
    """Return the variables with what Claude Code knows of credentials beside their token."""
    scopes = oauth.get("scopes")
    texts = {**oauth, "scopes": " ".join(map(str, scopes)) if isinstance(scopes, list) else None}
    found = {name: texts.get(key) for key, name in _INSIDE.items()}
    return {name: text for name, text in found.items() if isinstance(text, str) and _PLAIN.fullmatch(text)}
