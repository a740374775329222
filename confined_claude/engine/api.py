"""The engine's HTTP API, each request on a connection of its own.

A unix socket is connected to, and so is a port without TLS. Any other address, TCP with TLS or ssh, is the docker
command's to reach: it passes one connection on. In HTTP/1.0 an answer ends with its connection, so nothing has to be
said of where it ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .. import signals
from ..errors import EngineError
from ..text import as_dict, parse_json
from .context import address_in_use
from .failures import SECONDS, SEE_LOG_OR_RESTART, no_answer, refused, unreachable

if TYPE_CHECKING:
    import subprocess

_PIECE = 1 << 16
_END_OF_HEAD = b"\r\n\r\n"
_MOST_HEAD = 1 << 16
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d{1,18})(?:\r|$)")
_STATUS = re.compile(rb"HTTP/1\.\d ([1-5]\d\d)(?:[ \r]|$)")
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_REFUSED = 400
MISSING = 404
UNLIMITED = None  # for what takes as long as it takes


class Answer:
    """What the engine answers to one request: the ``status``, then as much of the content as is read."""

    def __init__(
        self, connection: _Connection, status: int, begin: bytes, length: int | None = None, head: bytes = b""
    ) -> None:
        self.status = status
        self._head = head
        self._length = length
        self.socket = connection.socket
        self._connection = connection
        self._pieces = [begin] if begin else []
        self._is_whole = False

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection that it comes by."""
        self._connection.close()

    def header(self, name: str) -> str:
        """Return the value of a line of the head; empty if there is none."""
        for line in self._head.decode("latin-1").split("\r\n")[1:]:
            key, _, value = line.partition(":")
            if key.lower() == name.lower():
                return value.strip()
        return ""

    def receive(self) -> bytes:
        """Return the next piece of a stream, empty at its end. Raises OSError."""
        return self._pieces.pop() if self._pieces else self.socket.recv(_PIECE)

    def send(self, content: bytes) -> None:
        """Send ``content`` to a stream, and its end. Raises EngineError."""
        try:
            self.socket.sendall(content)
            self.socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise _broken(error.strerror or str(error)) from None

    def head(self, limit: int, seconds: float) -> bytes:
        """Return what comes of a stream within ``seconds``, or its first ``limit`` bytes."""
        received = b""
        until = time.monotonic() + seconds
        with contextlib.suppress(OSError):  # its end, or that time has passed
            while len(received) < limit and (left := until - time.monotonic()) > 0:
                self.socket.settimeout(left)
                if not (piece := self.receive()):
                    break
                received += piece
        return received[:limit]

    def advance(self) -> bool:
        """Read the next piece of the content; return whether that was its end. Raises EngineError."""
        try:
            piece = self.socket.recv(_PIECE)
        except OSError as error:
            # An engine that closes before it has read all that was sent, an archive's end say, resets the connection.
            if self._length is None or sum(map(len, self._pieces)) < self._length:
                raise _broken(error.strerror or str(error)) from None
            piece = b""
        self._pieces.append(piece)
        self._is_whole = not piece
        return self._is_whole

    def read_all(self) -> bytes:
        """Return all of the content, which may be a long time coming. Raises EngineError."""
        while not self._is_whole:
            self.advance()
        return b"".join(self._pieces)

    def json(self) -> Any:
        """Return the value of the content, which is JSON; None if it makes no sense. Raises EngineError."""
        return parse_json(self.read_all())

    @property
    def is_refusal(self) -> bool:
        return self.status >= _REFUSED

    def refusal(self) -> str:
        """Return why the engine has refused. Raises EngineError."""
        return str(as_dict(self.json()).get("message") or f"it answered with {self.status}")

    def checked(self, doing: str) -> Answer:
        """Return this answer. Raises EngineError if it is a refusal to be ``doing`` (``create the container``)."""
        if self.is_refusal:
            with self:
                raise refused(doing, self.refusal())
        return self


