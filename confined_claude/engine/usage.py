"""What containers take of memory and processor.

An engine needs a second for its answer, as it measures for itself. Where its containers are processes of this machine,
anyone can read the kernel's own figures.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

_CGROUPS = Path("/sys/fs/cgroup")
# Where Docker and Podman put a container, by its id: with cgroupfs, with systemd, and a rootless engine.
_PLACES = (
    "docker/{id}",
    "system.slice/docker-{id}.scope",
    "user.slice/user-{uid}.slice/user@{uid}.service/user.slice/docker-{id}.scope",
    "libpod_parent/libpod-{id}",
    "machine.slice/libpod-{id}.scope",
    "user.slice/user-{uid}.slice/user@{uid}.service/user.slice/libpod-{id}.scope",
)


class Usage(NamedTuple):
    """Bytes of memory, without what only caches files, and seconds of processor time since the start."""

    memory: int
    cpu_seconds: float


def of_container(identity: str, cgroups: Path = _CGROUPS) -> Usage | None:
    """Return the usage of a running container by its whole id; None if this machine's kernel does not report it."""
    for place in _PLACES:
        path = place.format(id=identity, uid=os.getuid())
        try:
            return _version_2(cgroups / path) if (cgroups / path).is_dir() else _version_1(cgroups, path)
        except (OSError, ValueError, LookupError):
            continue
    return None


def of_answer(answer: Mapping[str, Any]) -> Usage | None:
    """Return the usage in an engine's statistics; None if there is none, as for a container that has ended."""
    try:
        memory, cpu = answer["memory_stats"], answer["cpu_stats"]["cpu_usage"]["total_usage"]
        details = memory.get("stats", {})
        cached = details.get("total_inactive_file", details.get("inactive_file", 0))
        return Usage(memory["usage"] - cached, cpu / 1e9)
    except (LookupError, TypeError, AttributeError):
        return None


def _version_2(cgroup: Path) -> Usage:
    memory = int((cgroup / "memory.current").read_text()) - _table(cgroup / "memory.stat")["inactive_file"]
    return Usage(max(0, memory), _table(cgroup / "cpu.stat")["usage_usec"] / 1e6)


def _version_1(cgroups: Path, path: str) -> Usage:
    cgroup = cgroups / "memory" / path
    memory = int((cgroup / "memory.usage_in_bytes").read_text()) - _table(cgroup / "memory.stat")["total_inactive_file"]
    return Usage(max(0, memory), int((cgroups / "cpuacct" / path / "cpuacct.usage").read_text()) / 1e9)


def _table(file: Path) -> dict[str, int]:
    return {name: int(value) for name, value in (line.split() for line in file.read_text().splitlines())}
