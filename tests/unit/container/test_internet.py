"""The rules of ``network = "internet"`` for made-up surroundings, and how those are read."""

from __future__ import annotations

import re
import shutil
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from confined_claude.container.egress import internet
from confined_claude.container.egress.internet import name_servers, resolve, ruleset
from confined_claude.container.egress.networks import CLOSED

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


# What is around


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

    monkeypatch.setattr(internet.socket, "getaddrinfo", known)
    named = [("a.example", 1), ("unknown.example", 2), ("x" * 64, 3)]
    assert sorted(resolve(named)) == [("10.0.0.5", 1), ("fe80::1", 1)]


def test_an_address_resolves_to_itself() -> None:
    assert list(resolve([("10.0.0.5", 8787), ("fd00::5", 1)])) == [("10.0.0.5", 8787), ("fd00::5", 1)]


def test_a_file_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert internet._read(str(tmp_path / "if_inet6")) == ""


@pytest.mark.parametrize(("program", "fails"), [("true", False), ("false", True)])
def test_rules_that_are_not_taken_end_the_sidecar(program: str, fails: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    spawn = internet.os.posix_spawn
    real = str(shutil.which(program))
    monkeypatch.setattr(internet.os, "posix_spawn", lambda _path, *rest, **more: spawn(real, *rest, **more))
    if fails:
        with pytest.raises(SystemExit, match="kernel does not take these rules"):
            internet._set_rules("x")
    else:
        internet._set_rules("x")
