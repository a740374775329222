"""The networks this machine is in, by made-up files of /proc/net."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confined_claude.egress.local_networks import networks

HEAD = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
UP, GATEWAY, HOST = 0x1, 0x2, 0x4
FIB_TRIE = """\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 192.168.7.0/24 2 0 1
        |-- 192.168.7.0
           /24 link UNICAST
        |-- 192.168.7.9
           /32 host LOCAL
        |-- 192.168.7.255
           /32 link BROADCAST
Local:
  |-- 203.0.113.4
     /32 host LOCAL
"""
IF_INET6 = """\
20010db800070000021122fffe334455 02 40 00 00     eth0
fe80000000000000021122fffe334455 02 40 20 80     eth0
20010db8ffff00000000000000000001 02 80 00 80     eth1
00000000000000000000000000000001 01 80 10 80       lo
"""


def field(address: str) -> str:
    """An address as /proc/net/route has it."""
    return f"{int.from_bytes(ipaddress.IPv4Address(address).packed, sys.byteorder):08X}"


def route(network: str, gateway: str = "0.0.0.0", flags: int = UP, interface: str = "eth0") -> str:
    to = ipaddress.IPv4Network(network)
    words = [interface, field(str(to.network_address)), field(gateway), f"{flags:04X}", "0", "0", "0"]
    return "\t".join([*words, field(str(to.netmask)), "0", "0", "0"]) + "\n"


Proc = Callable[..., Path]


@pytest.fixture
def proc(tmp_path: Path) -> Proc:
    def made(routes: str = "", fib_trie: str = "", if_inet6: str = "") -> Path:
        for name, text in (("route", HEAD + routes), ("fib_trie", fib_trie), ("if_inet6", if_inet6)):
            (tmp_path / name).write_text(text)
        return tmp_path

    return made


def test_networks_one_is_in_are_found_and_the_way_out_is_none(proc: Proc) -> None:
    routes = [
        route("0.0.0.0/0", "192.168.7.1", UP | GATEWAY),
        route("192.168.7.0/24"),
        route("172.17.0.0/16", interface="docker0"),
        route("10.8.0.0/16", "192.168.7.2", UP | GATEWAY),
        route("203.0.113.1/32", flags=UP | HOST),
    ]
    assert networks(proc("".join(routes))) == ("172.17.0.0/16", "192.168.7.0/24", "203.0.113.1/32")


@pytest.mark.parametrize("catch_all", ["0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "64.0.0.0/2", "8.0.0.0/7"])
def test_what_goes_through_a_tunnel_to_everywhere_is_no_network_one_is_in(catch_all: str, proc: Proc) -> None:
    assert networks(proc(route(catch_all, interface="tun0") + route("10.8.0.0/24", interface="tun0"))) == (
        "10.8.0.0/24",
    )


def test_a_large_network_is_one_all_the_same(proc: Proc) -> None:
    assert networks(proc(route("10.0.0.0/8"))) == ("10.0.0.0/8",)


def test_own_addresses_are_found_also_those_of_no_network(proc: Proc) -> None:
    assert networks(proc(fib_trie=FIB_TRIE)) == ("192.168.7.9/32", "203.0.113.4/32")


def test_ipv6_networks_and_addresses_are_found(proc: Proc) -> None:
    assert set(networks(proc(if_inet6=IF_INET6))) == {
        "2001:db8:7::/64",
        "fe80::/64",
        "2001:db8:ffff::1/128",
        "::1/128",
    }


@pytest.mark.parametrize(("length", "is_taken"), [("00", False), ("1f", False), ("20", True), ("80", True)])
def test_an_ipv6_network_too_large_to_be_in_is_none(length: str, is_taken: bool, proc: Proc) -> None:
    found = networks(proc(if_inet6=f"20010db8000000000000000000000000 02 {length} 00 80 tun0\n"))
    assert bool(found) is is_taken


def test_where_there_is_no_such_file_there_is_none(tmp_path: Path) -> None:
    assert networks(tmp_path / "nothing") == ()


@pytest.mark.parametrize("broken", ["route", "fib_trie", "if_inet6"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"head\nx y\n", b"\n\n\n", b"head\n" + b"z " * 12, b"|--\n"])
def test_a_broken_file_leaves_what_the_others_say(broken: str, content: bytes, proc: Proc) -> None:
    files = proc(route("192.168.7.0/24"), FIB_TRIE, IF_INET6)
    own = {"route": "192.168.7.0/24", "fib_trie": "203.0.113.4/32", "if_inet6": "fe80::/64"}
    (files / broken).write_bytes(content)
    found = networks(files)
    assert {network for name, network in own.items() if name != broken} <= set(found)
    assert own[broken] not in found


def test_a_line_that_is_broken_leaves_those_above(proc: Proc) -> None:
    assert networks(proc(route("192.168.7.0/24") + "eth0 ZZ\n" + route("10.0.0.0/8"))) == ("192.168.7.0/24",)


@given(destination=st.integers(0, 2**32 - 1), mask=st.integers(0, 2**32 - 1), flags=st.integers(0, 0xFFFF))
def test_whatever_a_route_says_the_answer_is_networks(destination: int, mask: int, flags: int, tmp_path: Path) -> None:
    line = f"eth0\t{destination:08X}\t00000000\t{flags:04X}\t0\t0\t0\t{mask:08X}\t0\t0\t0\n"
    (tmp_path / "route").write_text(HEAD + line)
    assert all(ipaddress.ip_network(network).prefixlen >= 8 for network in networks(tmp_path))


def test_this_machine_answers() -> None:
    assert all(ipaddress.ip_network(network) for network in networks())
