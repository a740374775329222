"""The engine behind a socket that holds each start of a container until something else has been done."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from confined_claude.engine.context import DEFAULT_ADDRESS, engine_address

_START = re.compile(rb"POST \S*/containers/[^/ ]+/start")


class _Handler(socketserver.BaseRequestHandler):
    server: _Server

    def handle(self) -> None:
        head = self.request.recv(1 << 16)
        if _START.match(head):
            self.server.before_start()
        with socket.socket(socket.AF_UNIX) as engine:
            engine.connect((engine_address(os.environ) or DEFAULT_ADDRESS).removeprefix("unix://"))
            engine.sendall(head)
            back = threading.Thread(target=_copy, args=(engine, self.request))
            back.start()
            _copy(self.request, engine)
            back.join()


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

    def __init__(self, path: str, before_start: Callable[[], object]) -> None:
        self.before_start = before_start
        super().__init__(path, _Handler)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(1 << 16):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def gate(path: Path, before_start: Callable[[], object]) -> Iterator[str]:
    """Serve the engine at ``path`` for the block, and yield its address; ``before_start`` is called at each start."""
    with _Server(str(path), before_start) as server:
        path.chmod(0o666)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield f"unix://{path}"
        finally:
            server.shutdown()
