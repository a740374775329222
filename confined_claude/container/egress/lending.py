"""The sidecar of ``network = "internet"`` where something is lent, once the rules are set: it serves one session.

    egress.lending DIRECTORY HOST:PORT...

Its network is the session's, as that of internet.py is, and so are the rules. The names of the hosts that something is
lent to lead to the loopback there, where it listens; at the proxy's port it serves those who have a company's proxy.
DIRECTORY is as for allowlist.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from .allowlist import Sidecar, silence
from .internet import ADDRESS, JOIN_SECONDS
from .networks import PROXY_PORT
from .policy import Policy
from .proxy import Info

_BACKLOG = 512


def listen(endpoints: Sequence[str]) -> list[socket.socket]:
    """Return the sockets of the proxy and of each of ``endpoints``, whose names have to lead to this machine."""
    places = [("127.0.0.1", PROXY_PORT)]
    for endpoint in endpoints:
        host, _, port = endpoint.partition(":")
        places.append((socket.gethostbyname(host), int(port)))
    return [socket.create_server(place, backlog=_BACKLOG) for place in places]


def look_up_by_dns() -> None:
    """Have this process ask name servers first: /etc/hosts has it listen at the names of those that it connects to."""
    ctypes.CDLL(None).__nss_configure_lookup(b"hosts", b"dns files")


def find_upstreams(policy: Policy) -> dict[tuple[str, int], list[Info]]:
    """Return where the company's proxies are; one that has no address is left out.

    Later on it cannot be found out: the session's root can write the files by which names are looked up here.
    """
    found: dict[tuple[str, int], list[Info]] = {}
    for upstream in filter(None, (policy.upstream_http, policy.upstream_https)):
        with contextlib.suppress(OSError):
            place = (upstream.host, upstream.port)
            found[place] = list(socket.getaddrinfo(*place, type=socket.SOCK_STREAM))
    return found


def main(arguments: Sequence[str]) -> NoReturn:
    """Let one session join, and serve it to its end."""
    directory, *endpoints = arguments
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(ADDRESS)
            listener.listen(1)
            listener.settimeout(JOIN_SECONDS)
            sidecar = Sidecar(Path(directory))
            lender, policy = sidecar.lender(endpoints), sidecar.load()
            if policy is None:
                raise ValueError("config.json is missing")
            http, *lent = listen(endpoints)
            look_up_by_dns()
            upstreams = find_upstreams(policy)
            session, _ = listener.accept()
        print("joined", flush=True)
        silence()
        serving = sidecar.run(session, policy, [http, None, *lent], lender, upstreams)
        asyncio.new_event_loop().run_until_complete(serving)
    except (OSError, ValueError) as error:
        print(f"confined-claude's proxy: {error}", file=sys.stderr)
        os._exit(1)
    # Not sys.exit: that would wait for threads that still wait for a name server.
    os._exit(0)
