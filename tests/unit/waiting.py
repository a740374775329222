"""Waiting for what nothing would tell."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

SECONDS = 120


def until(true: Callable[[], object]) -> None:
    """Wait for what comes soon, however busy the machine is; fail the test if it never does."""
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def has_ended(pid: int) -> bool:
    """Return whether a process has ended, also one that its parent has not waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True
