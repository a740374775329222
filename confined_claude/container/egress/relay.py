"""What passes between a client and a server: the bytes of a tunnel, or HTTP that is read and written anew."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Coroutine
from typing import Any

import h11

from .policy import Upstream
from .request import Refused, Target, end_to_end

CHUNK = 1 << 16
HEAD_BYTES = 1 << 16

Event = h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]


class Encrypted:
    """One side of a connection that is in TLS, with as much of a socket's methods as this module uses."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def receive(self) -> bytes:
        """Return what comes next; nothing at the end."""
        return await self._reader.read(CHUNK)

    async def send_all(self, data: bytes) -> None:
        """Send ``data``, and wait until there is room for more."""
        self._writer.write(data)
        await self._writer.drain()

    def shutdown(self, _how: int) -> None:
        """Break off: TLS has no end of one direction that others understand."""
        # One that is closed twice loses what it needs to be aborted (Python 3.11).
        if not self._writer.transport.is_closing():
            self._writer.transport.abort()

    async def close(self, seconds: float) -> None:
        """End the connection as TLS wants it, or break off after so many ``seconds``."""
        if not self._writer.transport.is_closing():
            self._writer.transport.close()
            try:
                with contextlib.suppress(OSError, asyncio.TimeoutError):
                    await asyncio.wait_for(self._writer.wait_closed(), seconds)
            finally:
                self._writer.transport.abort()


Side = socket.socket | Encrypted


async def receive(side: Side) -> bytes:
    """Return what comes next from one side of a connection; nothing at the end."""
    if isinstance(side, Encrypted):
        return await side.receive()
    return await asyncio.get_running_loop().sock_recv(side, CHUNK)


async def cancel(*tasks: asyncio.Task[Any]) -> None:
    """End tasks before the sockets that they wait for are closed."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def run_all(*works: Coroutine[Any, Any, None]) -> None:
    """Do all ``works`` at once; the first failure ends the others, and is raised."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        await cancel(*tasks)


async def discard(sock: socket.socket) -> None:
    """Read to the end of what the other side sends, however fast it does."""
    while await asyncio.get_running_loop().sock_recv(sock, CHUNK):
        await asyncio.sleep(0)


class Flow:
    """Moves bytes between the two sockets of one connection, and knows when it last did."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._moved = self._loop.time()

    async def send(self, sink: Side, data: bytes | None) -> None:
        """Send ``data``, if there is any, to the end."""
        if data:
            await (sink.send_all(data) if isinstance(sink, Encrypted) else self._loop.sock_sendall(sink, data))
        self._moved = self._loop.time()
        await asyncio.sleep(0)  # other connections have a turn, though neither side ever has to be waited for

    async def copy(self, source: socket.socket, sink: socket.socket, data: bytes = b"") -> None:
        """Send ``data`` and all that comes from ``source``, up to its end, which is passed on too."""
        await self.send(sink, data)
        while data := await self._loop.sock_recv(source, CHUNK):
            await self.send(sink, data)
        sink.shutdown(socket.SHUT_WR)

    async def run(self, work: Coroutine[Any, Any, None], idle: float) -> None:
        """Do ``work`` until it ends, or nothing has moved for ``idle`` seconds. Raises what ``work`` raises."""
        task = asyncio.create_task(work)
        try:
            while not task.done() and (left := self._moved + idle - self._loop.time()) > 0:
                await asyncio.wait({task}, timeout=left)
        finally:
            await cancel(task)
        if not task.cancelled():
            task.result()


async def tunnel(flow: Flow, client: socket.socket, server: socket.socket, early: bytes, greeting: bytes) -> None:
    """Pass bytes both ways, after what the client has sent ``early`` and the server's ``greeting``."""
    await run_all(flow.copy(client, server, early), flow.copy(server, client, greeting))


def new_origin() -> h11.Connection:
    """Return the state of a new connection to a server."""
    return h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES)


async def exchange(
    flow: Flow,
    client: Side,
    connection: h11.Connection,
    server: Side,
    origin: h11.Connection,
    *,
    request: h11.Request,
    is_last: bool = True,
) -> None:
    """Pass one request on, and its answer back. Both are read and written anew: no byte crosses unread.

    Unless it ``is_last``, another one may follow if both connections end up in the state for that.
    """
    await flow.send(server, origin.send(request))
    body = asyncio.create_task(_pass_body(flow, client, connection, server, origin))
    try:
        await _pass_answer(flow, server, origin, client, connection, is_last=is_last)
    finally:
        await cancel(body)


async def _pass_body(
    flow: Flow, client: Side, connection: h11.Connection, server: Side, origin: h11.Connection
) -> None:
    try:
        while isinstance(event := await next_event(client, connection), h11.Data):
            await flow.send(server, origin.send(event))
        await flow.send(server, origin.send(h11.EndOfMessage()))
    except (OSError, h11.ProtocolError):
        # The client broke off, or the server reads no more: it may have answered already, and that is still passed on.
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_WR)


async def _pass_answer(
    flow: Flow, server: Side, origin: h11.Connection, client: Side, connection: h11.Connection, *, is_last: bool
) -> None:
    while isinstance(head := await _answer(server, origin), h11.InformationalResponse):
        headers = end_to_end(list(head.headers))
        await flow.send(
            client, connection.send(h11.InformationalResponse(status_code=head.status_code, headers=headers))
        )
    headers = end_to_end(list(head.headers))
    if is_last or any(name == b"connection" and value.lower() == b"close" for name, value in head.headers):
        headers.append((b"connection", b"close"))
    response = h11.Response(status_code=head.status_code, headers=headers, reason=head.reason)
    await flow.send(client, connection.send(response))
    while isinstance(event := await next_event(server, origin), h11.Data):
        await flow.send(client, connection.send(event))
    await flow.send(client, connection.send(h11.EndOfMessage()))


async def _answer(server: Side, origin: h11.Connection) -> h11.InformationalResponse | h11.Response:
    """Return the next head of the server's answer. Raises Refused if there is none."""
    reason = ""
    try:
        event = await next_event(server, origin)
        if isinstance(event, h11.InformationalResponse | h11.Response):
            return event
    except (OSError, h11.RemoteProtocolError) as error:
        reason = f" ({alert})" if (alert := getattr(error, "reason", None)) else ""  # of TLS: it wants a certificate
    raise Refused(502, f"the server broke off without an answer{reason}")


async def next_event(side: Side, connection: h11.Connection) -> Event:
    """Return the next part of what the other side says. Raises OSError or h11.RemoteProtocolError."""
    while (event := connection.next_event()) is h11.NEED_DATA:
        connection.receive_data(await receive(side))
    return event


async def open_tunnel(server: socket.socket, target: Target, upstream: Upstream) -> bytes:
    """Have the company's proxy at ``server`` connect to ``target``; return what came right after its answer.

    Raises Refused if it does not connect.
    """
    origin = new_origin()
    headers = [(b"host", target.authority.encode("ascii")), *upstream.headers()]
    head = origin.send(h11.Request(method="CONNECT", target=target.authority, headers=headers)) or b""
    await asyncio.get_running_loop().sock_sendall(server, head)
    origin.send(h11.EndOfMessage())
    while isinstance(answer := await _answer(server, origin), h11.InformationalResponse):
        pass
    if origin.their_state is not h11.SWITCHED_PROTOCOL:
        raise Refused(502, f"the proxy {upstream.authority} answered {answer.status_code}")
    return origin.trailing_data[0]
