"""Passes connections on between a session's loopback and this machine: what it serves, and ports of the host.

    egress.forward [in=PORT:PORT] [out=PORT] [via=NAME]...

``in=61000:8000`` listens at port 61000, which the engine publishes, and leads to port 8000 of the session's loopback,
where many servers listen alone. ``out=5432`` listens at port 5432 of the loopback, and leads to that port of the host:
through the tool, by a socket that it listens at for that port alone, in SOCKETS; where it does not, by ``via``: the
name of the engine's gateway, or ``proxy`` for that of an allowlist. Runs as the session's user, and returns when all of
this listens; a process stays.
"""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import NoReturn

from .networks import HOST_GATEWAY, PROXY_PORT, SOCKETS, gateways
from .pipe import SECONDS, Dial, serve

# What the tool says once it is connected to the port.
CONNECTED = b"+"
PROXY = ("127.0.0.1", PROXY_PORT)
_LOOPBACKS = ("127.0.0.1", "::1")


def main(words: Sequence[str]) -> NoReturn:
    """Run the program."""
    given = [word.partition("=")[::2] for word in words]
    via = dict(given).get("via", "")
    works = [work for kind, value in given for work in _works(kind, value, via)]
    if os.fork():
        sys.exit(0)
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
    threads = [threading.Thread(target=serve, args=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.exit(0)


def _works(kind: str, value: str, via: str) -> Iterator[tuple[socket.socket, Dial]]:
    """Yield each socket that a word makes the program listen at, and what leads on from there."""
    if kind == "in":
        published, served = map(int, value.split(":"))
        yield from _listening("", published, functools.partial(to_session, served))
    if kind == "out":
        found = [work for each in _LOOPBACKS for work in _listening(each, int(value), _leading_out(int(value), via))]
        if not found:
            print(f"confined-claude: No way to your machine's port {value}: the session uses it.", file=sys.stderr)
        yield from found


def _listening(address: str, port: int, dial: Dial) -> Iterator[tuple[socket.socket, Dial]]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with contextlib.suppress(OSError):  # it is taken, or there is no IPv6
        yield socket.create_server((address, port), family=family, backlog=512), dial


def to_session(port: int, client: socket.socket) -> socket.socket:
    """Return a connection to a port of the session's loopback. Raises OSError.

    Only the engine comes from the gateway; others who share the network are refused.
    """
    if client.getpeername()[0] not in gateways():
        raise ConnectionRefusedError
    try:
        return socket.create_connection((_LOOPBACKS[0], port), SECONDS)
    except OSError:
        return socket.create_connection((_LOOPBACKS[1], port), SECONDS)


def _leading_out(port: int, via: str) -> Dial:
    return lambda _client: to_host(port, via)


def to_host(port: int, via: str) -> socket.socket:
    """Return a connection to a port of the host. Raises OSError."""
    with contextlib.suppress(OSError):
        return _checked(f"{SOCKETS}/{port}", "", CONNECTED)
    if via == "proxy":
        return _checked(
            PROXY, f"CONNECT {HOST_GATEWAY}:{port} HTTP/1.1\r\nHost: {HOST_GATEWAY}:{port}\r\n\r\n", b"HTTP/1.1 200"
        )
    return socket.create_connection((via, port), SECONDS)


def _checked(address: str | tuple[str, int], request: str, answer: bytes) -> socket.socket:
    """Return a connection that is one to the host as soon as ``answer`` is there; the rest of its line is skipped."""
    sock = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
    try:
        sock.settimeout(SECONDS)
        sock.connect(address)
        sock.sendall(request.encode("ascii"))
        end = b"\r\n\r\n" if request else answer
        said = b""
        while not said.endswith(end):
            if not (byte := sock.recv(1)):
                raise ConnectionRefusedError
            said += byte
        if not said.startswith(answer):
            raise ConnectionRefusedError
    except BaseException:
        sock.close()
        raise
    return sock
