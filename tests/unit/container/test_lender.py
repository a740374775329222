"""What is lent reaches its host in its header, and nothing else does: real TLS, real sockets."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from confined_claude.container.egress import authority
from confined_claude.container.egress.blocked import Blocked
from confined_claude.container.egress.lender import Lender
from confined_claude.container.egress.lent import Lent, parse
from confined_claude.container.egress.policy import Policy
from confined_claude.container.egress.proxy import Proxy
from confined_claude.container.egress.request import Target

from ..conftest import nothing_stays_open
from ..waiting import until
from .test_allowlist import SECONDS, Server, configuration, received

HOST, OTHER = "api.example.test", "other.example.test"
PLACEHOLDER, VALUE = "ghp_placeholder0", "ghp_the-real-one"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
LAST = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")


ASKED = """
import ctypes, os, sys
from pathlib import Path
from confined_claude.container.egress.allowlist import Sidecar
read, dumpable = os.read, lambda: ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)
os.read = lambda fd, size: (fd or print(dumpable()), read(fd, size))[1]
Sidecar(Path("/nonexistent")).lender(sys.argv[1:])
print(dumpable())
"""


@pytest.mark.parametrize("endpoints", [[], [f"{HOST}:443"]], ids=["nothing is lent: the control", "lent"])
def test_no_core_dump_has_what_is_lent_wherever_it_would_go(endpoints: list[str]) -> None:
    """Before anything is read; a limit holds only where dumps are files."""
    words = [sys.executable, "-c", ASKED, *endpoints]
    line = json.dumps([]).encode() + b"\n"
    done = subprocess.run(words, input=line, stdout=subprocess.PIPE, check=True, cwd=Path(__file__).parents[3])
    assert set(done.stdout.split()) == {b"0" if endpoints else b"1"}


class World:
    """A host with TLS, and a session's proxy that lends to it; ``heard`` is each request that the host got."""

    def __init__(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        certificate, self.contexts = authority.make([HOST, OTHER])
        for context in self.contexts.values():
            context.sni_callback = None  # it answers whoever asks, as wrong hosts do
        self.trusted = place / "trusted.pem"
        self.trusted.write_bytes(certificate)
        self.context, self.answer = self.contexts[HOST], OK
        self.heard: list[bytes] = []
        self.raw = 0
        self.server = Server(self.handle)
        self.target = Target(HOST, self.server.port)
        self.log: list[str] = []
        self.lender = Lender([self.target], self.log.append, str(self.trusted))
        self.lender.secrets = lent(self.server.port)
        self.mine = place / "mine.pem"
        self.mine.write_bytes(self.lender.certificate)
        real = socket.getaddrinfo

        def look_up(host: Any, *words: Any, **named: Any) -> Any:
            return real("127.0.0.1" if str(host).endswith(".test") else host, *words, **named)

        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        self.policy = Policy.parse(configuration(named=[[HOST, self.server.port], [OTHER, self.server.port]]))
        self.blocked = Blocked()
        self._sockets = [socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)]
        self._sockets += [socket.create_server(("127.0.0.1", 0))]
        self._sockets[1].bind(("127.0.0.1", 0))
        self.door, _, self.direct = (sock.getsockname() for sock in self._sockets)
        ready = threading.Event()

        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            self._task = asyncio.create_task(Proxy(self.policy, self.blocked, lender=self.lender).serve(*self._sockets))
            self._loop.call_soon(ready.set)
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

        self._thread = threading.Thread(target=asyncio.run, args=(serve(),))
        self._thread.start()
        assert ready.wait(SECONDS)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join()
        for sock in self._sockets:
            sock.close()
        self.server.close()

    def trust(self, certificate: Path) -> None:
        with self.trusted.open("ab") as file:
            file.write(certificate.read_bytes())

    def handle(self, client: socket.socket) -> bytes:
        """Serve a connection, with as many requests as the client has."""
        with client.dup() as kept, contextlib.suppress(OSError):
            try:
                with self.context.wrap_socket(client, server_side=True) as secure:
                    while head := self.head(secure):
                        self.heard.append(head)
                        secure.sendall(self.answer)
                        if b"connection: close" in self.answer.lower():
                            break
            except ssl.SSLError:
                received(kept)  # what is left unread would overtake the alert
        return b""

    def head(self, secure: ssl.SSLSocket) -> bytes:
        head = b""
        while not head.endswith(b"\r\n\r\n") and (more := secure.recv(1)):
            self.raw += 1
            head += more
        return head

    def connect(self, sni: str | None = HOST, *, tunnel: bool = True) -> ssl.SSLSocket:
        """A connection in TLS to the host, as a program in the session has it."""
        sock = socket.create_connection(self.door if tunnel else self.direct, SECONDS)
        if tunnel:
            sock.sendall(f"CONNECT {self.target.authority} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert received(sock, b"\r\n\r\n").startswith(b"HTTP/1.1 200 ")
        context = ssl.create_default_context(cafile=str(self.mine))
        if sni is None:
            context.check_hostname = False
        return context.wrap_socket(sock, server_hostname=sni)

    def ask(self, request: bytes, *, tunnel: bool = True) -> bytes:
        """The whole answer to what is sent, after which the connection ends."""
        with self.connect(tunnel=tunnel) as client:
            client.sendall(request)
            return received(client)

    def get(self, *headers: str, path: str = "/") -> bytes:
        lines = "".join(f"{header}\r\n" for header in headers)
        return f"GET {path} HTTP/1.1\r\nHost: {self.target.authority}\r\n{lines}Connection: close\r\n\r\n".encode()

    @property
    def refused(self) -> list[str]:
        return [entry["reason"] for entry in json.loads(self.blocked.as_json())["blocked"]]


def lent(port: int, value: str = VALUE, host: str = HOST) -> tuple[Lent, ...]:
    one = {"hosts": [[host, port]], "header": "authorization", "placeholder": PLACEHOLDER, "value": value}
    return parse(json.dumps([one]).encode())


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    made = World(tmp_path, monkeypatch)
    yield made
    made.close()


def basic(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize("tunnel", [True, False], ids=["by the proxy", "straight"])
@pytest.mark.parametrize(
    ("sent", "arrives"),
    [
        (PLACEHOLDER, VALUE),
        (f"Bearer {PLACEHOLDER}", f"Bearer {VALUE}"),
        (f"token  {PLACEHOLDER}", f"token  {VALUE}"),
        (f"Basic {basic('x-access-token', PLACEHOLDER)}", f"Basic {basic('x-access-token', VALUE)}"),
        (f"basic {basic(PLACEHOLDER, 'x-oauth-basic')}", f"basic {basic(VALUE, 'x-oauth-basic')}"),
    ],
)
def test_the_value_takes_the_place_of_the_placeholder(world: World, sent: str, arrives: str, tunnel: bool) -> None:
    answer = world.ask(world.get(f"Authorization: {sent}", "X-Kept: 1", path="/a?b=c"), tunnel=tunnel)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"ok")
    (heard,) = world.heard
    assert f"\r\nauthorization: {arrives}\r\n".encode() in heard
    assert heard.startswith(b"GET /a?b=c HTTP/1.1\r\n")
    assert PLACEHOLDER.encode() not in heard
    assert world.log == [f"GET {world.target.authority} /a"], "no query, and no value"


@pytest.mark.parametrize(
    "header",
    [
        "Authorization: Bearer another",
        f"Authorization: Digest {PLACEHOLDER}",
        f"Authorization: Bearer {PLACEHOLDER}x",
        f"Authorization: Bearer {PLACEHOLDER} {PLACEHOLDER}",
        f"Authorization: Basic {basic('x', PLACEHOLDER + 'x')}",
        f"Authorization: Basic {basic('x', PLACEHOLDER)}!",
        f"X-Other: {PLACEHOLDER}",
        f"Cookie: {PLACEHOLDER}",
    ],
)
def test_anything_else_passes_as_it_is(world: World, header: str) -> None:
    assert world.ask(world.get(header)).endswith(b"ok")
    name, _, text = header.partition(":")
    assert f"\r\n{name.lower()}:{text}\r\n".encode() in world.heard[0]
    assert VALUE.encode() not in world.heard[0]
    assert world.log == []


def test_the_value_is_put_into_no_url_and_no_body(world: World) -> None:
    body = PLACEHOLDER.encode()
    request = (
        f"POST /{PLACEHOLDER}?{PLACEHOLDER} HTTP/1.1\r\nHost: {world.target.authority}\r\n"
        f"Content-Length: {len(body)}\r\nAuthorization: {PLACEHOLDER}\r\nConnection: close\r\n\r\n"
    ).encode()
    world.ask(request + body)
    assert world.heard[0].count(VALUE.encode()) == 1
    assert world.heard[0].startswith(f"POST /{PLACEHOLDER}?{PLACEHOLDER} ".encode())


# Attacks: what lent.md has tried, each against a control, which is the same request as it should be.


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ("GET / HTTP/1.1\r\nHost: {other}\r\n{auth}\r\n", 421),
        ("GET / HTTP/1.1\r\nHost: {host}\r\nHost: {host}\r\n{auth}\r\n", 400),
        ("GET / HTTP/1.1\r\n{auth}\r\n", 400),
        ("GET / HTTP/1.0\r\n{auth}\r\n", 421),
        ("GET / HTTP/1.1\r\nHost: {host}.\r\n{auth}\r\n", 421),
        ("GET / HTTP/1.1\r\nHost: {host}@{other}\r\n{auth}\r\n", 421),
        ("GET https://{host}/ HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n", 400),
        ("GET http://{other}/ HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n", 400),
        ("GET @{other}/ HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n", 400),
        ("OPTIONS * HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n", 400),
        ("TRACE / HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n", 405),
        ("trace / HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n", 405),
        ("TRACK / HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n", 405),
        ("Connect {other}:443 HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n", 405),
        ("CONNECT {other}:443 HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n", 405),
        ("GET / HTTP/1.1\r\nHost: {host}\r\n{auth}{auth}\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: {host}\r\nAuthorization : Bearer x\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: {host}\r\nX: a\x01b\r\n{auth}\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: {host}\r\nX: a\rb\r\n{auth}\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: {host}\r\nX: a\x1b[2J\r\n{auth}\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: {host}\r\nX: a\x7fb\r\n{auth}\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: {host}\r\nX: a\tb\r\n{auth}\r\n", 200),
        ("GET / HTTP/1.1\r\nHost: {host}\r\nX: a\0b\r\n{auth}\r\n", 400),
        ("{post}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n{auth}\r\n0\r\n\r\n", 400),
        ("{post}Content-Length: 1\r\nContent-Length: 2\r\n{auth}\r\nx", 400),
        ("{post}Transfer-Encoding: gzip, chunked\r\n{auth}\r\n0\r\n\r\n", 501),
        ("{post}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n{auth}\r\n0\r\n\r\n", 501),
        ("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: upgrade\r\nUpgrade: websocket\r\n{auth}\r\n", 501),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        ("GET / HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n", 200),
        ("GET / HTTP/1.1\r\nHost: {upper}\r\n{auth}\r\n", 200),
    ],
)  # fmt: skip
def test_what_is_not_plainly_one_request_for_the_host_does_not_reach_it(
    world: World, request_: str, status: int
) -> None:
    world.answer = LAST
    auth, host = f"Authorization: Bearer {PLACEHOLDER}\r\n", world.target.authority
    parts = {"host": host, "upper": host.upper(), "other": OTHER, "auth": auth}
    answer = world.ask(request_.format(post=f"POST / HTTP/1.1\r\nHost: {host}\r\n", **parts).encode())
    found = int(answer.split(b" ")[1])
    assert found == status or (status >= 400 and found in (400, 501)), answer
    assert len(world.heard) == (status == 200)
    if status != 200:
        assert world.refused == ["lent"]
        assert b"confined-claude: " in answer


