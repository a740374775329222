"""The allowlist's proxy itself: HTTP, DNS and forwarded ports, on sockets that somebody else has opened.

Every request is read, decided by name, resolved once, and connected to the very address that was looked at.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import h11

if TYPE_CHECKING or __package__:
    from . import egress_policy as rules
else:  # beside the script that runs
    import egress_policy as rules

_ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
_CHUNK = 1 << 16
_HEAD_BYTES = 1 << 16
_PAUSE_SECONDS = 0.1

Address = tuple[Any, ...]
Info = tuple[int, int, int, str, Address]
Event = h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]


@dataclass(frozen=True)
class Limits:
    """How long the proxy waits, in seconds, and how many connections it serves at once."""

    head: float = 10
    dial: float = 15
    idle: float = 3600  # of both directions: an answer may be silent for many minutes
    linger: float = 2
    connections: int = 480  # of two handles each, where 1024 are usual


LIMITS = Limits()


class Flow:
    """Moves bytes between the two sockets of one connection, and knows when it last did."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._moved = self._loop.time()

    async def send(self, sink: socket.socket, data: bytes | None) -> None:
        if data:
            await self._loop.sock_sendall(sink, data)
        self._moved = self._loop.time()
        await asyncio.sleep(0)  # where neither side ever has to be waited for, others have a turn

    async def copy(self, source: socket.socket, sink: socket.socket, data: bytes = b"") -> None:
        """Send ``data`` and all that comes from ``source``, up to its end, which is passed on too."""
        await self.send(sink, data)
        while data := await self._loop.sock_recv(source, _CHUNK):
            await self.send(sink, data)
        sink.shutdown(socket.SHUT_WR)

    async def run(self, work: Coroutine[Any, Any, None], idle: float) -> None:
        """Do ``work``, unless nothing moves for ``idle`` seconds. Raises what it raises."""
        task = asyncio.create_task(work)
        try:
            while not task.done() and (left := self._moved + idle - self._loop.time()) > 0:
                await asyncio.wait({task}, timeout=left)
        finally:
            await cancel(task)
        if not task.cancelled():
            task.result()


async def cancel(*tasks: asyncio.Task[None]) -> None:
    """End tasks before the sockets they wait for are closed."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _all(*works: Coroutine[Any, Any, None]) -> None:
    """Do all ``works`` at once; the first failure ends the others, and is raised."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        await cancel(*tasks)


