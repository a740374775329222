"""The networks this machine is in and its own addresses: no part of the internet, whatever their numbers."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct
import sys
from collections.abc import Iterator

# See rtnetlink(7). Each is a kind of request, whose answers have the number before it.
_LINKS, _ADDRESSES, _ROUTES = 18, 22, 26
_ERROR, _DONE = 2, 3
_REQUEST_ALL = 0x301
_HEADER, _ATTRIBUTE = struct.Struct("=IHHII"), struct.Struct("=HH")
_LINK, _ADDRESS, _ROUTE = struct.Struct("=BBHiII"), struct.Struct("=BBBBI"), struct.Struct("=8BI")
_PEERS_OR_OWN, _OWN = 1, 2
_DESTINATION, _INTERFACE, _GATEWAY, _VIA = 1, 4, 5, 18
_OTHERS, _THIS_MACHINE = 1, 2
# Of an interface that has all of a network beside it, as Ethernet, Wi-Fi and bridges; a tunnel has the other flags.
_BROADCAST, _POINT_TO_POINT, _NO_ARP = 0x2, 0x10, 0x80
_NO_ADDRESS = {socket.AF_INET: bytes(4), socket.AF_INET6: bytes(16)}
_PIECE = 1 << 16
# An interface with a larger network is a tunnel to everywhere: this machine is not in all of that.
_LEAST_LENGTH = {4: 8, 6: 32}


def networks() -> tuple[str, ...]:
    """Return the networks this machine is in and its own addresses, IPv4 and IPv6, in CIDR notation.

    It is in the networks of its interfaces' addresses, and in those to which a route leads without a gateway, unless
    that is through a tunnel: a VPN may have routes to most of the internet. Outside Linux, where the engine runs in a
    virtual machine anyway, there are none.
    """
    found: set[str] = set()
    with contextlib.suppress(OSError, ValueError, LookupError, AttributeError, struct.error):
        found.update(attached(_answer(_ADDRESSES)))
    with contextlib.suppress(OSError, ValueError, LookupError, AttributeError, struct.error):
        found.update(routed(_answer(_ROUTES), with_neighbours(_answer(_LINKS))))
    return tuple(sorted(found))


def _answer(request: int) -> bytes:
    """Return all that the kernel answers to a ``request``. Raises OSError."""
    answer = b""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as kernel:  # type: ignore[attr-defined,unused-ignore]
        kernel.send(_HEADER.pack(_HEADER.size + _LINK.size, request, _REQUEST_ALL, 1, 0) + bytes(_LINK.size))
        while True:
            piece = kernel.recv(_PIECE)
            answer += piece
            if any(kind in (_DONE, _ERROR) for kind, _ in _messages(piece)):
                return answer


def attached(answer: bytes) -> Iterator[str]:
    """Yield the networks and addresses of interfaces in an answer. Raises struct.error or ValueError if it is none."""
    for kind, body in _messages(answer):
        if kind == _ADDRESSES - 2:
            _, length, *_ = _ADDRESS.unpack_from(body)
            attributes = dict(_attributes(body[_ADDRESS.size :]))
            peer = attributes.get(_PEERS_OR_OWN) or attributes[_OWN]
            yield from _near(peer, length)
            yield str(ipaddress.ip_network(attributes.get(_OWN, peer)))


def with_neighbours(answer: bytes) -> frozenset[int]:
    """Return the numbers of the interfaces in an answer that are no tunnels. Raises struct.error if it is none."""
    links = (_LINK.unpack_from(body) for kind, body in _messages(answer) if kind == _LINKS - 2)
    tunnel = _POINT_TO_POINT | _NO_ARP
    return frozenset(number for _, _, _, number, flags, _ in links if flags & (_BROADCAST | tunnel) == _BROADCAST)


def routed(answer: bytes, interfaces: frozenset[int]) -> Iterator[str]:
    """Yield the networks in an answer to which routes lead through ``interfaces`` without a gateway.

    This machine's addresses are among them; some belong to no interface, as with cloud providers.
    Raises struct.error or ValueError if it is no answer.
    """
    for kind, body in _messages(answer):
        if kind != _ROUTES - 2:
            continue
        family, length, *_, what, _ = _ROUTE.unpack_from(body)
        attributes = dict(_attributes(body[_ROUTE.size :]))
        through = int.from_bytes(attributes.get(_INTERFACE, b""), sys.byteorder)
        is_near = through in interfaces and attributes.keys().isdisjoint((_GATEWAY, _VIA))
        if family in _NO_ADDRESS and (what == _THIS_MACHINE or (what == _OTHERS and is_near)):
            yield from _near(attributes.get(_DESTINATION, _NO_ADDRESS[family]), length)


def _near(address: bytes, length: int) -> Iterator[str]:
    network = ipaddress.ip_network((address, length), strict=False)
    if network.prefixlen >= _LEAST_LENGTH[network.version]:
        yield str(network)


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
