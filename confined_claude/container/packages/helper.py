"""The package helper: the one process of a session's container that stays root, for `sudo apt-get`.

    packages.helper UID

The entrypoint starts it in the background, before it gives up its privileges. Commands arrive on a unix socket from
processes of UID. What they may say is in grammar.py, and only apt-get is ever started.

A request is a length (4 bytes, big-endian) and as many bytes: the words of the command, each ended by a NUL byte. The
reply consists of frames: a kind (1 byte), a length (4 bytes, big-endian) and as many bytes. Kind ``o`` is output; ``x``
is the exit code in one byte, and the end.
"""

from __future__ import annotations

import os
import pwd
import select
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from .grammar import Refused, Request, check, parse

DIRECTORY = Path("/run/confined-claude")
LISTS = Path("/var/lib/apt/lists")
APT_GET = "/usr/bin/apt-get"
MAX_REQUEST = 64 * 1024
REQUEST_SECONDS = 5.0
TURN_SECONDS = 600.0
CLIENTS = 8

_READ_LISTS = frozenset({"install", "reinstall", "upgrade", "full-upgrade", "dist-upgrade"})
_OPTIONS = (
    "--assume-yes",  # nobody can be asked: apt-get has no terminal here
    "-oDpkg::Options::=--force-confdef",
    "-oDpkg::Options::=--force-confold",
    "-oDpkg::Use-Pty=0",
    "-oAPT::Cmd::Pattern-Only=1",  # an unknown name is not tried as a regular expression
)
_PROXIES = ("http_proxy", "https_proxy", "no_proxy")
_LENGTH = struct.Struct(">I")
_FRAME = struct.Struct(">cI")
_CREDENTIALS = struct.Struct("3i")