class Proxy:
    """Serves the sockets of one session under ``policy``, which may be replaced at any time."""

    def __init__(self, policy: rules.Policy, blocked: rules.Blocked, limits: Limits = LIMITS) -> None:
        self.policy = policy
        self.blocked = blocked
        self._limits = limits
        self._free = asyncio.Semaphore(limits.connections)
        self._connections: set[asyncio.Task[None]] = set()

    async def serve(self, door: socket.socket, names: socket.socket, forwarded: Sequence[socket.socket]) -> None:
        """Serve HTTP at ``door``, DNS at ``names`` and the host's ports at ``forwarded``, until cancelled."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: _Names(self), sock=names)
        ports = zip(forwarded, self.policy.forward, strict=True)
        to_host = [self._accept(listener, functools.partial(self._to_host, port)) for listener, port in ports]
        try:
            await _all(self._accept(door, self._client), *to_host)
        finally:
            transport.close()
            await cancel(*self._connections)

    async def _accept(self, listener: socket.socket, handle: Callable[[socket.socket], Awaitable[None]]) -> None:
        listener.setblocking(False)
        while True:
            await self._free.acquire()
            try:
                client, _ = await asyncio.get_running_loop().sock_accept(listener)
            except OSError:  # there are no handles left, or the client has gone again
                self._free.release()
                await asyncio.sleep(_PAUSE_SECONDS)
            except asyncio.CancelledError:
                self._free.release()
                raise
            else:
                task = asyncio.create_task(self._connection(client, handle))
                self._connections.add(task)
                task.add_done_callback(self._connections.discard)

    async def _connection(self, client: socket.socket, handle: Callable[[socket.socket], Awaitable[None]]) -> None:
        """One connection from accept to close; whatever fails, it ends alone."""
        try:
            with client:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                await handle(client)
        except (OSError, asyncio.TimeoutError, h11.ProtocolError, rules.Refused):
            pass  # one of the two sides has gone, or broken off
        except Exception as error:
            print(f"a connection failed: {error!r}", file=sys.stderr)
        finally:
            self._free.release()

    async def _client(self, client: socket.socket) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEAD_BYTES)
        last = b""
        try:
            if request := await self._request(client, connection):
                await self._serve(client, connection, request)
        except rules.Refused as refused:
            if refused.reason:
                self.blocked.record(refused.host, refused.port, refused.reason)
            last = _refusal(refused)
        with contextlib.suppress(OSError, asyncio.TimeoutError):
            await asyncio.wait_for(_part(client, last), self._limits.linger)

    async def _request(self, client: socket.socket, connection: h11.Connection) -> h11.Request | None:
        """The request's head; None if there is none. Raises Refused for what is no request, or takes too long."""
        try:
            event = await asyncio.wait_for(_next_event(client, connection), self._limits.head)
        except h11.RemoteProtocolError as error:
            raise rules.malformed(f"not an HTTP request: {error}", status=error.error_status_hint) from None
        except asyncio.TimeoutError:
            raise rules.Refused(408, "the request took too long") from None
        return event if isinstance(event, h11.Request) else None

    async def _serve(self, client: socket.socket, connection: h11.Connection, request: h11.Request) -> None:
        asked = rules.wanted(request.method, request.target)
        headers = rules.outgoing_headers(asked, list(request.headers))
        policy = self.policy
        policy.check(asked)
        upstream = policy.upstream(asked)
        server = await (self._dial(upstream.host, upstream.port) if upstream else self._dial_open(policy, asked))
        flow = Flow()
        with server:
            if asked.path:
                target = f"http://{asked.host_header}{asked.path}" if upstream else asked.path
                headers += upstream.headers() if upstream else []
                passed_on = h11.Request(method=request.method, target=target, headers=headers)
                work = _exchange(flow, client, connection, server, passed_on)
            else:
                greeting = await self._greeting(server, asked, upstream) if upstream else b""
                await flow.send(client, _ESTABLISHED)
                early, _ = connection.trailing_data
                work = _all(flow.copy(client, server, early), flow.copy(server, client, greeting))
            await flow.run(work, self._limits.idle)

    async def _greeting(self, server: socket.socket, asked: rules.Wanted, upstream: rules.Upstream) -> bytes:
        try:
            return await asyncio.wait_for(_sign_in(server, asked, upstream), self._limits.dial)
        except asyncio.TimeoutError:
            raise rules.Refused(504, f"{upstream.authority} does not answer") from None

    async def _to_host(self, port: int, client: socket.socket) -> None:
        with await self._dial(rules.HOST_GATEWAY, port) as server:
            flow = Flow()
            await flow.run(_all(flow.copy(client, server), flow.copy(server, client)), self._limits.idle)

    async def _dial_open(self, policy: rules.Policy, asked: rules.Wanted) -> socket.socket:
        """A connection to what ``asked`` names, if that is at an open address.

        Closed addresses among open ones are left out: only what was looked at is dialled, so that a mixed answer leads
        nowhere else, and names with a translated IPv6 address beside the real one stay in reach.
        """
        infos = await self._resolve(asked.host, asked.port)
        if not (outside := [info for info in infos if policy.is_open(asked, info[4][0])]):
            text = f"{asked.authority} is at an address of this machine or its network, which is closed"
            raise rules.Refused(403, text, "address", asked.host, asked.port)
        return await self._dial_first(asked.authority, outside)

    async def _dial(self, host: str, port: int) -> socket.socket:
        return await self._dial_first(f"{host}:{port}", await self._resolve(host, port))

    async def _resolve(self, host: str, port: int) -> list[Info]:
        look_up = asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        try:
            return list(await asyncio.wait_for(look_up, self._limits.dial))
        except (OSError, asyncio.TimeoutError):
            raise rules.Refused(502, f"{host} has no address") from None

    async def _dial_first(self, name: str, infos: Sequence[Info]) -> socket.socket:
        for info in infos:
            with contextlib.suppress(OSError, asyncio.TimeoutError):
                return await asyncio.wait_for(_connected(info), self._limits.dial)
        raise rules.Refused(502, f"{name} does not answer")


