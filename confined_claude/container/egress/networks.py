"""The networks that are no part of the internet, and those that Linux describes in /proc/net.

Every session waits for what imports this, so it imports little itself.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

# IANA's special-purpose address registries, and multicast. Of IPv6 only 2000::/3 is open, so that no mapped or
# translated IPv4 address passes, without 6to4 (2002::/16) and IETF's protocol assignments (2001::/23, RFC 2928), of
# which Teredo is one. Networks for documentation are not closed: they lead nowhere, and tests use them.
CLOSED = """
    0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.88.99.0/24
    192.168.0.0/16 198.18.0.0/15 224.0.0.0/4 240.0.0.0/4
    ::/3 4000::/2 8000::/1 2001::/23 2002::/16
""".split()
_HAS_GATEWAY = 0x2
# Where a session has the sockets that lead to ports of the host: see forward.py.
SOCKETS = "/run/confined-claude-ports"
# Where a session meets its sidecar, by the mode of its network.
SIDECARS = {"internet": "\0confined-claude", "allowlist": "/run/confined-claude-egress/socket"}
# The proxy's, on the loopback of a session with an allowlist.
PROXY_PORT = 3128
# The name of this machine in a session.
HOST_GATEWAY = "host.docker.internal"
# Each start asks for it, to see it refused.
SELF_TEST = "self-test.confined-claude.invalid"
# The image's certificate authorities, with those of a company.
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"


def routes(table: str) -> Iterator[tuple[str, str]]:
    """Yield each route in the text of /proc/net/route: the network in CIDR notation, and its gateway.

    The gateway of a network that is connected directly is empty. Raises ValueError for a line that is no route.
    """
    for line in table.splitlines()[1:]:
        _, destination, gateway, flags, *_, mask = line.split()[:8]
        network = f"{_ipv4(destination)}/{int(mask, 16).bit_count()}"
        yield network, _ipv4(gateway) if int(flags, 16) & _HAS_GATEWAY else ""


def gateways() -> list[str]:
    """Return the IPv4 gateways of this network namespace. Raises OSError or ValueError if they cannot be read."""
    with open("/proc/net/route", encoding="ascii") as table:
        return [gateway for _, gateway in routes(table.read()) if gateway]


def _ipv4(field: str) -> str:
    """Return an address of /proc/net/route, which is hexadecimal in this machine's byte order."""
    return socket.inet_ntoa(struct.pack("=I", int(field, 16)))
