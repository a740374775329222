"""What containers take of memory and processor, read from the system's own account of them.

An engine takes a second for its answer, as it measures for itself; where its containers are processes of this
machine, the kernel's numbers are there to be read, by anyone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_CGROUPS = Path("/sys/fs/cgroup")
# Where engines put a container, by its id: with cgroupfs, with systemd, and a rootless one.
_PLACES = (
    "docker/{id}",
    "system.slice/docker-{id}.scope",
    "user.slice/user-{uid}.slice/user@{uid}.service/user.slice/docker-{id}.scope",
)


@dataclass(frozen=True)
class Usage:
    """Bytes of memory, without what is only cached of files, and seconds of processor time since the start."""

    memory: int
    cpu_seconds: float


def of_container(identity: str, cgroups: Path = _CGROUPS) -> Usage | None:
    """The usage of a running container by its whole id; None if this machine's kernel does not tell it."""
    for place in _PLACES:
        path = place.format(id=identity, uid=os.getuid())
        try:
            return _version_2(cgroups / path) if (cgroups / path).is_dir() else _version_1(cgroups, path)
        except (OSError, ValueError, LookupError):
            continue
    return None


def of_answer(answer: Mapping[str, Any]) -> Usage | None:
    """The usage in an engine's own statistics; None if there is nothing in them, as of a container that has ended."""
    try:
        memory, cpu = answer["memory_stats"], answer["cpu_stats"]["cpu_usage"]["total_usage"]
        details = memory.get("stats", {})
        cached = details.get("total_inactive_file", details.get("inactive_file", 0))
        return Usage(memory["usage"] - cached, cpu / 1e9)
    except (LookupError, TypeError, AttributeError):
        return None


def _version_2(folder: Path) -> Usage:
    cached = _table(folder / "memory.stat")["inactive_file"]
    memory = int((folder / "memory.current").read_text()) - cached
    return Usage(max(0, memory), _table(folder / "cpu.stat")["usage_usec"] / 1e6)


def _version_1(cgroups: Path, path: str) -> Usage:
    folder = cgroups / "memory" / path
    memory = int((folder / "memory.usage_in_bytes").read_text())
    cached = _table(folder / "memory.stat")["total_inactive_file"]
    return Usage(max(0, memory - cached), int((cgroups / "cpuacct" / path / "cpuacct.usage").read_text()) / 1e9)


def _table(file: Path) -> dict[str, int]:
    def pairs() -> Iterator[tuple[str, int]]:
        for line in file.read_text().splitlines():
            name, _, value = line.partition(" ")
            yield name, int(value)

    return dict(pairs())
