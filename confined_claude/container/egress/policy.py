"""What a session with an allowlist may reach. Decides by name first, then by address; no sockets."""

from __future__ import annotations

import base64
import ipaddress
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from . import networks
from .request import HTTP_PORT, Endpoint, Refused, Target, host_name, parse_host, parse_port

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_WEB_PORTS = frozenset({80, 443})
# Not ipaddress.is_global, which differs between versions of Python and excludes networks for documentation.
_CLOSED = tuple(map(ipaddress.ip_network, networks.CLOSED))


@dataclass(frozen=True)
class Entry:
    """One entry of the allowlist, with its ports: a name, or a domain whose subdomains are allowed."""

    name: str
    is_domain: bool
    ports: frozenset[int]

    @classmethod
    def parse(cls, text: str) -> Entry:
        """Return the entry in HOST, *.DOMAIN, HOST:PORT or *.DOMAIN:PORT. Raises ValueError for anything else."""
        host, colon, port = text.partition(":")
        name = host.removeprefix("*.")
        return cls(host_name(name), name != host, frozenset({parse_port(port)}) if colon else _WEB_PORTS)

    def covers(self, name: str) -> bool:
        """Return whether the entry is about ``name``, on whatever port."""
        return name.endswith(f".{self.name}") if self.is_domain else name == self.name


@dataclass(frozen=True)
class Upstream(Endpoint):
    """A company's own proxy, and how to sign in to it."""

    authorization: str = ""

    @classmethod
    def parse(cls, url: str) -> Upstream:
        """Return the proxy at [http://][USER[:PASSWORD]@]HOST[:PORT]. Raises ValueError for anything else."""
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            host, port = parse_host(parts.hostname or ""), parts.port or HTTP_PORT
        except ValueError:
            parts = None
        if not parts or parts.scheme != "http":
            raise ValueError("a proxy upstream must be http://HOST:PORT")  # the URL itself may hold a password
        sign_in = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        return cls(host, port, f"Basic {base64.b64encode(sign_in.encode()).decode()}" if parts.username else "")

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return the headers that sign in to it."""
        return [(b"proxy-authorization", self.authorization.encode("ascii"))] if self.authorization else []


@dataclass(frozen=True)
class Policy:
    """What one session may reach.

    ``named`` are the user's own endpoints, allowed wherever they are; ``closed`` are networks that are closed beside
    the special ones. With ``opens_all`` every name is allowed.
    """

    allow: tuple[Entry, ...] = ()
    opens_all: bool = False
    named: frozenset[tuple[str, int]] = frozenset()
    closed: tuple[Network, ...] = ()
    upstream_http: Upstream | None = None
    upstream_https: Upstream | None = None
    no_proxy: tuple[str, ...] = ()

    @classmethod
    def parse(cls, content: str, registries: Iterable[str] = ()) -> Policy:
        """Return the policy in a config.json, which also allows the image's ``registries``.

        Raises ValueError if it is broken.
        """
        try:
            return cls._of(json.loads(content), registries)
        except (AttributeError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from None

    @classmethod
    def _of(cls, config: dict[str, Any], registries: Iterable[str]) -> Policy:
        upstream = config["upstream"]
        return cls(
            allow=tuple(map(Entry.parse, [*config["allow"], *registries])),
            opens_all=config.get("opens_all") is True,
            named=frozenset((parse_host(host), parse_port(port)) for host, port in config["named"]),
            closed=tuple(ipaddress.ip_network(network, strict=False) for network in config["closed"]),
            upstream_http=Upstream.parse(upstream["http"]) if upstream["http"] else None,
            upstream_https=Upstream.parse(upstream["https"]) if upstream["https"] else None,
            no_proxy=tuple(word.strip().lower() for word in upstream["no_proxy"].split(",") if word.strip()),
        )

    def check(self, target: Target) -> None:
        """Raise Refused unless ``target`` is allowed by its name, which is not yet resolved."""
        if self.opens_all or self.is_named(target):
            return
        covering = [entry for entry in self.allow if entry.covers(target.host)]
        if not any(target.port in entry.ports for entry in covering):
            raise Refused(
                403,
                f"{target.authority} is not in this session's allowlist. See: confined-claude blocked",
                "port" if covering else "name",
                target.host,
                target.port,
            )

    def is_named(self, target: Target) -> bool:
        """Return whether ``target`` is one of the user's own endpoints."""
        return (target.host, target.port) in self.named

    def knows(self, name: str) -> bool:
        """Return whether ``name`` is allowed on any port."""
        return any(entry.covers(name) for entry in self.allow) or any(name == host for host, _ in self.named)

    def is_open(self, target: Target, address: str) -> bool:
        """Return whether ``address``, one of those that ``target`` resolves to, may be connected to."""
        ip = ipaddress.ip_address(address)
        return self.is_named(target) or not any(ip in network for network in (*_CLOSED, *self.closed))

    def upstream(self, target: Target) -> Upstream | None:
        """Return the company's proxy for ``target``; None if the connection is direct, as to this machine itself."""
        if target.host == networks.HOST_GATEWAY or any(_exempts(word, target) for word in self.no_proxy):
            return None
        return self.upstream_http if target.path else self.upstream_https


def _exempts(word: str, target: Target) -> bool:
    """Return whether a word of no_proxy is about ``target``: ``*``, a name, or a domain with or without its dot."""
    host, _, port = word.partition(":") if word.count(":") == 1 else (word, "", "")
    domain = host.removeprefix("*").removeprefix(".")
    if port and port != str(target.port):
        return False
    return word == "*" or (bool(domain) and (target.host == domain or target.host.endswith(f".{domain}")))
