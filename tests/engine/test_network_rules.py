"""The rules of the network in nft's own eyes, for surroundings that a test machine does not have."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from confined_claude.container.egress.internet import ruleset

CONFIG: dict[str, list[Any]] = {"closed": [], "host_ports": [], "ports": []}
NOTHING: dict[str, list[Any]] = {"gateways": [], "networks": [], "resolvers": [], "named": []}
MUCH = {
    "gateways": ["172.17.0.1"],
    "networks": ["172.17.0.0/16", "2001:db8:7::/64", "fe80::/64", "::1/128"],
    "resolvers": ["10.0.0.53", "2001:db8::53"],
    "named": [("10.1.2.3", 3128), ("2001:db8::1", 443)],
}


def nft_takes(text: str) -> tuple[bool, str]:
    command = ["docker", "run", "--rm", "--interactive", "--network", "none", "--user", "0:0", "--cap-add", "NET_ADMIN"]
    program = ["--entrypoint", "/usr/sbin/nft", "confined-claude:latest", "--file", "-"]
    done = subprocess.run([*command, *program], input=text, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode == 0, done.stderr


@pytest.mark.parametrize("here", [NOTHING, MUCH], ids=["nothing", "much"])
def test_nft_takes_the_rules(installed: Path, here: dict[str, Any]) -> None:
    closed = ["203.0.113.0/24", "2001:db8:1::/48", "10.0.0.0/8"]
    text = ruleset({**CONFIG, "closed": closed, "host_ports": ["5432"], "ports": ["8080"]}, **here)
    assert nft_takes(text) == (True, "")
    assert not nft_takes(text.replace("@closed4", "@nosuch"))[0]