def test_obsolete_line_folding_and_bare_line_feeds_are_written_anew(world: World) -> None:
    world.answer = LAST
    host = world.target.authority.encode()
    world.ask(
        b"GET / HTTP/1.1\nHost: " + host + b"\nX: a\n  b\nAuthorization: Bearer " + PLACEHOLDER.encode() + b"\n\n"
    )
    lines = world.heard[0].split(b"\r\n")
    assert not any(b"\n" in line for line in lines)
    assert b"x: a b" in [line.lower() for line in lines]


@pytest.mark.parametrize("sni", [OTHER, None])
def test_a_foreign_or_missing_server_name_ends_the_handshake(world: World, sni: str | None) -> None:
    with pytest.raises(ssl.SSLError):
        world.connect(sni)
    assert world.server.visits == 0
    with world.connect() as client:  # the control
        client.sendall(world.get())
        assert received(client).endswith(b"ok")


def test_what_comes_before_the_tunnel_is_there_is_refused(world: World) -> None:
    with socket.create_connection(world.door, SECONDS) as client:
        client.sendall(f"CONNECT {world.target.authority} HTTP/1.1\r\nHost: x\r\n\r\nearly".encode())
        received(client)
    assert world.refused == ["malformed"]
    assert world.server.visits == 0


def certificate(place: Path, name: str, *, end: str = "20991231000000Z") -> ssl.SSLContext:
    """A server's certificate that no authority has signed."""
    (place / "index").touch()
    (place / "serial").write_text("01\n")
    config = f"""
[ca]
default_ca = own
[own]
database = {place}/index
serial = {place}/serial
new_certs_dir = {place}
default_md = sha256
policy = any
x509_extensions = names
[any]
[names]
basicConstraints = CA:TRUE
subjectAltName = DNS:{name}
"""
    (place / "config").write_text(config)
    for words in (
        "req -newkey rsa:2048 -nodes -subj /CN=x -keyout key -out request",
        f"ca -batch -selfsign -config config -keyfile key -in request -out cert -notext"
        f" -startdate 20200101000000Z -enddate {end}",
    ):
        subprocess.run(["openssl", *words.split()], check=True, capture_output=True, cwd=place)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(place / "cert", place / "key")
    return context


