"""The sidecar of ``network = "allowlist"``: the only way out of a session, deciding by name.

    egress.allowlist DIRECTORY [HOST:PORT]...

The session's container has no network but its loopback. Before the agent starts, its entrypoint opens sockets there and
hands them over through SOCKET: this process accepts on the session's loopback, and connects from its own container.
DIRECTORY holds config.json, which is read again whenever the host replaces it, and receives blocked.json. Each
HOST:PORT is one that something is lent to: what that is comes by standard input, and its uses are in lent.log. The
program ends when the session does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from .blocked import Blocked
from .networks import SIDECARS
from .policy import Policy
from .proxy import LIMITS, Info, Proxy
from .relay import cancel, discard
from .request import parse_target

if TYPE_CHECKING:
    from .lender import Lender

SOCKET = Path(SIDECARS["allowlist"])
REGISTRIES = Path("/opt/confined-claude/registries")

_JOIN_SECONDS = 60.0
_POLL_SECONDS = 0.5
_WRITE_SECONDS = 1.0
_LENDING = replace(LIMITS, connections=200)  # of half a MB each
_LOOK_UPS = 16  # at once, each in a thread: a name server that is silent must not delay the others
_JOINING = b"sockets\n"
_MOST_FDS = 100
_MOST_LOG_BYTES = 1 << 20
_LONGEST_LINE = 500


class Sidecar:
    """The directory that the host shares with the proxy of one session, and the proxy's life."""

    def __init__(self, directory: Path, registries: Path = REGISTRIES) -> None:
        self._config = directory / "config.json"
        self._blocked = directory / "blocked.json"
        self._log = directory / "lent.log"
        self._registries = json.loads(registries.read_text()) if registries.exists() else []
        self._seen: tuple[int, ...] = ()
        self.blocked = Blocked()

    def load(self) -> Policy | None:
        """Return the policy if it is new since the last call. Raises OSError or ValueError if it cannot be read."""
        try:
            status = self._config.stat()
        except FileNotFoundError:
            return None
        stamp = (status.st_mtime_ns, status.st_ino, status.st_size)
        if stamp == self._seen:
            return None
        self._seen = stamp
        return Policy.parse(self._config.read_text(encoding="utf-8"), self._registries)

    async def _follow(self, proxy: Proxy) -> None:
        """Have ``proxy`` use the policy as it changes; a broken one leaves the last good one in force."""
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            with contextlib.suppress(OSError, ValueError):
                proxy.policy = self.load() or proxy.policy

    async def _write_often(self) -> None:
        while True:
            await asyncio.sleep(_WRITE_SECONDS)
            self._write()

    def _write(self) -> None:
        """Write what was refused since the last time, atomically and privately. A full disk ends nothing."""
        if not self.blocked.changed:
            return
        new = self._blocked.with_suffix(".new")
        with contextlib.suppress(OSError):
            fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with open(fd, "w", encoding="ascii") as file:
                file.write(self.blocked.as_json())
            new.replace(self._blocked)
            self.blocked.changed = False

    def lender(self, endpoints: Iterable[str]) -> Lender | None:
        """Return what lends to ``endpoints`` (HOST:PORT), once it knows what; None if there are none.

        Raises OSError or ValueError if it cannot have certificates.
        """
        if not (targets := [parse_target(b"CONNECT", endpoint.encode()) for endpoint in endpoints]):
            return None
        from .lender import Lender, hide_memory  # most sessions have none

        hide_memory()
        lender = Lender(targets, self._note)
        while not lender.secrets and lender.receive():
            pass
        return lender

    def _note(self, line: str) -> None:
        """Write down a use of what is lent, as long as there is room."""
        with contextlib.suppress(OSError):
            fd = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with open(fd, "a", encoding="ascii", errors="replace") as file:
                if file.tell() < _MOST_LOG_BYTES:
                    file.write(f"{datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%SZ} {line[:_LONGEST_LINE]}\n")

    async def run(
        self,
        peer: socket.socket,
        policy: Policy,
        sockets: Sequence[Any],
        lender: Lender | None = None,
        upstreams: Mapping[tuple[str, int], Sequence[Info]] | None = None,
    ) -> None:
        """Serve ``sockets``, those of ``Proxy.serve``, until ``peer`` is closed at its other end, or SIGTERM.

        ``upstreams`` are as for ``Proxy``. Raises what else ends it.
        """
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(_LOOK_UPS))
        limits = LIMITS if lender is None else _LENDING
        proxy = Proxy(policy, self.blocked, limits, lender, upstreams)
        if lender is not None:
            lender.follow()
        serving = [asyncio.create_task(proxy.serve(*sockets))]
        serving += [asyncio.create_task(self._follow(proxy)), asyncio.create_task(self._write_often())]
        end = asyncio.create_task(_until_closed(peer, lender.certificate if lender is not None else b""))
        loop.add_signal_handler(signal.SIGTERM, end.cancel)
        try:
            done, _ = await asyncio.wait({end, *serving}, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {end}:
                task.result()
        finally:
            await cancel(end, *serving)
            self._write()


async def _until_closed(peer: socket.socket, certificate: bytes) -> None:
    peer.setblocking(False)
    with contextlib.suppress(OSError):
        await asyncio.get_running_loop().sock_sendall(peer, certificate + b"ready\n")
        await discard(peer)


def accept_one(path: Path, seconds: float) -> socket.socket:
    """Return the first connection to ``path``, which takes no other. Prints ``joined`` then.

    Raises OSError if nobody does in so many seconds.
    """
    with socket.socket(socket.AF_UNIX) as listener:
        previous = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(previous)
        try:
            listener.listen(1)
            listener.settimeout(seconds)
            peer, _ = listener.accept()
            print("joined", flush=True)
        finally:
            path.unlink()
    peer.settimeout(seconds)
    return peer


def receive(peer: socket.socket, lent: int = 0) -> list[socket.socket]:
    """Return the sockets that ``peer`` hands over: HTTP, DNS, and one for each host that something is ``lent`` to.

    Raises OSError or ValueError if they are not a session's.
    """
    message, fds, _, _ = socket.recv_fds(peer, len(_JOINING), _MOST_FDS)
    sockets = [socket.socket(fileno=fd) for fd in fds]
    kinds = [sock.type for sock in sockets]
    if message != _JOINING or kinds != [socket.SOCK_STREAM, socket.SOCK_DGRAM, *[socket.SOCK_STREAM] * lent]:
        raise ValueError("what joined is not a session")
    return sockets


def silence() -> None:
    """Have standard error lead nowhere: the host reads it at the end alone, and a full pipe would stop everything."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def serve_session(directory: Path, endpoints: Sequence[str] = ()) -> int:
    """Serve the one session that joins, to its end; return the exit code. ``endpoints`` are lent to."""
    try:
        sidecar = Sidecar(directory)
        lender = sidecar.lender(endpoints)
        peer = accept_one(SOCKET, _JOIN_SECONDS)
    except (OSError, ValueError) as error:
        return _failed(error)
    try:
        sockets = receive(peer, len(endpoints))
        policy = sidecar.load()
        if not policy:
            raise ValueError("config.json is missing")
        silence()
        asyncio.new_event_loop().run_until_complete(sidecar.run(peer, policy, sockets, lender))
    except (OSError, ValueError) as error:
        with contextlib.suppress(OSError):
            peer.sendall(f"error: {error}\n".encode())
        return _failed(error)
    return 0


def _failed(error: Exception) -> int:
    print(f"confined-claude's proxy: {error}", file=sys.stderr)
    return 1


def main(arguments: Sequence[str]) -> NoReturn:
    """Run the program."""
    # Not sys.exit: that would wait for threads that still wait for a name server.
    os._exit(serve_session(Path(arguments[0]), arguments[1:]))
