"""Ports of this machine's loopback for what a session serves: chosen, reserved, and who has those that are taken."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import re
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ..engine import containers, labels
from ..environment import is_loopback
from ..errors import ConfinedError, EngineError
from ..settings import Settings
from ..system import IS_LINUX
from ..text import escape

# How far beyond a taken port another one is looked for; after that, any other one will do.
_NEAR = 50
_LAST = 65535
# Ports at which an engine takes commands: with them a session would be root here.
_ENGINE_PORTS = frozenset((2375, 2376, 2377))
# The first one behind those that the engine publishes: above the ports that the kernel gives to connections.
_FIRST_INNER_PORT = 61000
_PORT = r"^[a-z]+://[^/]*:([0-9]{1,5})(?:/|$)"
_LISTENING = "0A"
_EVERYWHERE_OR_LOOPBACK = ("00000000", "0100007F", "0" * 32, "0" * 24 + "01000000")


class Published(NamedTuple):
    """Port ``session`` of a session, at port ``host`` of this machine's loopback.

    If that is not the one that was ``wanted``, ``holder`` has it: words for people.
    """

    session: int
    host: int
    wanted: int
    holder: str = ""

    @classmethod
    def as_wanted(cls, entry: str) -> Published:
        """Return what an entry of the setting ``ports`` asks for: ``PORT``, or ``HOST:SESSION``."""
        host, _, session = entry.rpartition(":")
        return cls(int(session), int(host or session), int(host or session))


class Reservation:
    """Ports that other sessions leave alone from when they are chosen on, to the end of the block or the process."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Reservation:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def choose(self, entries: Sequence[str]) -> tuple[Published, ...]:
        """Return where each entry of the setting ``ports`` is published: at the port that it names, or a free one."""
        wanted = [Published.as_wanted(entry) for entry in entries]
        got = [self._take(each.host) for each in wanted]  # before any other is looked for
        return tuple(
            each if is_own else Published(each.session, self._another(each.host), each.host, holder_of(each.host))
            for each, is_own in zip(wanted, got, strict=True)
        )

    def _another(self, port: int) -> int:
        for near in range(port + 1, min(port + _NEAR, _LAST) + 1):
            if self._take(near):
                return near
        while True:
            with socket.create_server(("127.0.0.1", 0)) as any_other:
                found = int(any_other.getsockname()[1])
            if self._take(found):
                return found

    def _take(self, port: int) -> bool:
        """Reserve a port; return False if it is taken."""
        with contextlib.ExitStack() as stack:
            if IS_LINUX:
                # A name that the kernel forgets with this process. The port itself is the engine's to bind.
                mark = stack.enter_context(socket.socket(socket.AF_UNIX))
                try:
                    mark.bind(f"\0confined-claude-port-{port}")
                except OSError:
                    return False
            try:
                socket.create_server(("127.0.0.1", port)).close()
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    return False  # else the engine may bind it, as it may those below 1024
            self._stack.push(stack.pop_all())
        return True


def holder_of(port: int) -> str:
    """Return who has a port of this machine's loopback, in words for people; it may be free by now."""
    with contextlib.suppress(EngineError):
        if name := _container_with(port):
            return name
    return _process_with(port) or "another program"


def _container_with(port: int) -> str:
    sessions = containers.containers({labels.KIND: labels.SESSION})
    for found in sessions:
        marks: Mapping[str, str] = found["Labels"]
        if any(entry.partition(":")[0] == str(port) for entry in marks.get(labels.PORTS, "").split(",")):
            return f"the session {containers.names_of(found)[0]}"
    for found in containers.containers({}):
        if any(each.get("PublicPort") == port for each in found.get("Ports") or ()):
            return f"the container {containers.names_of(found)[0]}"
    return ""


def _process_with(port: int) -> str:
    """Return the process that listens at a port, or at least whose it is; empty if that cannot be found out."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError, ValueError, LookupError):
            for line in Path(table).read_text().splitlines()[1:]:
                _, local, _, state, *rest = line.split()
                address, _, number = local.partition(":")
                if state == _LISTENING and int(number, 16) == port and address in _EVERYWHERE_OR_LOOPBACK:
                    return _owner(int(rest[3]), f"socket:[{rest[5]}]")
    return ""


def _owner(uid: int, link: str) -> str:
    for fd in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):  # another user's, or gone
            if str(fd.readlink()) == link:
                process = fd.parent.parent
                return f"{(process / 'comm').read_text().strip()} (process {process.name})"
    import pwd

    with contextlib.suppress(LookupError):
        return f"a process of {pwd.getpwuid(uid).pw_name}"
    return f"a process of uid {uid}"


def inner_ports(published: Sequence[Published], relayed: Iterable[int]) -> dict[Published, int]:
    """Return the port of the session's own network at which the engine finds what is published."""
    used = {*relayed, *(each.session for each in published)}
    free = (port for port in itertools.count(_FIRST_INNER_PORT) if port not in used)
    return dict(zip(published, free, strict=False))


def refuse_engines(relayed: Iterable[int], engine_port: int) -> None:
    """Raise ConfinedError if a session would reach a port of a container engine; ``engine_port`` is one as well."""
    for port in {*relayed} & {*_ENGINE_PORTS, engine_port}:
        raise ConfinedError(
            f"A session cannot reach port {port} of your machine: it is for container engines, whose users are root.",
            "Take it out of `host_ports`, or out of the variable that names it.",
        )


def out_of_reach(servers: str, relayed: Sequence[int]) -> Iterator[str]:
    """Yield a line on each of the user's MCP ``servers`` (a JSON text) on this machine that nothing relays."""
    for name, server in json.loads(servers or "{}").get("mcpServers", {}).items():
        url = server.get("url", "")
        if is_loopback(url) and (found := re.search(_PORT, url)) and int(found[1]) not in relayed:
            yield (
                f"The MCP server {escape(name)} is at port {found[1]} of your machine, which this session does not "
                f"reach: for that, set `host_ports = [{found[1]}]`."
            )


def notes(settings: Settings, relayed: Sequence[int], published: Sequence[Published]) -> Iterator[str]:
    """Yield lines on ports that were asked for and are missing, or elsewhere; ``relayed`` are those of the host."""
    if missing := [port for port in dict.fromkeys(settings.host_ports) if int(port) not in relayed]:
        yield f'Not reachable with network = "{settings.network}": port {" and ".join(missing)} of your machine.'
    if settings.ports and not published:
        yield f"Not published: {', '.join(settings.ports)}. This network accepts no incoming connections."
    for each in published:
        if each.host != each.wanted:
            yield (
                f"Port {each.session} of this session is at localhost:{each.host}, "
                f"as {each.wanted} is taken by {each.holder}."
            )