@pytest.mark.parametrize("kind", ["self-signed", "misnamed", "expired", "HTTP/2 alone", "no TLS"])
def test_a_host_that_is_not_verified_gets_no_byte_of_http(world: World, tmp_path: Path, kind: str) -> None:
    reasons = {
        "self-signed": "self-signed",
        "misnamed": "mismatch",
        "HTTP/2 alone": "does not accept HTTP/1.1 over TLS",
    }
    if kind == "self-signed":
        world.context = certificate(tmp_path, HOST)
    elif kind == "misnamed":
        world.context = certificate(tmp_path, OTHER)
        world.trust(tmp_path / "cert")
    elif kind == "expired":
        reasons[kind] = "expired"
        world.context = certificate(tmp_path, HOST, end="20200102000000Z")
        world.trust(tmp_path / "cert")
    elif kind == "HTTP/2 alone":
        world.context.set_alpn_protocols(["h2"])
    else:
        world.context = NoTls()  # type: ignore[assignment]
        reasons[kind] = "no request and no lent secret goes to"
    answer = world.ask(world.get(f"Authorization: Bearer {PLACEHOLDER}"))
    if kind == "HTTP/2 alone" and answer.startswith(b"HTTP/1.1 200 "):
        return  # OpenSSL's server goes on without a protocol: it was one that speaks HTTP/1.1
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert reasons[kind].encode() in answer
    assert (world.heard, world.raw) == ([], 0)
    assert world.refused == ["certificate"]
    world.context, world.answer = world.contexts[HOST], LAST  # the control
    assert world.ask(world.get(f"Authorization: Bearer {PLACEHOLDER}")).endswith(b"ok")


