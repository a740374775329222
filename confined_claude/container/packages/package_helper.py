"""The package helper: the one process of a session's container that stays root, for `sudo apt-get`.

    python3 -IS package_helper.py UID

The entrypoint starts it in the background, before it gives up its privileges. Commands come in
through a unix socket from processes of UID. What they may say is a short grammar of exact words and
Debian package names; whatever is outside of it is refused, and only apt-get is ever started.

A request is a length (4 bytes, big-endian) and as many bytes: the words of the command, each ended
by a NUL byte. The reply is made of frames: a kind (1 byte), a length (4 bytes, big-endian) and as
many bytes. Kind ``o`` is output; ``x`` is the exit code in one byte, and the end.
"""

from __future__ import annotations

import os
import pwd
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

FOLDER = Path("/run/confined-claude")
LISTS = Path("/var/lib/apt/lists")
APT_GET = "/usr/bin/apt-get"
MAX_REQUEST = 64 * 1024
MAX_WORDS = 200
REQUEST_SECONDS = 5.0
TURN_SECONDS = 600.0
CLIENTS = 8

WITH_PACKAGES = frozenset({"install", "reinstall", "remove", "purge"})
ALONE = frozenset({"update", "upgrade", "full-upgrade", "dist-upgrade", "autoremove", "clean"})
_READ_LISTS = frozenset({"install", "reinstall", "upgrade", "full-upgrade", "dist-upgrade"})
_FIX = frozenset({"-f", "--fix-broken"})
_SIMULATE = frozenset({"-s", "--simulate", "--dry-run"})
# None takes a value, and no spelling but these is known: apt-get itself also takes shortened ones.
FLAGS = _FIX.union(
    _SIMULATE,
    "-y --yes --assume-yes -q -qq --quiet -yq -qy -yqq -qqy -V --verbose-versions".split(),
    "--no-install-recommends --install-recommends --no-install-suggests --only-upgrade".split(),
    "--reinstall --purge --autoremove --auto-remove --fix-missing".split(),
)
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+(:[a-z0-9][a-z0-9-]*)?(=[0-9][A-Za-z0-9.+:~-]*)?", re.ASCII)
# What could be a file, and `name-`, by which apt-get removes where it was told to install.
_NOT_A_PACKAGE = (".deb", ".ddeb", ".udeb", ".dsc", ".changes", "-")
_OPTIONS = (
    "--assume-yes",  # there is nobody to ask: apt-get has no terminal here
    "-oDpkg::Options::=--force-confdef",
    "-oDpkg::Options::=--force-confold",
    "-oDpkg::Use-Pty=0",
    "-oAPT::Cmd::Pattern-Only=1",  # a name that is no package's is not tried as a regular expression
)
_PROXIES = ("http_proxy", "https_proxy", "no_proxy")
_LENGTH = struct.Struct(">I")
_FRAME = struct.Struct(">cI")
_CREDENTIALS = struct.Struct("3i")


class Refused(Exception):
    """Why a request is not carried out, in one line for whoever made it."""


class Request(NamedTuple):
    """A command that is safe to hand to apt-get."""

    verb: str
    flags: tuple[str, ...]
    packages: tuple[str, ...]

    @property
    def words(self) -> list[str]:
        """The arguments for apt-get."""
        return [*self.flags, self.verb, *self.packages]


def parse(payload: bytes) -> list[str]:
    """The words of a request's ``payload``. Raises Refused unless they are well formed."""
    if not payload.endswith(b"\0"):
        raise Refused("the request is malformed")
    if not payload.isascii():
        raise Refused("only ASCII is understood")
    words = payload[:-1].decode("ascii").split("\0")
    if len(words) > MAX_WORDS:
        raise Refused(f"at most {MAX_WORDS} words at once")
    return words


def check(words: Sequence[str]) -> Request:
    """The command that ``words`` ask for. Raises Refused for everything outside of the grammar."""
    program, *rest = words
    if program not in ("apt-get", "apt"):
        raise Refused("only apt-get and apt are run")
    flags = tuple(word for word in rest if word in FLAGS)
    verb, *packages = [word for word in rest if word not in FLAGS] or [""]
    for word in (verb, *packages):
        if word.startswith("-"):
            raise Refused(f"the option {word!r:.60} is not taken")
    if verb not in WITH_PACKAGES | ALONE:
        known = ", ".join(sorted(WITH_PACKAGES | ALONE))
        raise Refused(f"sudo {program} is for {known}; what only reads (list, search, show) needs no sudo")
    for word in packages:
        if not _PACKAGE.fullmatch(word) or word.endswith(_NOT_A_PACKAGE):
            raise Refused(f"{word!r:.60} is not a package's name (name[:architecture][=version])")
    if verb in ALONE and packages:
        raise Refused(f"{verb} takes no packages")
    if verb in WITH_PACKAGES and not packages and not _FIX.intersection(flags):
        raise Refused(f"{verb} needs a package's name")
    return Request(verb, flags, tuple(packages))


def environment(own: Mapping[str, str]) -> dict[str, str]:
    """The variables apt-get and the packages' scripts get: fixed ones, and the proxies out of the helper's ``own``."""
    proxies = {name: own[name] for lower in _PROXIES for name in (lower, lower.upper()) if name in own}
    return {
        **proxies,
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "DEBIAN_FRONTEND": "noninteractive",
        "PYTHONNOUSERSITE": "1",
        # In /tmp the agent could have put what a package's script then takes for its own.
        "TMPDIR": str(FOLDER / "tmp"),
    }


