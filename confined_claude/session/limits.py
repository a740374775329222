"""What a session may take of the machine: processes, memory, processors. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ..settings import Settings
from ..state.facts import EngineFacts

_UNITS = {"m": 1 << 20, "g": 1 << 30}
# The engine refuses less than 6 MiB; a session needs much more.
_LEAST_MEMORY = 64 << 20
_LEAST_CPUS = 0.1
_LEAST_SHM = 1 << 20
# What the entrypoint, the package helper and Claude Code come to.
_LEAST_PIDS = 64


def arguments(settings: Settings, facts: EngineFacts) -> Iterator[str]:
    """Yield the arguments of ``docker create`` that limit a session.

    The lowest of each limit counts, the user's or the project's. What the engine's kernel cannot limit is left out, and
    so is what would be all of the machine: the kernel shares processors fairly by itself.
    """
    if facts.limits_pids:
        yield from ("--pids-limit", str(max(_LEAST_PIDS, min(map(int, settings.pids)))))
    memory = max(_LEAST_MEMORY, min(_bytes(value, facts.memory) for value in settings.memory))
    if facts.limits_memory and memory < facts.memory:
        # Without swap of its own beyond that: swapping is what makes the whole machine slow.
        yield from ("--memory", str(memory), *(["--memory-swap", str(memory)] if facts.limits_swap else []))
    # Browsers keep their pages' pictures there, and die where it is full. What is in it counts as the session's memory.
    yield from ("--shm-size", str(max(_LEAST_SHM, min(_bytes(value, facts.memory) for value in settings.shm))))
    cpus = max(_LEAST_CPUS, min(_number(value, facts.cpus) for value in settings.cpus))
    if facts.limits_cpus and cpus < facts.cpus:
        yield from ("--cpus", f"{cpus:.2f}")


def missing(settings: Settings, facts: EngineFacts) -> list[str]:
    """Return the names of the limits that the engine's kernel cannot enforce."""
    enforced = {"pids": facts.limits_pids, "memory": facts.limits_memory, "cpus": facts.limits_cpus}
    has_own_cpus = settings.cpus != Settings().cpus
    return [name for name, is_enforced in enforced.items() if not is_enforced and (name != "cpus" or has_own_cpus)]


def _bytes(value: str, whole: int) -> int:
    if value.endswith("%"):
        return whole * int(value[:-1]) // 100
    return int(value[:-1]) * _UNITS[value[-1].lower()]


def _number(value: str, whole: int) -> float:
    return whole * int(value[:-1]) / 100 if value.endswith("%") else float(value)
