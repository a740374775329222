"""What each network costs a session: latency, and throughput each way, to a server that is outside this machine.

The outside is made up: a network namespace with an address of a range for documentation. Needs root and iproute2.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator

from .figures import Figure, ratio
from .place import Place, own
from .starts import docker_run

_PORT = 8899
_SERVER = """
import socket, sys, threading
def serve(client):
    with client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(300):
            client.sendall(client.recv(1))
        client.sendall(bytes(1 << 20) * 64)
        left = 64 << 20
        while left:
            left -= len(client.recv(1 << 20))
        client.sendall(b"x")
server = socket.create_server((sys.argv[1], int(sys.argv[2])))
print("up", flush=True)
while True:
    threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
"""
# Prints the median seconds of a byte to the server and back, and the seconds for 64 MiB from it and to it.
_CLIENT = """
import json, socket, statistics, sys, time
with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as server:
    server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    trips = []
    for _ in range(300):
        began = time.perf_counter()
        server.sendall(b"x")
        server.recv(1)
        trips.append(time.perf_counter() - began)
    began, left = time.perf_counter(), 64 << 20
    while left:
        left -= len(server.recv(1 << 20))
    there = time.perf_counter()
    server.sendall(bytes(1 << 20) * 64)
    server.recv(1)
    print(json.dumps([statistics.median(trips), there - began, time.perf_counter() - there]))
"""
_WHAT = ("latency", "64 MiB in", "64 MiB out")


def networks(place: Place, runs: int) -> Iterator[Figure]:
    """Measure each network beside a plain container's, and that beside the host's own."""
    if os.geteuid() != 0:
        print("Networks are measured with one of their own, which needs root.", file=sys.stderr)
        return
    client = ("python3", "-c", _CLIENT)
    with _outside() as address:
        target = (address, str(_PORT))
        lines = {
            "the host": [sys.executable, "-c", _CLIENT, *target],
            "docker run": docker_run(place, *client, *target),
            "open": own("shell", "--network", "open", "--", *client, *target),
            "internet": own("shell", "--", *client, *target),
        }
        found: dict[str, list[list[float]]] = {name: [] for name in lines}
        for _ in range(runs):
            for name, line in lines.items():
                found[name].append(json.loads(place.run(line)))
    for one, other in (("docker run", "the host"), ("open", "docker run"), ("internet", "docker run")):
        for number, what in enumerate(_WHAT):
            ours, theirs = ([times[number] for times in found[name]] for name in (one, other))
            yield ratio(f"{what}, {one} / {other}", ours, theirs, None, None if one == "docker run" else 1.05)


@contextlib.contextmanager
def _outside() -> Iterator[str]:
    """Run the server somewhere outside this machine, as its routes show it, during the block; yield its address."""
    number = secrets.choice(range(60, 120))  # the red team's are below
    space, near, far = (f"ccb{secrets.token_hex(3)}{letter}" for letter in "sab")
    gateway, peer, address = f"198.51.100.{2 * number}", f"198.51.100.{2 * number + 1}", f"203.0.113.{number}"

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)

    with contextlib.ExitStack() as made:
        ip("netns", "add", space)
        made.callback(ip, "netns", "delete", space)  # and with it both ends of the cable, and the route
        ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", space)
        ip("address", "add", f"{gateway}/31", "dev", near)
        ip("link", "set", near, "up")
        ip("-n", space, "address", "add", f"{peer}/31", "dev", far)
        for device in ("lo", far):
            ip("-n", space, "link", "set", device, "up")
        ip("-n", space, "route", "add", "default", "via", gateway)
        ip("-n", space, "address", "add", f"{address}/32", "dev", "lo")
        ip("route", "add", f"{address}/32", "via", peer)
        server = subprocess.Popen(
            ["ip", "netns", "exec", space, sys.executable, "-c", _SERVER, address, str(_PORT)], stdout=subprocess.PIPE
        )
        made.callback(server.communicate)
        made.callback(server.kill)
        assert server.stdout is not None
        assert server.stdout.readline() == b"up\n"
        yield address
