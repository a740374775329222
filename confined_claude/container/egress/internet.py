"""The sidecar of ``network = "internet"``, once the rules are set: it lets one session join, and ends with it.

Sessions whose own start cannot be trusted with the rules have one: its network is theirs, and nothing of a session, its
root included, can change the rules in it. Its container is started meanwhile; the entrypoint there waits for this.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence
from typing import NoReturn

from .networks import SIDECARS

# In the network that the session's container joins: whatever can connect there is behind the rules.
ADDRESS = SIDECARS["internet"]
JOIN_SECONDS = 60
_NOBODY = 65534


def main(_arguments: Sequence[str]) -> NoReturn:
    """Let one session join, and become a small process that ends when the session does."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(ADDRESS)
        listener.listen(1)
        listener.settimeout(JOIN_SECONDS)
        os.setgroups([])
        os.setgid(_NOBODY)
        os.setuid(_NOBODY)
        try:
            session, _ = listener.accept()
        except TimeoutError:
            sys.exit("no session has come")
    session.settimeout(None)
    print("joined", flush=True)
    session.sendall(b"ready\n")
    # The session keeps its end open as long as it lives. The process that waits is small: there may be many.
    os.dup2(session.fileno(), 0)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.execv("/bin/cat", ["cat"])  # noqa: S606
