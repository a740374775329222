"""The ways from one session to single ports of this machine, also where those are on its loopback alone."""

from __future__ import annotations

import functools
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from ..container.egress import forward, pipe
from ..errors import system_error
from ..fs.directory import Location
from ..fs.removal import remove_place
from ..system import IS_LINUX

_LOOPBACKS = ("127.0.0.1", "::1")
_WAITING = 512


class Relay:
    """Listens at a socket for each of ``ports`` in the directory ``location``, which one session has, within the block.

    What connects there is connected to that port of this machine's loopback, and to nothing else. ``services`` are
    what else the session has sockets for, by their names, and who serves each; ``files`` are put there as well.
    """

    def __init__(
        self,
        location: Location,
        ports: Iterable[int],
        services: Mapping[str, Callable[[socket.socket], None]] = MappingProxyType({}),
        files: Mapping[str, bytes] = MappingProxyType({}),
    ) -> None:
        self._location = location
        self._files = files
        self._works: dict[str, Callable[[socket.socket], None]] = dict(services)
        for port in ports:
            self._works[str(port)] = functools.partial(pipe.serve, dial=functools.partial(_to_loopback, port))
        self._listeners: list[socket.socket] = []

    @classmethod
    def left_at(cls, location: Location) -> Relay:
        """Return the relays of a session whose tool was killed: their sockets are still there."""
        with location.open_if_exists() as directory:
            return cls(location, map(int, filter(str.isdecimal, directory.names() if directory is not None else ())))

    def __enter__(self) -> Relay:
        if not (self._works and IS_LINUX):  # no socket leads out of a virtual machine: its own way to the host is left
            return self
        with self._location.make() as directory:
            for name, content in self._files.items():
                directory.write(name, content)
            for name in self._works:
                if directory.exists(name):
                    directory.unlink(name)
                listener = socket.socket(socket.AF_UNIX)
                self._listeners.append(listener)
                try:
                    # By way of the directory's descriptor: the kernel takes no path of more than 107 bytes.
                    listener.bind(f"/proc/self/fd/{directory.fileno()}/{name}")
                    listener.listen(_WAITING)
                except OSError as error:
                    self.__exit__()
                    raise system_error("listen in", directory.path, error) from None
        for listener, work in zip(self._listeners, self._works.values(), strict=True):
            threading.Thread(target=work, args=(listener,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for listener in self._listeners:
            pipe.close(listener)
        remove_place(self._location)


def _to_loopback(port: int, client: socket.socket) -> socket.socket:
    """Return a connection to a port of this machine's loopback, and tell ``client`` of it. Raises OSError."""
    try:
        server = socket.create_connection((_LOOPBACKS[0], port), pipe.SECONDS)
    except OSError:
        server = socket.create_connection((_LOOPBACKS[1], port), pipe.SECONDS)
    client.sendall(forward.CONNECTED)
    return server
