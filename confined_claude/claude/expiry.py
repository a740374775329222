"""The end of a copied sign-in, said while there is time to do something about it. Pure."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from .credentials import HostSignIn, can_renew, expiry

EXPIRED = "The copied sign-in has expired."
HOW_TO_RENEW = "Run `claude` on this machine once: it renews it, and running sessions use the new one."
_HOW_TO_SIGN_IN_AGAIN = "Use /login in `claude` on this machine: running sessions use the new one."
_DAY_SECONDS = 24 * 3600.0
# A client renews an access token shortly before its end. Where none does, this is enough time to notice.
SOON_SECONDS = 15 * 60.0


def remarks(theirs: HostSignIn, mine: Mapping[str, Any], now: float, ahead: float = _DAY_SECONDS) -> tuple[str, ...]:
    """Return what is to be said at ``now`` (epoch seconds) of the end of a config's sign-in ``mine``.

    What nothing renews is said ``ahead`` seconds before; what the host's client renews when it runs, if it ends soon.
    """
    end = expiry(mine) / 1000
    if can_renew(mine) or not end:
        return ()
    is_renewable = can_renew(theirs.oauth)
    how = HOW_TO_RENEW if is_renewable else _HOW_TO_SIGN_IN_AGAIN
    if end < now:
        return (EXPIRED, how)
    if end - now > (SOON_SECONDS if is_renewable else ahead):
        return ()
    return (f"The copied sign-in ends at {time.strftime('%H:%M', time.localtime(end))}.", how)
