"""The requests that the allowlist's proxy understands: their targets and their headers. No sockets, no policy.

Everything here fails closed: what is not plainly a name, an address or a request is refused.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass

Headers = Sequence[tuple[bytes, bytes]]

HTTP_PORT = 80
_LAST_PORT = 65535
_LONGEST_NAME = 253

_NAME = re.compile(r"(?:[A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}\.?", re.ASCII)
# What ends in a number is an address to inet_aton(3): 127.1, 0x7f.1, 2130706433.
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*", re.ASCII)
_TUNNEL = re.compile(r"(?P<host>[^/?#@]+):(?P<port>[0-9]{1,5})")
_ABSOLUTE = re.compile(r"(?i:http)://(?P<host>[^/?#@]*?)(?::(?P<port>[0-9]{1,5}))?(?P<path>[/?][!-\"$-~]*)?")

_HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer transfer-encoding"
    b" upgrade".split()
)


class Refused(Exception):
    """A request that is answered instead of served: an HTTP status, a line of text, and what to record.

    Without a ``reason`` nothing is recorded: the request was allowed, and failed.
    """

    def __init__(self, status: int, text: str, reason: str = "", host: str = "", port: int = 0) -> None:
        super().__init__(text)
        self.status, self.text, self.reason, self.host, self.port = status, text, reason, host, port


def malformed(text: str, recorded: str = "", status: int = 400) -> Refused:
    """Return the refusal of what cannot be understood, with what is recorded of it."""
    return Refused(status, text, "malformed", recorded)


def host_name(text: str) -> str:
    """Return a name in lower case and without a trailing dot. Raises ValueError if ``text`` is not plainly a name."""
    name = text.removesuffix(".")
    if not _NAME.fullmatch(text) or len(name) > _LONGEST_NAME or _NUMBER.fullmatch(name.rpartition(".")[2]):
        raise ValueError(f"{text!r} is not a host's name")
    return name.lower()


def parse_host(text: str) -> str:
    """Return a host's name, or an address in its usual notation. Raises ValueError for anything else."""
    if text.startswith("[") and text.endswith("]"):
        return str(ipaddress.IPv6Address(text[1:-1]))
    try:
        return host_name(text)
    except ValueError:
        return str(ipaddress.ip_address(text))


def parse_port(text: str | int) -> int:
    """Return the number of a port. Raises ValueError for anything else."""
    port = int(text)
    if not 0 < port <= _LAST_PORT:
        raise ValueError(f"{port} is not a port")
    return port


@dataclass(frozen=True)
class Endpoint:
    """Somewhere to connect to. ``host`` is a name as ``host_name`` returns it, or an address."""

    host: str
    port: int

    @property
    def authority(self) -> str:
        """``HOST:PORT``, with an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Target(Endpoint):
    """What a request asks for; ``path`` is empty for a tunnel."""

    path: str = ""

    @property
    def host_header(self) -> str:
        """The value of the header Host."""
        return self.authority.removesuffix(f":{HTTP_PORT}")


def parse_target(method: bytes, target: bytes) -> Target:
    """Return the target in a request line: CONNECT HOST:PORT, or any other method with http://HOST[:PORT]/PATH.

    Raises Refused for every other form.
    """
    text = target.decode("ascii", "replace")
    match = (_TUNNEL if method == b"CONNECT" else _ABSOLUTE).fullmatch(text)
    try:
        if not match:
            raise ValueError("neither CONNECT HOST:PORT nor http://HOST[:PORT]/PATH")
        host, port = parse_host(match["host"]), parse_port(match["port"] or HTTP_PORT)
    except ValueError as error:
        raise malformed(f"not a request for this proxy: {error}", text) from None
    if method == b"CONNECT":
        return Target(host, port)
    path = match["path"] or "/"
    return Target(host, port, path if path.startswith("/") else f"/{path}")


def end_to_end(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Return the headers that are not about this connection alone; the next one frames the body in its own way."""
    listed = {word.strip().lower() for name, value in headers if name == b"connection" for word in value.split(b",")}
    dropped = _HOP_BY_HOP | listed - {b"content-length"}
    if _has(headers, b"transfer-encoding"):
        dropped |= {b"content-length"}
    return [(name, value) for name, value in headers if name not in dropped]


def _has(headers: Headers, name: bytes) -> bool:
    return any(name == found for found, _ in headers)


def outgoing_headers(target: Target, headers: Headers) -> list[tuple[bytes, bytes]]:
    """Return the headers to send to ``target``, whose host alone counts, whatever a Host header says.

    ``headers`` have lower-case names. Raises Refused if they leave open where the body ends, or announce one for a
    tunnel.
    """
    chunked, counted = _has(headers, b"transfer-encoding"), _has(headers, b"content-length")
    if (chunked and counted) or (not target.path and (chunked or counted)):
        raise malformed("the request's body has no clear end", target.authority)
    passed = [(name, value) for name, value in end_to_end(headers) if name != b"host"]
    framing = [(b"transfer-encoding", b"chunked")] if chunked else []
    return [(b"host", target.host_header.encode("ascii")), *passed, *framing, (b"connection", b"close")]
