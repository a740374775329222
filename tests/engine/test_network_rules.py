"""The rules of the network as nft has them, for surroundings that a test machine does not have."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from confined_claude.container.egress.networks import CLOSED

PROGRAM = "/opt/confined-claude/egress/rules"
WORDS = {
    "nothing": [],
    "much": [
        *(f"closed={network}" for network in ("203.0.113.0/24", "10.0.0.0/8", "10.0.0.0/8", "2001:db8:1::/48")),
        *("named=5432,10.9.9.9", "port=8080", "named=3128,10.1.2.3", "named=443,localhost", "named=80,nosuch.invalid"),
    ],
}  # fmt: skip


def nft_has(words: list[str], *options: str) -> subprocess.CompletedProcess[str]:
    """Set the rules in a container with IPv6, and list them."""
    command = ["docker", "run", "--rm", "--user", "0:0", "--cap-add", "NET_ADMIN", *options]
    script = f'{PROGRAM} "$@" && nft list ruleset'
    words = ["--entrypoint", "/bin/sh", "confined-claude:latest", "-c", script, "sh", *words]
    return subprocess.run([*command, *words], capture_output=True, text=True, check=False, timeout=900)


@pytest.mark.parametrize("network", ["none", "bridge"])
@pytest.mark.parametrize("name", list(WORDS))
def test_nft_takes_the_rules(installed: Path, name: str, network: str) -> None:
    words = [*(f"closed={network}" for network in CLOSED), *WORDS[name]]
    ipv6 = ("--sysctl", "net.ipv6.conf.all.disable_ipv6=0") if Path("/proc/sys/net/ipv6").exists() else ()
    done = nft_has(words, "--network", network, *ipv6)
    assert (done.returncode, done.stderr) == (0, "")
    listed = done.stdout
    assert listed.count("policy drop") == 2
    assert ("203.0.113.0/24" in listed) is (name == "much")
    is_open = name == "much" and network == "bridge"
    assert (" tcp dport 5432 accept" in listed, " tcp dport 8080 accept" in listed) == (name == "much", is_open)
    assert nft_has([*words, "closed=10.0.0.0/99"], "--network", network).returncode == 1
