"""An ssh agent of one session's own: keys of the user that sign in at the hosts that the user has named, and no others.

OpenSSH's own agent has the keys, bound to these hosts (``ssh-add -h``). The session reaches it through this module,
which passes on no more than three kinds of messages, see draft-miller-ssh-agent and OpenSSH's PROTOCOL.agent.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..container.egress.networks import SOCKETS
from ..errors import ConfinedError
from ..fs.directory import Directory, Location
from ..fs.removal import remove_place
from ..host import clean_path, missing
from ..text import counted, escape, strip_controls

SOCKET = "agent"
_KNOWN_HOSTS, _CONFIG = "known_hosts", "ssh_config"
_LIST, _SIGN, _SIGNED, _EXTENSION = 11, 13, 14, 27
_BIND = b"session-bind@openssh.com"
_BINDING = struct.pack(">BI", _EXTENSION, len(_BIND)) + _BIND
_FAILURE = struct.pack(">IB", 1, 5)
_MAX_MESSAGE = 256 << 10  # OpenSSH's own limit
_MOST_CONNECTIONS = 32
_SECONDS = 10.0
_PAUSE_SECONDS = 0.1
_USUAL_PORT = "22"
# Ends with this process, however that ends: the agent goes some seconds after its command.
_UNTIL_THE_END = 'echo "$SSH_AGENT_PID"; exec cat'


class SshAgent:
    """The agent for the hosts in ``entries`` (USER@HOST[:PORT]), within the block. It is kept in ``location``.

    ``files`` are those by which the session's ssh knows the hosts, by name.
    """

    def __init__(self, entries: Sequence[str], location: Location) -> None:
        self.files: dict[str, bytes] = {}
        self._entries = entries
        self._location = location
        self._signed = 0
        self._free = threading.Semaphore(_MOST_CONNECTIONS)
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> SshAgent:
        """Start the agent with the keys. Raises ConfinedError; ssh-add may ask for a passphrase at the terminal."""
        keys: dict[Path, list[str]] = {}
        known: dict[str, None] = {}
        config: list[str] = []
        for entry in self._entries:
            user, host, port = _parsed(entry)
            settings = _settings(user, host, port)
            for line in _known_hosts(entry, settings):
                known[f"{host} {line}\n"] = None
            for path in _keys(entry, settings):
                keys.setdefault(path, []).append(f"{user}@{host}")
            config += _config(host, port, settings)
        self.files = {_KNOWN_HOSTS: "".join(known).encode(), _CONFIG: "".join(config).encode()}
        with contextlib.ExitStack() as stack:
            directory = stack.enter_context(self._location.make())
            stack.callback(remove_place, self._location)
            directory.write(_KNOWN_HOSTS, self.files[_KNOWN_HOSTS])
            stack.enter_context(_running(directory))
            for path, hosts in keys.items():
                words = [word for host in hosts for word in ("-h", host)]
                _run(["ssh-add", "-q", "-H", _KNOWN_HOSTS, *words, str(path)], f"add {path}", directory)
            self._address = f"/proc/self/fd/{directory.fileno()}/{SOCKET}"  # no path is too long that way
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def lines(self) -> list[str]:
        """Return what to say at the session's end."""
        number = counted(self._signed, "time")
        return [f"Your ssh keys have signed {number}, for {', '.join(self._entries)}."] if self._signed else []

    def serve(self, listener: socket.socket) -> None:
        """Answer what connects to ``listener`` until that is closed."""
        while listener.fileno() >= 0:
            self._free.acquire()
            try:
                client, _ = listener.accept()
                threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()
            except (OSError, RuntimeError):
                self._free.release()
                time.sleep(_PAUSE_SECONDS)

    def _pass_on(self, client: socket.socket) -> None:
        try:
            with contextlib.suppress(OSError, StopIteration), client, socket.socket(socket.AF_UNIX) as agent:
                agent.connect(self._address)
                answers = _messages(agent)
                for message in _messages(client):
                    if not is_allowed(message):
                        client.sendall(_FAILURE)
                        continue
                    agent.sendall(_framed(message))
                    answer = next(answers)
                    self._signed += answer[0] == _SIGNED
                    client.sendall(_framed(answer))
        finally:
            self._free.release()


def is_allowed(message: bytes) -> bool:
    """Return whether a session may send ``message`` to its agent: list the keys, say which host it is at, and sign."""
    return message == bytes([_LIST]) or message[0] == _SIGN or message.startswith(_BINDING)


def _messages(sock: socket.socket) -> Iterator[bytes]:
    """Yield each message that comes, to the end. Raises OSError for anything else."""
    with sock.makefile("rb") as source:
        while header := source.read(4):
            (size,) = struct.unpack(">I", header.ljust(4, b"\xff"))
            if not 0 < size <= _MAX_MESSAGE or len(message := source.read(size)) < size:
                raise ConnectionAbortedError
            yield message


