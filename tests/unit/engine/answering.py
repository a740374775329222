"""An engine that answers whatever it is asked with the same bytes, or by what the request's first line has."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

FORWARDER = f"""#!{sys.executable}
import socket, sys, threading, os
assert sys.argv[1:] == ["system", "dial-stdio"], sys.argv
link = socket.socket(socket.AF_UNIX)
try:
    link.connect(os.path.dirname(os.path.abspath(__file__)) + "/an.sock")
except OSError:
    sys.exit("Cannot connect to the Docker daemon at ssh://localhost.")
link.sendall(os.read(0, 65536))
while piece := link.recv(65536):
    os.write(1, piece)
"""


def forwarding(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a program in place of the docker command: it leads to what listens in ``directory``, whatever the address."""
    program = directory / "client"
    program.write_text(FORWARDER)
    program.chmod(0o755)
    monkeypatch.setattr("shutil.which", lambda _name: str(program))


@contextlib.contextmanager
def answering(
    answer: bytes | Mapping[bytes, bytes], directory: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[bytes]]:
    """Listen in ``directory`` as the engine in use; yield the requests.

    Of several answers one counts by a part of the request's first line: the first that is in it.
    """
    asked: list[bytes] = []
    path = str(directory / "an.sock")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()

        def answer_all() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                with client, contextlib.suppress(OSError):  # it may hang up at any moment
                    asked.append(client.recv(1 << 16))
                    client.sendall(answer if isinstance(answer, bytes) else _fitting(answer, asked[-1]))

        thread = threading.Thread(target=answer_all, daemon=True)
        thread.start()
        yield asked
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def _fitting(answers: Mapping[bytes, bytes], request: bytes) -> bytes:
    line = request.partition(b"\r\n")[0]
    return next(answer for part, answer in answers.items() if part in line)
