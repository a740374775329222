"""The sidecar of ``network = "internet"``: it holds a session's network, closed towards this side of the internet.

    python3 -IS egress_internet.py

It reads one line, a JSON object: {"closed": [NETWORK], "named": [[HOST, PORT]], "host_ports": [PORT], "ports": [PORT]}.
The session's container has this container's network as its own. The rules stand before it may join, set by the only
process that ever has CAP_NET_ADMIN there; nothing in the session can change them, its root included.

Every session waits for this, so it imports little; and its container is started meanwhile, whose entrypoint waits.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

# In the network that the session's container joins: who can connect there is behind the rules.
ADDRESS = "\0confined-claude"
JOIN_SECONDS = 60
_NOBODY = 65534

# IANA's special-purpose registries, and multicast. What is set apart for documentation leads nowhere anyway.
CLOSED = """
    0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.88.99.0/24
    192.168.0.0/16 198.18.0.0/15 224.0.0.0/4 240.0.0.0/4
    ::/3 4000::/2 8000::/1 2001::/32 2002::/16
""".split()
_NEIGHBOURS = "nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, nd-router-advert, mld2-listener-report"


def ruleset(
    config: Mapping[str, Any],
    *,
    gateways: Iterable[str],
    networks: Iterable[str],
    resolvers: Iterable[str],
    named: Iterable[tuple[str, int]],
) -> str:
    """The rules in nft's language.

    ``gateways`` (IPv4), ``networks`` and ``resolvers`` are those of this container; ``named`` are the addresses and
    ports that are open although what is around them is not.
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


def _to(address: str, what: str) -> str:
    return f"{'ip6' if ':' in address else 'ip'} daddr {address} {what} accept"


def _set(name: str, kind: str, networks: Iterable[str]) -> str:
    elements = ", ".join(dict.fromkeys(networks))
    return f"set {name} {{ type {kind}; flags interval; auto-merge; elements = {{ {elements} }}; }}"


def routes(table: str) -> tuple[list[str], list[str]]:
    """The IPv4 gateways, and the networks without one, in the text of /proc/net/route."""
    gateways, networks = [], []
    for line in table.splitlines()[1:]:
        _, destination, gateway, flags, *_, mask = line.split()[:8]
        if int(flags, 16) & 0x2:
            gateways.append(_ipv4(gateway))
        else:
            networks.append(f"{_ipv4(destination)}/{int(mask, 16).bit_count()}")
    return gateways, networks


def _ipv4(field: str) -> str:
    """An address as /proc/net/route has it: hexadecimal, in this machine's byte order."""
    return socket.inet_ntoa(struct.pack("=I", int(field, 16)))


def networks6(interfaces: str) -> Iterator[str]:
    """The IPv6 networks in the text of /proc/net/if_inet6."""
    for line in interfaces.splitlines():
        import ipaddress

        address, _, length, *_ = line.split()
        yield str(ipaddress.ip_network((bytes.fromhex(address), int(length, 16)), strict=False))


def name_servers(resolv_conf: str) -> Iterator[str]:
    """The addresses of the name servers in the text of /etc/resolv.conf."""
    for words in map(str.split, resolv_conf.splitlines()):
        if words[:1] == ["nameserver"] and len(words) > 1:
            yield words[1].partition("%")[0]


def resolve(named: Iterable[tuple[str, int]]) -> Iterator[tuple[str, int]]:
    """The addresses of (host, port) pairs, with their ports; none for a name that is not known here."""
    for host, port in named:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            continue
        for address in {info[4][0] for info in found}:
            yield str(address).partition("%")[0], port


def _read(path: str) -> str:
    """The text of a file; empty where there is none, as the kernel has no IPv6."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def _set_rules(rules: str) -> None:
    handle = os.memfd_create("rules")
    os.write(handle, rules.encode())
    os.lseek(handle, 0, os.SEEK_SET)
    nft = os.posix_spawn("/usr/sbin/nft", ["nft", "--file", "-"], {}, file_actions=[(os.POSIX_SPAWN_DUP2, handle, 0)])
    if os.waitpid(nft, 0)[1]:
        sys.exit("the engine's kernel does not take these rules of nf_tables")


def main() -> None:
    os.environ["RES_OPTIONS"] = "timeout:2 attempts:1"
    config = json.loads(sys.stdin.readline())
    gateways, networks = routes(_read("/proc/net/route"))
    rules = ruleset(
        config,
        gateways=gateways,
        networks=[*networks, *networks6(_read("/proc/net/if_inet6"))],
        resolvers=name_servers(_read("/etc/resolv.conf")),
        named=sorted(resolve(map(tuple, config["named"]))),
    )
    _set_rules(rules)
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(ADDRESS)
        door.listen(1)
        door.settimeout(JOIN_SECONDS)
        os.setgroups([])
        os.setgid(_NOBODY)
        os.setuid(_NOBODY)
        try:
            session, _ = door.accept()
        except TimeoutError:
            sys.exit("no session has come")
    session.settimeout(None)
    print("joined", flush=True)
    session.sendall(b"ready\n")
    # The session keeps its end open as long as it lives. What waits for that is small: there may be many.
    os.dup2(session.fileno(), 0)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.execv("/bin/cat", ["cat"])  # noqa: S606


if __name__ == "__main__":
    main()
