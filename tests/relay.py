"""The engine at another address, with connections that a test may cut."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

ENGINE = "/var/run/docker.sock"
# What becomes of a request: it is passed on, passed on with no answer, or dropped.
PASS, SWALLOW, DROP = "pass", "swallow", "drop"


def accept_all(server: socket.socket, serve: Callable[[socket.socket], None]) -> None:
    """``serve`` each connection to ``server`` in a thread, until that is closed."""
    with contextlib.suppress(OSError):
        while True:
            client, _ = server.accept()
            threading.Thread(target=serve, args=(client,), daemon=True).start()


class Relay:
    """Passes connections on to the engine; ``decide`` is called with the first line of each request."""

    def __init__(
        self,
        server: socket.socket,
        decide: Callable[[str], str],
        engine: str = ENGINE,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._server = server
        self._tls = tls
        self._engine = engine
        self._decide = decide
        self._open: list[socket.socket] = []
        threading.Thread(target=accept_all, args=(server, self._serve), daemon=True).start()

    def cut(self) -> None:
        """Cut all connections that are open, and none that follows on that."""
        for connection in [*self._open]:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _serve(self, client: socket.socket) -> None:
        if self._tls is not None:
            try:
                client = self._tls.wrap_socket(client, server_side=True)
            except OSError:
                client.close()
                return
        with contextlib.suppress(OSError), client, socket.socket(socket.AF_UNIX) as engine:
            first = client.recv(1 << 16)
            if not first:  # somebody only looks whether anything listens
                return
            decision = self._decide(first.partition(b"\r\n")[0].decode())
            if decision == DROP:
                return
            engine.connect(self._engine)
            engine.sendall(first)
            if decision == SWALLOW:
                engine.recv(1 << 16)
                return
            self._open += (client, engine)
            sending = threading.Thread(target=_copy, args=(client, engine), daemon=True)
            sending.start()
            _copy(engine, client)
            sending.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(1 << 16):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def relayed(
    directory: Path | None,
    decide: Callable[[str], str] = lambda _line: PASS,
    engine: str = ENGINE,
    tls: ssl.SSLContext | None = None,
) -> Iterator[tuple[str, Relay]]:
    """Listen in ``directory``, or at a port of the loopback, for ``engine``; yield the address and the relay.

    With ``tls`` clients have to speak that.
    """
    with socket.socket(socket.AF_UNIX if directory else socket.AF_INET) as server:
        if directory:
            path = str(directory / "relay.sock")
            server.bind(path)
            if os.getuid() == 0:
                shutil.chown(path, group=Path(ENGINE).stat().st_gid)
            Path(path).chmod(0o660)
        else:
            server.bind(("127.0.0.1", 0))
        server.listen(100)
        address = f"unix://{path}" if directory else f"tcp://127.0.0.1:{server.getsockname()[1]}"
        try:
            yield address, Relay(server, decide, engine, tls)
        finally:
            server.shutdown(socket.SHUT_RDWR)
