"""The sidecar of ``network = "allowlist"``: the only way out of a session, deciding by name.

    egress_allowlist.py FOLDER

The session's container has no network but its loopback. Before the agent starts, its entrypoint opens sockets there and
hands them over through SOCKET: this process accepts on the session's loopback, and dials from its own container. FOLDER
holds config.json, which counts again whenever the host replaces it, and gets blocked.json. Ends when the session does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING or __package__:
    from . import egress_policy as rules
    from .egress_proxy import Proxy, cancel, discard
else:  # run as a script, whose folder, which is root's, -I keeps off the path
    sys.path.append(str(Path(__file__).parent))
    import egress_policy as rules
    from egress_proxy import Proxy, cancel, discard

SOCKET = Path("/run/confined-claude-egress/socket")
REGISTRIES = Path("/opt/confined-claude/registries")

_JOIN_SECONDS = 60.0
_POLL_SECONDS = 0.5
_WRITE_SECONDS = 1.0
_LOOK_UPS = 16  # at once, each in a thread: a name server that is silent must not hold up the others
_JOINING = b"sockets\n"
_MOST_HANDLES = 253  # the kernel's limit for one message


class Session:
    """The folder that the host and the proxy of one session share."""

    def __init__(self, folder: Path, registries: Path = REGISTRIES) -> None:
        self._config = folder / "config.json"
        self._blocked = folder / "blocked.json"
        self._registries = json.loads(registries.read_text()) if registries.exists() else []
        self._seen: tuple[int, ...] = ()
        self.blocked = rules.Blocked()
        self._told = False

    def load(self) -> rules.Policy | None:
        """The policy, if it is there and new since the last call. Raises OSError or ValueError if it cannot be read."""
        try:
            status = self._config.stat()
        except FileNotFoundError:
            return None
        stamp = (status.st_mtime_ns, status.st_ino, status.st_size)
        if stamp == self._seen:
            return None
        self._seen = stamp
        return rules.Policy.parse(self._config.read_text(encoding="utf-8"), self._registries)

    async def follow(self, proxy: Proxy) -> None:
        """Have ``proxy`` use the policy as it changes; a broken one leaves the last good one in force."""
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            try:
                proxy.policy = self.load() or proxy.policy
            except (OSError, ValueError) as error:
                print(f"the new allowlist does not count: {error}", file=sys.stderr)

    async def keep(self) -> None:
        """Write what was refused, not more often than once a second."""
        while True:
            await asyncio.sleep(_WRITE_SECONDS)
            self.write()

    def write(self) -> None:
        """Write what was refused since the last time, at once and private. A full disk ends nothing."""
        if not self.blocked.changed:
            return
        new = self._blocked.with_suffix(".new")
        try:
            handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with open(handle, "w", encoding="ascii") as file:
                file.write(self.blocked.as_json())
            new.replace(self._blocked)
        except OSError as error:
            if not self._told:  # once: nobody reads it while the session runs, and a full pipe would stop everything
                print(f"what was refused cannot be written: {error}", file=sys.stderr)
                self._told = True
        else:
            self.blocked.changed = False

    async def run(self, peer: socket.socket, policy: rules.Policy, sockets: Sequence[socket.socket]) -> None:
        """Serve ``sockets`` until ``peer`` is closed at its other end, or SIGTERM. Raises what ends it otherwise."""
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(_LOOK_UPS))
        proxy = Proxy(policy, self.blocked)
        door, names, *forwarded = sockets
        serving = [asyncio.create_task(proxy.serve(door, names, forwarded))]
        serving += [asyncio.create_task(self.follow(proxy)), asyncio.create_task(self.keep())]
        end = asyncio.create_task(_until_closed(peer))
        loop.add_signal_handler(signal.SIGTERM, end.cancel)
        try:
            done, _ = await asyncio.wait({end, *serving}, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {end}:
                task.result()
        finally:
            await cancel(end, *serving)
            self.write()


async def _until_closed(peer: socket.socket) -> None:
    peer.setblocking(False)
    with contextlib.suppress(OSError):
        await asyncio.get_running_loop().sock_sendall(peer, b"ready\n")
        await discard(peer)


def accept_one(path: Path, seconds: float) -> socket.socket:
    """The first that connects to ``path``, and the only one; said to be ready once one can.

    Raises OSError if nobody does in time.
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
            print("ready", flush=True)
            peer, _ = listener.accept()
            print("joined", flush=True)
        finally:
            path.unlink()
    peer.settimeout(seconds)
    return peer


def receive(peer: socket.socket) -> list[socket.socket]:
    """The sockets that ``peer`` hands over. Raises OSError or ValueError if they are not what they should be."""
    message, handles, _, _ = socket.recv_fds(peer, len(_JOINING), _MOST_HANDLES)
    sockets = [socket.socket(fileno=handle) for handle in handles]
    kinds = [handed.type for handed in sockets]
    if message != _JOINING or kinds[:2] != [socket.SOCK_STREAM, socket.SOCK_DGRAM]:
        raise ValueError("what joined is not a session")
    return sockets


def main(folder: Path) -> int:
    """Serve the one session that joins, to its end; gives the exit code."""
    try:
        session = Session(folder)
        peer = accept_one(SOCKET, _JOIN_SECONDS)
    except (OSError, ValueError) as error:
        return _failed(error)
    try:
        sockets = receive(peer)
        policy = session.load()
        if not policy or len(policy.forward) != len(sockets) - 2:
            raise ValueError("config.json is missing, or is another session's")
        asyncio.new_event_loop().run_until_complete(session.run(peer, policy, sockets))
    except (OSError, ValueError) as error:
        with contextlib.suppress(OSError):
            peer.sendall(f"error: {error}\n".encode())
        return _failed(error)
    return 0


def _failed(error: Exception) -> int:
    print(f"confined-claude's proxy: {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    # Not sys.exit: that would wait for threads that still wait for a name server.
    os._exit(main(Path(sys.argv[1])))