def options_for(uid: int) -> list[str]:
    """What apt-get needs to be told for sessions of ``uid``: its downloads must not be theirs to change."""
    try:
        shared = pwd.getpwnam("_apt").pw_uid == uid
    except KeyError:
        shared = False
    return ["-oAPT::Sandbox::User=root"] if shared else []


class Client:
    """The other end of a connection, until it has ``gone``."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.gone = False

    @property
    def uid(self) -> int:
        """Whose process connected, as the kernel knows it."""
        found = self.connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        return int(_CREDENTIALS.unpack(found)[1])

    def request(self) -> bytes:
        """The payload of its request. Raises Refused if that is too long, or not here in time."""
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
        """Send one frame. A client that has gone gets none, and nothing is raised."""
        try:
            if not self.gone:
                self.connection.settimeout(None)
                self.connection.sendall(_FRAME.pack(kind, len(data)) + data)
        except OSError:
            self.gone = True

    def say(self, line: str) -> None:
        """Send a line of the helper's own."""
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
        self._told_how_to_keep = False

    def run(self, request: Request, client: Client) -> int:
        """Carry ``request`` out, output going to ``client``; gives the exit code.

        Raises Refused if others keep it from its turn for too long, or apt-get cannot be started.
        """
        if not self._turn.acquire(blocking=False):
            client.say("waiting for another package command to end")
            if not self._turn.acquire(timeout=TURN_SECONDS):
                raise Refused("another package command does not end")
        try:
            code = 0
            if request.verb in _READ_LISTS and not any(LISTS.glob("*_Packages*")):
                client.say("fetching the package lists first")
                code = self._apt_get(["-qq", "update"], client)
            if code == 0 and not client.gone:
                code = self._apt_get(request.words, client)
            if code == 0 and request.verb == "install" and not _SIMULATE.intersection(request.flags):
                self._tell_how_to_keep(request.packages, client)
        finally:
            self._turn.release()
        return code

    def _apt_get(self, words: Sequence[str], client: Client) -> int:
        try:
            reading, writing = os.pipe()
            with open(reading, "rb", buffering=0) as output:
                with open(writing, "wb", buffering=0) as given:
                    process = subprocess.Popen(
                        [APT_GET, *_OPTIONS, *self._options, *words],
                        cwd="/",
                        env=self._variables,
                        stdin=subprocess.DEVNULL,
                        stdout=given,
                        stderr=subprocess.STDOUT,
                    )
                _relay(process, output.fileno(), client)
        except OSError as error:
            raise Refused(f"apt-get cannot be run: {error.strerror}") from None
        code = process.wait()
        return code if code >= 0 else 128 - code

    def _tell_how_to_keep(self, packages: Sequence[str], client: Client) -> None:
        if packages and not self._told_how_to_keep:
            names = ", ".join(f'"{name}"' for name in packages)
            client.say(
                "this lasts as long as the session."
                f" To keep it, the user puts packages = [{names}] into .confined-claude/config.toml"
            )
            self._told_how_to_keep = not client.gone


def _relay(process: subprocess.Popen[bytes], output: int, client: Client) -> None:
    """Pass ``output`` on to ``client`` until ``process`` has ended; interrupt that when the client goes.

    It is read to the end in any case: dpkg must not break off halfway for a reader that is missing.
    """
    poller = select.poll()
    poller.register(output, select.POLLIN)
    poller.register(client.connection, select.POLLRDHUP)
    interrupted = False
    while True:
        # A package's daemon may hold the pipe open, so its end is not waited for. Asked before the
        # last read, which so takes all that apt-get has left in it.
        ended = process.poll() is not None
        ready = [handle for handle, _ in poller.poll(0 if ended else 200)]
        chunk = os.read(output, 64 * 1024) if output in ready else None
        if chunk:
            client.send(b"o", chunk)
        client.gone |= client.connection.fileno() in ready
        if client.gone and not interrupted:
            interrupted = True
            poller.unregister(client.connection)
            # apt-get alone: it stops a download at once, but lets a running dpkg finish.
            process.send_signal(signal.SIGINT)
        if ended or chunk == b"":
            return


def answer(connection: socket.socket, uid: int, manager: PackageManager) -> None:
    """Read the one request of a ``connection`` and reply to it; only processes of ``uid`` and root are served."""
    client = Client(connection)
    try:
        if client.uid not in (0, uid):
            raise Refused("not for this user")
        client.end(manager.run(check(parse(client.request())), client))
    except Refused as refusal:
        client.say(str(refusal))
        client.end(1)


def serve(listener: socket.socket, uid: int, manager: PackageManager) -> NoReturn:
    """Answer every connection to ``listener``, each in a thread, and refuse those beyond ``CLIENTS``."""
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
            # The agent can use up the container's descriptors and processes; the helper outlasts that.
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
    """A listening socket at ``FOLDER``/packages, in a folder that only root can write."""
    FOLDER.mkdir(exist_ok=True)
    os.chown(FOLDER, os.geteuid(), os.getegid())
    FOLDER.chmod(0o755)
    (FOLDER / "tmp").mkdir(mode=0o700, exist_ok=True)
    path = FOLDER / "packages"
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    path.chmod(0o666)
    listener.listen(CLIENTS)
    return listener


def main() -> NoReturn:
    # Out of reach of the session's terminal, and of the shell's choice that what it starts in the
    # background ignores Ctrl-C: apt-get would inherit it, and could not be interrupted.
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    uid = int(sys.argv[1])
    serve(listen(), uid, PackageManager(environment(os.environ), options_for(uid)))


if __name__ == "__main__":
    main()