def environment(own: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of apt-get and the packages' scripts: fixed ones, and the proxies among the helper's."""
    proxies = {name: own[name] for lower in _PROXIES for name in (lower, lower.upper()) if name in own}
    return {
        **proxies,
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "DEBIAN_FRONTEND": "noninteractive",
        "PYTHONNOUSERSITE": "1",
        # In /tmp the agent could plant what a package's script takes for its own.
        "TMPDIR": str(DIRECTORY / "tmp"),
    }


def options_for(uid: int) -> list[str]:
    """Return apt-get's options for sessions of ``uid``, which must not be able to change its downloads."""
    try:
        shared = pwd.getpwnam("_apt").pw_uid == uid
    except KeyError:
        shared = False
    return ["-oAPT::Sandbox::User=root"] if shared else []


class Client:
    """The other end of a connection; ``has_gone`` once it cannot be reached any more."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.has_gone = False

    @property
    def uid(self) -> int:
        """The owner of the process that connected, by the kernel."""
        found = self.connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        return int(_CREDENTIALS.unpack(found)[1])

    def request(self) -> bytes:
        """Return the payload of its request. Raises Refused if that is too long, or late."""
        deadline = time.monotonic() + REQUEST_SECONDS
        (length,) = _LENGTH.unpack(self._receive(_LENGTH.size, deadline))
        if length > MAX_REQUEST:
            raise Refused("the command is too long")
        return self._receive(length, deadline)

    def _receive(self, length: int, deadline: float) -> bytes:
        received = bytearray()
        try:
            while len(received) < length:
                self.connection.settimeout(max(deadline - time.monotonic(), 0))
                chunk = self.connection.recv(length - len(received))
                if not chunk:
                    raise Refused("the request is cut short")
                received += chunk
        except OSError:
            raise Refused("the request did not come in time") from None
        return bytes(received)

    def send(self, kind: bytes, data: bytes) -> None:
        """Send one frame, unless the client has gone."""
        try:
            if not self.has_gone:
                self.connection.settimeout(None)
                self.connection.sendall(_FRAME.pack(kind, len(data)) + data)
        except OSError:
            self.has_gone = True

    def say(self, line: str) -> None:
        """Send a line of the helper's own as output."""
        self.send(b"o", f"confined-claude: {line}\n".encode())

    def end(self, code: int) -> None:
        """Send the exit code, which ends the reply."""
        self.send(b"x", bytes([code]))


class PackageManager:
    """apt-get, one command at a time."""

    def __init__(self, variables: Mapping[str, str], options: Sequence[str] = ()) -> None:
        self._variables = dict(variables)
        self._options = tuple(options)
        self._turn = threading.Lock()
        self._has_explained = False

    def run(self, request: Request, client: Client) -> int:
        """Carry out ``request``, with its output going to ``client``; return the exit code.

        Raises Refused if other commands do not end in time, or apt-get cannot be started.
        """
        if not self._turn.acquire(blocking=False):
            client.say("waiting for another package command to end")
            if not self._turn.acquire(timeout=TURN_SECONDS):
                raise Refused("another package command has not ended; try again later")
        try:
            code = 0
            if request.verb in _READ_LISTS and not any(LISTS.glob("*_Packages*")):
                client.say("fetching the package lists first")
                code = self._apt_get(["-qq", "update"], client)
            if code == 0 and not client.has_gone:
                code = self._apt_get(request.words, client)
            if code == 0 and request.verb == "install" and not request.is_simulation:
                self._explain(request.packages, client)
        finally:
            self._turn.release()
        return code

    def _apt_get(self, words: Sequence[str], client: Client) -> int:
        try:
            reading, writing = os.pipe()
            with open(reading, "rb", buffering=0) as output:
                with open(writing, "wb", buffering=0) as other_end:
                    process = subprocess.Popen(
                        [APT_GET, *_OPTIONS, *self._options, *words],
                        cwd="/",
                        env=self._variables,
                        stdin=subprocess.DEVNULL,
                        stdout=other_end,
                        stderr=subprocess.STDOUT,
                    )
                _relay(process, output.fileno(), client)
        except OSError as error:
            raise Refused(f"apt-get cannot be run: {error.strerror}") from None
        code = process.wait()
        return code if code >= 0 else 128 - code

    def _explain(self, packages: Sequence[str], client: Client) -> None:
        """Say once how packages outlast the session."""
        if packages and not self._has_explained:
            names = ", ".join(f'"{name}"' for name in packages)
            client.say(
                "what you installed is gone when the session ends."
                f" To keep it, ask the user to put packages = [{names}] into .confined-claude/config.toml"
            )
            self._has_explained = not client.has_gone


def _relay(process: subprocess.Popen[bytes], output: int, client: Client) -> None:
    """Pass ``output`` to ``client`` until ``process`` has ended; interrupt the process when the client goes.

    The output is read to the end in any case: dpkg must not break off halfway for lack of a reader.
    """
    poller = select.poll()
    poller.register(output, select.POLLIN)
    poller.register(client.connection, select.POLLRDHUP)
    interrupted = False
    while True:
        # Not until the pipe's end, as a package's daemon may keep it open. Determined before the read, so that the
        # last one takes all that apt-get has written.
        ended = process.poll() is not None
        ready = [fd for fd, _ in poller.poll(0 if ended else 200)]
        chunk = os.read(output, 64 * 1024) if output in ready else None
        if chunk:
            client.send(b"o", chunk)
        client.has_gone |= client.connection.fileno() in ready
        if client.has_gone and not interrupted:
            interrupted = True
            poller.unregister(client.connection)
            # apt-get alone: it stops a download at once, but lets a running dpkg finish.
            process.send_signal(signal.SIGINT)
        if ended or chunk == b"":
            return


def answer(connection: socket.socket, uid: int, manager: PackageManager) -> None:
    """Reply to the one request of a ``connection``, if it comes from a process of ``uid`` or root."""
    client = Client(connection)
    try:
        if client.uid not in (0, uid):
            raise Refused("not for this user")
        client.end(manager.run(check(parse(client.request())), client))
    except Refused as refusal:
        client.say(str(refusal))
        client.end(1)


def serve(listener: socket.socket, uid: int, manager: PackageManager) -> NoReturn:
    """Answer every connection to ``listener``, each in a thread, but refuse more than ``CLIENTS`` at once."""
    places = threading.BoundedSemaphore(CLIENTS)

    def attend(connection: socket.socket) -> None:
        try:
            with connection:
                answer(connection, uid, manager)
        finally:
            places.release()

    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            # The agent can use up the container's file descriptors and processes; the helper survives that.
            time.sleep(0.1)
            continue
        if places.acquire(blocking=False):
            try:
                threading.Thread(target=attend, args=(connection,), daemon=True).start()
            except RuntimeError:
                places.release()
                connection.close()
        else:
            with connection:
                client = Client(connection)
                client.say("too many package commands at once")
                client.end(1)


def listen() -> socket.socket:
    """Return a listening socket at ``DIRECTORY``/packages, in a directory that only root can write."""
    DIRECTORY.mkdir(exist_ok=True)
    os.chown(DIRECTORY, os.geteuid(), os.getegid())
    DIRECTORY.chmod(0o755)
    (DIRECTORY / "tmp").mkdir(mode=0o700, exist_ok=True)
    path = DIRECTORY / "packages"
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    path.chmod(0o666)
    listener.listen(CLIENTS)
    return listener


def main(arguments: Sequence[str]) -> NoReturn:
    """Run the program."""
    # Out of reach of the session's terminal. The shell makes what it starts in the background ignore Ctrl-C, which
    # apt-get would inherit: it could not be interrupted.
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    uid = int(arguments[0])
    serve(listen(), uid, PackageManager(environment(os.environ), options_for(uid)))
