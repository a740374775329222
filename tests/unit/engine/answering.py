"""An engine that answers whatever it is asked with the same bytes, or by what the request's first line has."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest


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
            with contextlib.suppress(OSError):
                while True:
                    client, _ = server.accept()
                    with client:
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
