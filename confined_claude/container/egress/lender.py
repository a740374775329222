"""Ends TLS for the hosts that something is lent to, and puts the values into the requests to them.

Both connections belong to each other: each of the client's has one of its own to the real host, whose certificate and
name have been verified before it gets a byte of HTTP. Nothing of an answer is looked at or held back.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable, Sequence

import h11

from . import authority
from .lent import Lent, check, outgoing, parse
from .networks import BUNDLE
from .relay import CHUNK, HEAD_BYTES, Encrypted, Flow, cancel, exchange, new_origin, next_event, receive
from .request import Refused, Target

_HANDSHAKE_SECONDS = 15.0
_NO_TRUST = ("TLSV1_ALERT_UNKNOWN_CA", "SSLV3_ALERT_BAD_CERTIFICATE", "SSLV3_ALERT_CERTIFICATE_UNKNOWN")
_PR_SET_DUMPABLE = 4


def hide_memory() -> None:
    """Have no core dump and no other process show the memory of this one: no limit stops a dump into a pipe.

    Raises OSError if that cannot be.
    """
    if ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0):
        raise OSError("the system does not keep memory out of core dumps")


class Lender:
    """Lends ``secrets``, which may be replaced at any time, to ``targets`` alone.

    ``log`` takes a line for each request that has got a value. Making one takes 20 ms. Raises OSError or ValueError if
    it cannot have certificates.
    """

    def __init__(self, targets: Sequence[Target], log: Callable[[str], None], trusted: str = BUNDLE) -> None:
        self.targets = tuple(targets)
        self.secrets: tuple[Lent, ...] = ()
        self._log = log
        self._rest = b""
        self.certificate, self._inside = authority.make(sorted({target.host for target in targets}))
        self._trusted = trusted
        self._outside: ssl.SSLContext | None = None

    def receive(self) -> bool:
        """Read from standard input what is lent from now on; return False at its end, after which nothing changes."""
        data = os.read(0, CHUNK)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            try:
                self.secrets = parse(line)
            except ValueError as error:
                print(error, file=sys.stderr)
        return bool(data)

    def follow(self) -> None:
        """Have the running loop receive what comes later; it may have been at its end before."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):  # no pipe, where nothing can come
            loop.add_reader(0, lambda: self.receive() or loop.remove_reader(0))

    async def serve(
        self,
        flow: Flow,
        target: Target,
        client: socket.socket,
        *,
        reach: Callable[[], Awaitable[socket.socket]],
        refuse: Callable[[Refused], bytes],
        linger: float,
    ) -> None:
        """Serve the requests of ``client``, which come in TLS; ``reach`` connects to ``target`` at the first one.

        ``refuse`` turns a refusal into the answer that says so.
        """
        inside = await self._accept(target, client, refuse)
        outside: Encrypted | None = None
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)
        origin = new_origin()
        try:
            while request := await _next_request(target, inside, connection, outside):
                check(target, request)
                headers, is_used = outgoing(target, list(request.headers), self.secrets)
                outside = outside or await self._connect(target, reach)
                if is_used:
                    path = request.target.partition(b"?")[0].decode("ascii")
                    self._log(f"{request.method.decode('ascii')} {target.authority} {path}")
                passed_on = h11.Request(method=request.method, target=request.target, headers=headers)
                await exchange(flow, inside, connection, outside, origin, request=passed_on, is_last=False)
                for each in (connection, origin):
                    if each.our_state is not h11.DONE or each.their_state is not h11.DONE:
                        return
                    each.start_next_cycle()
        except Refused as refused:
            with contextlib.suppress(OSError):
                await flow.send(inside, refuse(refused))
        finally:
            if outside is not None:
                outside.shutdown(socket.SHUT_RDWR)
            await inside.close(linger)

    async def _accept(self, target: Target, client: socket.socket, refuse: Callable[[Refused], bytes]) -> Encrypted:
        """Have TLS with ``client``, which asks for ``target`` by SNI. Raises OSError if that cannot be."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        # The transport owns what it closes. The client's own descriptor is closed later, when nothing waits for it.
        own = client.dup()
        try:
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol, own, ssl=self._inside[target.host], ssl_handshake_timeout=_HANDSHAKE_SECONDS
            )
        except ssl.SSLError as error:
            if error.reason in _NO_TRUST:
                refuse(Refused(502, "", "trust", target.host, target.port))
            raise
        return Encrypted(reader, asyncio.StreamWriter(transport, protocol, reader, loop))

    async def _connect(self, target: Target, reach: Callable[[], Awaitable[socket.socket]]) -> Encrypted:
        """Have TLS with the real ``target``, to which ``reach`` connects.

        Raises Refused, with nothing sent, unless it is verified.
        """
        try:
            # All authorities are read, which takes 25 ms: not at the start, when a session waits.
            if self._outside is None:
                loop = asyncio.get_running_loop()
                self._outside = await loop.run_in_executor(None, authority.client, self._trusted)
            return Encrypted(
                *await asyncio.open_connection(
                    sock=await reach(),
                    ssl=self._outside,
                    server_hostname=target.host,
                    ssl_handshake_timeout=_HANDSHAKE_SECONDS,
                )
            )
        except ssl.SSLCertVerificationError as error:
            why = f"its certificate is not valid ({error.verify_message})"
        except ssl.SSLError as error:
            why = f"it does not accept HTTP/1.1 over TLS ({error.reason})"
        except (OSError, asyncio.TimeoutError):
            why = "the connection broke"
        text = f"no request and no lent secret goes to {target.authority}: {why}"
        raise Refused(502, text, "certificate", target.host, target.port)


async def _next_request(
    target: Target, inside: Encrypted, connection: h11.Connection, outside: Encrypted | None
) -> h11.Request | None:
    """Return the client's next request; None if it, or the host, ends the connection. Raises Refused for another."""
    reading = asyncio.create_task(next_event(inside, connection))
    # Between requests a host has nothing to say but that it ends.
    ending = asyncio.create_task(receive(outside)) if outside is not None else None
    try:
        await asyncio.wait({reading, ending} if ending else {reading}, return_when=asyncio.FIRST_COMPLETED)
        if ending is not None and ending.done():
            return None
        event = reading.result()
    except h11.RemoteProtocolError as error:
        text = f"not an HTTP/1.1 request to {target.authority}: {error}"
        raise Refused(error.error_status_hint, text, "lent", target.host, target.port) from None
    finally:
        await cancel(reading, *([ending] if ending else []))
    return event if isinstance(event, h11.Request) else None
