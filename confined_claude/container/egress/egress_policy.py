"""What the allowlist's proxy decides, without a socket: names, addresses, requests, and the record of what was refused.

Everything here fails closed: what is not plainly a name, or not plainly an address outside, is refused.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any
from urllib.parse import unquote, urlsplit

HOST_GATEWAY = "host.docker.internal"
Headers = Sequence[tuple[bytes, bytes]]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_WEB_PORTS = frozenset({80, 443})
_HTTP_PORT = 80
_DNS_PORT = 53
_LAST_PORT = 65535
_LONGEST_NAME = 253

_NAME = re.compile(r"(?:[A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}\.?", re.ASCII)
# What ends in a number is an address to inet_aton(3): 127.1, 0x7f.1, 2130706433.
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*", re.ASCII)
_TUNNEL = re.compile(r"(?P<host>[^/?#@]+):(?P<port>[0-9]{1,5})")
_ABSOLUTE = re.compile(r"(?i:http)://(?P<host>[^/?#@]*?)(?::(?P<port>[0-9]{1,5}))?(?P<path>[/?][!-\"$-~]*)?")

# A closed list rather than ipaddress.is_global, which changes with the Python version and calls networks set apart for
# documentation not global. Of IPv6 only 2000::/3 is open (IPv4 is mapped and translated elsewhere), without 6to4 and
# IETF's protocols, of which Teredo is one.
_CLOSED = tuple(
    map(
        ipaddress.ip_network,
        """
        0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.88.99.0/24
        192.168.0.0/16 198.18.0.0/15 224.0.0.0/4 240.0.0.0/4
        ::/3 4000::/2 8000::/1 2001::/23 2002::/16
        """.split(),
    )
)

_HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer transfer-encoding"
    b" upgrade".split()
)

# join.py asks for it at every start, to see it refused.
_SELF_TEST = "self-test.confined-claude.invalid"
_MOST_BLOCKED = 1000
_LONGEST_TEXT = 255

_DNS_HEADER = 12
_DNS_RESPONSE = 0x8000
_DNS_KEPT = 0x7900  # opcode and "recursion desired" are the query's
_DNS_REFUSED = 5
_DNS_LONGEST_LABEL = 63


class Refused(Exception):
    """A request that is answered instead of served: an HTTP status, a line of text, and what to record.

    Without a ``reason`` nothing is recorded: it was allowed, and failed.
    """

    def __init__(self, status: int, text: str, reason: str = "", host: str = "", port: int = 0) -> None:
        super().__init__(text)
        self.status, self.text, self.reason, self.host, self.port = status, text, reason, host, port


def host_name(text: str) -> str:
    """``text`` in lower case and without a trailing dot. Raises ValueError if it is not plainly a name."""
    name = text.removesuffix(".")
    if not _NAME.fullmatch(text) or len(name) > _LONGEST_NAME or _NUMBER.fullmatch(name.rpartition(".")[2]):
        raise ValueError(f"{text!r} is not a host's name")
    return name.lower()


def _host(text: str) -> str:
    """A host's name, or an address in its usual notation. Raises ValueError for anything else."""
    if text.startswith("[") and text.endswith("]"):
        return str(ipaddress.IPv6Address(text[1:-1]))
    try:
        return host_name(text)
    except ValueError:
        return str(ipaddress.ip_address(text))


def _port(text: str | int) -> int:
    port = int(text)
    if not 0 < port <= _LAST_PORT:
        raise ValueError(f"{port} is not a port")
    return port


