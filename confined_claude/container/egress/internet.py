"""The sidecar of ``network = "internet"``: it owns a session's network and blocks all but the public internet.

It reads one line, a JSON object: {"closed": [NETWORK], "named": [[HOST, PORT]], "host_ports": [PORT], "ports": [PORT]}.
The session's container has this container's network as its own. The rules are in force before it may join, set by the
only process that ever has CAP_NET_ADMIN there; nothing in the session can change them, its root included.

Every session waits for this, so it imports little. Its container is started meanwhile, whose entrypoint waits.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

from .networks import CLOSED, ipv6_networks, routes

# In the network that the session's container joins: whatever can connect there is behind the rules.
ADDRESS = "\0confined-claude"
JOIN_SECONDS = 60
_NOBODY = 65534

_NEIGHBOURS = "nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, nd-router-advert, mld2-listener-report"


def ruleset(
    config: Mapping[str, Any],
    *,
    gateways: Iterable[str],
    networks: Iterable[str],
    resolvers: Iterable[str],
    named: Iterable[tuple[str, int]],
) -> str:
    """Return the rules in nft's language.

    ``gateways`` (IPv4), ``networks`` and ``resolvers`` are this container's; ``named`` are the addresses and ports that
    are open although the network around them is not.
    """
    closed = [*CLOSED, *networks, *config["closed"]]
    gateways = list(gateways)
    opened = [
        *(_to(address, "meta l4proto { tcp, udp } th dport 53") for address in resolvers),
        *(_to(address, f"tcp dport {port}") for address in gateways for port in config["host_ports"]),
        *(_to(address, f"tcp dport {port}") for address, port in named),
    ]
    published = [f"ip saddr {address} tcp dport {port} accept" for address in gateways for port in config["ports"]]
    lines = [
        "table inet confined_claude {",
        _set("closed4", "ipv4_addr", (network for network in closed if ":" not in network)),
        _set("closed6", "ipv6_addr", (network for network in closed if ":" in network)),
        "chain output {",
        "type filter hook output priority filter; policy drop;",
        'oif "lo" accept',
        "ct state established,related accept",
        f"icmpv6 type {{ {_NEIGHBOURS} }} accept",
        *opened,
        "ip daddr @closed4 reject with icmpx admin-prohibited",
        "ip6 daddr @closed6 reject with icmpx admin-prohibited",
        "accept",
        "}",
        "chain input {",
        "type filter hook input priority filter; policy drop;",
        'iif "lo" accept',
        "ct state established,related accept",
        f"icmpv6 type {{ {_NEIGHBOURS} }} accept",
        *published,
        "}",
        "}",
    ]
    return "\n".join(lines) + "\n"


def _to(address: str, match: str) -> str:
    return f"{'ip6' if ':' in address else 'ip'} daddr {address} {match} accept"


def _set(name: str, kind: str, networks: Iterable[str]) -> str:
    elements = ", ".join(dict.fromkeys(networks))
    return f"set {name} {{ type {kind}; flags interval; auto-merge; elements = {{ {elements} }}; }}"


def name_servers(resolv_conf: str) -> Iterator[str]:
    """Yield the addresses of the name servers in the text of /etc/resolv.conf."""
    for words in map(str.split, resolv_conf.splitlines()):
        if words[:1] == ["nameserver"] and len(words) > 1:
            yield words[1].partition("%")[0]


def resolve(named: Iterable[tuple[str, int]]) -> Iterator[tuple[str, int]]:
    """Yield the addresses of (host, port) pairs, with their ports; none for a name that cannot be resolved here."""
    for host, port in named:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            continue
        for address in {info[4][0] for info in found}:
            yield str(address).partition("%")[0], port


def _read(path: str) -> str:
    """Return the text of a file; empty if it is missing, as where the kernel has no IPv6."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def _set_rules(rules: str) -> None:
    fd = os.memfd_create("rules")
    os.write(fd, rules.encode())
    os.lseek(fd, 0, os.SEEK_SET)
    nft = os.posix_spawn("/usr/sbin/nft", ["nft", "--file", "-"], {}, file_actions=[(os.POSIX_SPAWN_DUP2, fd, 0)])
    if os.waitpid(nft, 0)[1]:
        sys.exit("the engine's kernel does not take these rules of nf_tables")


def main(_arguments: Sequence[str]) -> NoReturn:
    """Set the rules, let one session join, and become a small process that ends when the session does."""
    os.environ["RES_OPTIONS"] = "timeout:2 attempts:1"
    config = json.loads(sys.stdin.readline())
    found = list(routes(_read("/proc/net/route")))
    rules = ruleset(
        config,
        gateways=[gateway for _, gateway in found if gateway],
        networks=[
            *(network for network, gateway in found if not gateway),
            *ipv6_networks(_read("/proc/net/if_inet6")),
        ],
        resolvers=name_servers(_read("/etc/resolv.conf")),
        named=sorted(resolve(map(tuple, config["named"]))),
    )
    _set_rules(rules)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(ADDRESS)
        listener.listen(1)
        listener.settimeout(JOIN_SECONDS)
        os.setgroups([])
        os.setgid(_NOBODY)
        os.setuid(_NOBODY)
        try:
            session, _ = listener.accept()
        except TimeoutError:
            sys.exit("no session has come")
    session.settimeout(None)
    print("joined", flush=True)
    session.sendall(b"ready\n")
    # The session keeps its end open as long as it lives. The process that waits is small: there may be many.
    os.dup2(session.fileno(), 0)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.execv("/bin/cat", ["cat"])  # noqa: S606
