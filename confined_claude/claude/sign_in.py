"""What a session is signed in with: one decision, by what the user's environment and Claude settings hold. Pure.

The order is that of Claude Code (2.1.332): a cloud, ANTHROPIC_AUTH_TOKEN, ANTHROPIC_API_KEY, ``apiKeyHelper``,
CLAUDE_CODE_OAUTH_TOKEN, credentials. A session gets what it sends, and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from .. import environment
from ..text import repr_without
from . import cloud
from .host_settings import KEY_HELPER, HostSettings
from .onboarding import KEY_SUFFIX
from .source import KEY, Source

CREDENTIALS_KIND = "credentials"
TOKEN_KIND = "the token of `confined-claude login`"  # noqa: S105 - no password
NOT_SIGNED_IN = "Not signed in to Claude."
HOW_TO_SIGN_IN = (
    "Sign in with `claude` on your machine, set CLAUDE_CODE_OAUTH_TOKEN or ANTHROPIC_API_KEY, "
    "or use /login inside: it is kept for the next session."
)

HOW_TO_SIGN_IN_LENT = (
    "Sign in with `claude` on your machine, or set CLAUDE_CODE_OAUTH_TOKEN or ANTHROPIC_API_KEY, and start again: a "
    "/login inside is removed when no lent session runs any more."
)

AUTH_TOKEN, API_KEY, OAUTH_TOKEN = environment.SIGN_IN
# The entrypoint makes files of these, for the session's user alone, and takes them out of its environment.
VALUE_VARIABLE = "CONFINED_CLAUDE_CREDENTIAL"
SETTINGS_VARIABLE = "CONFINED_CLAUDE_SIGN_IN_SETTINGS"
# Where the value is in the session. The client runs its helper again after this time, and at once if it is refused.
VALUE_FILE = "/run/confined-claude/sign-in/value"
_HELPER = f"/bin/cat {VALUE_FILE}"
_INSIDE_TTL_MS = "15000"
API = "https://api.anthropic.com"

_REFUSED = "ANTHROPIC_API_KEY is not used: you refused this key on your machine, when Claude asked about it."
# Kinds of sign-in that Claude Code (2.1.332) has in files of its own beside credentials, by the variable that tells.
_STAY = ("ANTHROPIC_PROFILE", "ANTHROPIC_FEDERATION_RULE_ID", "ANTHROPIC_IDENTITY_TOKEN_FILE")
_STAYS = "{} is set: what it signs in with stays on your machine, and no session has it."
_UNTIL = "`claude` there uses it again once you allow it in /config."


class SignIn(NamedTuple):
    """How a session is signed in, as far as can be told without asking anyone.

    ``kind`` is a variable's name, a cloud's, "credentials" and the like, or empty; ``notes`` are lines for the user,
    and ``remarks`` those that only a person at the terminal needs.
    """

    kind: str
    notes: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


class Chosen(NamedTuple):
    """What signs in beside credentials in Claude's own config.

    ``kind`` is as in SignIn, empty if nothing does. ``environ`` is the caller's environment with those variables of
    sign-ins alone that this one takes, ``inside`` are further variables for the session. ``source`` prints the
    credential. ``is_lent`` says whether the session is lent the credential; ``placeholder`` stands for it there once
    there is one.
    """

    kind: str
    environ: Mapping[str, str]
    source: Source | None = None
    inside: Mapping[str, str] = MappingProxyType({})
    notes: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    is_lent: bool = False
    placeholder: str = ""

    def __repr__(self) -> str:
        return repr_without(self, "environ")


def choose(environ: Mapping[str, str], settings: HostSettings, refused_keys: Collection[str], token: str) -> Chosen:
    """Return what signs in, with the variables ``environ``, over which those of the host's ``settings`` win.

    ``refused_keys`` are the ends of API keys that the user refused, ``token`` is that of ``login``, or empty.
    """
    merged = {**environ, **{name: value for name, value in settings.env.items() if environment.is_of_connection(name)}}
    everything = {**environ, **settings.env}
    if (used := environment.cloud_in(merged)) is not None:
        found = cloud.choose(used, merged, everything, settings)
        return Chosen(used.name, found.environ, found.source, found.inside, (*settings.problems, *found.notes))
    of_clouds = {name for each in environment.CLOUDS for name in (each.switch, each.skip)}
    kept = {name: value for name, value in merged.items() if name not in of_clouds}
    notes = [*settings.problems, *(_STAYS.format(name) for name in _STAY if everything.get(name))]
    if (key := kept.get(API_KEY)) and key[-KEY_SUFFIX:] in refused_keys:
        del kept[API_KEY]
        notes += (_REFUSED, _UNTIL)
    helper = settings.helpers.get(KEY_HELPER)
    present = {
        AUTH_TOKEN: bool(kept.get(AUTH_TOKEN)),
        API_KEY: bool(kept.get(API_KEY)),
        KEY_HELPER: helper is not None,
        OAUTH_TOKEN: bool(kept.get(OAUTH_TOKEN)),
        TOKEN_KIND: bool(token),
    }
    kinds = [kind for kind, is_there in present.items() if is_there]
    # A request has two headers: a bearer token and a key. The helper's value stands in each that nothing else fills.
    sent = [kind for kind in kinds if kind in (AUTH_TOKEN, API_KEY, KEY_HELPER)][:2] or kinds[:1]
    if OAUTH_TOKEN not in sent:
        kept.pop(OAUTH_TOKEN, None)
    if TOKEN_KIND in sent:
        kept[OAUTH_TOKEN] = token
    source = Source(KEY_HELPER, helper or "", KEY, everything) if KEY_HELPER in sent else None
    return Chosen(next(iter(kinds), ""), kept, source, {}, tuple(notes), billing(sent, kinds[len(sent) :]))


def billing(sent: Collection[str], unused: Collection[str]) -> tuple[str, ...]:
    """Return a line on which sign-in is billed, where there is more than one; ``unused`` are present all the same."""
    lines = []
    if len(sent) > 1:
        lines.append(f"Claude sends both {' and '.join(sent)}: who receives them decides which one is billed.")
    if unused:
        are = "is" if len(unused) == 1 else "are"
        lines.append(f"Signed in by {' and '.join(sent)}, which is billed; {' and '.join(unused)} {are} not used.")
    return tuple(lines)


def session_settings(chosen: Chosen, set_inside: Collection[str], network: Mapping[str, str]) -> str:
    """Return the session's managed settings for a sign-in, as JSON; empty if it needs none.

    They win over the settings of the project and of the container's config: ``set_inside`` are the variables of a
    sign-in that those set, which must not lead it elsewhere. ``network`` are the variables of the session's network.
    """
    effective = {**environment.split(chosen.environ)[1], **chosen.inside, **network}
    pinned = {name: effective.get(name, API if name == "ANTHROPIC_BASE_URL" else "") for name in set_inside}
    settings: dict[str, object] = {}
    if chosen.source is not None and chosen.source.form == KEY:
        settings["apiKeyHelper"] = _HELPER
        pinned["CLAUDE_CODE_API_KEY_HELPER_TTL_MS"] = _INSIDE_TTL_MS
    if pinned:
        settings["env"] = pinned
    return json.dumps(settings) if settings else ""


def not_counted(set_inside: Mapping[str, Path], root: Path, cloud: environment.Cloud | None) -> Iterator[str]:
    """Yield a line on what the settings of the project at ``root`` say of the sign-in in vain."""
    found = {name: path.relative_to(root) for name, path in set_inside.items() if path.is_relative_to(root)}
    if environment.known_to_lead(cloud) <= found.keys():
        files = " and ".join(sorted({str(path) for path in found.values()}))
        yield f"{files} cannot be read here as Claude Code reads it: what it says of the sign-in does not count."
    elif found:
        yield (
            f"{', '.join(sorted(found))} in this project's Claude settings would lead your sign-in elsewhere, and "
            "does not count: if you want that, set it in your own environment."
        )
