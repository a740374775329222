"""The networks this machine is in and its own addresses: no part of the internet, whatever their numbers."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

# A route to more than this goes through a VPN's tunnel, and is no network that one is in.
_LEAST_LENGTH = {4: 8, 6: 32}


def networks(proc: Path = Path("/proc/net")) -> tuple[str, ...]:
    """The networks this machine is in and its own addresses, IPv4 and IPv6, in CIDR notation.

    Linux tells them in ``proc``; elsewhere, where the engine runs in a machine of its own anyway, there are none.
    """
    found: set[str] = set()
    for reader in (_routes, _own_addresses, _ipv6):
        with contextlib.suppress(OSError, ValueError, LookupError):
            found.update(reader(proc))
    return tuple(sorted(found))


def _routes(proc: Path) -> Iterator[str]:
    for line in (proc / "route").read_text().splitlines()[1:]:
        _, destination, _, flags, *_, mask = line.split()[:8]
        network = ipaddress.ip_network(f"{_ipv4(destination)}/{_ipv4(mask)}")
        if not int(flags, 16) & 0x2 and network.prefixlen >= _LEAST_LENGTH[4]:
            yield str(network)


def _own_addresses(proc: Path) -> Iterator[str]:
    """Addresses that no network of ours covers, as a cloud provider gives them."""
    address = ""
    for line in (proc / "fib_trie").read_text().splitlines():
        words = line.split()
        if words[:1] == ["|--"]:
            address = words[1]
        elif words[:3] == ["/32", "host", "LOCAL"]:
            yield f"{address}/32"


def _ipv6(proc: Path) -> Iterator[str]:
    for line in (proc / "if_inet6").read_text().splitlines():
        address, _, length, *_ = line.split()
        network = ipaddress.ip_network((bytes.fromhex(address), int(length, 16)), strict=False)
        if network.prefixlen >= _LEAST_LENGTH[6]:
            yield str(network)


def _ipv4(field: str) -> str:
    """An address as /proc/net/route has it: hexadecimal, in this machine's byte order."""
    return socket.inet_ntoa(struct.pack("=I", int(field, 16)))