def test_without_authorities_nothing_is_sent(world: World) -> None:
    world.trusted.unlink()
    assert world.ask(world.get(f"Authorization: Bearer {PLACEHOLDER}")).startswith(b"HTTP/1.1 502 ")
    assert (world.heard, world.raw) == ([], 0)


class NoTls:
    """A server that answers a handshake with HTTP."""

    @contextlib.contextmanager
    def wrap_socket(self, client: socket.socket, *, server_side: bool) -> Iterator[socket.socket]:
        assert server_side
        client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        raise OSError
        yield client


def test_a_host_that_wants_a_certificate_of_the_client_is_named(world: World) -> None:
    world.context.verify_mode = ssl.CERT_REQUIRED
    answer = world.ask(world.get())
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert b"CERTIFICATE_REQUIRED" in answer
    assert world.heard == []


def test_a_host_at_a_closed_address_gets_nothing(world: World) -> None:
    world.policy.__dict__["named"] = frozenset()
    answer = world.ask(world.get(f"Authorization: Bearer {PLACEHOLDER}"))
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert world.server.visits == 0
    assert world.refused == ["address"]


def test_a_program_that_does_not_trust_the_sessions_certificate_is_recorded(world: World) -> None:
    sock = socket.create_connection(world.direct, SECONDS)
    with pytest.raises(ssl.SSLError):
        ssl.create_default_context().wrap_socket(sock, server_hostname=HOST)
    until(lambda: world.refused == ["trust"])