@dataclass(frozen=True)
class Endpoint:
    """Somewhere to connect to. ``host`` is a name as ``host_name`` gives it, or an address."""

    host: str
    port: int

    @property
    def authority(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Wanted(Endpoint):
    """What a request asks for; ``path`` is empty for a tunnel."""

    path: str = ""

    @property
    def host_header(self) -> str:
        return self.authority.removesuffix(f":{_HTTP_PORT}")


def wanted(method: bytes, target: bytes) -> Wanted:
    """What a request line asks for: CONNECT HOST:PORT, or any other method with http://HOST[:PORT]/PATH.

    Raises Refused for every other form.
    """
    text = target.decode("ascii", "replace")
    match = (_TUNNEL if method == b"CONNECT" else _ABSOLUTE).fullmatch(text)
    try:
        if not match:
            raise ValueError("neither CONNECT HOST:PORT nor http://HOST[:PORT]/PATH")
        host, port = _host(match["host"]), _port(match["port"] or _HTTP_PORT)
    except ValueError as error:
        raise malformed(f"not a request for this proxy: {error}", text) from None
    if method == b"CONNECT":
        return Wanted(host, port)
    path = match["path"] or "/"
    return Wanted(host, port, path if path.startswith("/") else f"/{path}")


def malformed(text: str, what: str = "", status: int = 400) -> Refused:
    """The refusal of what cannot be understood; ``what`` is recorded of it."""
    return Refused(status, text, "malformed", what)


def end_to_end(headers: Headers) -> list[tuple[bytes, bytes]]:
    """The headers that are not about this connection alone; how the body is framed is up to the next one."""
    named = {word.strip().lower() for name, value in headers if name == b"connection" for word in value.split(b",")}
    dropped = _HOP_BY_HOP | named - {b"content-length"}
    if _has(headers, b"transfer-encoding"):
        dropped |= {b"content-length"}
    return [(name, value) for name, value in headers if name not in dropped]


def _has(headers: Headers, wanted_name: bytes) -> bool:
    return any(name == wanted_name for name, _ in headers)


def outgoing_headers(asked: Wanted, headers: Headers) -> list[tuple[bytes, bytes]]:
    """The headers to send on for ``asked``, whose host alone counts, whatever a Host header says.

    ``headers`` have lower-case names. Raises Refused if they leave open where the body ends, or give a tunnel one.
    """
    chunked, counted = _has(headers, b"transfer-encoding"), _has(headers, b"content-length")
    if (chunked and counted) or (not asked.path and (chunked or counted)):
        raise malformed("the request's body has no clear end", asked.authority)
    kept = [(name, value) for name, value in end_to_end(headers) if name != b"host"]
    framing = [(b"transfer-encoding", b"chunked")] if chunked else []
    return [(b"host", asked.host_header.encode("ascii")), *kept, *framing, (b"connection", b"close")]


@dataclass(frozen=True)
class Entry:
    """One entry of the allowlist: a name, or every name ``below`` it, with its ports."""

    name: str
    below: bool
    ports: frozenset[int]

    @classmethod
    def parse(cls, text: str) -> Entry:
        """From HOST, *.DOMAIN, HOST:PORT or *.DOMAIN:PORT. Raises ValueError for anything else."""
        host, colon, port = text.partition(":")
        name = host.removeprefix("*.")
        return cls(host_name(name), name != host, frozenset({_port(port)}) if colon else _WEB_PORTS)

    def covers(self, name: str) -> bool:
        return name.endswith(f".{self.name}") if self.below else name == self.name


@dataclass(frozen=True)
class Upstream(Endpoint):
    """A company's own proxy, and how to sign in to it."""

    authorization: str = ""

    @classmethod
    def parse(cls, url: str) -> Upstream:
        """From [http://][USER[:PASSWORD]@]HOST[:PORT]. Raises ValueError for what is no such proxy."""
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            host, port = _host(parts.hostname or ""), parts.port or _HTTP_PORT
        except ValueError:
            parts = None
        if not parts or parts.scheme != "http":
            raise ValueError("a proxy upstream must be http://HOST:PORT")  # the URL itself may hold a password
        sign_in = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        return cls(host, port, f"Basic {base64.b64encode(sign_in.encode()).decode()}" if parts.username else "")

    def headers(self) -> list[tuple[bytes, bytes]]:
        return [(b"proxy-authorization", self.authorization.encode("ascii"))] if self.authorization else []


@dataclass(frozen=True)
class Policy:
    """What one session may reach. ``named`` endpoints are the user's own, wherever they are."""

    allow: tuple[Entry, ...] = ()
    named: frozenset[tuple[str, int]] = frozenset()
    closed: tuple[Network, ...] = ()
    forward: tuple[int, ...] = ()
    upstream_http: Upstream | None = None
    upstream_https: Upstream | None = None
    no_proxy: tuple[str, ...] = ()

    @classmethod
    def parse(cls, content: str, registries: Iterable[str] = ()) -> Policy:
        """From config.json, with the entries of the image's own ``registries``. Raises ValueError if it is broken."""
        try:
            return cls._of(json.loads(content), registries)
        except (AttributeError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from None

    @classmethod
    def _of(cls, config: dict[str, Any], registries: Iterable[str]) -> Policy:
        upstream = config["upstream"]
        return cls(
            allow=tuple(map(Entry.parse, [*config["allow"], *registries])),
            named=frozenset((_host(host), _port(port)) for host, port in config["named"]),
            closed=tuple(ipaddress.ip_network(network, strict=False) for network in config["closed"]),
            forward=tuple(map(_port, config["forward"])),
            upstream_http=Upstream.parse(upstream["http"]) if upstream["http"] else None,
            upstream_https=Upstream.parse(upstream["https"]) if upstream["https"] else None,
            no_proxy=tuple(word.strip().lower() for word in upstream["no_proxy"].split(",") if word.strip()),
        )

    def check(self, asked: Wanted) -> None:
        """Decides by name, before anybody is asked for its addresses. Raises Refused if it is not allowed."""
        if self.is_named(asked):
            return
        covering = [entry for entry in self.allow if entry.covers(asked.host)]
        if not any(asked.port in entry.ports for entry in covering):
            raise Refused(
                403,
                f"{asked.authority} is not in this session's allowlist. See: confined-claude blocked",
                "port" if covering else "name",
                asked.host,
                asked.port,
            )

    def is_named(self, asked: Wanted) -> bool:
        return (asked.host, asked.port) in self.named

    def knows(self, name: str) -> bool:
        """Whether ``name`` is allowed on any port."""
        return any(entry.covers(name) for entry in self.allow) or any(name == host for host, _ in self.named)

    def is_open(self, asked: Wanted, address: str) -> bool:
        """Whether ``address``, one of those that ``asked`` resolves to, may be dialled."""
        ip = ipaddress.ip_address(address)
        return self.is_named(asked) or not any(ip in network for network in (*_CLOSED, *self.closed))

    def upstream(self, asked: Wanted) -> Upstream | None:
        """The company's proxy through which ``asked`` goes; None if it goes straight, as to this machine itself."""
        if asked.host == HOST_GATEWAY or any(_exempts(word, asked) for word in self.no_proxy):
            return None
        return self.upstream_http if asked.path else self.upstream_https


def _exempts(word: str, asked: Wanted) -> bool:
    """Whether a word of no_proxy is about ``asked``: ``*``, a name, or a domain with or without its dot."""
    host, _, port = word.partition(":") if word.count(":") == 1 else (word, "", "")
    domain = host.removeprefix("*").removeprefix(".")
    if port and port != str(asked.port):
        return False
    return word == "*" or (bool(domain) and (asked.host == domain or asked.host.endswith(f".{domain}")))


def _now() -> datetime:
    return datetime.now(timezone.utc)


@dataclass
class _Times:
    first: str
    last: str
    count: int


@dataclass
class Blocked:
    """What was refused, how often, and when. The agent chooses what goes in: bounded, and printable ASCII only."""

    clock: Callable[[], datetime] = _now
    changed: bool = False
    _seen: dict[tuple[str, int, str], _Times] = field(default_factory=dict)
    _others: int = 0

    def record(self, host: str, port: int, reason: str) -> None:
        if host == _SELF_TEST:
            return
        self.changed = True
        key = (_printable(host), port, reason)
        now = self.clock().isoformat(timespec="seconds")
        if times := self._seen.get(key):
            times.last, times.count = now, times.count + 1
        elif len(self._seen) < _MOST_BLOCKED:
            self._seen[key] = _Times(now, now, 1)
        else:
            self._others += 1

    def as_json(self) -> str:
        entries = [
            {
                "host": host,
                "port": port,
                "reason": reason,
                "first": times.first,
                "last": times.last,
                "count": times.count,
            }
            for (host, port, reason), times in self._seen.items()
        ]
        return json.dumps({"version": 1, "blocked": entries, "others": self._others})


def _printable(text: str) -> str:
    return "".join(character if " " <= character <= "~" else "?" for character in text[:_LONGEST_TEXT])


def refuse_query(query: bytes) -> tuple[bytes, str] | None:
    """The answer REFUSED to a DNS query, and the name it asks for; None for what is no query."""
    if len(query) < _DNS_HEADER or query[2] & 0x80 or query[4:6] != b"\0\1":
        return None
    labels, place = [], _DNS_HEADER
    while place < len(query) and (length := query[place]):
        if length > _DNS_LONGEST_LABEL:
            return None
        labels.append(query[place + 1 : place + 1 + length])
        place += 1 + length
    end = place + 5  # the root's empty label, type and class
    if end > len(query):
        return None
    flags = int.from_bytes(query[2:4], "big") & _DNS_KEPT | _DNS_RESPONSE | _DNS_REFUSED
    answer = query[:2] + flags.to_bytes(2, "big") + b"\0\1" + bytes(6) + query[_DNS_HEADER:end]
    return answer, b".".join(labels).decode("latin-1").lower()


def record_query(blocked: Blocked, policy: Policy, name: str) -> None:
    """Programs ask for names that they then reach through the proxy: only what is not allowed is worth a record."""
    if not policy.knows(name):
        blocked.record(name, _DNS_PORT, "dns")
