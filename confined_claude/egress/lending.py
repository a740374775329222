"""Where something can be lent: in which networks, and to how many hosts. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import ConfinedError

# The networks in which a session can have a sidecar that lends.
LENDING = ("internet", "allowlist")
MOST_HOSTS = 98  # a session hands its sidecar a socket for each, and two more, in one message


def check(mode: str, hosts: Sequence[tuple[str, int]]) -> None:
    """Raise ConfinedError if nothing can be lent to ``hosts``, (host, port) pairs, in a network of this ``mode``."""
    if hosts and mode not in LENDING:
        raise ConfinedError(
            f"A session with network = {mode} cannot use lent secrets, and one of its secrets has `lend`.",
            f"Choose network = {' or '.join(LENDING)}, leave the secret out, or remove `lend` from it to give it.",
        )
    if len(hosts) > MOST_HOSTS:
        raise ConfinedError(
            f"This session's secrets are lent to {len(hosts)} hosts and ports; {MOST_HOSTS} are possible.",
            "Leave some of these secrets out (`secrets`, `always`), or name fewer hosts in their `lend`.",
        )