class _Names(asyncio.DatagramProtocol):
    """Answers every DNS query at once: without an answer programs wait for long, and no name leaves the session."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: Address) -> None:
        if refused := rules.refuse_query(data):
            answer, name = refused
            rules.record_query(self._proxy.blocked, self._proxy.policy, name)
            self._transport.sendto(answer, addr)


async def _next_event(sock: socket.socket, connection: h11.Connection) -> Event:
    while (event := connection.next_event()) is h11.NEED_DATA:
        connection.receive_data(await asyncio.get_running_loop().sock_recv(sock, _CHUNK))
    return event


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


async def discard(sock: socket.socket) -> None:
    """Read to the end of what the other side sends, however fast it does."""
    while await asyncio.get_running_loop().sock_recv(sock, _CHUNK):
        await asyncio.sleep(0)


async def _part(client: socket.socket, last: bytes) -> None:
    """Let the client read all of its answer: closing on what it still sends would take the end away."""
    await asyncio.get_running_loop().sock_sendall(client, last)
    client.shutdown(socket.SHUT_WR)
    await discard(client)


def _refusal(refused: rules.Refused) -> bytes:
    body = f"confined-claude: {refused.text}\n".encode("ascii", "replace")
    lines = (
        f"HTTP/1.1 {refused.status} Refused",
        "Content-Type: text/plain",
        f"Content-Length: {len(body)}",
        "Connection: close",
    )
    return "\r\n".join((*lines, "", "")).encode("ascii") + body


async def _exchange(
    flow: Flow, client: socket.socket, connection: h11.Connection, server: socket.socket, request: h11.Request
) -> None:
    """Pass one request on, and its answer back. Both are read and written anew: no byte crosses unread."""
    origin = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD_BYTES)
    await flow.send(server, origin.send(request))
    body = asyncio.create_task(_pass_body(flow, client, connection, server, origin))
    try:
        await _pass_answer(flow, server, origin, client, connection)
    finally:
        await cancel(body)


async def _pass_body(
    flow: Flow, client: socket.socket, connection: h11.Connection, server: socket.socket, origin: h11.Connection
) -> None:
    try:
        while isinstance(event := await _next_event(client, connection), h11.Data):
            await flow.send(server, origin.send(event))
        await flow.send(server, origin.send(h11.EndOfMessage()))
    except (OSError, h11.ProtocolError):
        # The client broke off, or the server reads no more: it may have answered already, and that is still passed on.
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_WR)


async def _pass_answer(
    flow: Flow, server: socket.socket, origin: h11.Connection, client: socket.socket, connection: h11.Connection
) -> None:
    while isinstance(head := await _answer(server, origin), h11.InformationalResponse):
        headers = rules.end_to_end(list(head.headers))
        await flow.send(
            client, connection.send(h11.InformationalResponse(status_code=head.status_code, headers=headers))
        )
    headers = [*rules.end_to_end(list(head.headers)), (b"connection", b"close")]
    response = h11.Response(status_code=head.status_code, headers=headers, reason=head.reason)
    await flow.send(client, connection.send(response))
    while isinstance(event := await _next_event(server, origin), h11.Data):
        await flow.send(client, connection.send(event))
    await flow.send(client, connection.send(h11.EndOfMessage()))


async def _answer(server: socket.socket, origin: h11.Connection) -> h11.InformationalResponse | h11.Response:
    """The next head of the server's answer. Raises Refused if there is none."""
    with contextlib.suppress(OSError, h11.RemoteProtocolError):
        event = await _next_event(server, origin)
        if isinstance(event, h11.InformationalResponse | h11.Response):
            return event
    raise rules.Refused(502, "the server broke off without an answer")


async def _sign_in(server: socket.socket, asked: rules.Wanted, upstream: rules.Upstream) -> bytes:
    """Have the company's proxy connect to ``asked``; gives what came right after its answer.

    Raises Refused if it does not connect.
    """
    origin = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD_BYTES)
    headers = [(b"host", asked.authority.encode("ascii")), *upstream.headers()]
    head = origin.send(h11.Request(method="CONNECT", target=asked.authority, headers=headers)) or b""
    await asyncio.get_running_loop().sock_sendall(server, head)
    origin.send(h11.EndOfMessage())
    while isinstance(answer := await _answer(server, origin), h11.InformationalResponse):
        pass
    if origin.their_state is not h11.SWITCHED_PROTOCOL:
        raise rules.Refused(502, f"the proxy {upstream.authority} answered {answer.status_code}")
    return origin.trailing_data[0]
