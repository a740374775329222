"""The phases of a start, measured and printed if ``CONFINED_CLAUDE_TIMING=1``."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator

from .console import say

VARIABLE = "CONFINED_CLAUDE_TIMING"

# Python itself, and what it imports before this.
_MOST_SECONDS = 1.0

_imported = time.time()
_phases: list[tuple[str, float, float]] = []
_later: list[Callable[[], Iterable[tuple[str, float | None, float | None]]]] = []


def is_wanted() -> bool:
    """Return whether the user asks for the phases."""
    return os.environ.get(VARIABLE) == "1"


def process_start() -> float:
    """Return when this process started (seconds since 1970), to a hundredth; without /proc, when it began to import.

    A shell that has replaced itself by this program started long before, and that does not count.
    """
    try:
        with open("/proc/self/stat", "rb") as file:
            ticks = int(file.read().rpartition(b")")[2].split()[19])
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError):
        return _imported
    started = time.time() - age
    return started if _imported - _MOST_SECONDS < started < _imported else _imported


def note_imports() -> None:
    """Note everything from this process's start until now, most of which is Python's imports."""
    if is_wanted():
        note("imports", process_start(), time.time())


def note(name: str, began: float | None, ended: float | None) -> None:
    """Note a phase and its times (seconds since 1970), unless one of them is not known."""
    if began is not None and ended is not None:
        _phases.append((name, began, ended))


def note_later(phases: Callable[[], Iterable[tuple[str, float | None, float | None]]]) -> None:
    """Note the phases that ``phases`` returns, once everything is over: finding them out takes time as well."""
    _later.append(phases)


@contextlib.contextmanager
def phase(name: str) -> Iterator[None]:
    """Note the block as a phase. Phases may overlap: some work happens beside other work."""
    began = time.time()
    try:
        yield
    finally:
        note(name, began, time.time())


def report() -> None:
    """Print the phases if the user asks for them: when each began after this process did, and how long it took."""
    if not is_wanted():
        return
    start, end = process_start(), time.time()
    for phases in _later:
        for name, *times in phases():
            note(name, *times)
    say("phase                 began     took")
    for name, began, ended in sorted(_phases, key=lambda item: item[1]):
        say(f"{name:18} {began - start:8.3f} {ended - began:8.3f}")
    say(f"{'everything':18} {0:8.3f} {end - start:8.3f}")
