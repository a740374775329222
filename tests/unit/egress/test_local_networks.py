"""The networks this machine is in: by the kernel's answers, and by real interfaces and routes."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import struct
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confined_claude.container.egress.networks import CLOSED
from confined_claude.egress.local_networks import attached, networks, routed, with_neighbours

DONE = struct.pack("=IHHII", 20, 3, 2, 1, 0) + bytes(4)


def message(length: int, **addresses: str) -> bytes:
    """What the kernel says of an address: its ``own``, its ``peer``'s, or both."""
    parts = b""
    for name, address in addresses.items():
        packed = ipaddress.ip_address(address).packed
        parts += struct.pack("=HH", 4 + len(packed), {"peer": 1, "own": 2}[name]) + packed
    parts += struct.pack("=HH", 9, 3) + b"eth0\0" + bytes(3)  # the interface's name, which is padded
    body = struct.pack("=BBBBI", 2, length, 0, 0, 2) + parts
    return struct.pack("=IHHII", 16 + len(body), 20, 2, 1, 0) + body


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (message(24, peer="192.168.7.9", own="192.168.7.9"), {"192.168.7.0/24", "192.168.7.9/32"}),
        (message(8, own="25.1.2.3"), {"25.0.0.0/8", "25.1.2.3/32"}),
        (message(32, peer="10.8.0.1", own="10.8.0.2"), {"10.8.0.1/32", "10.8.0.2/32"}),
        (message(0, peer="10.8.0.2", own="10.8.0.2"), {"10.8.0.2/32"}),
        (message(7, peer="9.1.1.1"), {"9.1.1.1/32"}),
        (message(64, peer="2001:db8:7::1"), {"2001:db8:7::/64", "2001:db8:7::1/128"}),
        (message(31, peer="2001:db8::1"), {"2001:db8::1/128"}),
        (message(32, peer="2001:db8::1"), {"2001:db8::/32", "2001:db8::1/128"}),
        (
            message(24, own="10.0.0.1") + message(32, own="10.1.1.1") + DONE,
            {"10.0.0.0/24", "10.0.0.1/32", "10.1.1.1/32"},
        ),
        (b"", set()),
    ],
)
def test_a_network_of_an_address_is_one_unless_it_is_too_large_to_be_in(answer: bytes, found: set[str]) -> None:
    assert set(attached(answer)) == found


@given(st.binary(max_size=200))
def test_whatever_the_kernel_says_it_is_read_to_an_end(answer: bytes) -> None:
    for read in (attached, lambda answer: routed(answer, with_neighbours(answer))):
        with contextlib.suppress(ValueError, LookupError, struct.error):
            assert all(ipaddress.ip_network(network) for network in read(answer))


# As `wg-quick` sets them for "all but private", with some of those that the owner's own address is in.
VPN = """
    0.0.0.0/5 8.0.0.0/7 11.0.0.0/8 12.0.0.0/6 16.0.0.0/4 32.0.0.0/3 64.0.0.0/2 128.0.0.0/3 160.0.0.0/5 168.0.0.0/6
    172.0.0.0/12 172.32.0.0/11 172.64.0.0/10 172.128.0.0/9 173.0.0.0/8 174.0.0.0/7 176.0.0.0/4 192.0.0.0/9
    192.128.0.0/11 192.160.0.0/13 192.169.0.0/16 192.170.0.0/15 192.172.0.0/14 192.176.0.0/12 192.192.0.0/10
    193.0.0.0/8 194.0.0.0/7 196.0.0.0/6 200.0.0.0/5 208.0.0.0/4
""".split()
SURROUNDINGS = """
set -e
ip link set lo up
ip tuntap add dev wg0 mode tun
ip link set wg0 up
for name in eth0 docker0; do
    ip link add $name type veth peer name peer-$name
    ip link set $name up
    ip link set peer-$name up
done
ip address add 93.184.216.5/24 dev eth0
ip address add 192.168.7.9/24 dev eth0
ip address add 10.8.0.2/32 dev wg0
ip address add 172.17.0.1/16 dev docker0
ip route add local 198.51.100.7/32 dev eth0
ip route add 93.0.0.0/9 dev wg0
for network in $VPN; do ip route add $network dev wg0; done
ip -6 route add 2000::/3 dev wg0
ip -6 route add 2001:db8:9::/48 dev wg0
ip -6 address add 2001:db8:7::5/128 dev eth0 nodad
ip -6 route add 2001:db8:7::/64 dev eth0
ip -6 route add 2001:db8:8::/64 via fe80::1 dev eth0
ip route add 203.0.113.0/26 dev eth0 table 77
ip route add 203.0.113.64/26 via 93.184.216.1
ip route add 203.0.113.128/26 dev eth0 via inet6 fe80::1
ip route add default via 93.184.216.1
exec "$@"
"""
ASK = "import json; from confined_claude.egress.local_networks import networks; print(json.dumps(networks()))"


@pytest.mark.mount
def test_routes_through_a_vpn_are_no_networks_one_is_in_and_what_is_near_stays_closed() -> None:
    """In a network namespace, with real interfaces and routes."""
    words = ["unshare", "--net", "sh", "-c", SURROUNDINGS, "sh", sys.executable, "-c", ASK]
    environ = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "VPN": " ".join(VPN)}
    done = subprocess.run(words, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    everything = json.loads(done.stdout)
    assert {network for network in everything if ":" in network and not network.startswith("fe80:")} == {
        *("::1/128", "2001:db8:7::/64", "2001:db8:7::5/128"),
    }
    found = {network for network in everything if ":" not in network}
    assert found == {
        "203.0.113.0/26",
        *("127.0.0.0/8", "127.0.0.1/32", "10.8.0.2/32", "172.17.0.0/16", "172.17.0.1/32", "198.51.100.7/32"),
        *("93.184.216.0/24", "93.184.216.5/32", "192.168.7.0/24", "192.168.7.9/32"),
    }
    closed = [ipaddress.ip_network(network) for network in (*CLOSED, *found) if ":" not in network]
    for address, is_closed in {"8.8.8.8": False, "93.1.1.1": False, "11.0.0.1": False, "172.32.0.1": False}.items():
        assert any(ipaddress.ip_address(address) in network for network in closed) is is_closed
    for address in ("93.184.216.1", "192.168.7.1", "192.168.9.1", "10.9.9.9", "172.17.0.2", "169.254.169.254"):
        assert any(ipaddress.ip_address(address) in network for network in closed)


def test_this_machine_answers() -> None:
    assert {"127.0.0.0/8", "127.0.0.1/32"} <= set(networks())
