"""The rules of ``network = "internet"`` for made-up surroundings, and how those are read."""

from __future__ import annotations

import ipaddress
import re
import shutil
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from confined_claude.container.egress import egress_internet
from confined_claude.container.egress.egress_internet import CLOSED, name_servers, networks6, resolve, routes, ruleset

from ..egress.test_local_networks import GATEWAY, HEAD, HOST, IF_INET6, UP, route

RESOLVERS = ["192.168.7.53", "fd00::53"]
NAMED = [("10.0.0.5", 8787), ("fd00::5", 3128)]
NETWORKS = ["172.17.0.0/16", "fd01::/64"]


def rules(
    *, closed: Iterable[str] = (), host_ports: Iterable[str] = (), ports: Iterable[str] = (), **around: Any
) -> str:
    """The rules in surroundings with one gateway and two resolvers, but for what is given."""
    config = {"closed": list(closed), "named": [], "host_ports": list(host_ports), "ports": list(ports)}
    usual: dict[str, Any] = {"gateways": ["172.17.0.1"], "networks": NETWORKS, "resolvers": RESOLVERS, "named": NAMED}
    return ruleset(config, **{**usual, **around})


FULL = {"closed": ["192.168.7.0/24", "fd00::/64"], "host_ports": ["8080"], "ports": ["5173", "80"]}


def chain(name: str, text: str) -> list[str]:
    """The rules of a chain, in their order."""
    (found,) = re.findall(rf"chain {name} \{{\n(.*?)\n\}}", text, re.DOTALL)
    return str(found).splitlines()


def closed_set(number: int, text: str) -> list[str]:
    (elements,) = re.findall(rf"set closed{number} .* elements = \{{ (.*) \}}; \}}", text)
    return str(elements).split(", ")


# The rules


def test_what_leaves_is_dropped_unless_a_rule_says_otherwise() -> None:
    for name in ("output", "input"):
        first, loopback, answers, *_ = chain(name, rules(**FULL))
        assert first == f"type filter hook {name} priority filter; policy drop;"
        assert re.fullmatch('[io]if "lo" accept', loopback)
        assert answers == "ct state established,related accept"


def test_what_is_open_stands_before_what_is_closed_and_that_before_the_rest() -> None:
    lines = chain("output", rules(**FULL))
    assert lines[4:] == [
        "ip daddr 192.168.7.53 meta l4proto { tcp, udp } th dport 53 accept",
        "ip6 daddr fd00::53 meta l4proto { tcp, udp } th dport 53 accept",
        "ip daddr 172.17.0.1 tcp dport 8080 accept",
        "ip daddr 10.0.0.5 tcp dport 8787 accept",
        "ip6 daddr fd00::5 tcp dport 3128 accept",
        "ip daddr @closed4 reject with icmpx admin-prohibited",
        "ip6 daddr @closed6 reject with icmpx admin-prohibited",
        "accept",
    ]


def test_nothing_comes_in_but_answers_and_what_is_published_from_the_gateway() -> None:
    assert chain("input", rules(**FULL))[4:] == [
        "ip saddr 172.17.0.1 tcp dport 5173 accept",
        "ip saddr 172.17.0.1 tcp dport 80 accept",
    ]
    assert chain("input", rules())[4:] == []


def test_with_nothing_named_nothing_is_open_but_names() -> None:
    lines = chain("output", rules(named=[]))
    assert [line for line in lines[4:-3] if "dport 53 " not in line] == []
    assert chain("output", rules(named=[], resolvers=[]))[4].startswith("ip daddr @closed4 reject")


def test_the_neighbours_of_ipv6_alone_pass_beside_that() -> None:
    for name in ("output", "input"):
        icmp = chain(name, rules())[3]
        assert icmp.startswith("icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert,")
        assert "echo" not in icmp


def test_every_closed_network_is_in_its_set_and_once() -> None:
    text = rules(**{**FULL, "closed": [*FULL["closed"], "10.0.0.0/8"]})
    for number, mark in ((4, "."), (6, ":")):
        found = closed_set(number, text)
        assert found == list(dict.fromkeys(found))
        for network in [*CLOSED, *NETWORKS, *FULL["closed"]]:
            assert (network in found) is (mark in network)


