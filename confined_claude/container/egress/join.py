"""Ties a session's container to its sidecar, and makes sure that it is confined; then it becomes the command.

    egress.join internet [kernel=RELEASE] -- COMMAND...
    egress.join none [kernel=RELEASE] -- COMMAND...
    egress.join allowlist HOST:PORT [ADDRESS:PORT]... [kernel=RELEASE] -- COMMAND...

Runs as root in the session's container, before anything of the agent's does. Its connection to the sidecar stays open
as file descriptor TIE, so that the sidecar ends when the session does. ``HOST:PORT`` is what Claude Code cannot do
without, or ``-``: a port of the host needs no sidecar. At each ADDRESS:PORT of the loopback is a host that something is
lent to; programs are made to trust the sidecar's certificate for that. RELEASE is the sidecar's kernel, where a runtime
may have another. Ends with exit code 3 if the sidecar is missing or does not confine the session.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from .networks import BUNDLE, PROXY_PORT, SELF_TEST, SIDECARS, gateways

TIE = 9
_DNS_PORT = 53
_CHUNK = 1 << 16
_CERTIFICATES = "/usr/local/share/ca-certificates"
_ENDING = (signal.SIGINT, signal.SIGTERM)
_SECONDS = 30
_REACH_SECONDS = 5
_ENGINE_ERROR = 3
_KERNEL = "kernel="
# Of a network for documentation, which nobody has.
_OUTSIDE = ("198.51.100.1", 443)
# A runtime with a kernel of its own may refuse what others connect to.
_NOT_YET = (errno.ENOENT, errno.ECONNREFUSED)
_REFUSALS = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EACCES, errno.EPERM)


def main(words: Sequence[str]) -> NoReturn:
    """Run the program."""
    for number in _ENDING:
        signal.signal(number, _leave)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)  # the entrypoint blocks them
    end = words.index("--")
    mode, *rest = words[:end]
    kernel = rest.pop().removeprefix(_KERNEL) if rest and rest[-1].startswith(_KERNEL) else os.uname().release
    if mode == "none":
        _check_nothing()
        _become(words[end + 1 :])
    if kernel != os.uname().release:  # it would wait in vain: no socket leads from one kernel to another
        _fail(
            "its runtime has a kernel of its own, in which a sidecar's rules do not count",
            "With this runtime, only network = none and network = open work.",
        )
    tie = _connect(SIDECARS[mode])
    try:
        if mode == "allowlist":
            _hand_over(tie, rest[1:])
        certificate, answer = _answer(tie)
        if certificate:
            _trust(certificate)
    except OSError as error:
        _fail(f"its sidecar cannot be joined ({error.strerror or error})")
    if answer != b"ready":
        _fail(answer.decode("utf-8", "replace").strip() or "its sidecar has ended")
    if mode == "allowlist":
        _check_allowlist(rest[0])
    else:
        _check_internet()
    os.dup2(tie.fileno(), TIE, inheritable=True)
    _become(words[end + 1 :])


def _become(command: Sequence[str]) -> NoReturn:
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)  # until the command is there to handle them
    os.execv(command[0], [*command])  # noqa: S606 - from the entrypoint


def _connect(address: str) -> socket.socket:
    deadline = time.monotonic() + _SECONDS
    while True:
        tie = socket.socket(socket.AF_UNIX)
        try:
            tie.connect(address)
        except OSError as error:
            tie.close()
            if time.monotonic() > deadline or error.errno not in _NOT_YET:
                _fail(f"its sidecar does not answer ({error.strerror})")
            if address.startswith("\0") and [name for _, name in socket.if_nameindex()] == ["lo"]:
                _fail("its sidecar has ended")
            time.sleep(0.002)
        else:
            tie.settimeout(_SECONDS)
            return tie


def _answer(tie: socket.socket) -> tuple[bytes, bytes]:
    """Return the sidecar's certificate, if there is one, and the last line of what it says."""
    said = b""
    while not said.endswith(b"ready\n") and (more := tie.recv(_CHUNK)):
        said += more
    before, _, line = said.removesuffix(b"\n").rpartition(b"\n")
    return before, line


def _trust(certificate: bytes) -> None:
    """Have programs trust ``certificate``, also after they have updated what they trust."""
    for path in (f"{_CERTIFICATES}/confined-claude/lent.crt", BUNDLE):
        with open(path, "ab") as file:
            file.write(b"\n" + certificate + b"\n")


def _hand_over(tie: socket.socket, lent: Sequence[str]) -> None:
    """Hand over the sockets on which the sidecar serves this network namespace, which has only a loopback."""
    names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    names.bind(("127.0.0.1", _DNS_PORT))
    listener = socket.create_server(("127.0.0.1", PROXY_PORT), backlog=512)
    places = (place.split(":") for place in lent)
    listeners = [listener, names, *(socket.create_server((host, int(port)), backlog=512) for host, port in places)]
    socket.send_fds(tie, [b"sockets\n"], [each.fileno() for each in listeners])


def _check_internet() -> None:
    """End the program unless the gateway is closed: without the rules it answers, or the connection times out."""
    for gateway in gateways():
        try:
            socket.create_connection((gateway, 1), _REACH_SECONDS).close()
        except OSError as error:
            if error.errno in _REFUSALS:
                continue
        _fail("your machine can be reached through its gateway")


def _check_nothing() -> None:
    """End the program unless this network is a loopback that works, and nothing else: a runtime may have its own."""
    if not _is_closed():
        _fail("there is a way out")
    try:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            socket.create_connection(listener.getsockname(), _REACH_SECONDS).close()
    except OSError as error:
        _fail(f"its loopback does not work ({error.strerror or error})")


def _is_closed() -> bool:
    """Return whether a connection to the outside is refused at once."""
    try:
        socket.create_connection(_OUTSIDE, _REACH_SECONDS).close()
    except OSError as error:
        return error.errno in _REFUSALS
    return False


def _check_allowlist(needed: str) -> None:
    if not _is_closed():
        _fail("there is a way out beside the proxy")
    if _ask_proxy(f"{SELF_TEST}:443") != "403":
        _fail("the proxy does not refuse what is not allowed")
    if needed != "-" and _ask_proxy(needed) != "200":
        print(f"confined-claude: {needed} cannot be reached; Claude Code needs it.", file=sys.stderr)


def _ask_proxy(target: str) -> str:
    """Return the status code of the proxy's answer to a CONNECT; empty if there is none in time."""
    try:
        with socket.create_connection(("127.0.0.1", PROXY_PORT), _REACH_SECONDS) as proxy:
            proxy.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode("ascii"))
            answer = proxy.recv(100).split()
    except OSError:
        return ""
    return answer[1].decode("ascii", "replace") if len(answer) > 1 else ""


def _leave(number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


def _fail(reason: str, hint: str = "Start it again.") -> NoReturn:
    print(f"confined-claude: The session's network is not as it should be: {reason}.\n{hint}", file=sys.stderr)
    sys.exit(_ENGINE_ERROR)
