"""How a session's container is tied to its sidecar, by real sockets; and what it refuses to start with."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import confined_claude.container
from confined_claude.container.egress import join

CONTAINER = str(Path(confined_claude.container.__file__).parent)
SECONDS = 10
COMMAND = ["/bin/command", "a  b", "--", ""]
NEEDED = "api.example:443"


class Started(BaseException):
    """In place of becoming the command."""


@pytest.fixture(autouse=True)
def nothing_of_this_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Neither its signals nor its file descriptors change; return what the command would have been and had."""
    done: list[Any] = []
    opened: list[socket.socket] = []

    class Socket(socket.socket):
        """One that is closed in the end: the command would have it."""

        def __init__(self, *words: Any, **named: Any) -> None:
            super().__init__(*words, **named)
            opened.append(self)

    monkeypatch.setattr(socket, "socket", Socket)

    def exec_command(program: str, words: list[str]) -> None:
        done.append((program, words))
        raise Started

    real = os.dup2

    def dup2(fd: int, to: int, inheritable: bool = True) -> int:
        if to != join.TIE:  # pytest's own
            return real(fd, to, inheritable)
        done.append((fd, inheritable))
        return to

    monkeypatch.setattr(join.os, "execv", exec_command)
    monkeypatch.setattr(join.os, "dup2", dup2)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield done
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    for number, handler in before.items():
        signal.signal(number, handler)
    for one in opened:
        one.close()


Serve = Callable[[socket.socket], None]
Sidecar = Callable[[str, Serve], None]


@pytest.fixture
def sidecar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sidecar]:
    """A sidecar of a mode that serves the session that joins as the test says."""
    with contextlib.ExitStack() as stack:

        def start(mode: str, serve: Serve) -> None:
            address = f"\0{secrets.token_hex(8)}" if mode == "internet" else str(tmp_path / "socket")
            monkeypatch.setitem(join.SIDECARS, mode, address)
            door = stack.enter_context(socket.socket(socket.AF_UNIX))
            door.bind(address)
            door.listen(1)
            door.settimeout(SECONDS)

            def run() -> None:
                session, _ = door.accept()
                with session:
                    session.settimeout(SECONDS)
                    serve(session)

            thread = threading.Thread(target=run)
            thread.start()
            stack.callback(thread.join)

        yield start


def answering(answer: bytes) -> Serve:
    return lambda session: session.sendall(answer)


def around(monkeypatch: pytest.MonkeyPatch, outcomes: dict[Any, int | None]) -> None:
    """Connections to these addresses fail with an error number or, if None, succeed; others are as they are."""
    real = socket.create_connection

    def connect(address: Any, *more: Any, **named: Any) -> Any:
        if address not in outcomes:
            return real(address, *more, **named)
        if (number := outcomes[address]) is not None:
            raise OSError(number, os.strerror(number)) if number else TimeoutError("timed out")
        return socket.socket()

    monkeypatch.setattr(join.socket, "create_connection", connect)


def refused(capfd: pytest.CaptureFixture[str], *words: str) -> str:
    """What is said in two lines when there is no session for that, with the exit code of the engine."""
    with pytest.raises(SystemExit) as caught:
        join.main([*words, "--", *COMMAND])
    assert caught.value.code == 3
    printed = capfd.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("confined-claude: The session's network is not as it should be: ")
    assert len(printed.err.splitlines()) == 2
    return printed.err


def joined(*words: str) -> None:
    with pytest.raises(Started):
        join.main([*words, "--", *COMMAND])


# internet


def test_a_session_behind_the_rules_becomes_its_command_and_holds_the_tie(
    sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch, nothing_of_this_process: list[Any]
) -> None:
    monkeypatch.setattr(join, "gateways", lambda: ["192.0.2.1"])
    around(monkeypatch, {("192.0.2.1", 1): errno.EHOSTUNREACH})
    sidecar("internet", answering(b"ready\n"))
    joined("internet")
    (fd, inheritable), command = nothing_of_this_process
    assert inheritable
    with socket.socket(fileno=os.dup(fd)) as tied:
        assert tied.family == socket.AF_UNIX
    assert command == (COMMAND[0], COMMAND)


