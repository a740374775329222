"""A database beside a session, as docs/guides/services.md has it: in a network of the user's, or at a port."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import TEST_LABEL, User, docker, wait_until

# A store of values, asked by lines: what matters is the way there.
SERVER = """
import socketserver
stored = {}
class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            word, *rest = line.decode().split()
            if word == "SET":
                stored[rest[0]] = rest[1]
            self.wfile.write(f"{stored.get(rest[0], '')}\\n".encode())
server = socketserver.ThreadingTCPServer(("0.0.0.0", 5432), Handler)
print("ready", flush=True)
server.serve_forever()
"""
CLIENT = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 60) as server:
    server.sendall(b"SET colour blue\\nGET colour\\n")
    answers = server.makefile()
    print(next(answers).strip(), next(answers).strip())
"""


@pytest.fixture
def network() -> Iterator[str]:
    """A Docker network with a database in a container of the same name, which publishes it on the host's loopback."""
    name = f"confined-claude-test-{uuid.uuid4().hex[:8]}"
    docker("network", "create", "--label", TEST_LABEL, name)
    try:
        docker("run", "--detach", "--rm", "--label", TEST_LABEL, "--name", name, "--network", name,
               "--network-alias", "db", "--publish", "127.0.0.1::5432", "--entrypoint", "python3",
               "confined-claude:latest", "-c", SERVER)  # fmt: skip
        wait_until(lambda: "ready" in docker("logs", name))
        yield name
    finally:
        docker("rm", "--force", name, check=False)
        docker("network", "rm", name)


def asked(user: User, project: Path, host: str, port: str, *flags: str) -> tuple[int, str]:
    words = ("confined-claude", "shell", *flags, "--", "python3", "-c", CLIENT, host, port)
    done = user.run(*words, cwd=project, ANTHROPIC_BASE_URL="")
    return done.returncode, done.stdout


def test_a_database_in_a_network_of_the_user_is_reached_by_its_name(user: User, project: Path, network: str) -> None:
    assert asked(user, project, "db", "5432", "--network", f"docker:{network}") == (0, "blue blue\n")
    code, said = asked(user, project, "db", "5432", "--network", "internet")  # the control
    assert (code, said) == (1, "")


def test_a_database_is_reached_by_a_port_of_the_host(user: User, project: Path, network: str) -> None:
    port = docker("port", network, "5432").strip().rpartition(":")[2]
    there = ("localhost", port, "--network", "internet")
    assert asked(user, project, *there, "--host-ports", port) == (0, "blue blue\n")
    code, said = asked(user, project, *there)  # the control
    assert (code, said) == (1, "")


def test_no_compose_file_of_a_project_is_run(user: User, project: Path) -> None:
    name = f"confined-claude-test-{uuid.uuid4().hex[:8]}"
    service = f'services: {{db: {{image: "confined-claude:latest", container_name: {name}, command: [sleep, "60"]}}}}\n'
    for file in ("compose.yaml", "docker-compose.yml", ".confined-claude/compose.yaml"):
        path = project / file
        user.folder(path.parent)
        path.write_text(service)
        user.own(path)
    assert user.run("confined-claude", "shell", "--", "true", cwd=project).returncode == 0
    assert docker("ps", "--all", "--quiet", "--filter", f"name={name}") == ""
