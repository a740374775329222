"""What was copied last from the host's sign-in into each of the containers' Claude configs, and what follows from it.

The record is in ``<state>``, where no session can write. It holds no secret: a token is known by its hash.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import Enum, auto
from pathlib import Path
from typing import Any, NamedTuple

from ..fs.directory import Directory
from ..state import store
from ..text import sha256
from .credentials import OAUTH_KEYS, HostSignIn, can_renew

_FILE, _KEY = "sign-ins.json", "configs"
_SIGNED_OUT = "Claude is signed out on your machine, and so are sessions: the copied sign-in is gone."
_OWN_IS_GONE = "The sign-in made inside a session is gone: sessions use your machine's again."
_SIGN_IN_AGAIN = "Nothing is copied from there. Repair that, or sign in again with `claude` and /login on your machine."
_OWN = (
    "Sessions have a sign-in of their own{}, made inside one of them. "
    "`confined-claude login --from-host` returns to your machine's."
)


class Copied(NamedTuple):
    """What the record says of one config.

    ``token`` is the hash of the access token that was copied last, empty if it was taken away again; ``source`` says
    where it came from, and is empty for what version 0.1 had copied. ``own`` is the account of the config's own sign-in
    that the user was told of, if there is one.
    """

    source: str = ""
    token: str = ""
    own: str | None = None


class Action(Enum):
    """What is done with the sign-in in a container's config."""

    KEEP = auto()
    COPY = auto()
    REMOVE = auto()


class Decision(NamedTuple):
    """What to do, what the record says afterwards (None: nothing), and what to tell the user."""

    action: Action
    record: Copied | None
    notes: tuple[str, ...] = ()


def decide(theirs: HostSignIn, mine: Mapping[str, Any] | None, record: Copied | None, account: str) -> Decision:
    """Return what becomes of ``mine``, the sign-in in a container's config, when a session starts.

    One that can renew itself is the container's own, as copies cannot, and stays; ``account`` is whose it is, empty
    if that is unknown. Everything else follows the host, whatever its dates say. What there is without a record was
    copied by version 0.1, and stays while the host has nothing else.
    """
    if can_renew(mine):
        if record is not None and record.own == account:
            return Decision(Action.KEEP, record)
        whose = f" as {account}" if account else ""
        return Decision(Action.KEEP, Copied(own=account), (_OWN.format(whose),))
    if theirs.problem:
        return Decision(Action.KEEP, record, (theirs.problem, _SIGN_IN_AGAIN))
    if theirs.oauth is None:
        by_0_1 = Copied(token=token_hash(mine))
        if mine is not None and record in (None, by_0_1):
            return Decision(Action.KEEP, by_0_1)
        nothing = Copied(theirs.source)
        return Decision(Action.KEEP, nothing) if mine is None else Decision(Action.REMOVE, nothing, (_SIGNED_OUT,))
    notes = (_OWN_IS_GONE,) if record is not None and record.own is not None else ()
    action = Action.KEEP if mine is not None and copy_of(mine) == copy_of(theirs.oauth) else Action.COPY
    return Decision(action, Copied(theirs.source, token_hash(theirs.oauth)), notes)


def decide_during(
    theirs: HostSignIn, mine: Mapping[str, Any] | None, record: Copied | None, *, removes: bool
) -> Decision:
    """Return what becomes of ``mine`` while sessions run: the same, but only over what was copied before.

    Anything else was signed in to inside meanwhile, and is left to the next start. A copy goes with the host's
    sign-in only if ``removes``.
    """
    known = (record.token if record else "", token_hash(theirs.oauth))
    if theirs.problem or can_renew(mine) or token_hash(mine) not in known or (theirs.is_signed_out and not removes):
        return Decision(Action.KEEP, record)
    return decide(theirs, mine, record, "")


def copy_of(oauth: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a session gets of a sign-in: never the refresh token."""
    return {key: oauth[key] for key in OAUTH_KEYS if key in oauth}


def token_hash(oauth: Mapping[str, Any] | None) -> str:
    """Return 64 hex digits for the access token of a sign-in; empty without one."""
    return sha256(oauth["accessToken"].encode("utf-8", "surrogatepass")) if oauth else ""


def read_record(state: Directory, config: Path) -> Copied | None:
    """Return what is on record of the Claude config at ``config``; None if there is nothing that can be read.

    Raises ConfinedError for a record of a newer version.
    """
    try:
        entry = store.read_entries(state, _FILE, _KEY)[str(config)]
        return Copied(**{name: entry[name] for name in Copied._fields})
    except (TypeError, LookupError):
        return None


def write_record(state: Directory, config: Path, record: Copied | None) -> None:
    """Put ``record`` on record for the Claude config at ``config``, and forget configs that are gone.

    Raises ConfinedError if that fails, and for a record of a newer version. The caller holds the lock on it.
    """
    known = store.read_entries(state, _FILE, _KEY)
    entries = {path: entry for path, entry in known.items() if os.path.lexists(path)}
    entries.pop(str(config), None)
    if record is not None:
        entries[str(config)] = record._asdict()
    store.write_json(state, _FILE, {"version": store.VERSION, _KEY: entries})
