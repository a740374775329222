"""The allowlist's proxy at work: real sockets on the loopback, a real join, a real process."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

import confined_claude.container
from confined_claude.container.egress import allowlist, lending
from confined_claude.container.egress import proxy as proxies
from confined_claude.container.egress.blocked import Blocked
from confined_claude.container.egress.policy import Policy
from confined_claude.container.egress.proxy import Limits, Proxy
from confined_claude.egress import lending as lending_on_the_host

from ..waiting import until

CONTAINER = Path(confined_claude.container.__file__).parent
# As `python3 -I CONTAINER egress.allowlist DIRECTORY`, but for where its socket is and how long it waits.
PROGRAM = (
    "import sys; from pathlib import Path; sys.path.append(sys.argv.pop(1)); from egress import allowlist as program;"
    "program.SOCKET = Path(sys.argv[2]); program._JOIN_SECONDS = float(sys.argv[3]);"
    "program._POLL_SECONDS = program._WRITE_SECONDS = 0.05;"
    "program.main([sys.argv[1]])"
)
SECONDS = 10
QUICK = Limits(head=0.2, dial=0.2, idle=0.2, linger=0.2, connections=4)
# Quick only once it passes something on.
IDLE = dataclasses.replace(QUICK, head=SECONDS, dial=SECONDS)
EMPTY: dict[str, Any] = {
    "allow": [],
    "named": [],
    "closed": [],
    "upstream": {"http": None, "https": None, "no_proxy": ""},
}


def configuration(**parts: Any) -> str:
    return json.dumps(EMPTY | parts)


def received(sock: socket.socket, end: bytes = b"") -> bytes:
    """What comes from ``sock``, up to ``end`` or to its own end."""
    data = b""
    while not (end and data.endswith(end)) and (more := sock.recv(1 << 16)):
        data += more
    return data


class Server:
    """A server on the loopback that passes each connection to ``handle``, and records what that returns."""

    def __init__(self, handle: Callable[[socket.socket], bytes]) -> None:
        self._handle = handle
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.visits = 0
        self._stop: Any = None
        self._heard: queue.Queue[bytes] = queue.Queue()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while True:
            client, _ = self._listener.accept()
            with client:
                client.settimeout(SECONDS)
                if client.getpeername() == self._stop:
                    return
                self.visits += 1
                with contextlib.suppress(OSError):
                    self._heard.put(self._handle(client))

    def heard(self) -> bytes:
        """What the next connection said; its handler may end after the client has its answer."""
        return self._heard.get(timeout=SECONDS)

    def close(self) -> None:
        with socket.socket() as last:
            last.bind(("127.0.0.1", 0))
            self._stop = last.getsockname()
            last.connect(("127.0.0.1", self.port))
            self._thread.join()
        self._listener.close()


@pytest.fixture
def server() -> Iterator[Callable[[Callable[[socket.socket], bytes]], Server]]:
    with contextlib.ExitStack() as stack:

        def start(handle: Callable[[socket.socket], bytes]) -> Server:
            made = Server(handle)
            stack.callback(made.close)
            return made

        yield start


Start = Callable[[Callable[[socket.socket], bytes]], Server]


def answering(answer: bytes, end: bytes = b"\r\n\r\n") -> Callable[[socket.socket], bytes]:
    def handle(client: socket.socket) -> bytes:
        asked = received(client, end)
        client.sendall(answer)
        return asked

    return handle


def echo(client: socket.socket) -> bytes:
    asked = received(client)
    client.sendall(b"echo " + asked)
    return asked


class Running:
    """A proxy in a thread of its own."""

    def __init__(self, policy: Policy, limits: Limits, upstreams: dict[tuple[str, int], Any] | None = None) -> None:
        self.upstreams = upstreams
        self.blocked = Blocked()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._names.bind(("127.0.0.1", 0))
        self.names = self._names.getsockname()
        self.door = self._listener.getsockname()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(policy, limits),))
        self._thread.start()
        assert self._ready.wait(SECONDS)

    async def _serve(self, policy: Policy, limits: Limits) -> None:
        self._loop = asyncio.get_running_loop()
        self.proxy = Proxy(policy, self.blocked, limits, upstreams=self.upstreams)
        self._task = asyncio.create_task(self.proxy.serve(self._listener, self._names))
        self._ready.set()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join()
        for sock in (self._listener, self._names):
            sock.close()

    def connect(self) -> socket.socket:
        return socket.create_connection(self.door, SECONDS)

    def ask(self, request: bytes) -> bytes:
        """The whole answer to ``request``, after which nothing more is sent."""
        with self.connect() as client:
            client.sendall(request)
            return received(client)

    def tunnel(self, port: int, host: str = "localhost") -> socket.socket:
        client = self.connect()
        client.sendall(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        answer = b"HTTP/1.1 200 Connection established\r\n\r\n"
        # Not a byte more: the server may already have spoken.
        assert client.recv(len(answer), socket.MSG_WAITALL) == answer
        return client

    def refused(self) -> list[tuple[str, int, str]]:
        found = json.loads(self.blocked.as_json())["blocked"]
        return [(entry["host"], entry["port"], entry["reason"]) for entry in found]


@pytest.fixture
def proxy() -> Iterator[Callable[..., Running]]:
    with contextlib.ExitStack() as stack:

        def start(limits: Limits = Limits(), finds: bool = False, **parts: Any) -> Running:  # noqa: B008 # frozen
            policy = Policy.parse(configuration(**parts))
            running = Running(policy, limits, lending.find_upstreams(policy) if finds else None)
            stack.callback(running.close)
            return running

        yield start


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def test_a_tunnel_carries_bytes_both_ways_and_each_end_of_them(server: Start, proxy: Callable[..., Running]) -> None:
    origin = server(echo)
    with proxy(named=[["localhost", origin.port]]).tunnel(origin.port) as client:
        client.sendall(b"hello")
        client.shutdown(socket.SHUT_WR)
        assert received(client) == b"echo hello"


def test_a_server_may_end_first_and_still_listen(server: Start, proxy: Callable[..., Running]) -> None:
    def handle(client: socket.socket) -> bytes:
        client.sendall(b"bye")
        client.shutdown(socket.SHUT_WR)
        return received(client)

    origin = server(handle)
    with proxy(named=[["localhost", origin.port]]).tunnel(origin.port) as client:
        assert received(client) == b"bye"
        client.sendall(b"late")
    assert origin.heard() == b"late"


def test_what_follows_the_request_at_once_goes_into_the_tunnel(server: Start, proxy: Callable[..., Running]) -> None:
    origin = server(echo)
    with proxy(named=[["localhost", origin.port]]).connect() as client:
        client.sendall(f"CONNECT localhost:{origin.port} HTTP/1.0\r\n\r\nearly".encode())
        client.shutdown(socket.SHUT_WR)
        assert received(client).endswith(b"\r\n\r\necho early")


def test_much_goes_through_a_tunnel_unchanged(server: Start, proxy: Callable[..., Running]) -> None:
    content = os.urandom(1 << 20) * 8
    origin = server(answering(content, b"go"))
    with proxy(named=[["localhost", origin.port]]).tunnel(origin.port) as client:
        client.sendall(b"go")
        assert received(client) == content


def test_a_server_that_cannot_be_reached_is_no_refusal(proxy: Callable[..., Running]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        running = proxy(named=[["localhost", port]], allow=["no-such-host.invalid"])
        assert running.ask(f"GET http://localhost:{port}/ HTTP/1.0\r\n\r\n".encode()).startswith(b"HTTP/1.1 502 ")
    assert running.ask(b"GET http://no-such-host.invalid/ HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 502 ")
    assert running.refused() == []


def test_a_plain_request_is_written_anew_for_the_host_of_its_uri(server: Start, proxy: Callable[..., Running]) -> None:
    origin = server(answering(OK))
    answer = proxy(named=[["localhost", origin.port]]).ask(
        f"GET http://LOCALHOST:{origin.port}/a?b HTTP/1.1\r\nHost: evil.test\r\nX-Kept: 1\r\n folded\r\n"
        "Proxy-Authorization: Basic x\r\nProxy-Connection: x\r\nX-Gone: 1\r\nConnection: x-gone\r\n\r\n".encode()
    )
    assert answer.lower() == b"http/1.1 200 ok\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"
    assert origin.heard().lower() == (
        f"get /a?b http/1.1\r\nhost: localhost:{origin.port}\r\nx-kept: 1 folded\r\nconnection: close\r\n\r\n".encode()
    )


def test_bodies_in_chunks_arrive_whole(server: Start, proxy: Callable[..., Running]) -> None:
    head = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 99\r\n\r\n"
    origin = server(answering(head + b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: 1\r\n\r\n", b"0\r\n\r\n"))
    with proxy(named=[["localhost", origin.port]]).connect() as client:
        client.sendall(
            f"POST http://localhost:{origin.port}/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
            "Expect: 100-continue\r\n\r\n".encode()
        )
        client.sendall(b"5\r\nfirst\r\n")
        client.sendall(b"6\r\nsecond\r\n0\r\n\r\n")
        answer = received(client)
    assert answer.startswith(b"HTTP/1.1 100 ")
    head, _, body = answer.split(b"\r\n\r\n", 1)[1].partition(b"\r\n\r\n")
    assert b"content-length" not in head.lower()
    assert body == b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    assert origin.heard().endswith(b"\r\n\r\n5\r\nfirst\r\n6\r\nsecond\r\n0\r\n\r\n")


def test_an_answer_to_an_old_client_is_not_in_chunks(server: Start, proxy: Callable[..., Running]) -> None:
    origin = server(answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"))
    answer = proxy(named=[["localhost", origin.port]]).ask(
        f"GET http://localhost:{origin.port}/ HTTP/1.0\r\n\r\n".encode()
    )
    assert answer.endswith(b"\r\n\r\nabc")


def test_an_answer_that_breaks_off_does_not_look_whole(server: Start, proxy: Callable[..., Running]) -> None:
    answers = iter([b"", b"garbage\r\n\r\n", OK[:-1], b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab"])

    def handle(client: socket.socket) -> bytes:
        return answering(next(answers))(client)

    origin = server(handle)
    running = proxy(named=[["localhost", origin.port]])
    request = f"GET http://localhost:{origin.port}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    assert running.ask(request).startswith(b"HTTP/1.1 502 ")
    assert running.ask(request).startswith(b"HTTP/1.1 502 ")
    assert running.ask(request).endswith(b"\r\n\r\no")
    assert running.ask(request).endswith(b"\r\n\r\n2\r\nab\r\n")


def test_an_early_answer_arrives_although_the_request_goes_on(server: Start, proxy: Callable[..., Running]) -> None:
    origin = server(answering(b"HTTP/1.1 413 Too large\r\nContent-Length: 0\r\n\r\n"))
    with proxy(IDLE, named=[["localhost", origin.port]]).connect() as client:
        head = f"PUT http://localhost:{origin.port}/ HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"
        client.sendall(head.encode())
        assert received(client, b"\r\n\r\n").startswith(b"HTTP/1.1 413 ")
        client.sendall(b"x" * 1000)


def test_one_connection_is_one_request(server: Start, proxy: Callable[..., Running]) -> None:
    origin = server(answering(OK))
    request = f"GET http://localhost:{origin.port}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    second = b"GET http://evil.test/ HTTP/1.1\r\nHost: x\r\n\r\n"
    assert proxy(named=[["localhost", origin.port]]).ask(request + second).count(b"HTTP/1.1") == 1
    assert origin.visits == 1
    assert b"evil.test" not in origin.heard()


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET http://localhost:PORT/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET http://localhost:PORT/ HTTP/1.1\r\n\r\n", 400),
        (
            b"PUT http://localhost:PORT/ HTTP/1.1\r\nHost:\r\nContent-Length:3\r\nTransfer-Encoding: Chunked\r\n\r\n",
            400,
        ),
        (b"POST http://localhost:PORT/ HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", 400),
        (b"POST http://localhost:PORT/ HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\n", 400),
        (b"POST http://localhost:PORT/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (b"GET http://localhost:PORT/ HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b"GET http://localhost:PORT/ HTTP/1.1\r\n Host: a\r\n\r\n", 400),
        (b"GET http://localhost:PORT/ HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", 400),
        (b"GET http://localhost:PORT\0.test/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET http://localhost:PORT/ evil HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET http://user@localhost:PORT/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET https://localhost:PORT/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost:PORT\r\n\r\n", 400),
        (b"OPTIONS * HTTP/1.1\r\nHost: localhost:PORT\r\n\r\n", 400),
        (b"connect localhost:PORT HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"CONNECT http://localhost:PORT HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"CONNECT localhost:PORT HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", 400),
        (b"GET http://evil.test/ HTTP/1.1\r\nHost: localhost:PORT\r\n\r\n", 403),
        (b"CONNECT evil.test:PORT HTTP/1.1\r\nHost: localhost:PORT\r\n\r\n", 403),
        (b"CONNECT evillocalhost:PORT HTTP/1.1\r\nHost: localhost:PORT\r\n\r\n", 403),
        (b"CONNECT 127.0.0.1:PORT HTTP/1.1\r\nHost: localhost:PORT\r\n\r\n", 403),
        (b"CONNECT [::1]:PORT HTTP/1.1\r\nHost: localhost:PORT\r\n\r\n", 403),
        (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET http://localhost:PORT/" + b"a" * 70_000, 431),
        (b"GET http://localhost:PORT/ HTTP/1.1\r\nHost: a\r\n" + b"X: 1\r\n" * 30_000, 431),
    ],
    ids=lambda value: value[:60] if isinstance(value, bytes) else str(value),
)
def test_a_request_that_is_not_plain_reaches_nobody(
    head: bytes, status: int, server: Start, proxy: Callable[..., Running]
) -> None:
    origin = server(answering(OK))
    running = proxy(named=[["localhost", origin.port]])
    answer = running.ask(head.replace(b"PORT", str(origin.port).encode()))
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"\r\n\r\nconfined-claude: " in answer
    assert origin.visits == 0
    assert len(running.refused()) == 1


def test_a_refusal_says_what_to_do_and_is_recorded(proxy: Callable[..., Running]) -> None:
    running = proxy()
    answer = running.ask(b"CONNECT evil.test:443 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer == (
        b"HTTP/1.1 403 Refused\r\nContent-Type: text/plain\r\nContent-Length: 96\r\nConnection: close\r\n\r\n"
        b"confined-claude: evil.test:443 is not in this session's allowlist. See: confined-claude blocked\n"
    )
    running.ask(b"GET http://user@evil.test/ HTTP/1.1\r\nHost: x\r\n\r\n")
    assert running.refused() == [("evil.test", 443, "name"), ("http://user@evil.test/", 0, "malformed")]


def test_an_allowed_name_at_a_closed_address_is_refused(server: Start, proxy: Callable[..., Running]) -> None:
    origin = server(answering(OK))
    running = proxy(allow=[f"localhost:{origin.port}"])
    assert running.ask(f"CONNECT localhost:{origin.port} HTTP/1.0\r\n\r\n".encode()).startswith(b"HTTP/1.1 403 ")
    assert running.refused() == [("localhost", origin.port, "address")]
    assert origin.visits == 0


class Resolver:
    """Answers in place of the system's resolver, a different address each time; records what was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> None:
        self._answers = iter(answers)
        self.asked: list[str] = []
        self.dialled: list[str] = []
        monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", self._look_up)
        monkeypatch.setattr(proxies, "_connected", self._dial)

    async def _look_up(self, host: str, port: int, **_: Any) -> list[Any]:
        self.asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, port)) for address in next(self._answers)]

    async def _dial(self, info: Any) -> socket.socket:
        self.dialled.append(info[4][0])
        raise ConnectionRefusedError


