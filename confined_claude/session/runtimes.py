"""Another runtime than the engine's own: gVisor's, one with a GPU, one that starts a virtual machine.

So may the engine itself be in one, as on macOS.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from ..engine import containers
from ..errors import EngineError
from ..settings import ENGINE, Settings
from ..state.facts import EngineFacts
from ..system import IS_WSL

# Names that the engine looks up itself, as programs on its machine.
_SHIM = "io.containerd."
# See https://github.com/containers/podman/issues/19338.
_WITH_DEVICES = (5, 4)


def refuse_missing(settings: Settings, engine: EngineFacts) -> None:
    """Raise EngineError unless the engine has the runtime of ``settings``, and heeds what they say of GPUs."""
    if settings.gpus != "none" and engine.podman:
        _refuse_without_devices(containers.version())
    runtime = settings.runtime
    if runtime == ENGINE:
        return
    if engine.podman:
        raise EngineError(
            "Podman has one runtime for all containers, and would not heed the setting `runtime`.",
            "Set it in Podman's containers.conf, and leave it out of these settings.",
        )
    found = names(containers.info())
    if runtime not in found and not runtime.startswith(_SHIM):
        raise EngineError(
            f"The engine has no runtime {runtime}; it has {', '.join(found) or 'none'}.",
            "Add it to `runtimes` in the engine's daemon.json and start that again, or change the setting `runtime`.",
        )


def _refuse_without_devices(version: Mapping[str, Any]) -> None:
    """Raise EngineError for a Podman that makes a container without the devices that its API is asked for."""
    if (numbers := containers.version_numbers(version, "Version")) and numbers < _WITH_DEVICES:
        raise EngineError(
            f"Podman {version.get('Version')} would not heed the setting `gpus`.",
            "Install Podman 5.4 or newer, or leave the setting out.",
        )


def names(info: Mapping[str, Any]) -> list[str]:
    """Return the names of the runtimes in an engine's answer to ``docker info``, its default first."""
    found = info.get("Runtimes")
    default = str(info.get("DefaultRuntime") or "")
    listed = sorted(str(name) for name in found) if isinstance(found, Mapping) else []
    return [*([default] if default in listed else []), *(name for name in listed if name != default)]


def refuse_ways(settings: Settings, pushes: Sequence[str], engine: EngineFacts) -> None:
    """Raise EngineError if the ``engine`` is in a virtual machine and ``settings`` ask for what sockets would do.

    Those are ``pushes`` to these addresses, and the ssh agent: no socket of this machine leads to its containers.
    """
    wanted = [*(["push"] if pushes else []), *(["ssh_agent"] if settings.ssh_agent else [])]
    if wanted and engine.kernel not in ("", os.uname().release):
        names = " and ".join(f"`{name}`" for name in wanted)
        raise EngineError(
            f"The engine is in a virtual machine, where {names} cannot work: it has another kernel, "
            "which no socket of your machine reaches.",
            f"Leave {names} out of your settings, or use an engine of your machine.",
        )


def shares_kernel(settings: Settings, engine: EngineFacts) -> bool:
    """Return whether a file has the same inode in the container as here: the kernel is the same, and so are mounts.

    Docker Desktop has this kernel in WSL, but in a system of its own. Raises EngineError.
    """
    if engine.has_foreign_runtime(settings.runtime) or engine.kernel != os.uname().release:
        return False
    return not (IS_WSL and containers.is_desktop(containers.info()))
