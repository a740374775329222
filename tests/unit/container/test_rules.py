"""The rules of ``network = "internet"``, made for made-up surroundings by the program itself."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from confined_claude.container.egress.networks import CLOSED

PROGRAM = Path(__file__).resolve().parents[3] / "confined_claude/container/egress/rules"
# The default route, by 172.17.0.1, and the network 172.17.0.0/16.
ROUTES = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
"""
IPV6 = """\
00000000000000000000000000000001 01 80 10 80       lo
20010db8000700000242acfffe110002 0c 40 00 80     eth0
"""
RESOLVERS = "nameserver 192.168.7.53\nnameserver fd00::53\n"
# What `getent ahosts` prints of each name.
GETENT = """\
[ "$1 $2" = "ahosts --" ] || exit 9
case $3 in
    two.example) printf '10.0.0.5        STREAM two.example\\n10.0.0.5        DGRAM\\nfe80::1%%eth0    STREAM\\n' ;;
    [0-9]*) echo "$3 STREAM $3" ;;
    *) exit 2 ;;
esac
"""


@dataclass(frozen=True)
class Surroundings:
    """A container in ``directory``, whose nft prints what it reads."""

    directory: Path

    def write(self, name: str, text: str) -> None:
        (self.directory / name).write_text(text)

    def program(self, name: str, script: str) -> None:
        self.write(name, f"#!/bin/sh\n{script}")
        (self.directory / name).chmod(0o755)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        text = PROGRAM.read_text()
        for path in ("/proc/net/route", "/proc/net/if_inet6", "/etc/resolv.conf"):
            assert path in text
            text = text.replace(path, str(self.directory / Path(path).name))
        text = text.replace("PATH=/usr/sbin:/usr/bin:/sbin:/bin", f"PATH={self.directory}:/usr/bin:/bin")
        command = ["sh", "-c", text, "rules", *(f"closed={network}" for network in CLOSED), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def rules(self, *words: str) -> str:
        done = self.run(*words)
        assert (done.returncode, done.stderr) == (0, "")
        return (self.directory / "rules").read_text()


@pytest.fixture
def around(tmp_path: Path) -> Surroundings:
    made = Surroundings(tmp_path)
    made.program("nft", f'[ "$*" = "--file -" ] && cat >{tmp_path}/rules')
    made.program("getent", GETENT)
    made.write("route", ROUTES)
    made.write("if_inet6", IPV6)
    made.write("resolv.conf", RESOLVERS)
    return made


FULL = (
    *("closed=192.168.7.0/24", "closed=fd00::/64", "port=5173", "port=80"),
    *("named=8080,172.17.0.1", "named=8787,10.0.0.5", "named=3128,2001:db8::5"),
)


def chain(name: str, text: str) -> list[str]:
    """The rules of a chain, in their order."""
    (found,) = re.findall(rf"chain {name} \{{\n(.*?)\n *\}}\n", text, re.DOTALL)
    return [line.strip() for line in str(found).splitlines() if line.strip()]


def closed_set(number: int, text: str) -> list[str]:
    (elements,) = re.findall(rf"set closed{number} .* elements = \{{ (.*) \}}; \}}", text)
    return str(elements).split(", ")


def test_what_leaves_is_dropped_unless_a_rule_says_otherwise(around: Surroundings) -> None:
    for name in ("output", "input"):
        first, loopback, answers, *_ = chain(name, around.rules(*FULL))
        assert first == f"type filter hook {name} priority filter; policy drop;"
        assert re.fullmatch('[io]if "lo" accept', loopback)
        assert answers == "ct state established,related accept"


def test_what_is_open_stands_before_what_is_closed_and_that_before_the_rest(around: Surroundings) -> None:
    assert chain("output", around.rules(*FULL))[4:] == [
        "ip daddr 192.168.7.53 meta l4proto { tcp, udp } th dport 53 accept",
        "ip6 daddr fd00::53 meta l4proto { tcp, udp } th dport 53 accept",
        "ip daddr 172.17.0.1 tcp dport 8080 accept",
        "ip daddr 10.0.0.5 tcp dport 8787 accept",
        "ip6 daddr 2001:db8::5 tcp dport 3128 accept",
        "ip daddr @closed4 reject with icmpx admin-prohibited",
        "ip6 daddr @closed6 reject with icmpx admin-prohibited",
        "accept",
    ]


def test_nothing_comes_in_but_answers_and_what_is_published_from_the_gateway(around: Surroundings) -> None:
    assert chain("input", around.rules(*FULL))[4:] == [
        "ip saddr 172.17.0.1 tcp dport 5173 accept",
        "ip saddr 172.17.0.1 tcp dport 80 accept",
    ]
    assert chain("input", around.rules())[4:] == []


def test_with_nothing_named_nothing_is_open_but_names(around: Surroundings) -> None:
    assert [line for line in chain("output", around.rules())[4:-3] if "dport 53 " not in line] == []
    around.write("resolv.conf", "")
    assert chain("output", around.rules())[4].startswith("ip daddr @closed4 reject")


def test_the_neighbours_of_ipv6_alone_pass_beside_that(around: Surroundings) -> None:
    for name in ("output", "input"):
        icmp = chain(name, around.rules())[3]
        assert icmp.startswith("icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert,")
        assert "echo" not in icmp


def test_every_closed_network_and_the_containers_own_are_in_their_sets(around: Surroundings) -> None:
    text = around.rules(*FULL)
    own4, own6 = ["172.17.0.0/16"], ["0000:0000:0000:0000:0000:0000:0000:0001/128"]
    own6.append("2001:0db8:0007:0000:0242:acff:fe11:0002/64")
    assert closed_set(4, text) == [*own4, *(network for network in CLOSED if ":" not in network), "192.168.7.0/24"]
    assert closed_set(6, text) == [*own6, *(network for network in CLOSED if ":" in network), "fd00::/64"]


def test_each_route_without_a_gateway_is_closed_and_each_gateway_is_where_the_engine_is(around: Surroundings) -> None:
    more = "eth1\t002433C6\t00000000\t0001\t0\t0\t0\t00FCFFFF\t0\t0\t0\n"  # 198.51.36.0/22
    more += "eth1\t0000000A\tFE2433C6\t0003\t0\t0\t0\t000000FF\t0\t0\t0\n"  # 10.0.0.0/8 by 198.51.36.254
    more += "eth1\t01020304\t00000000\t0005\t0\t0\t0\tFFFFFFFF\t0\t0\t0\n"  # 4.3.2.1/32
    around.write("route", ROUTES + more)
    text = around.rules("port=22")
    assert closed_set(4, text)[:3] == ["172.17.0.0/16", "198.51.36.0/22", "4.3.2.1/32"]
    assert [line for line in chain("input", text) if line.endswith("dport 22 accept")] == [
        "ip saddr 172.17.0.1 tcp dport 22 accept",
        "ip saddr 198.51.36.254 tcp dport 22 accept",
    ]


def test_a_kernel_without_ipv6(around: Surroundings) -> None:
    (around.directory / "if_inet6").unlink()
    assert closed_set(6, around.rules()) == [network for network in CLOSED if ":" in network]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("nameserver 192.168.7.53\nnameserver fd00::53\n", ["ip daddr 192.168.7.53", "ip6 daddr fd00::53"]),
        ("nameserver 192.168.7.53", ["ip daddr 192.168.7.53"]),
        ("nameserver fe80::1%eth0\n", ["ip6 daddr fe80::1"]),
        ("# nameserver 1.1.1.1\n;nameserver 1.1.1.1\nsearch lan\noptions ndots:0\n", []),
        (" \n\tnameserver\t10.0.0.1 # mine\nnameservers 1.1.1.1\n", ["ip daddr 10.0.0.1"]),
    ],
)
def test_the_name_servers(text: str, found: list[str], around: Surroundings) -> None:
    around.write("resolv.conf", text)
    opened = [line for line in chain("output", around.rules()) if "dport 53 " in line]
    assert [line.partition(" meta ")[0] for line in opened] == found


def test_a_name_is_open_at_each_of_its_addresses_and_an_unknown_one_at_none(around: Surroundings) -> None:
    opened = chain("output", around.rules("named=1,two.example", "named=2,unknown.example", "named=3,-x"))[6:-3]
    assert opened == ["ip daddr 10.0.0.5 tcp dport 1 accept", "ip6 daddr fe80::1 tcp dport 1 accept"]


@pytest.mark.parametrize("name", ["route", "if_inet6"])
def test_what_the_kernel_says_and_cannot_be_read_sets_no_rules(name: str, around: Surroundings) -> None:
    around.write(name, "not\nwhat\nis expected of a kernel at all\n")
    assert around.run().returncode != 0
    assert not (around.directory / "rules").exists()


def test_rules_that_the_kernel_does_not_take_are_a_failure_with_a_line_of_its_reason(around: Surroundings) -> None:
    around.program("nft", "printf 'no such thing\\nat all\\n'; exit 1")
    done = around.run()
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == "the engine's kernel does not accept these nf_tables rules: no such thing\n"