def test_a_name_is_looked_up_once_and_what_was_looked_at_is_dialled(
    monkeypatch: pytest.MonkeyPatch, proxy: Callable[..., Running]
) -> None:
    running = proxy(allow=["a.test"], closed=["203.0.113.9/32"])
    resolver = Resolver(
        monkeypatch, ["10.0.0.1", "203.0.113.1", "203.0.113.9", "127.0.0.1", "203.0.113.2"], ["10.0.0.1"]
    )
    assert running.ask(b"CONNECT a.test:443 HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 502 ")
    assert (resolver.asked, resolver.dialled) == (["a.test"], ["203.0.113.1", "203.0.113.2"])


def test_a_name_that_is_not_allowed_is_not_looked_up(
    monkeypatch: pytest.MonkeyPatch, proxy: Callable[..., Running]
) -> None:
    running = proxy(allow=["a.test"])
    resolver = Resolver(monkeypatch)
    for target in (b"secret.b.test:443", b"secret.a.test:443", b"a.test:22"):
        assert running.ask(b"CONNECT " + target + b" HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 403 ")
    assert resolver.asked == []


def test_a_slow_head_is_cut_off(proxy: Callable[..., Running]) -> None:
    running = proxy(QUICK)
    with running.connect() as client:
        client.sendall(b"GET http://evil.test/ HTTP/1.1\r\nX: ")
        assert received(client).startswith(b"HTTP/1.1 408 ")
    assert running.refused() == []
    with running.connect() as client:
        assert received(client).startswith(b"HTTP/1.1 408 ")


