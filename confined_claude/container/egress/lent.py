"""What becomes of a request to a host that something is lent to. No sockets, no TLS.

The value takes the place of the placeholder in the one header that it is lent for, and nowhere else. What is not
plainly one request for that host is refused.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import h11

from .request import Headers, Refused, Target, end_to_end, parse_host, parse_port

HTTPS_PORT = 443
_ORIGIN = re.compile(rb"/[!-\"$-~]*")
_WORD = re.compile(rb"(?i:(?P<scheme>bearer|token|basic) +)?(?P<word>[!-~]+)")
_CONTROL = re.compile(rb"[\0-\x08\n-\x1f\x7f]")
_ABOUT_FRAMES = (b"content-length", b"transfer-encoding")


@dataclass(frozen=True)
class Lent:
    """One lent secret: to whom, in which header, what stands for it, and its value."""

    hosts: frozenset[tuple[str, int]]
    header: bytes
    placeholder: bytes
    value: bytes = field(repr=False)

    def put_into(self, text: bytes) -> bytes:
        """Return a header's text with the value in place of the placeholder: bare, Bearer, token or Basic."""
        if not (match := _WORD.fullmatch(text)):
            return text
        word = match["word"]
        if (match["scheme"] or b"").lower() != b"basic":
            return text[: match.start("word")] + self.value if word == self.placeholder else text
        try:
            user, colon, password = base64.b64decode(word, validate=True).partition(b":")
        except binascii.Error:
            return text
        if not colon or self.placeholder not in (user, password):
            return text
        both = (self.value if part == self.placeholder else part for part in (user, password))
        return text[: match.start("word")] + base64.b64encode(b":".join(both))


def parse(line: bytes) -> tuple[Lent, ...]:
    """Return what is lent, by a line from the host. Raises ValueError, which has nothing of it, for a broken one."""
    try:
        return tuple(
            Lent(
                frozenset((parse_host(host), parse_port(port)) for host, port in one["hosts"]),
                one["header"].encode("ascii"),
                one["placeholder"].encode("ascii"),
                one["value"].encode("ascii"),
            )
            for one in json.loads(line)
        )
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        raise ValueError("what is lent cannot be read") from None


def check(target: Target, request: h11.Request) -> None:
    """Raise Refused unless this is plainly one request for ``target``, in a tunnel to it."""
    if request.http_version not in (b"1.0", b"1.1"):
        raise _refused(target, "HTTP/2 is not possible there", 505)
    headers = list(request.headers)
    given = [value for name, value in headers if name == b"host"]
    names = {target.authority, target.host} if target.port == HTTPS_PORT else {target.authority}
    if len(given) != 1 or given[0].lower().decode("latin-1") not in names:
        raise _refused(target, "its Host header names another host", 421)
    if request.method.upper() in (b"CONNECT", b"TRACE", b"TRACK"):
        raise _refused(target, f"{request.method.decode()} is not possible there", 405)
    if not _ORIGIN.fullmatch(request.target):
        raise _refused(target, "its request target is not a path")
    if sum(name in _ABOUT_FRAMES for name, _ in headers) > 1:
        raise _refused(target, "the length of its body is ambiguous")
    if any(_CONTROL.search(value) for _, value in headers):
        raise _refused(target, "a header has a control character")
    if any(name == b"upgrade" for name, _ in headers):
        raise _refused(target, "only HTTP is possible there, no WebSocket or other protocol", 501)


def outgoing(target: Target, headers: Headers, lent: Iterable[Lent]) -> tuple[list[tuple[bytes, bytes]], bool]:
    """Return the headers to send to ``target`` with the values of what is ``lent`` to it, and whether there is one.

    Raises Refused if a header that something is lent for is there twice.
    """
    theirs = [one for one in lent if (target.host, target.port) in one.hosts]
    passed, is_used = [(b"host", target.authority.removesuffix(f":{HTTPS_PORT}").encode("ascii"))], False
    for header in {one.header for one in theirs}:
        if sum(name == header for name, _ in headers) > 1:
            raise _refused(target, "it has the header of a lent secret twice")
    for name, text in end_to_end(headers):
        put = text
        for one in theirs:
            if one.header == name and put == text:
                put = one.put_into(text)
        is_used |= put != text
        if name != b"host":
            passed.append((name, put))
    if any(name == b"transfer-encoding" for name, _ in headers):
        passed.append((b"transfer-encoding", b"chunked"))
    return passed, is_used


def _refused(target: Target, why: str, status: int = 400) -> Refused:
    text = f"the request to {target.authority}, to which a secret is lent, is refused: {why}"
    return Refused(status, text, "lent", target.host, target.port)