@pytest.mark.parametrize(
    "address",
    """0.0.0.0 10.1.2.3 100.64.0.1 100.127.255.255 127.0.0.1 169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.8
    192.168.0.1 198.18.0.1 198.19.255.255 224.0.0.251 239.255.255.250 240.0.0.1 255.255.255.255
    ::1 :: ::ffff:10.0.0.1 64:ff9b::a00:1 100::1 2001::1 2002:a00:1:: fc00::1 fdff::1 fe80::1 fec0::1 ff02::fb
    4000::1 5f00::1""".split(),
)
def test_what_is_no_part_of_the_internet_is_closed_wherever_one_is(address: str) -> None:
    ip = ipaddress.ip_address(address)
    assert any(ip in ipaddress.ip_network(network) for network in CLOSED)


@pytest.mark.parametrize("address", "1.1.1.1 100.63.0.1 172.32.0.1 192.169.0.1 9.9.9.9 2606:4700::1 2a00::1".split())
def test_the_internet_itself_is_open(address: str) -> None:
    ip = ipaddress.ip_address(address)
    assert not any(ip in ipaddress.ip_network(network) for network in CLOSED)


# What is around


def test_the_gateways_and_networks_of_a_container() -> None:
    table = HEAD + route("0.0.0.0/0", "172.17.0.1", UP | GATEWAY) + route("172.17.0.0/16") + route("10.1.2.3/32")
    assert routes(table) == (["172.17.0.1"], ["172.17.0.0/16", "10.1.2.3/32"])
    assert routes(HEAD + route("10.0.0.0/8", "172.17.0.2", UP | GATEWAY | HOST)) == (["172.17.0.2"], [])
    assert routes(HEAD) == routes("") == ([], [])


def test_the_ipv6_networks_of_a_container() -> None:
    assert list(networks6(IF_INET6)) == ["2001:db8:7::/64", "fe80::/64", "2001:db8:ffff::1/128", "::1/128"]
    assert list(networks6("")) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("nameserver 192.168.7.53\nnameserver fd00::53\n", ["192.168.7.53", "fd00::53"]),
        ("nameserver fe80::1%eth0\n", ["fe80::1"]),
        ("# nameserver 1.1.1.1\n;nameserver 1.1.1.1\nsearch lan\noptions ndots:0\n", []),
        ("nameserver\n \n\tnameserver\t10.0.0.1 # mine\nnameservers 1.1.1.1\n", ["10.0.0.1"]),
        ("", []),
    ],
)
def test_the_name_servers(text: str, found: list[str]) -> None:
    assert list(name_servers(text)) == found


def test_a_name_is_open_at_each_of_its_addresses_and_an_unknown_one_at_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def known(host: str, port: int, **_more: Any) -> list[Any]:
        if host == "unknown.example":
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        if host == "x" * 64:
            raise UnicodeError("label too long")
        twice = [(socket.AF_INET, 0, 0, "", ("10.0.0.5", port))] * 2
        return [*twice, (socket.AF_INET6, 0, 0, "", ("fe80::1%eth0", port, 0, 2))]

    monkeypatch.setattr(egress_internet.socket, "getaddrinfo", known)
    named = [("a.example", 1), ("unknown.example", 2), ("x" * 64, 3)]
    assert sorted(resolve(named)) == [("10.0.0.5", 1), ("fe80::1", 1)]


def test_an_address_is_its_own() -> None:
    assert list(resolve([("10.0.0.5", 8787), ("fd00::5", 1)])) == [("10.0.0.5", 8787), ("fd00::5", 1)]


def test_a_file_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert egress_internet._read(str(tmp_path / "if_inet6")) == ""


@pytest.mark.parametrize(("program", "fails"), [("true", False), ("false", True)])
def test_rules_that_are_not_taken_end_the_sidecar(program: str, fails: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    spawn = egress_internet.os.posix_spawn
    real = str(shutil.which(program))
    monkeypatch.setattr(egress_internet.os, "posix_spawn", lambda _path, *rest, **more: spawn(real, *rest, **more))
    if fails:
        with pytest.raises(SystemExit, match="kernel does not take these rules"):
            egress_internet._set_rules("x")
    else:
        egress_internet._set_rules("x")
