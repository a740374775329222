"""What kind of engine this is: asked once for each time the engine starts, and kept in ``<state>``."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ..errors import ConfinedError
from ..host import Host
from ..text import parse_json
from . import store

_FILE = "engine.json"
_SECONDS_KEPT = 24 * 3600.0


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
        """What of ``docker create`` keeps a container's uids those of the host."""
        return ("--userns", "host") if self.remaps_users else ()


def from_info(info: Mapping[str, Any]) -> EngineFacts:
    """The facts in an engine's answer to ``docker info``."""
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


def facts(host: Host, address: str, ask: Callable[[], Mapping[str, Any]], *, keep: bool = True) -> EngineFacts:
    """The facts of the engine at ``address``; ``ask`` gives its info, and may raise EngineError.

    An engine that has started again has another socket: what was kept of it before is not used. Nothing new
    is kept unless ``keep``.
    """
    identity = _identity(address)
    with contextlib.suppress(OSError, TypeError, LookupError):
        with store.location(host).open() as directory:
            kept = parse_json(directory.read(_FILE))
        if identity and kept["identity"] == identity and 0 <= time.time() - kept["asked"] < _SECONDS_KEPT:
            return EngineFacts(**{field.name: kept["facts"][field.name] for field in fields(EngineFacts)})
    known = from_info(ask())
    if not keep:
        return known
    record = {"identity": identity, "asked": time.time(), "facts": asdict(known)}
    with contextlib.suppress(OSError, ConfinedError), store.location(host).make() as directory:
        directory.write(_FILE, json.dumps(record).encode())
    return known


def _identity(address: str) -> list[Any]:
    """What changes when the engine at ``address`` is another; empty if that cannot be told."""
    scheme, _, path = address.partition("://")
    if scheme != "unix":
        return []
    try:
        status = Path(path).stat()
    except OSError:
        return []
    return [address, status.st_dev, status.st_ino, status.st_ctime_ns]
