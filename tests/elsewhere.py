"""A made-up machine out there: a network namespace at the end of a cable of its own. Needs root, and iproute2."""

from __future__ import annotations

import contextlib
import secrets
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from helpers import take


@dataclass(frozen=True)
class Elsewhere:
    """Its IPv4 ``addresses``, and ``around``: the words before a command that runs it there."""

    addresses: tuple[str, ...]
    around: tuple[str, ...]


@contextlib.contextmanager
def elsewhere(addresses_of: Callable[[int], Sequence[str]]) -> Iterator[Elsewhere]:
    """Have such a machine during the block, and routes of this one that lead to its addresses.

    ``addresses_of`` returns the addresses for a number from 1 to 49, which no other such machine has at the moment.
    """
    taken = _ip("-4", "address")  # also what tests that were killed have left
    number = take("machine", [number for number in range(1, 50) if f" 198.51.100.{4 * number + 1}/30 " not in taken])
    space, near, far = (f"cct{secrets.token_hex(3)}{letter}" for letter in "sab")
    gateway, peer = f"198.51.100.{4 * number + 1}", f"198.51.100.{4 * number + 2}"
    addresses = tuple(addresses_of(number))
    with contextlib.ExitStack() as made:
        _ip("netns", "add", space)
        made.callback(_ip, "netns", "delete", space)  # and with it both ends of the cable
        _ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", space)
        _ip("address", "add", f"{gateway}/30", "dev", near)
        _ip("link", "set", near, "up")
        _ip("-n", space, "address", "add", f"{peer}/30", "dev", far)
        for device in ("lo", far):
            _ip("-n", space, "link", "set", device, "up")
        _ip("-n", space, "route", "add", "default", "via", gateway)
        for address in addresses:
            _ip("-n", space, "address", "add", f"{address}/32", "dev", "lo")
            _ip("route", "add", f"{address}/32", "via", peer)
            made.callback(_ip, "route", "delete", f"{address}/32", check=False)
        yield Elsewhere(addresses, ("ip", "netns", "exec", space))


def _ip(*words: str, check: bool = True) -> str:
    return subprocess.run(["ip", *words], check=check, capture_output=True, text=True).stdout
