"""The account that a Claude config is signed in as, as the client's global state names it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from typing import Any

from ..errors import ConfinedError
from ..fs.directory import Directory, Location, read_config
from ..fs.lock import lock_directory
from ..host import Host
from ..text import as_dict, escape, parse_json
from . import credentials
from .onboarding import GLOBAL_STATE, STATE_LOCK

_ACCOUNT = "oauthAccount"
_ADDRESS_LENGTH = 80
_LIMIT_BYTES = 64 << 20
# What the client (2.1.332) removes from its global state at a logout, as it belongs to one account.
_OF_ONE_ACCOUNT = (
    _ACCOUNT,
    *"""connectorFileSendsAllowedV1 managedSettingsNoticeSeenOrg trainingConsentSettledAt firstWeek
    additionalModelOptionsCache additionalModelOptionsAnsweredAt additionalModelCostsCache modelAccessCache
    orgModelDefaultCache cachedArtifactRoster artifactRosterDenied lastSeenOrgDefaultUpdatedAt clientDataCache
    clientDataCacheSlots autoCompactWindowsCache cachedUsageUtilization metricsStatusCache
    metricsStatusCacheByPrincipal githubWebConnectionStatusCache unusedLimitResetStatusCache promoCreditCheck
    startupPrefetchedAt""".split(),
)


def address_in(state: Any) -> str:
    """Return the e-mail address of the account in a global state, for a message; empty if it names none."""
    found = _account(state).get("emailAddress")
    return escape(found)[:_ADDRESS_LENGTH] if isinstance(found, str) else ""


def signed_in_as(location: Location, host: Host, *, is_lent: bool = False) -> str:
    """Return the address of the account that the Claude config at ``location`` uses; empty if that is unknown.

    A sign-in of its own is the config's own account, one that is copied or ``is_lent`` the host's.
    """
    if is_lent:
        return address_in(host_state(host))
    inside: Any = None
    oauth: Mapping[str, Any] | None = None
    with contextlib.suppress(OSError), location.open() as config:
        inside = parse_json(config.read(GLOBAL_STATE))
        oauth = credentials.usable(parse_json(config.read(credentials.CREDENTIALS, credentials.LIMIT_BYTES)))
    if credentials.can_renew(oauth):
        return address_in(inside)
    return address_in(host_state(host)) or (address_in(inside) if oauth else "")


def follow(config: Directory, host: Host) -> None:
    """Have ``config``, into which the host's sign-in was copied, name the host's account as well.

    On a change of account the client would name the old organization in its requests. Raises OSError.
    """
    theirs = host_state(host)
    if not _account(theirs) or not _differs(config, theirs):
        return
    with lock_directory(config, STATE_LOCK) as is_held:
        if is_held and (mine := _differs(config, theirs)):
            kept = {key: value for key, value in mine.items() if key not in _OF_ONE_ACCOUNT}
            with contextlib.suppress(RecursionError):  # nested deeper than can be written
                state = {**kept, _ACCOUNT: theirs[_ACCOUNT]}
                config.write(GLOBAL_STATE, json.dumps(state, indent=2).encode())


def host_state(host: Host) -> Any:
    """Return the global state of the host's client; None if there is none that can be read."""
    with contextlib.suppress(ConfinedError):
        return parse_json(read_config(host.claude_state, _LIMIT_BYTES))
    return None


def _differs(config: Directory, theirs: Any) -> dict[str, Any] | None:
    """Return the global state of ``config`` if it names another account than ``theirs``; None if it names none."""
    mine = as_dict(parse_json(config.read(GLOBAL_STATE)))
    return mine if _account(mine) and _identity(mine) != _identity(theirs) else None


def _account(state: Any) -> Mapping[str, Any]:
    return as_dict(as_dict(state).get(_ACCOUNT))


def _identity(state: Any) -> tuple[Any, Any]:
    return _account(state).get("accountUuid"), _account(state).get("organizationUuid")