@pytest.mark.parametrize("outcome", [None, errno.ECONNREFUSED, errno.ECONNRESET, 0])
def test_a_gateway_that_answers_or_says_nothing_is_no_confinement(
    outcome: int | None, sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(join, "gateways", lambda: ["192.0.2.1", "192.0.2.2"])
    around(monkeypatch, {("192.0.2.1", 1): errno.EHOSTUNREACH, ("192.0.2.2", 1): outcome})
    sidecar("internet", answering(b"ready\n"))
    said = refused(capfd, "internet")
    assert "can be reached through its gateway" in said
    assert said.endswith("\nStart it again.\n")


def test_a_real_connection_that_is_refused_has_reached_this_machine(
    sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(join, "gateways", lambda: ["127.0.0.1"])
    sidecar("internet", answering(b"ready\n"))
    said = refused(capfd, "internet")
    assert "can be reached through its gateway" in said
    assert said.endswith("\nStart it again.\n")


@pytest.mark.parametrize("mode", [("internet",), ("allowlist", NEEDED)])
def test_a_kernel_of_its_own_is_refused_before_anything_is_waited_for(
    mode: tuple[str, ...], sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(join, "_SECONDS", SECONDS * 60)
    monkeypatch.setitem(join.SIDECARS, "internet", f"\0{secrets.token_hex(8)}")
    said = refused(capfd, *mode, "kernel=4.4.0")
    assert "its runtime has a kernel of its own" in said
    assert said.endswith("\nWith this runtime, only network = none and network = open work.\n")


@pytest.mark.usefixtures("nothing_of_this_process")
def test_the_sidecars_kernel_is_none_of_its_own(sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(join, "gateways", list)
    sidecar("internet", answering(b"ready\n"))
    joined("internet", f"kernel={os.uname().release}")


# A sidecar that is not as it should be


@pytest.mark.parametrize("mode", [("internet",), ("allowlist", NEEDED)])
def test_a_sidecar_that_does_not_come_is_not_waited_for_forever(
    mode: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(join, "_SECONDS", 0)
    monkeypatch.setattr(socket, "if_nameindex", lambda: [(1, "lo"), (2, "eth0")])
    monkeypatch.setitem(join.SIDECARS, "internet", f"\0{secrets.token_hex(8)}")
    monkeypatch.setitem(join.SIDECARS, "allowlist", str(tmp_path / "socket"))
    assert "its sidecar does not answer" in refused(capfd, *mode)


def test_a_network_that_was_taken_away_with_its_sidecar_is_seen_at_once(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(join, "_SECONDS", SECONDS * 60)
    monkeypatch.setattr(socket, "if_nameindex", lambda: [(1, "lo")])
    monkeypatch.setitem(join.SIDECARS, "internet", f"\0{secrets.token_hex(8)}")
    assert "its sidecar has ended" in refused(capfd, "internet")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"error: config.json is missing\n", "error: config.json is missing"),
        (b"", "its sidecar has ended"),
        (b"read", "read"),
        (b"\xff", "\ufffd"),
    ],
)
def test_an_answer_that_is_none_ends_it_with_the_reason(
    answer: bytes, said: str, sidecar: Sidecar, capfd: pytest.CaptureFixture[str]
) -> None:
    sidecar("internet", answering(answer))
    assert f"as it should be: {said}.\n" in refused(capfd, "internet")


def test_a_sidecar_that_is_silent_is_not_waited_for_forever(
    sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    over = threading.Event()
    monkeypatch.setattr(join, "_SECONDS", 0.05)
    sidecar("internet", lambda _session: over.wait(SECONDS) and None)
    try:
        refused(capfd, "internet")
    finally:
        over.set()


def test_a_sidecar_that_breaks_off_is_told(
    sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(join, "_DNS_PORT", 0)
    monkeypatch.setattr(join, "PROXY_PORT", 0)
    # Closed with something unread, a socket breaks off at the other end too.
    sidecar("allowlist", lambda session: session.recv(1, socket.MSG_PEEK) and None)
    refused(capfd, "allowlist", NEEDED)


def test_a_port_that_is_taken_in_the_session_is_told(
    sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(join, "_DNS_PORT", 0)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr(join, "PROXY_PORT", taken.getsockname()[1])
        sidecar("allowlist", lambda _session: None)
        refused(capfd, "allowlist", NEEDED)


# allowlist


class Proxy:
    """A sidecar of an allowlist: it takes the sockets handed over, and answers each CONNECT with a status."""

    def __init__(self, statuses: dict[str, str]) -> None:
        self.statuses = statuses
        self.kinds: list[tuple[Any, str]] = []
        self.message = b""

    def __call__(self, session: socket.socket) -> None:
        self.message, fds, _, _ = socket.recv_fds(session, 100, 253)
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(socket.socket(fileno=fd)) for fd in fds]
            self.kinds = [(handed.type, handed.getsockname()[0]) for handed in sockets]
            # What listens at port 0 is somewhere else.
            join.PROXY_PORT = sockets[0].getsockname()[1]
            sockets[0].settimeout(SECONDS)
            session.sendall(b"ready\n")
            for _ in self.statuses:
                client, _ = sockets[0].accept()
                with client:
                    target = client.recv(1000).split()[1].decode()
                    client.sendall(self.statuses[target].encode())


OUTSIDE = ("198.51.100.1", 443)
SELF_TEST = "self-test.confined-claude.invalid:443"
CLOSED = "HTTP/1.1 403 Forbidden\r\n\r\n"
OPEN = "HTTP/1.1 200 OK\r\n\r\n"


@pytest.fixture
def allowlist(sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Proxy]:
    def start(outside: int | None = errno.ENETUNREACH, **statuses: str) -> Proxy:
        monkeypatch.setattr(join, "_DNS_PORT", 0)
        monkeypatch.setattr(join, "PROXY_PORT", 0)
        around(monkeypatch, {OUTSIDE: outside})
        names = {"self_test": SELF_TEST, "needed": NEEDED}
        proxy = Proxy({names[name]: status for name, status in statuses.items()})
        sidecar("allowlist", proxy)
        return proxy

    return start


def test_the_sockets_of_the_sessions_loopback_are_handed_over(
    allowlist: Callable[..., Proxy], nothing_of_this_process: list[Any], capfd: pytest.CaptureFixture[str]
) -> None:
    proxy = allowlist(self_test=CLOSED, needed=OPEN)
    joined("allowlist", NEEDED)
    stream, datagram = (socket.SOCK_STREAM, "127.0.0.1"), (socket.SOCK_DGRAM, "127.0.0.1")
    assert (proxy.message, proxy.kinds) == (b"sockets\n", [stream, datagram])
    assert nothing_of_this_process[-1] == (COMMAND[0], COMMAND)
    assert capfd.readouterr().err == ""


def test_what_the_proxy_need_not_reach_is_not_asked_for(
    allowlist: Callable[..., Proxy], capfd: pytest.CaptureFixture[str]
) -> None:
    allowlist(self_test=CLOSED)
    joined("allowlist", "-")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("outcome", [None, errno.ECONNREFUSED, 0])
def test_any_way_out_beside_the_proxy_is_refused(
    outcome: int | None, allowlist: Callable[..., Proxy], capfd: pytest.CaptureFixture[str]
) -> None:
    allowlist(outcome)
    assert "a way out beside the proxy" in refused(capfd, "allowlist", NEEDED)


@pytest.mark.parametrize("status", [OPEN, "HTTP/1.1 502 Bad Gateway\r\n\r\n", "nonsense", ""])
def test_a_proxy_that_does_not_refuse_the_self_test_is_refused(
    status: str, allowlist: Callable[..., Proxy], capfd: pytest.CaptureFixture[str]
) -> None:
    allowlist(self_test=status)
    assert "does not refuse what is not allowed" in refused(capfd, "allowlist", NEEDED)


@pytest.mark.parametrize("status", [CLOSED, "HTTP/1.1 502 Bad Gateway\r\n\r\n", ""])
def test_what_claude_code_needs_and_cannot_reach_is_said_and_stops_nothing(
    status: str,
    allowlist: Callable[..., Proxy],
    nothing_of_this_process: list[Any],
    capfd: pytest.CaptureFixture[str],
) -> None:
    allowlist(self_test=CLOSED, needed=status)
    joined("allowlist", NEEDED)
    assert capfd.readouterr().err == f"confined-claude: {NEEDED} cannot be reached; Claude Code needs it.\n"
    assert nothing_of_this_process[-1] == (COMMAND[0], COMMAND)


# As a program


def test_the_command_that_it_becomes_holds_the_tie_and_nothing_else(sidecar: Sidecar) -> None:
    ended: list[bytes] = []

    def serve(session: socket.socket) -> None:
        session.sendall(b"ready\n")
        ended.append(session.recv(1))

    sidecar("internet", serve)
    # As `python3 -IS CONTAINER egress.join internet -- COMMAND`, but for the address and the gateways.
    program = (
        "import sys; sys.path.append(sys.argv[1]); from egress import join; join.gateways = lambda: ();"
        "join.SIDECARS['internet'] = '\\0' + sys.argv[2];"
        "join.main(['internet', '--', '/bin/ls', '/proc/self/fd'])"
    )
    address = join.SIDECARS["internet"].removeprefix("\0")
    done = subprocess.run(
        [sys.executable, "-ISB", "-c", program, CONTAINER, address], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    # 3 is the directory that ls reads.
    assert sorted(done.stdout.split()) == ["0", "1", "2", "3", "9"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_from_before_it_began_ends_it_without_a_traceback(number: int, code: int) -> None:
    """The entrypoint has it held back, so that it waits for the handlers."""
    script = f'kill -{int(number)} $$; exec "$@"'
    held = ["env", "--block-signal=INT,TERM", "sh", "-c", script, "sh", sys.executable, "-ISB", CONTAINER]
    done = subprocess.run(
        [*held, "egress.join", "internet", "--", "/bin/true"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (code, "")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_it_while_it_waits(number: int, code: int) -> None:
    with pytest.raises(SystemExit) as caught:
        join._leave(number, None)
    assert caught.value.code == code


# No network at all, under a runtime that may have one of its own


def test_a_runtime_that_has_no_network_becomes_the_command(
    nothing_of_this_process: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = socket.create_connection

    def closed(address: tuple[str, int], *words: Any) -> socket.socket:
        if address[0] == "127.0.0.1":
            return connect(address, *words)
        raise OSError(errno.ENETUNREACH, "Network is unreachable")

    monkeypatch.setattr(socket, "create_connection", closed)
    with pytest.raises(Started):
        join.main(["none", "--", *COMMAND])
    assert nothing_of_this_process == [(COMMAND[0], COMMAND)]


@pytest.mark.parametrize("error", [None, TimeoutError(), OSError(errno.ECONNREFUSED, "Connection refused")])
def test_a_runtime_that_has_a_network_all_the_same_is_refused(
    error: OSError | None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def reach(*_: Any) -> socket.socket:
        if error is not None:
            raise error
        return socket.socket()

    monkeypatch.setattr(socket, "create_connection", reach)
    assert "there is a way out" in refused(capfd, "none")


def test_a_runtime_whose_loopback_does_not_work_is_refused(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: Any) -> socket.socket:
        raise OSError(errno.ENETUNREACH, "Network is unreachable")

    monkeypatch.setattr(socket, "create_connection", refuse)
    assert "its loopback does not work" in refused(capfd, "none")
