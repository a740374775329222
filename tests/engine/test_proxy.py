"""Behind a proxy: it is used by the image build and named in the session."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import ALONE, User, docker
from relay import accept_all

from confined_claude.container.egress import pipe


class Proxy:
    """An HTTP proxy on a loopback port that tunnels what CONNECT asks for."""

    def __init__(self) -> None:
        self.asked_for: list[str] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=accept_all, args=(self._server, self._serve), daemon=True).start()

    def close(self) -> None:
        pipe.close(self._server)  # a thread that goes on in accept() would take what comes to the next listener

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError, ValueError):
            head = b""
            while b"\r\n\r\n" not in head:
                if not (part := client.recv(4096)):
                    return
                head += part
            method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
            self.asked_for.append(target)
            if method != "CONNECT":
                client.sendall(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n")
                return
            host, _, port = target.rpartition(":")
            with socket.create_connection((host, int(port)), 60) as server:
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                self._tunnel(client, server)

    @staticmethod
    def _tunnel(one: socket.socket, other: socket.socket) -> None:
        while True:
            for source in select.select([one, other], [], [], 120)[0]:
                if not (data := source.recv(65536)):
                    return
                (other if source is one else one).sendall(data)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    made = Proxy()
    yield made
    made.close()


@ALONE
def test_a_build_goes_through_a_proxy_on_the_hosts_loopback(user: User, project: Path, proxy: Proxy) -> None:
    """Only its last layer is built here: what npm fetches, it fetches through the proxy."""
    latest = docker("image", "inspect", "--format", "{{.Id}}", "confined-claude:latest").strip()
    before = set(docker("images", "--quiet", "--no-trunc", "confined-claude").split())
    url = f"http://127.0.0.1:{proxy.port}"
    try:
        done = user.run(
            "confined-claude",
            "build",
            cwd=project,
            HTTPS_PROXY=url,
            https_proxy=url,
            CONFINED_CLAUDE_CLAUDE_VERSION="2.1.328",
        )
        assert done.returncode == 0, done.stderr
        assert proxy.asked_for
        assert all(target.endswith(":443") for target in proxy.asked_for)
        assert url not in docker("history", "--no-trunc", "confined-claude:latest")
    finally:
        docker("tag", latest, "confined-claude:latest")
        for image in set(docker("images", "--quiet", "--no-trunc", "confined-claude").split()) - before:
            docker("rmi", "--force", image)


def test_a_session_has_the_proxy_variables(user: User, project: Path) -> None:
    proxies = {
        "HTTPS_PROXY": "http://proxy.invalid:3128",
        "no_proxy": "example.invalid",
        "http_proxy": "http://localhost:1/",
    }
    done = user.run("confined-claude", "shell", "--", "env", cwd=project, **proxies)
    seen = dict(line.partition("=")[::2] for line in done.stdout.splitlines())
    proxies["http_proxy"] = "http://host.docker.internal:1/"
    assert {name: seen.get(name) for name in proxies} == proxies
