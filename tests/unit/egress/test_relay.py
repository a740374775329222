"""The ways between a session and ports of this machine, by real sockets."""

from __future__ import annotations

import contextlib
import functools
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from confined_claude.container.egress import forward, pipe
from confined_claude.egress.relay import Relay
from confined_claude.fs.directory import Location

SECONDS = 10


@pytest.fixture
def echo() -> Iterator[int]:
    """A service on the loopback alone, which repeats what it gets, and ends when that does."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = server.accept()
                    with client:
                        while data := client.recv(1 << 16):
                            client.sendall(data)

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def place(tmp_path: Path) -> Location:
    # A socket's name has at most 107 bytes, and this path has more.
    return Location(tmp_path / ("x" * 100), ("relays", "key"))


def through(monkeypatch: pytest.MonkeyPatch, place: Location, port: int, via: str = "nowhere.invalid") -> socket.socket:
    """A connection to the host as a session has it, which finds the sockets at a short path."""
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        here = Path(short, "sockets")
        here.symlink_to(place.path)
        monkeypatch.setattr(forward, "SOCKETS", str(here))
        sock = forward.to_host(port, via)
        sock.settimeout(SECONDS)
        return sock


def test_a_port_of_the_loopback_is_reached_and_no_other(
    echo: int, place: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Relay(place, [echo]):
        assert [path.name for path in place.path.iterdir()] == [str(echo)]
        assert place.path.stat().st_mode & 0o777 == 0o700
        with through(monkeypatch, place, echo) as sock:
            sock.sendall(b"hello")
            sock.shutdown(socket.SHUT_WR)
            assert sock.recv(100, socket.MSG_WAITALL) == b"hello"
        with pytest.raises(OSError):
            through(monkeypatch, place, echo + 1)
    assert not place.path.exists()


def test_much_passes_both_ways_at_once(echo: int, place: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    size = 8 << 20
    with Relay(place, [echo]), through(monkeypatch, place, echo) as sock:
        threading.Thread(target=lambda: (sock.sendall(b"x" * size), sock.shutdown(socket.SHUT_WR))).start()
        received = 0
        while data := sock.recv(1 << 16):
            received += len(data)
    assert received == size


def test_where_nobody_listens_the_way_by_the_gateway_is_tried_and_refused(
    place: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as bound:  # so that nobody else listens there
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        with Relay(place, [port]), pytest.raises(ConnectionRefusedError):
            through(monkeypatch, place, port, via="localhost")


def test_without_the_tool_the_way_is_by_the_gateway(echo: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward, "SOCKETS", str(tmp_path))
    with forward.to_host(echo, "localhost") as sock:
        sock.sendall(b"hello")
        assert sock.recv(5, socket.MSG_WAITALL) == b"hello"


@pytest.mark.parametrize(("answer", "works"), [(b"HTTP/1.1 200 OK\r\n\r\n", True), (b"HTTP/1.1 403 No\r\n\r\n", False)])
def test_with_an_allowlist_it_is_by_its_proxy(
    answer: bytes, works: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    with socket.create_server(("127.0.0.1", 0)) as proxy:

        def serve() -> None:
            client, _ = proxy.accept()
            with client:
                asked.append(client.recv(1000))
                client.sendall(answer + b"early")

        thread = threading.Thread(target=serve)
        thread.start()
        monkeypatch.setattr(forward, "SOCKETS", str(tmp_path))
        monkeypatch.setattr(forward, "PROXY", proxy.getsockname())
        if works:
            with forward.to_host(5432, "proxy") as sock:
                assert sock.recv(5, socket.MSG_WAITALL) == b"early"
        else:
            with pytest.raises(ConnectionRefusedError):
                forward.to_host(5432, "proxy")
        thread.join()
    assert asked == [b"CONNECT host.docker.internal:5432 HTTP/1.1\r\nHost: host.docker.internal:5432\r\n\r\n"]


def test_who_joins_a_session_whose_tool_was_killed_relays_again(
    echo: int, place: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    with place.make() as directory, socket.socket(socket.AF_UNIX) as left:
        left.bind(f"/proc/self/fd/{directory.fileno()}/{echo}")
    with pytest.raises(OSError):
        through(monkeypatch, place, echo)
    with Relay.left_at(place), through(monkeypatch, place, echo) as sock:
        sock.sendall(b"hello")
        assert sock.recv(5, socket.MSG_WAITALL) == b"hello"
    assert not place.path.exists()
    with Relay.left_at(place):  # the control: there are none
        assert not place.path.exists()


# What a session serves


@pytest.fixture
def published(echo: int) -> Iterator[socket.socket]:
    """What listens for the engine, and leads to the service."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        dial = functools.partial(forward.to_session, echo)
        threading.Thread(target=pipe.serve, args=(listener, dial), daemon=True).start()
        yield listener
        pipe.close(listener)


def test_a_server_on_the_loopback_is_reached_by_who_comes_from_the_gateway_alone(
    published: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward, "gateways", lambda: ["127.0.0.1"])
    with socket.create_connection(published.getsockname(), SECONDS) as client:
        client.sendall(b"hello")
        assert client.recv(5, socket.MSG_WAITALL) == b"hello"
    monkeypatch.setattr(forward, "gateways", lambda: ["127.0.0.2"])
    with pytest.raises(ConnectionResetError), socket.create_connection(published.getsockname(), SECONDS) as client:
        client.recv(5)


def test_a_server_on_the_other_loopback_is_reached_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward, "gateways", lambda: ["127.0.0.1"])
    asked = []

    def connect(address: tuple[str, int], _seconds: float) -> socket.socket:
        asked.append(address)
        if address[0] == "127.0.0.1":
            raise ConnectionRefusedError
        return socket.socket()

    monkeypatch.setattr(forward.socket, "create_connection", connect)
    one, other = socket.create_server(("127.0.0.1", 0)), socket.socket()
    with one, other:
        other.connect(one.getsockname())
        client, _ = one.accept()
        with client, forward.to_session(80, client):
            assert asked == [("127.0.0.1", 80), ("::1", 80)]


def test_a_way_that_is_closed_ends(published: socket.socket) -> None:
    address = published.getsockname()
    pipe.close(published)
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        try:
            socket.create_connection(address, 1).close()
        except OSError:
            return
    pytest.fail("something still listens")