def test_another_sessions_placeholder_is_only_a_word(world: World) -> None:
    world.ask(world.get("Authorization: Bearer ghp_of-another-one"))
    assert b"ghp_of-another-one" in world.heard[0]
    assert VALUE.encode() not in world.heard[0]


def test_what_is_lent_to_one_host_reaches_no_other_by_a_request_to_it(world: World) -> None:
    world.lender.secrets = lent(world.server.port, host=OTHER)
    world.ask(world.get(f"Authorization: Bearer {PLACEHOLDER}"))
    assert VALUE.encode() not in world.heard[0]


def test_a_renewed_value_counts_from_the_next_request_on(world: World) -> None:
    with world.connect() as client:
        for value in (VALUE, "ghp_another-value"):
            world.lender.secrets = lent(world.server.port, value)
            client.sendall(world.get(f"Authorization: token {PLACEHOLDER}").replace(b"Connection: close\r\n", b""))
            assert received(client, b"ok").endswith(b"ok")
            assert f"token {value}\r\n".encode() in world.heard[-1]
    assert world.server.visits == 1, "one connection to the host for one of the client's"


def test_a_redirect_goes_to_the_client_which_has_the_placeholder_alone(world: World) -> None:
    world.answer = f"HTTP/1.1 302 Found\r\nLocation: https://{OTHER}/\r\nContent-Length: 0\r\n\r\n".encode()
    answer = world.ask(world.get(f"Authorization: Bearer {PLACEHOLDER}"))
    assert f"location: https://{OTHER}/".encode() in answer.lower()
    assert world.server.visits == 1


def test_a_host_that_ends_a_kept_connection_ends_the_clients(world: World) -> None:
    world.answer = LAST
    with world.connect() as client:
        client.sendall(world.get().replace(b"Connection: close\r\n", b""))
        assert received(client).endswith(b"ok")


@pytest.mark.parametrize("guess", ["", VALUE[:-1], VALUE, "ghp_", "x" * 40])
def test_nothing_of_an_answer_is_held_back_whatever_it_is(world: World, guess: str) -> None:
    """A part that ends like the value arrives at once: held back, it would tell by its delay."""
    wait = threading.Event()

    def handle(client: socket.socket) -> bytes:
        with world.context.wrap_socket(client, server_side=True) as secure:
            secure.recv(1 << 16)
            secure.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n>{guess}".encode())
            wait.wait(SECONDS)
        return b""

    world.server._handle = handle
    try:
        with world.connect() as client:
            client.sendall(world.get(f"Authorization: Bearer {PLACEHOLDER}"))
            client.settimeout(SECONDS)
            assert received(client, f">{guess}".encode()).endswith(f">{guess}".encode())
    finally:
        wait.set()


