"""The end of a copied or lent sign-in, said while there is time to do something about it. Pure."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from .credentials import HostSignIn, can_renew, expiry

EXPIRED = "Your machine's sign-in has expired."
HOW_TO_RENEW = "Run `claude` on your machine once: it renews it, and running sessions use the new one."
_HOW_TO_HAVE_IT_RENEWED = "Have `claude` run on your machine then: it renews it, and running sessions use the new one."
_HOW_TO_SIGN_IN_AGAIN = "Use /login in `claude` on your machine: running sessions use the new one."
# How long before its end a start mentions a sign-in that nothing renews, and one that a client on the host renews if
# one runs; and how long before its end a running session mentions it.
_NEVER_RENEWED_SECONDS = 24 * 3600.0
_RENEWABLE_SECONDS = 3600.0
_RUNNING_SECONDS = 15 * 60.0


def remarks(theirs: HostSignIn, mine: Mapping[str, Any], now: float, *, is_running: bool = False) -> tuple[str, ...]:
    """Return the lines on the end of a config's sign-in ``mine``, as of ``now`` (epoch seconds).

    There are more at a start than while a session ``is_running``.
    """
    end = expiry(mine) / 1000
    if can_renew(mine) or not end:
        return ()
    is_renewable = can_renew(theirs.oauth)
    if end < now:
        return (EXPIRED, HOW_TO_RENEW if is_renewable else _HOW_TO_SIGN_IN_AGAIN)
    at_a_start = _RENEWABLE_SECONDS if is_renewable else _NEVER_RENEWED_SECONDS
    if end - now > (_RUNNING_SECONDS if is_running else at_a_start):
        return ()
    how = _HOW_TO_HAVE_IT_RENEWED if is_renewable else _HOW_TO_SIGN_IN_AGAIN
    return (f"Your machine's sign-in ends at {time.strftime('%H:%M', time.localtime(end))}.", how)