def _framed(message: bytes) -> bytes:
    return struct.pack(">I", len(message)) + message


def _parsed(entry: str) -> tuple[str, str, str]:
    """Return user, host and port of an entry; an empty port if it has none."""
    user, _, place = entry.partition("@")
    host, _, port = place.partition(":")
    return user, host.lower(), port


def _settings(user: str, host: str, port: str) -> dict[str, list[str]]:
    """Return what the user's ssh has set for a host, by setting."""
    words = ["ssh", "-G", *(["-p", port] if port else []), f"{user}@{host}"]
    found: dict[str, list[str]] = {}
    for line in _run(words, "read your ssh settings").splitlines():
        key, _, value = line.partition(" ")
        found.setdefault(key, []).append(value)
    return found


def _known_hosts(entry: str, settings: dict[str, list[str]]) -> list[str]:
    """Return the types and keys of a host that this machine knows. Raises ConfinedError if there are none."""
    name, port = settings["hostname"][0], settings["port"][0]
    name = settings.get("hostkeyalias", [name if port == _USUAL_PORT else f"[{name}]:{port}"])[0]
    files = " ".join((*settings.get("userknownhostsfile", []), *settings.get("globalknownhostsfile", []))).split()
    lines: list[list[str]] = []
    for file in map(os.path.expanduser, files):
        words = ["ssh-keygen", "-F", name, "-f", file]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=_SECONDS, cwd="/")
        lines += [line.split() for line in done.stdout.splitlines() if not line.startswith("#")]
    revoked = [line[2:4] for line in lines if line[:1] == ["@revoked"]]
    plain = [line[1:3] for line in lines if len(line) > 2 and not line[0].startswith("@")]  # noqa: PLR2004
    found = [" ".join(key) for key in plain if key not in revoked]
    if not found:
        raise ConfinedError(
            f"ssh_agent: your machine knows no key of the host {name}.",
            f"Connect once with `ssh {entry.partition(':')[0]}`, and compare the fingerprint with the published one.",
        )
    return found


def _keys(entry: str, settings: dict[str, list[str]]) -> list[Path]:
    """Return the files of the user's keys for a host. Raises ConfinedError if there are none."""
    named = map(Path, map(os.path.expanduser, settings.get("identityfile", [])))
    if not (found := [path for path in named if path.is_file()]):
        raise ConfinedError(
            f"ssh_agent: there is no key file for {entry}.",
            "A key that only another agent has cannot be bound to a host: name a file in ~/.ssh/config (IdentityFile).",
        )
    return found


def _config(host: str, port: str, settings: dict[str, list[str]]) -> Iterator[str]:
    """Yield the lines by which the session's ssh finds a host, and knows it."""
    yield f"Host {host}\n  HostName {settings['hostname'][0]}\n  HostKeyAlias {host}\n  StrictHostKeyChecking yes\n"
    if not port and settings["port"][0] != _USUAL_PORT:
        yield f"  Port {settings['port'][0]}\n"
    yield f"  UserKnownHostsFile {SOCKETS}/{_KNOWN_HOSTS}\n"


@contextlib.contextmanager
def _running(directory: Directory) -> Iterator[None]:
    """Run an agent at SOCKET in ``directory`` for the block."""
    words = ["ssh-agent", "-a", SOCKET, "/bin/sh", "-c", _UNTIL_THE_END]
    try:
        process = subprocess.Popen(
            words, cwd=directory.path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
    except OSError as error:
        raise ConfinedError(f"ssh_agent: {_reason('ssh-agent', error)}.", "Install openssh-client.") from None
    with process:
        identity = process.stdout.readline() if process.stdout is not None else b""
        if not identity.strip().isdigit():
            raise ConfinedError("ssh_agent: ssh-agent does not start.", "Its reason is above.")
        try:
            yield
        finally:
            with contextlib.suppress(ConfinedError):
                _run(["ssh-add", "-q", "-D"], "delete the keys", directory)
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(identity), signal.SIGTERM)


def _reason(program: str, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return missing(program, program)
    return f"{program} does not run: {error.strerror}"


def _run(words: Sequence[str], what: str, directory: Directory | None = None) -> str:
    """Return what a command prints, which has the agent in ``directory``. Raises ConfinedError if it fails."""
    clean_path()
    environ = {**os.environ, "SSH_AUTH_SOCK": SOCKET}
    where = Path("/") if directory is None else directory.path
    try:
        done = subprocess.run(
            words, cwd=where, env=environ, capture_output=True, text=True, errors="replace", check=False
        )
    except OSError as error:
        raise ConfinedError(f"ssh_agent: {_reason(words[0], error)}.", "Install openssh-client.") from None
    if done.returncode:
        reason = " ".join(strip_controls(done.stderr).split()) or "it does not say why"
        raise ConfinedError(f"ssh_agent: cannot {what}: {escape(reason)}", "Put that right, or take the entry out.")
    return done.stdout
