"""The allowlist's proxy: HTTP and DNS, on sockets that the session has opened.

Every request is read, decided by name, resolved once, and connected to the very address that was checked.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import h11

from . import dns
from .blocked import Blocked
from .policy import Policy, Upstream
from .relay import HEAD_BYTES, Flow, cancel, discard, exchange, new_origin, next_event, open_tunnel, run_all, tunnel
from .request import Refused, Target, malformed, outgoing_headers, parse_target

if TYPE_CHECKING:
    from .lender import Lender

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
    """Serves the sockets of one session under ``policy``, which may be replaced at any time.

    With a ``lender`` it ends TLS for the hosts that something is lent to, which are always allowed. ``upstreams`` are
    the addresses of a company's proxies by (host, port); if it is None, they are looked up each time.
    """

    def __init__(
        self,
        policy: Policy,
        blocked: Blocked,
        limits: Limits = LIMITS,
        lender: Lender | None = None,
        upstreams: Mapping[tuple[str, int], Sequence[Info]] | None = None,
    ) -> None:
        self.policy = policy
        self._lender = lender
        self.blocked = blocked
        self._limits = limits
        self._upstreams = upstreams
        self._free = asyncio.Semaphore(limits.connections)
        self._connections: set[asyncio.Task[None]] = set()

    async def serve(self, http: socket.socket, names: socket.socket | None, *lent: socket.socket) -> None:
        """Serve HTTP, DNS at ``names``, and TLS for each of the lender's targets at its socket, until cancelled."""
        loop = asyncio.get_running_loop()
        transport: asyncio.DatagramTransport | None = None
        try:
            if names is not None:
                transport, _ = await loop.create_datagram_endpoint(lambda: _Names(self), sock=names)
            await run_all(self._accept(http, self._client), *self._accept_lent(*lent))
        finally:
            if transport is not None:
                transport.close()
            await cancel(*self._connections)

    def _accept_lent(self, *listeners: socket.socket) -> Iterator[Coroutine[Any, Any, None]]:
        """Yield what serves each of the lender's targets at its socket."""
        if self._lender is not None:
            for listener, target in zip(listeners, self._lender.targets, strict=True):
                yield self._accept(listener, partial(self._client_of, target))

    async def _accept(self, listener: socket.socket, serve: Callable[[socket.socket], Awaitable[None]]) -> None:
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
                task = asyncio.create_task(self._connection(client, serve))
                self._connections.add(task)
                task.add_done_callback(self._connections.discard)

    async def _connection(self, client: socket.socket, serve: Callable[[socket.socket], Awaitable[None]]) -> None:
        """Serve one connection to its end; whatever fails, it fails alone."""
        try:
            with client:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                await serve(client)
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
            last = self._refuse(refused)
        with contextlib.suppress(OSError, asyncio.TimeoutError):
            await asyncio.wait_for(_close_gracefully(client, last), self._limits.linger)

    def _refuse(self, refused: Refused) -> bytes:
        """Record a refusal, and return the answer that says so."""
        if refused.reason:
            self.blocked.record(refused.host, refused.port, refused.reason)
        return _refusal(refused)

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
        flow = Flow()
        target = parse_target(request.method, request.target)
        headers = outgoing_headers(target, list(request.headers))
        policy = self.policy
        if self._lender is not None and target in self._lender.targets:
            await flow.send(client, _ESTABLISHED)
            if connection.trailing_data[0]:
                raise malformed("something was sent before the tunnel was there", target.authority)
            await self._lend(target, client)
            return
        policy.check(target)
        upstream = policy.upstream(target)
        server = await (self._dial(upstream.host, upstream.port) if upstream else self._dial_open(policy, target))
        with server:
            if target.path:
                line = f"http://{target.host_header}{target.path}" if upstream else target.path
                headers += upstream.headers() if upstream else []
                passed_on = h11.Request(method=request.method, target=line, headers=headers)
                work = exchange(flow, client, connection, server, new_origin(), request=passed_on)
            else:
                greeting = await self._greeting(server, target, upstream) if upstream else b""
                await flow.send(client, _ESTABLISHED)
                early, _ = connection.trailing_data
                work = tunnel(flow, client, server, early, greeting)
            await flow.run(work, self._limits.idle)

    async def _client_of(self, target: Target, client: socket.socket) -> None:
        """Serve a client that has connected to ``target`` without asking for it."""
        await self._lend(target, client)
        with contextlib.suppress(OSError, asyncio.TimeoutError):
            await asyncio.wait_for(_close_gracefully(client, b""), self._limits.linger)

    async def _lend(self, target: Target, client: socket.socket) -> None:
        """Serve a connection to ``target``, to which something is lent."""
        if self._lender is not None:
            flow, limits = Flow(), self._limits
            reach = partial(self._reach, target)
            work = self._lender.serve(flow, target, client, reach=reach, refuse=self._refuse, linger=limits.linger)
            await flow.run(work, limits.idle)

    async def _reach(self, target: Target) -> socket.socket:
        """Return a connection to ``target``, through the company's proxy where there is one."""
        policy = self.policy
        upstream = policy.upstream(target)
        if upstream is None:
            return await self._dial_open(policy, target)
        server = await self._dial(upstream.host, upstream.port)
        try:
            if await self._greeting(server, target, upstream):
                raise Refused(502, f"{target.authority} sends data first, which a TLS server does not")
        except BaseException:
            server.close()
            raise
        return server

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
            text = f"{target.authority} has an address of your machine or its local network, which are closed"
            raise Refused(403, text, "address", target.host, target.port)
        return await self._dial_first(target.authority, outside)

    async def _dial(self, host: str, port: int) -> socket.socket:
        if self._upstreams is None:
            return await self._dial_first(f"{host}:{port}", await self._resolve(host, port))
        return await self._dial_first(f"{host}:{port}", self._upstreams.get((host, port), ()))

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
