"""The allowlist's proxy: HTTP and DNS, on sockets that the session has opened.

Every request is read, decided by name, resolved once, and connected to the very address that was checked.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import h11

from . import dns
from .blocked import Blocked
from .policy import Policy, Upstream
from .relay import HEAD_BYTES, Flow, cancel, discard, exchange, next_event, open_tunnel, tunnel
from .request import Refused, Target, malformed, outgoing_headers, parse_target

_ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
_PAUSE_SECONDS = 0.1
_DNS_PORT = 53

Address = tuple[Any, ...]
Info = tuple[int, int, int, str, Address]


@dataclass(frozen=True)
class Limits:
    """How long the proxy waits, in seconds, and how many connections it serves at once."""

    head: float = 10
    dial: float = 15
    idle: float = 3600  # of both directions: an answer may be silent for many minutes
    linger: float = 2
    connections: int = 480  # of two file descriptors each, where 1024 are usual


LIMITS = Limits()


class Proxy:
    """Serves the sockets of one session under ``policy``, which may be replaced at any time."""

    def __init__(self, policy: Policy, blocked: Blocked, limits: Limits = LIMITS) -> None:
        self.policy = policy
        self.blocked = blocked
        self._limits = limits
        self._free = asyncio.Semaphore(limits.connections)
        self._connections: set[asyncio.Task[None]] = set()

    async def serve(self, http: socket.socket, names: socket.socket) -> None:
        """Serve HTTP, and DNS at ``names``, until cancelled."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: _Names(self), sock=names)
        try:
            await self._accept(http)
        finally:
            transport.close()
            await cancel(*self._connections)

    async def _accept(self, listener: socket.socket) -> None:
        listener.setblocking(False)
        while True:
            await self._free.acquire()
            try:
                client, _ = await asyncio.get_running_loop().sock_accept(listener)
            except OSError:  # there are no file descriptors left, or the client has gone again
                self._free.release()
                await asyncio.sleep(_PAUSE_SECONDS)
            except asyncio.CancelledError:
                self._free.release()
                raise
            else:
                task = asyncio.create_task(self._connection(client))
                self._connections.add(task)
                task.add_done_callback(self._connections.discard)

    async def _connection(self, client: socket.socket) -> None:
        """Serve one connection to its end; whatever fails, it fails alone."""
        try:
            with client:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                await self._client(client)
        except (OSError, asyncio.TimeoutError, h11.ProtocolError, Refused):
            pass  # one of the two sides has gone, or broken off
        except Exception as error:
            print(f"a connection failed: {error!r}", file=sys.stderr)
        finally:
            self._free.release()

    async def _client(self, client: socket.socket) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)
        last = b""
        try:
            if request := await self._request(client, connection):
                await self._serve(client, connection, request)
        except Refused as refused:
            if refused.reason:
                self.blocked.record(refused.host, refused.port, refused.reason)
            last = _refusal(refused)
        with contextlib.suppress(OSError, asyncio.TimeoutError):
            await asyncio.wait_for(_close_gracefully(client, last), self._limits.linger)

    async def _request(self, client: socket.socket, connection: h11.Connection) -> h11.Request | None:
        """Return the request's head, None if the client sends none.

        Raises Refused for what is not a request, or takes too long.
        """
        try:
            event = await asyncio.wait_for(next_event(client, connection), self._limits.head)
        except h11.RemoteProtocolError as error:
            raise malformed(f"not an HTTP request: {error}", status=error.error_status_hint) from None
        except asyncio.TimeoutError:
            raise Refused(408, "the request took too long") from None
        return event if isinstance(event, h11.Request) else None

    async def _serve(self, client: socket.socket, connection: h11.Connection, request: h11.Request) -> None:
        target = parse_target(request.method, request.target)
        headers = outgoing_headers(target, list(request.headers))
        policy = self.policy
        policy.check(target)
        upstream = policy.upstream(target)
        server = await (self._dial(upstream.host, upstream.port) if upstream else self._dial_open(policy, target))
        flow = Flow()
        with server:
            if target.path:
                line = f"http://{target.host_header}{target.path}" if upstream else target.path
                headers += upstream.headers() if upstream else []
                passed_on = h11.Request(method=request.method, target=line, headers=headers)
                work = exchange(flow, client, connection, server, passed_on)
            else:
                greeting = await self._greeting(server, target, upstream) if upstream else b""
                await flow.send(client, _ESTABLISHED)
                early, _ = connection.trailing_data
                work = tunnel(flow, client, server, early, greeting)
            await flow.run(work, self._limits.idle)

    async def _greeting(self, server: socket.socket, target: Target, upstream: Upstream) -> bytes:
        try:
            return await asyncio.wait_for(open_tunnel(server, target, upstream), self._limits.dial)
        except asyncio.TimeoutError:
            raise Refused(504, f"{upstream.authority} does not answer") from None

    async def _dial_open(self, policy: Policy, target: Target) -> socket.socket:
        """Return a connection to ``target``, if it is at an open address.

        Closed addresses among open ones are left out: only what was checked is connected to, so that a mixed answer
        leads nowhere else, and names with a translated IPv6 address beside the real one stay within reach.
        """
        infos = await self._resolve(target.host, target.port)
        if not (outside := [info for info in infos if policy.is_open(target, info[4][0])]):
            text = f"{target.authority} is at an address of this machine or its network, which is closed"
            raise Refused(403, text, "address", target.host, target.port)
        return await self._dial_first(target.authority, outside)

    async def _dial(self, host: str, port: int) -> socket.socket:
        return await self._dial_first(f"{host}:{port}", await self._resolve(host, port))

    async def _resolve(self, host: str, port: int) -> list[Info]:
        look_up = asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        try:
            return list(await asyncio.wait_for(look_up, self._limits.dial))
        except (OSError, asyncio.TimeoutError):
            raise Refused(502, f"{host} has no address") from None

    async def _dial_first(self, name: str, infos: Sequence[Info]) -> socket.socket:
        for info in infos:
            with contextlib.suppress(OSError, asyncio.TimeoutError):
                return await asyncio.wait_for(_connected(info), self._limits.dial)
        raise Refused(502, f"{name} does not answer")


class _Names(asyncio.DatagramProtocol):
    """Answers DNS queries, and records those for names that are not allowed.

    Programs ask for the names that they then reach through the proxy: these are not worth a record.
    """

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: Address) -> None:
        if refused := dns.refuse(data):
            answer, name = refused
            if not self._proxy.policy.knows(name):
                self._proxy.blocked.record(name, _DNS_PORT, "dns")
            self._transport.sendto(answer, addr)


async def _connected(info: Info) -> socket.socket:
    family, kind, protocol, _, address = info
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:  # a timeout cancels
        sock.close()
        raise
    return sock


async def _close_gracefully(client: socket.socket, last: bytes) -> None:
    """Send ``last`` and let the client read it all: closing on what it still sends would lose the end."""
    await asyncio.get_running_loop().sock_sendall(client, last)
    client.shutdown(socket.SHUT_WR)
    await discard(client)


def _refusal(refused: Refused) -> bytes:
    body = f"confined-claude: {refused.text}\n".encode("ascii", "replace")
    lines = (
        f"HTTP/1.1 {refused.status} Refused",
        "Content-Type: text/plain",
        f"Content-Length: {len(body)}",
        "Connection: close",
    )
    return "\r\n".join((*lines, "", "")).encode("ascii") + body
