"""How much memory a session takes on the host while it waits: the tool and what it has started.

The figure is the proportional set size (PSS): pages that processes share count in parts, also those that they share
with processes of others.
"""

from __future__ import annotations

import contextlib
import os
import pty
from collections.abc import Iterator, Sequence
from pathlib import Path

from .figures import Figure
from .place import Place, own

MANY = 20


def memory(place: Place, networks: Sequence[str], numbers: Sequence[int]) -> Iterator[Figure]:
    """Measure sessions that wait at a terminal, in each of ``networks``, each of these ``numbers`` at once."""
    for network in networks:
        for number in numbers:
            with contextlib.ExitStack() as stack:
                tools = [stack.enter_context(_session(place, count, network)) for count in range(number)]
                each = sum(map(kilobytes, tools)) / 1024 / number
            name = f"memory of one of {number} waiting sessions, {network}"
            yield Figure(name, (each,), "MB", limit=60, goal=30)


@contextlib.contextmanager
def _session(place: Place, number: int, network: str) -> Iterator[int]:
    """Have a session wait at a terminal of its own; yield the id of the tool's process."""
    project = place.home / f"waiting-{number}"
    project.mkdir(exist_ok=True)
    place.give()
    window, terminal = pty.openpty()
    command = own("shell", "--network", network, "--", "sh", "-c", "echo is up; read line")
    tool = place.start(command, project, terminal, variables={"TERM": "xterm"})
    os.close(terminal)
    with os.fdopen(window, "r+b", buffering=0) as opened:
        printed = b""
        while b"is up" not in printed:
            printed += opened.read(1 << 10)
        try:
            yield tool.pid
        finally:
            opened.write(b"\r")
            with contextlib.suppress(OSError):  # the end of a terminal
                while opened.read(1 << 10):
                    pass
            tool.wait()


def kilobytes(process: int) -> int:
    """Return the PSS of a process and of its children."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
    mine = next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return mine + sum(kilobytes(int(child)) for child in children)