def test_a_tunnel_in_which_nothing_moves_is_closed(server: Start, proxy: Callable[..., Running]) -> None:
    origin = server(received)
    with proxy(IDLE, named=[["localhost", origin.port]]).tunnel(origin.port) as client:
        assert received(client) == b""


def test_connections_beyond_the_bound_wait_for_their_turn(proxy: Callable[..., Running]) -> None:
    running = proxy(dataclasses.replace(QUICK, head=SECONDS))
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(running.connect()) for _ in range(QUICK.connections)]
        waiting = stack.enter_context(running.connect())
        waiting.sendall(b"CONNECT evil.test:443 HTTP/1.0\r\n\r\n")
        waiting.settimeout(0.2)
        with pytest.raises(TimeoutError):
            waiting.recv(1)
        held[0].close()
        waiting.settimeout(SECONDS)
        assert received(waiting).startswith(b"HTTP/1.1 403 ")


def test_a_query_is_refused_and_recorded_unless_the_name_is_allowed(proxy: Callable[..., Running]) -> None:
    running = proxy(allow=["a.test"])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(SECONDS)
        for name in (b"\1a\4test\0", b"\6secret\4test\0"):
            query = b"\xab\xcd\1\0\0\1\0\0\0\0\0\0" + name + b"\0\1\0\1"
            client.sendto(b"?", running.names)
            client.sendto(query, running.names)
            assert client.recv(1000) == b"\xab\xcd\x81\x05" + query[4:]
    assert running.refused() == [("secret.test", 53, "dns")]


