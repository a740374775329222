"""Whose Claude account sessions use: that of each profile, and the one in force here."""

from __future__ import annotations

import contextlib
from typing import Any, NamedTuple

from ..claude import account, choosing
from ..claude.config import ClaudeConfig
from ..claude.sign_in import CREDENTIALS_KIND
from ..errors import ConfinedError
from ..fs.directory import Location
from ..host import Host
from ..project import Project
from ..settings import Settings
from ..settings.specs import LENT
from ..state import profiles
from ..state.profiles import Profile
from ..text import escape
from ..workspace import Workspace, shared_config


class Account(NamedTuple):
    """A profile with its Claude config and the host as the profile sees it.

    ``sign_in`` is what its sessions are signed in with, ``address`` the e-mail address of the account; both may be
    empty. ``is_current`` says whether sessions started here use it, and ``is_lent`` whether those are lent the sign-in.
    """

    profile: Profile
    config: Location
    host: Host
    sign_in: str
    address: str
    is_current: bool
    is_lent: bool = False

    @property
    def in_words(self) -> str:
        """Who that is, for a message."""
        if not self.sign_in:
            return "not signed in"
        who = self.address or "an account without a known address"
        return f"{who if self.sign_in == CREDENTIALS_KIND else self.sign_in}{', lent' if self.is_lent else ''}"

    def document(self) -> dict[str, Any]:
        """Return it as a value for JSON."""
        return {
            "name": self.profile.name,
            "copies_from": str(self.profile.source),
            "sign_in": self.sign_in or None,
            "is_lent": self.is_lent,
            "account": self.address or None,
            "is_current": self.is_current,
        }


def in_force(host: Host, here: Project | None, settings: Settings) -> Account:
    """Return the account of sessions started in the project ``here``, or where there is none. Raises ConfinedError."""
    profile = profiles.find(host, settings.profile)
    bound = profile.bind(host)
    is_lent = settings.sign_in == LENT
    if here is None:
        return _account(profile, bound, shared_config(bound, profile.name), is_current=True, is_lent=is_lent)
    workspace = Workspace(bound, here, settings, profile=profile)
    return _account(profile, bound, workspace.profile_config, is_current=True, is_lent=is_lent)


def accounts(host: Host, current: Account) -> list[Account]:
    """Return the accounts of all profiles, the ``current`` one among them. Raises ConfinedError."""
    others = [profile for profile in profiles.known(host) if profile.name != current.profile.name]
    found = [_account(each, each.bind(host), shared_config(host, each.name), is_current=False) for each in others]
    return sorted((current, *found), key=lambda each: (each.profile.name != profiles.DEFAULT, each.profile.name))


def line(found: Account, wanted: str) -> str:
    """Return a line on the account, for which the setting ``profile`` is ``wanted``, in printable characters."""
    subject = "The profile" if wanted == found.profile.name else f"The profile for {wanted}"
    return escape(f"{subject} is {found.profile.name}: {found.in_words}; it copies from {found.profile.source}.")


def _account(profile: Profile, host: Host, config: Location, *, is_current: bool, is_lent: bool = False) -> Account:
    chosen = None
    with contextlib.suppress(ConfinedError):  # a start says what is wrong
        chosen = choosing.find(host, (), config, is_lent=is_lent)
    sign_in = ClaudeConfig(config, host, chosen).look()[0].kind
    address = ""
    if sign_in == CREDENTIALS_KIND:
        address = account.signed_in_as(config, host, is_lent=is_lent)
    return Account(profile, config, host, sign_in, address, is_current, is_lent)
