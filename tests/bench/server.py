"""Servers that are outside this machine, as its routes show it: in a namespace with an address for documentation."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence

from elsewhere import elsewhere

_SECONDS = 30


@contextlib.contextmanager
def served(port: int, command: Sequence[str]) -> Iterator[str]:
    """Run a server at ``port`` of all addresses out there during the block; yield its address. Needs root."""
    with elsewhere(lambda number: [f"203.0.113.{130 + number}"]) as there:
        (address,) = there.addresses
        server = subprocess.Popen([*there.around, *command])
        try:
            _wait_for(address, port)
            yield address
        finally:
            server.kill()
            server.wait()


def _wait_for(address: str, port: int) -> None:
    """Return once something listens. Raises OSError if nothing does after ``_SECONDS``."""
    deadline = time.monotonic() + _SECONDS
    while True:
        try:
            socket.create_connection((address, port), 1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