def through(upstream: Server, **others: Any) -> dict[str, Any]:
    url = f"http://user:word@localhost:{upstream.port}"
    return {"upstream": {"http": url, "https": url, "no_proxy": ""} | others}


SIGN_IN = "proxy-authorization: basic dxnlcjp3b3jk"


def test_a_tunnel_goes_through_the_companys_proxy(
    server: Start, proxy: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    company = server(answering(b"HTTP/1.1 200 Connected\r\n\r\ngreeting"))
    with proxy(allow=["a.test"], **through(company)).tunnel(443, "a.test") as client:
        assert received(client) == b"greeting"
    assert company.heard().lower() == f"connect a.test:443 http/1.1\r\nhost: a.test:443\r\n{SIGN_IN}\r\n\r\n".encode()


@pytest.mark.parametrize("finds", [True, False])
def test_where_something_is_lent_a_companys_proxy_stays_where_it_was_at_the_start(
    finds: bool, server: Start, proxy: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session's root can change what names lead to; of the proxy's it would get the password."""
    company = server(answering(b"HTTP/1.1 200 Connected\r\n\r\ngreeting"))
    running = proxy(finds=finds, allow=["a.test"], **through(company))
    real = socket.getaddrinfo

    def misled(host: str, *words: Any, **named: Any) -> Any:
        return real("127.0.0.9" if host == "localhost" else host, *words, **named)

    monkeypatch.setattr(socket, "getaddrinfo", misled)
    answer = running.ask(b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 " if finds else b"HTTP/1.1 502 "), "the control is misled"
    assert company.visits == finds


def test_a_companys_proxy_that_was_nowhere_at_the_start_stays_so(
    server: Start, proxy: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    company = server(answering(b"HTTP/1.1 200 Connected\r\n\r\ngreeting"))
    with monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", Mock(side_effect=socket.gaierror))
        running = proxy(finds=True, allow=["a.test"], **through(company))
    assert running.ask(b"CONNECT a.test:443 HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 502 ")
    assert company.visits == 0


def test_one_that_lends_serves_as_many_connections_as_fit_into_its_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Mock(side_effect=OSError)
    monkeypatch.setattr(allowlist, "Proxy", made)
    for lender, most in ((None, 480), (Mock(), 200)):
        with pytest.raises(OSError):
            asyncio.run(allowlist.Sidecar(tmp_path).run(Mock(), Policy(), [], lender))
        assert made.call_args[0][2].connections == most


def test_a_plain_request_goes_through_the_companys_proxy(server: Start, proxy: Callable[..., Running]) -> None:
    company = server(answering(OK))
    answer = proxy(allow=["a.test"], **through(company)).ask(b"GET http://a.test/x HTTP/1.1\r\nHost: b\r\n\r\n")
    assert answer.endswith(b"ok")
    expected = f"get http://a.test/x http/1.1\r\nhost: a.test\r\nconnection: close\r\n{SIGN_IN}\r\n\r\n"
    assert company.heard().lower() == expected.encode()


@pytest.mark.parametrize("answer", [b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n", b"garbage\r\n\r\n", b""])
def test_a_companys_proxy_that_does_not_connect_is_named(
    answer: bytes, server: Start, proxy: Callable[..., Running]
) -> None:
    running = proxy(allow=["a.test"], **through(server(answering(answer))))
    assert running.ask(b"CONNECT a.test:443 HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 502 ")
    assert running.refused() == []


def test_the_companys_proxy_is_not_asked_for_what_is_refused_or_goes_straight(
    server: Start, proxy: Callable[..., Running]
) -> None:
    company, origin = server(answering(OK)), server(answering(OK))
    running = proxy(named=[["localhost", origin.port]], **through(company, no_proxy="localhost"))
    assert running.ask(b"CONNECT evil.test:443 HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 403 ")
    assert running.ask(f"GET http://localhost:{origin.port}/ HTTP/1.0\r\n\r\n".encode()).endswith(b"ok")
    assert company.visits == 0


class Joined:
    """The program in a process of its own, and what a session's entrypoint does with it."""

    def __init__(self, directory: Path, seconds: float = SECONDS) -> None:
        self.directory = directory
        self.path = directory / "socket"
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-c", PROGRAM, CONTAINER, directory, self.path, str(seconds)],
            stderr=subprocess.PIPE,
            text=True,
        )
        self.tie = socket.socket(socket.AF_UNIX)
        self.tie.settimeout(SECONDS)

    def connect(self) -> None:
        while True:
            try:
                self.tie.connect(str(self.path))
            except OSError:
                assert self.process.poll() is None
                time.sleep(0.01)
            else:
                return

    def hand_over(self, *kinds: int) -> list[Any]:
        """Give the program new sockets, streams that listen and datagrams; return their addresses."""
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(socket.socket(socket.AF_INET, kind)) for kind in kinds]
            for sock in sockets:
                sock.bind(("127.0.0.1", 0))
                if sock.type == socket.SOCK_STREAM:
                    sock.listen()
            socket.send_fds(self.tie, [b"sockets\n"], [sock.fileno() for sock in sockets])
            return [sock.getsockname() for sock in sockets]

    def end(self) -> tuple[int, str]:
        """The exit code, and what was said."""
        _, said = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, said

    def close(self) -> None:
        self.tie.close()
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def joined(tmp_path: Path) -> Iterator[Callable[..., Joined]]:
    with contextlib.ExitStack() as stack:

        def start(seconds: float = SECONDS, **parts: Any) -> Joined:
            (tmp_path / "config.json").write_text(configuration(**parts))
            program = Joined(tmp_path, seconds)
            stack.callback(program.close)
            return program

        yield start


