"""The networks that are no part of the internet, and those that a container is in."""

from __future__ import annotations

import ipaddress
import sys

from hypothesis import given
from hypothesis import strategies as st

from confined_claude.container.egress import networks
from confined_claude.container.egress.networks import routes

HEAD = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
UP, GATEWAY, HOST = 0x1, 0x2, 0x4

CLOSED = """
    0.0.0.0 10.1.2.3 100.64.0.1 100.127.255.255 127.0.0.1 127.255.255.255 169.254.169.254 172.16.0.1 172.31.255.255
    192.0.0.1 192.88.99.1 192.168.1.1 198.18.0.1 198.19.255.255 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255
    :: ::1 ::ffff:127.0.0.1 ::ffff:203.0.113.80 ::127.0.0.1 64:ff9b::7f00:1 64:ff9b:1::1 100::1 2001::1 2001:0:1::1
    2001:1ff::1 2002:7f00:1::1 4000::1 5f00::1 fc00::1 fdff::1 fe80::1 fe80::1%2 fec0::1 ff02::fb
""".split()
OPEN = """
    1.1.1.1 8.8.8.8 9.9.9.9 100.63.0.1 100.128.0.1 172.32.0.1 192.0.2.1 192.169.0.1 198.51.100.1 203.0.113.80
    2001:200::1 2001:db8::1 2606:4700::1111 2a00::1 3fff::1
""".split()
DOCUMENTATION = [*map(ipaddress.ip_network, "192.0.2.0/24 198.51.100.0/24 203.0.113.0/24 2001:db8::/32".split())]


def is_closed(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return any(address in ipaddress.ip_network(network) for network in networks.CLOSED)


def test_what_is_no_part_of_the_internet_is_closed_and_the_rest_is_open() -> None:
    assert [address for address in CLOSED if not is_closed(ipaddress.ip_address(address))] == []
    assert [address for address in OPEN if is_closed(ipaddress.ip_address(address))] == []


@given(st.ip_addresses())
def test_what_is_open_is_global_or_for_documentation(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    if not is_closed(address):
        assert not (address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified)
        assert not address.is_private or any(address in network for network in DOCUMENTATION)
        assert address.version == 4 or int(address) >> 125 == 1


def field(address: str) -> str:
    """An address as /proc/net/route has it."""
    return f"{int.from_bytes(ipaddress.IPv4Address(address).packed, sys.byteorder):08X}"


def route(network: str, gateway: str = "0.0.0.0", flags: int = UP) -> str:
    to = ipaddress.IPv4Network(network)
    words = ["eth0", field(str(to.network_address)), field(gateway), f"{flags:04X}", "0", "0", "0"]
    return "\t".join([*words, field(str(to.netmask)), "0", "0", "0"]) + "\n"


def test_the_routes_of_a_container() -> None:
    table = HEAD + route("0.0.0.0/0", "172.17.0.1", UP | GATEWAY) + route("172.17.0.0/16") + route("10.1.2.3/32")
    assert list(routes(table)) == [("0.0.0.0/0", "172.17.0.1"), ("172.17.0.0/16", ""), ("10.1.2.3/32", "")]
    through = HEAD + route("10.0.0.0/8", "172.17.0.2", UP | GATEWAY | HOST)
    assert list(routes(through)) == [("10.0.0.0/8", "172.17.0.2")]
    assert list(routes(HEAD)) == list(routes("")) == []
