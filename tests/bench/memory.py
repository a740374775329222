"""How much memory a session takes on the host while it waits: the tool and its docker commands.

    python tests/bench/memory.py

Needs an engine and the image. All it makes is in a HOME of its own, and goes at the end. The figure is the proportional
set size (PSS): pages that processes share count in parts, also those that they share with processes of others.
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

NETWORKS = ("open", "internet", "allowlist")
SESSIONS = 20
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@contextlib.contextmanager
def session(home: Path, number: int, network: str) -> Iterator[int]:
    """A session at a terminal of its own that waits; yields the id of the tool's process."""
    project = home / f"project-{number}"
    project.mkdir(exist_ok=True)
    window, terminal = pty.openpty()
    command = [str(Path(sys.executable).with_name("confined-claude")), "shell", "--network", network]
    tool = subprocess.Popen(
        [*command, "--", "sh", "-c", "echo is up; read line"],
        cwd=project,
        env={"HOME": str(home), "PATH": SYSTEM_PATH, "TERM": "xterm"},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
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


def kilobytes(pid: int) -> int:
    """The PSS of a process and of its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    own = next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return own + sum(kilobytes(int(child)) for child in children)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="confined-claude-bench-") as directory:
        home = Path(directory).resolve()
        for network in NETWORKS:
            for number in (1, SESSIONS):
                with contextlib.ExitStack() as stack:
                    tools = [stack.enter_context(session(home, count, network)) for count in range(number)]
                    each = sum(map(kilobytes, tools)) / 1024 / number
                print(json.dumps({"what": "memory", "network": network, "sessions": number, "MB each": round(each, 1)}))


if __name__ == "__main__":
    main()
