"""An engine that answers whatever it is asked with the same bytes."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def answering(answer: bytes, directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """Listen in ``directory`` as the engine in use; yield the requests."""
    asked: list[bytes] = []
    path = str(directory / "an.sock")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()

        def answer_all() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = server.accept()
                    with client:
                        asked.append(client.recv(1 << 16))
                        client.sendall(answer)

        thread = threading.Thread(target=answer_all, daemon=True)
        thread.start()
        yield asked
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
