"""The networks this machine is in and its own addresses: no part of the internet, whatever their numbers."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

# See rtnetlink(7).
_GET_ADDRESSES, _NEW_ADDRESS, _ERROR, _DONE = 22, 20, 2, 3
_REQUEST_ALL = 0x301
_HEADER, _ADDRESS, _ATTRIBUTE = struct.Struct("=IHHII"), struct.Struct("=BBBBI"), struct.Struct("=HH")
_PEERS_OR_OWN, _OWN = 1, 2
_PIECE = 1 << 16
# An interface with a larger network is a tunnel to everywhere: this machine is not in all of that.
_LEAST_LENGTH = {4: 8, 6: 32}


def networks(proc: Path = Path("/proc/net")) -> tuple[str, ...]:
    """Return the networks this machine is in and its own addresses, IPv4 and IPv6, in CIDR notation.

    It is in the networks of its interfaces' addresses. Where routes lead alone it is not: a VPN may have routes to most
    of the internet. Elsewhere than on Linux, where the engine runs in a virtual machine anyway, there are none.
    """
    found: set[str] = set()
    readers: tuple[Callable[[], Iterator[str]], ...] = (lambda: attached(_addresses()), lambda: _own_addresses(proc))
    for reader in readers:
        with contextlib.suppress(OSError, ValueError, LookupError, AttributeError, struct.error):
            found.update(reader())
    return tuple(sorted(found))


def _addresses() -> bytes:
    """Return the kernel's answer on the addresses of all interfaces. Raises OSError."""
    answer = b""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as kernel:  # type: ignore[attr-defined,unused-ignore]
        kernel.send(_HEADER.pack(_HEADER.size + _ADDRESS.size, _GET_ADDRESSES, _REQUEST_ALL, 1, 0) + bytes(8))
        while True:
            piece = kernel.recv(_PIECE)
            answer += piece
            if any(kind in (_DONE, _ERROR) for kind, _ in _messages(piece)):
                return answer


def attached(answer: bytes) -> Iterator[str]:
    """Yield the networks and own addresses in the kernel's answer. Raises struct.error or ValueError if it is none."""
    for kind, body in _messages(answer):
        if kind != _NEW_ADDRESS:
            continue
        _, length, *_ = _ADDRESS.unpack_from(body)
        attributes = dict(_attributes(body[_ADDRESS.size :]))
        peer = attributes.get(_PEERS_OR_OWN) or attributes[_OWN]
        network = ipaddress.ip_network((peer, length), strict=False)
        if network.prefixlen >= _LEAST_LENGTH[network.version]:
            yield str(network)
        yield str(ipaddress.ip_network(attributes.get(_OWN, peer)))


def _messages(answer: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the kind and the body of each message."""
    while answer:
        length, kind, *_ = _HEADER.unpack_from(answer)
        yield kind, answer[_HEADER.size : length]
        answer = answer[max(_aligned(length), _HEADER.size) :]


def _attributes(body: bytes) -> Iterator[tuple[int, bytes]]:
    while body:
        length, kind = _ATTRIBUTE.unpack_from(body)
        yield kind, body[_ATTRIBUTE.size : length]
        body = body[max(_aligned(length), _ATTRIBUTE.size) :]


def _aligned(length: int) -> int:
    return (length + 3) & ~3


def _own_addresses(proc: Path) -> Iterator[str]:
    """Yield this machine's addresses, of which some are of none of its interfaces, as with cloud providers."""
    address = ""
    for line in (proc / "fib_trie").read_text().splitlines():
        words = line.split()
        if words[:1] == ["|--"]:
            address = words[1]
        elif words[:3] == ["/32", "host", "LOCAL"]:
            yield f"{address}/32"
