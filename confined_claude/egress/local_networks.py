"""The networks this machine is in and its own addresses: no part of the internet, whatever their numbers."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..container.egress.networks import ipv6_networks, routes

# A route to a larger network leads through a VPN's tunnel: this machine is not in that network.
_LEAST_LENGTH = {4: 8, 6: 32}


def networks(proc: Path = Path("/proc/net")) -> tuple[str, ...]:
    """Return the networks this machine is in and its own addresses, IPv4 and IPv6, in CIDR notation.

    Linux lists them in ``proc``. Elsewhere, where the engine runs in a virtual machine anyway, there are none.
    """
    found: set[str] = set()
    for reader in (_routes, _own_addresses, _ipv6):
        with contextlib.suppress(OSError, ValueError, LookupError):
            found.update(reader(proc))
    return tuple(sorted(found))


def _routes(proc: Path) -> Iterator[str]:
    return _plausible(network for network, gateway in routes((proc / "route").read_text()) if not gateway)


def _ipv6(proc: Path) -> Iterator[str]:
    return _plausible(ipv6_networks((proc / "if_inet6").read_text()))


def _plausible(found: Iterable[str]) -> Iterator[str]:
    for network in map(ipaddress.ip_network, found):
        if network.prefixlen >= _LEAST_LENGTH[network.version]:
            yield str(network)


def _own_addresses(proc: Path) -> Iterator[str]:
    """Yield this machine's addresses, of which some are in none of its networks, as with cloud providers."""
    address = ""
    for line in (proc / "fib_trie").read_text().splitlines():
        words = line.split()
        if words[:1] == ["|--"]:
            address = words[1]
        elif words[:3] == ["/32", "host", "LOCAL"]:
            yield f"{address}/32"
