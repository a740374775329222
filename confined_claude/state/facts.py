"""What kind of engine this is: asked once after each start of the engine, and recorded in <state>."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ..engine import command
from ..errors import ConfinedError
from ..fs.directory import Location
from ..text import parse_json

_FILE = "engine.json"
_VALID_SECONDS = 24 * 3600.0


@dataclass(frozen=True)
class EngineFacts:
    """Facts about an engine: whose uids its containers have, how much there is (bytes, processors), what it limits."""

    rootless: bool = False
    remaps_users: bool = False
    memory: int = 1 << 33
    cpus: int = 1
    limits_pids: bool = True
    limits_memory: bool = True
    limits_swap: bool = True
    limits_cpus: bool = True

    @property
    def namespaces(self) -> tuple[str, ...]:
        """The arguments of ``docker create`` with which a container's uids are those of the host."""
        return ("--userns", "host") if self.remaps_users else ()


def from_info(info: Mapping[str, Any]) -> EngineFacts:
    """Return the facts in an engine's answer to ``docker info``."""
    options = [str(option) for option in info.get("SecurityOptions") or ()]
    default = EngineFacts()
    return EngineFacts(
        rootless="name=rootless" in options,
        remaps_users="name=userns" in options,
        memory=int(info.get("MemTotal") or default.memory),
        cpus=int(info.get("NCPU") or default.cpus),
        limits_pids=bool(info.get("PidsLimit", True)),
        limits_memory=bool(info.get("MemoryLimit", True)),
        limits_swap=bool(info.get("SwapLimit", True)),
        limits_cpus=bool(info.get("CpuCfsQuota", True)),
    )


def current_facts(state: Location, address: str, *, record: bool = True) -> EngineFacts:
    """Return the facts of the engine at ``address``: those recorded in <state>, or what the engine answers.

    An engine that has been restarted has another socket, and what was recorded before does not count. The answer is
    recorded if ``record``. Raises EngineError if the engine does not answer.
    """
    identity = _identity(address)
    with contextlib.suppress(OSError, TypeError, LookupError):
        with state.open() as directory:
            known = parse_json(directory.read(_FILE))
        if identity and known["identity"] == identity and 0 <= time.time() - known["asked"] < _VALID_SECONDS:
            return EngineFacts(**{field.name: known["facts"][field.name] for field in fields(EngineFacts)})
    facts = from_info(command.info())
    if record:
        answer = {"identity": identity, "asked": time.time(), "facts": asdict(facts)}
        with contextlib.suppress(OSError, ConfinedError), state.make() as directory:
            directory.write(_FILE, json.dumps(answer).encode())
    return facts


def _identity(address: str) -> list[Any]:
    """Return what changes when the engine at ``address`` is another; empty if that cannot be found out."""
    scheme, _, path = address.partition("://")
    if scheme != "unix":
        return []
    try:
        status = Path(path).stat()
    except OSError:
        return []
    return [address, status.st_dev, status.st_ino, status.st_ctime_ns]