class _Connection:
    """A connection to the engine, which ends with its ``close``."""

    def __init__(self, seconds: float | None) -> None:
        address = address_in_use(os.environ)
        scheme, _, path = address.partition("://")
        self._forwarder: subprocess.Popen[bytes] | None = None
        if scheme == "unix":
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(seconds)
            try:
                self.socket.connect(path)
            except OSError as error:
                self.socket.close()
                raise unreachable(str(error)) from None
            return
        from . import command  # not on most machines

        if (place := command.plain_place(address)) is not None:
            try:
                self.socket = socket.create_connection(place, seconds)
            except OSError as error:
                raise unreachable(str(error)) from None
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # keys are typed one by one
            return
        self.socket, other = socket.socketpair()
        self.socket.settimeout(seconds)
        try:
            with other, signals.held():
                self._forwarder = command.forward(other.fileno())
        except BaseException:
            self.socket.close()
            raise

    def close(self) -> None:
        self.socket.close()
        if self._forwarder is not None:
            with self._forwarder:
                self._forwarder.kill()

    def failure(self) -> EngineError:
        """Return the error for a connection that has ended before there was an answer."""
        if self._forwarder is None:
            return _broken("it was closed before there was an answer")
        from . import command

        return unreachable(command.reason_of(self._forwarder) or "the connection was closed")


def begin(
    method: str,
    path: str,
    query: Mapping[str, str] | None = None,
    body: object = None,
    *,
    headers: Sequence[str] = (),
    is_stream: bool = False,
    seconds: float | None = SECONDS,
) -> Answer:
    """Send a request and return the answer as soon as its head is here; the rest is read from it, and it is closed.

    ``body`` is bytes, or a value that becomes JSON, ``headers`` are more lines of the request's head. If ``is_stream``,
    the connection is one to a container's input and output afterwards. Raises EngineError if there is no engine, or no
    answer within ``seconds``, if these are limited.
    """
    connection = _Connection(seconds)
    try:
        try:
            connection.socket.sendall(_request(method, path, query or {}, body, headers, is_stream=is_stream))
            received = _read_head(connection.socket)
        except TimeoutError:
            raise no_answer(seconds or 0) from None
        except OSError:
            raise connection.failure() from None
        status, length, rest = parse_head(received)
        if status is None:
            raise connection.failure()
        return Answer(connection, status, rest, length, received.partition(_END_OF_HEAD)[0])
    except BaseException:
        connection.close()
        raise


def ask(
    method: str,
    path: str,
    query: Mapping[str, str] | None = None,
    body: object = None,
    *,
    seconds: float | None = SECONDS,
) -> Answer:
    """Send a request and return the whole answer. Raises EngineError as ``begin`` does."""
    with begin(method, path, query, body, seconds=seconds) as answer:
        answer.read_all()
        return answer


def _request(
    method: str, path: str, query: Mapping[str, str], body: object, headers: Sequence[str], *, is_stream: bool
) -> bytes:
    """Return the bytes of a request."""
    content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    kind = "application/x-tar" if isinstance(body, bytes) else "application/json"
    words = "&".join(f"{name}={percent(value)}" for name, value in query.items())
    lines = [
        f"{method} {path}{'?' if words else ''}{words} HTTP/1.0",
        "Host: docker",
        *(["Connection: Upgrade", "Upgrade: tcp"] if is_stream else []),
        *([f"Content-Type: {kind}"] if content else []),
        f"Content-Length: {len(content)}",
        *headers,
    ]
    return "\r\n".join(lines).encode() + _END_OF_HEAD + content


def percent(value: str) -> str:
    """Return ``value`` for a URL; bytes that are no text, as ``os.fsdecode`` has made it, are what they were."""
    return "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in os.fsencode(value))


def _read_head(connection: socket.socket) -> bytes:
    """Return the head of the answer and what has come of the rest; empty if there is no answer."""
    head = b""
    while _END_OF_HEAD not in head and len(head) < _MOST_HEAD:
        piece = connection.recv(_PIECE)
        if not piece:
            return b""
        head += piece
    return head


def parse_head(received: bytes) -> tuple[int | None, int | None, bytes]:
    """Return the status of an answer, the length of its content if that is said, and what follows its head.

    There is no status if that is no answer.
    """
    head, end, rest = received.partition(_END_OF_HEAD)
    found, length = _STATUS.match(head), _LENGTH.search(head)
    return (int(found[1]), int(length[1]) if length else None, rest) if end and found else (None, None, b"")


def _broken(reason: str) -> EngineError:
    return EngineError(f"The connection to the engine broke: {reason}.", SEE_LOG_OR_RESTART)