def test_many_connections_that_break_off_never_cross_with_one_that_is_lent_to(world: World) -> None:
    stop = threading.Event()

    def break_off() -> None:
        while not stop.is_set():
            with contextlib.suppress(OSError):
                sock = socket.create_connection(world.door, SECONDS)
                sock.sendall(f"CONNECT {world.target.authority} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                sock.sendall(os.urandom(8))
                sock.close()
            with contextlib.suppress(OSError), world.connect() as client:
                client.sendall(b"GET / HT")

    threads = [threading.Thread(target=break_off) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for number in range(100):
            answer = world.ask(world.get(f"Authorization: Bearer {PLACEHOLDER}", path=f"/{number}"))
            assert answer.endswith(b"ok"), number
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    whole = [head for head in world.heard if head]
    assert [int(head.split(b" ")[1][1:]) for head in whole] == list(range(100))
    assert all(f"authorization: Bearer {VALUE}\r\n".encode() in head for head in whole)


def test_large_bodies_pass_both_ways(world: World) -> None:
    content = os.urandom(1 << 20) * 8

    def handle(client: socket.socket) -> bytes:
        with world.context.wrap_socket(client, server_side=True) as secure:
            received(secure, b"\r\n\r\n")
            got = 0
            while got < len(content):
                got += len(secure.recv(1 << 16))
            secure.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content) + content)
        return b""

    world.server._handle = handle
    with world.connect() as client:
        head = f"POST / HTTP/1.1\r\nHost: {world.target.authority}\r\nContent-Length: {len(content)}\r\n\r\n"
        client.sendall(head.encode() + content)
        assert received(client, content[-100:]).endswith(content)


def test_a_program_that_waits_to_be_told_to_continue_is_told_by_the_host(world: World) -> None:
    world.answer = b"HTTP/1.1 100 Continue\r\n\r\n"
    with world.connect() as client:
        head = f"POST / HTTP/1.1\r\nHost: {world.target.authority}\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
        client.sendall(head.encode())
        assert received(client, b"\r\n\r\n").startswith(b"HTTP/1.1 100 ")


# What comes from the host


def test_what_is_lent_is_read_line_by_line_and_a_broken_line_changes_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = json.dumps(
        [{"hosts": [["a.example", 443]], "header": "x-api-key", "placeholder": "p" * 9, "value": "new-value-7"}]
    ).encode()
    parts = iter([line[:20], line[20:] + b"\n[{", b"}]\nnot json with new-value-7\n", b""])
    monkeypatch.setattr(os, "read", lambda _fd, _size: next(parts))
    assert world.lender.receive()
    assert world.lender.secrets[0].value == VALUE.encode()
    assert world.lender.receive()
    assert world.lender.secrets[0].value == b"new-value-7"
    assert world.lender.receive()
    assert world.lender.secrets[0].value == b"new-value-7"
    assert not world.lender.receive()
    assert "new-value-7" not in capsys.readouterr().err
    assert "new-value-7" not in repr(world.lender.secrets)


def test_the_authority_signs_for_its_names_alone_and_nothing_of_its_key_is_left(tmp_path: Path) -> None:
    with nothing_stays_open():
        pem, contexts = authority.make([HOST])
        assert set(contexts) == {HOST}
    (tmp_path / "ca").write_bytes(pem)
    shown = subprocess.run(
        ["openssl", "x509", "-in", tmp_path / "ca", "-noout", "-text"], capture_output=True, text=True, check=True
    ).stdout
    no_address = ("IP:0.0.0.0/0.0.0.0", "IP:0:0:0:0:0:0:0:0/0:0:0:0:0:0:0:0")
    for words in ("CA:TRUE, pathlen:0", f"DNS:{HOST}", "Certificate Sign", *no_address):
        assert words in shown
    assert b"PRIVATE KEY" not in pem
