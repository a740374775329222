"""Ports: what sessions serve, at this machine's loopback, and services of this machine in sessions."""

from __future__ import annotations

import contextlib
import socket
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import TEST_LABEL, User, docker, free_port, sessions_of, wait_until

pytestmark = pytest.mark.xdist_group("network")

OPEN = {"CONFINED_CLAUDE_NETWORK": "open", "ANTHROPIC_BASE_URL": ""}
INTERNET = {**OPEN, "CONFINED_CLAUDE_NETWORK": "internet"}
SERVE = """
import socket, sys
address, port, said = sys.argv[1:]
family = socket.AF_INET6 if ":" in address else socket.AF_INET
server = socket.create_server((address, int(port)), family=family)
open("started-" + said, "w").close()
while True:
    server.accept()[0].sendall(said.encode())
"""


def said_at(port: int) -> str:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as sock:
        sock.settimeout(5)
        return sock.recv(100).decode()
    return ""


def serving(address: str, port: int, said: str) -> list[str]:
    return ["confined-claude", "shell", "--", "python3", "-c", SERVE, address, str(port), said]


def is_published(user: User, project: Path, address: str, variables: dict[str, str]) -> None:
    """This machine reaches what a session serves at ``address``."""
    outside = free_port()
    given = {**variables, "CONFINED_CLAUDE_PORTS": f"{outside}:8123"}
    with user.running(*serving(address, 8123, "pong"), cwd=project, **given) as process:
        wait_until(lambda: (project / "started-pong").exists() or process.poll() is not None)
        wait_until(lambda: said_at(outside) == "pong")


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
@pytest.mark.parametrize("variables", [INTERNET, {**INTERNET, "CONFINED_CLAUDE_SUDO": "full"}, OPEN])
def test_what_a_session_serves_is_published_wherever_it_listens(
    plain_user: User, place: Path, address: str, variables: dict[str, str]
) -> None:
    is_published(plain_user, plain_user.folder(place / "served"), address, variables)


@pytest.mark.skipif(not Path("/proc/sys/net/ipv6").exists(), reason="the kernel has no IPv6")
def test_a_server_on_the_loopback_of_ipv6_is_published(plain_user: User, place: Path) -> None:
    """Older engines give a container that loopback with a network of IPv6 alone."""
    name = f"confined-claude-test-{uuid.uuid4().hex[:8]}"
    subnet = f"fd00:{uuid.uuid4().hex[:4]}:{uuid.uuid4().hex[:4]}::/64"
    docker("network", "create", "--label", TEST_LABEL, "--ipv6", "--subnet", subnet, name)
    try:
        network = {**OPEN, "CONFINED_CLAUDE_NETWORK": f"docker:{name}"}
        is_published(plain_user, plain_user.folder(place / "served"), "::1", network)
    finally:
        docker("network", "rm", name)


def test_a_second_session_of_the_same_settings_gets_another_port_and_says_so(plain_user: User, place: Path) -> None:
    project, port = plain_user.folder(place / "twice"), free_port()
    given = {**OPEN, "CONFINED_CLAUDE_PORTS": str(port)}
    with plain_user.running(*serving("127.0.0.1", port, "one"), cwd=project, **given):
        wait_until((project / "started-one").exists)
        (first,) = sessions_of(project)
        with plain_user.running(*serving("127.0.0.1", port, "two"), cwd=project, **given) as second:
            wait_until((project / "started-two").exists)
            assert second.stdout is not None
            _, told = second.stdout.readline(), second.stdout.readline()  # the first is of the network
            start, _, rest = told.partition(f"Port {port} of this session is at localhost:")
            assert start == "confined-claude: "
            another, _, reason = rest.partition(",")
            assert reason == f" as {port} is taken by the session {first}.\n"
            wait_until(lambda: (said_at(port), said_at(int(another))) == ("one", "two"))
            listed = plain_user.run("confined-claude", "status", cwd=project).stdout
            assert f"localhost:{port}" in listed
            assert f"localhost:{another}" in listed


def test_the_program_that_has_a_port_is_named(plain_user: User, place: Path) -> None:
    project = plain_user.folder(place / "taken")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        given = {**OPEN, "CONFINED_CLAUDE_PORTS": str(port)}
        done = plain_user.run("confined-claude", "shell", "--", "true", cwd=project, **given)
    assert done.returncode == 0, done.stderr
    assert f"as {port} is taken by " in done.stderr
    # Another user's process is named if this one may see it; these tests' are root's.
    assert "another program" not in done.stderr


@contextlib.contextmanager
def service_on_the_loopback() -> Iterator[tuple[int, list[bytes]]]:
    """A service that answers each line in upper case, as long as the connection is open; and what it got."""
    got: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def talk(client: socket.socket) -> None:
            with client:
                while data := client.recv(1 << 16):
                    got.append(data)
                    client.sendall(data.upper())

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=talk, args=(server.accept()[0],), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1], got
        server.shutdown(socket.SHUT_RDWR)


TALK = """
import socket, sys
for host in sys.argv[2:]:
    try:
        with socket.create_connection((host, int(sys.argv[1])), 60) as sock:
            for word in (b"one", b"two"):
                sock.sendall(word)
                print(host, sock.recv(100).decode())
    except OSError as error:
        print(host, "no")
"""


@pytest.mark.parametrize("network", ["internet", "allowlist", "open"])
def test_a_service_on_the_loopback_of_this_machine_is_on_the_sessions(
    plain_user: User, place: Path, network: str
) -> None:
    project = plain_user.folder(place / "database")
    with service_on_the_loopback() as (port, got):
        words = ["shell", "--", "python3", "-c", TALK, str(port), "localhost", "host.docker.internal"]
        given = {**OPEN, "CONFINED_CLAUDE_NETWORK": network}
        closed = plain_user.run("confined-claude", *words, cwd=project, **given)
        assert closed.stdout == "localhost no\nhost.docker.internal no\n"
        assert got == []
        done = plain_user.run("confined-claude", *words, cwd=project, CONFINED_CLAUDE_HOST_PORTS=str(port), **given)
    assert done.stdout.splitlines() == [
        *("localhost ONE", "localhost TWO", "host.docker.internal ONE", "host.docker.internal TWO"),
    ], done.stderr
    assert docker("ps", "--all", "--quiet", "--filter", f"label=confined-claude.path={project}") == ""


def test_a_gateway_on_the_loopback_that_a_variable_names_is_reached(plain_user: User, place: Path) -> None:
    project = plain_user.folder(place / "gateway")
    with service_on_the_loopback() as (port, _):
        script = f"{TALK}\nimport os; print(os.environ['ANTHROPIC_BASE_URL'])"
        words = ["shell", "--", "python3", "-c", script, str(port), "host.docker.internal"]
        given = {**INTERNET, "ANTHROPIC_BASE_URL": f"http://127.0.0.1:{port}/v1"}
        done = plain_user.run("confined-claude", *words, cwd=project, **given)
    assert done.stdout.splitlines() == [
        *("host.docker.internal ONE", "host.docker.internal TWO", f"http://host.docker.internal:{port}/v1"),
    ], done.stderr
