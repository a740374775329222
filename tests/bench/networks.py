"""What each network costs a session: latency, and throughput each way, to a server that is outside this machine."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial

from .figures import Item, ratio
from .place import Place
from .server import served
from .starts import docker_run, in_turn, waiting

_PORT = 8899
_MEBIBYTES = 256
# Serves each connection by what its first byte says: "p" sends every byte back, "d" sends, "u" takes.
_SERVER = f"""
import socket, sys, threading
size, block = {_MEBIBYTES} << 20, bytes(1 << 20)
def serve(client):
    with client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        kind = client.recv(1)
        if kind == b"p":
            while said := client.recv(1):
                client.sendall(said)
        elif kind == b"d":
            for _ in range(size >> 20):
                client.sendall(block)
        elif kind == b"u":
            left = size
            while left > 0 and (said := client.recv(1 << 20)):
                left -= len(said)
            client.sendall(b"x")
server = socket.create_server(("", {_PORT}), backlog=1000)
while True:
    threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
"""
# Prints the median seconds of a new connection with a byte there and back, and of one on a kept connection; then the
# seconds in which so much comes, and goes. It connects through the proxy that its environment names.
_CLIENT = f"""
import json, os, socket, statistics, sys, time
target, size = sys.argv[1], {_MEBIBYTES} << 20
proxy = os.environ.get("http_proxy", "").rpartition("/")[2]
block = bytes(1 << 20)
def connect():
    host, port = (proxy or target).split(":")
    sock = socket.create_connection((host, int(port)), 60)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if proxy:
        sock.sendall(f"CONNECT {{target}} HTTP/1.1\\r\\nHost: {{target}}\\r\\n\\r\\n".encode())
        said = b""
        while not said.endswith(b"\\r\\n\\r\\n"):
            said += sock.recv(1)
        assert said.split()[1] == b"200", said
    return sock
def timed(work):
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
def fresh():
    with connect() as sock:
        sock.sendall(b"px")
        sock.recv(1)
connections = [timed(fresh) for _ in range(50)]
with connect() as sock:
    sock.sendall(b"px")
    sock.recv(1)
    trips = [timed(lambda: (sock.sendall(b"x"), sock.recv(1))) for _ in range(500)]
def take():
    with connect() as sock:
        sock.sendall(b"d")
        while sock.recv(1 << 20):
            pass
def give():
    with connect() as sock:
        sock.sendall(b"u")
        for _ in range(size >> 20):
            sock.sendall(block)
        sock.recv(1)
print(json.dumps([statistics.median(connections), statistics.median(trips), timed(take), timed(give)]))
"""
_WHAT = ("a new connection", "a round trip", f"{_MEBIBYTES} MiB in", f"{_MEBIBYTES} MiB out")
_NETWORKS = ("open", "internet", "allowlist")


def networks(place: Place, runs: int) -> Iterator[Item]:
    """Measure each network beside a plain container's."""
    if os.geteuid() != 0:
        print("Networks are measured with one of their own, which needs root.", file=sys.stderr)
        return
    with served(_PORT, [sys.executable, "-c", _SERVER]) as address, contextlib.ExitStack() as stack:
        target = f"{address}:{_PORT}"

        def client(container: str) -> list[float]:
            measured: list[float] = json.loads(
                place.run(["docker", "exec", container, "python3", "-c", _CLIENT, target])
            )
            return measured

        containers = {"docker run": stack.enter_context(_plain(place))}
        for network in _NETWORKS:
            # The proxy lets an address in only as the user's own endpoint.
            session = waiting(place, "--network", network, ANTHROPIC_BASE_URL=f"http://{target}")
            containers[network] = stack.enter_context(session)[0]
        calls: dict[str, Callable[[], list[float]]] = {
            name: partial(client, container) for name, container in containers.items()
        }
        found = in_turn(runs, calls)
    for name in _NETWORKS:
        for number, what in enumerate(_WHAT):
            ours, theirs = ([times[number] for times in found[which]] for which in (name, "docker run"))
            yield ratio(f"{what}, {name} / docker run", ours, theirs, None, None if name == "allowlist" else 1.05)


@contextlib.contextmanager
def _plain(place: Place) -> Iterator[str]:
    """Have a plain container wait during the block; yield its id."""
    line = docker_run(place, "sleep", "3600")
    container = place.run([*line[:2], "--detach", "--init", *line[2:]]).decode().strip()
    try:
        yield container
    finally:
        place.run(["docker", "kill", container])