STREAM, DATAGRAM = socket.SOCK_STREAM, socket.SOCK_DGRAM


def test_a_session_hands_over_a_socket_for_each_of_the_most_hosts() -> None:
    with contextlib.ExitStack() as stack:
        here, there = (stack.enter_context(sock) for sock in socket.socketpair())
        kinds = (STREAM, DATAGRAM, *[STREAM] * lending_on_the_host.MOST_HOSTS)
        sent = [stack.enter_context(socket.socket(socket.AF_INET, kind)) for kind in kinds]
        socket.send_fds(here, [b"sockets\n"], [sock.fileno() for sock in sent])
        found = allowlist.receive(there, lending_on_the_host.MOST_HOSTS)
        for sock in found:
            sock.close()
        assert len(found) == len(sent)


def asked(door: Any, target: str) -> bytes:
    with socket.create_connection(door, SECONDS) as client:
        client.sendall(f"CONNECT {target} HTTP/1.0\r\n\r\n".encode())
        return received(client, b"\r\n\r\n").split()[1]


def test_a_session_joins_changes_its_allowlist_and_ends(joined: Callable[..., Joined], server: Start) -> None:
    origin = server(received)
    program = joined()
    said = Path(f"/proc/{program.process.pid}/fd/2")
    assert str(said.readlink()).startswith("pipe:")
    program.connect()
    door, _ = program.hand_over(STREAM, DATAGRAM)
    assert program.tie.recv(100) == b"ready\n"
    assert not program.path.exists()
    assert said.readlink() == Path("/dev/null"), "nobody reads what is said from now on, and a full pipe would stop it"
    program.tie.sendall(b"whatever the agent writes")

    target = f"localhost:{origin.port}"
    assert asked(door, target) == b"403"
    (program.directory / "new").write_text(configuration(named=[["localhost", origin.port]]))
    (program.directory / "new").replace(program.directory / "config.json")
    until(lambda: asked(door, target) == b"200")
    (program.directory / "config.json").write_text("broken")
    time.sleep(0.3)  # it looks each 0.05 s
    assert asked(door, target) == b"200"

    until((program.directory / "blocked.json").exists)
    program.tie.close()
    assert program.end() == (0, "")
    written = program.directory / "blocked.json"
    assert written.stat().st_mode & 0o777 == 0o600
    assert [entry["host"] for entry in json.loads(written.read_text())["blocked"]] == ["localhost"]
    assert sorted(path.name for path in program.directory.glob("*.*")) == ["blocked.json", "config.json"]


