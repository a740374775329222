"""Connections that are passed on as they are, by two threads each. The host uses this, too."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable

# How long a connection may take to be made.
SECONDS = 10.0
_CHUNK = 1 << 16
_MOST_CONNECTIONS = 200  # at once, of two file descriptors each, where 1024 are usual
_PAUSE_SECONDS = 0.1
_RESET = struct.pack("ii", 1, 0)

Dial = Callable[[socket.socket], socket.socket]


def serve(listener: socket.socket, dial: Dial) -> None:
    """Accept connections at ``listener`` until it is closed, and pass each on to the one that ``dial`` returns for it.

    A connection for which ``dial`` raises OSError is reset.
    """
    free = threading.Semaphore(_MOST_CONNECTIONS)
    while listener.fileno() >= 0:
        free.acquire()
        try:
            client, _ = listener.accept()
            threading.Thread(target=_pass_on, args=(client, dial, free), daemon=True).start()
        except (OSError, RuntimeError):  # it is closed, or there are no file descriptors or threads left
            free.release()
            time.sleep(_PAUSE_SECONDS)


def close(listener: socket.socket) -> None:
    """Close what ``serve`` accepts at; connections that are there go on."""
    with contextlib.suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)  # wakes ``accept``
    listener.close()


def _pass_on(client: socket.socket, dial: Dial, free: threading.Semaphore) -> None:
    try:
        with client:
            try:
                server = dial(client)
            except OSError:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                return
            with server:
                for sock in (client, server):
                    sock.settimeout(None)
                    if sock.family != socket.AF_UNIX:
                        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                back = threading.Thread(target=_copy, args=(server, client), daemon=True)
                back.start()
                _copy(client, server)
                back.join()
    except (OSError, RuntimeError):
        pass  # one of the two has gone already
    finally:
        free.release()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    """Send all that comes from ``source``, and its end. If one of them fails, both directions end."""
    try:
        while data := source.recv(_CHUNK):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        for sock in (source, sink):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