@pytest.mark.parametrize("end", ["the session", "the engine"])
def test_what_was_refused_last_is_kept_and_a_waiting_tunnel_holds_up_nothing(
    end: str, joined: Callable[..., Joined], server: Start
) -> None:
    origin = server(received)
    program = joined(named=[["localhost", origin.port]])
    program.connect()
    door, _ = program.hand_over(STREAM, DATAGRAM)
    assert program.tie.recv(100) == b"ready\n"
    with socket.create_connection(door, SECONDS) as client:
        client.sendall(f"CONNECT localhost:{origin.port} HTTP/1.0\r\n\r\n".encode())
        assert received(client, b"\r\n\r\n")
        assert asked(door, "evil.test:443") == b"403"
        if end == "the session":
            program.tie.shutdown(socket.SHUT_WR)
        else:
            program.process.send_signal(signal.SIGTERM)
        assert program.end() == (0, "")
    assert json.loads((program.directory / "blocked.json").read_text())["blocked"][0]["host"] == "evil.test"


@pytest.mark.parametrize(
    ("kinds", "parts", "reason"),
    [
        ((STREAM,), {}, "what joined is not a session"),
        ((DATAGRAM, STREAM), {}, "what joined is not a session"),
        ((STREAM, DATAGRAM, STREAM), {}, "what joined is not a session"),
        ((STREAM, DATAGRAM), {"allow": ["a b"]}, "'a b' is not a host's name"),
    ],
)
def test_what_does_not_fit_is_an_error_on_both_sides(
    kinds: tuple[int, ...], parts: dict[str, Any], reason: str, joined: Callable[..., Joined]
) -> None:
    program = joined(**parts)
    program.connect()
    program.hand_over(*kinds)
    assert program.tie.recv(1000) == f"error: {reason}\n".encode()
    assert program.end() == (1, f"confined-claude's proxy: {reason}\n")


def test_a_session_that_never_comes_is_not_waited_for(joined: Callable[..., Joined]) -> None:
    program = joined(0.1)
    assert program.end() == (1, "confined-claude's proxy: timed out\n")
    assert not program.path.exists()
