"""Where the engine is: the docker context in use, from the docker command's own variables and files."""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..environment import is_loopback
from ..errors import EngineError
from ..text import parse_json

DEFAULT_ADDRESS = "unix:///var/run/docker.sock"
_PROXIES = ("http", "https", "no", "ftp", "all")
_REMOTE_SCHEMES = ("tcp:", "http:", "https:", "ssh:")


def engine_address(environ: Mapping[str, str]) -> str:
    """Return the address of the engine in use, by ``DOCKER_HOST`` or docker context; empty for the default one.

    Raises EngineError for a context that is missing or damaged, and for an engine on another machine, which could
    not mount this machine's files.
    """
    address = environ.get("DOCKER_HOST") or _context_address(environ)
    if address.startswith(_REMOTE_SCHEMES) and not is_loopback(address):
        raise EngineError(
            "The docker context points to an engine on another machine, which cannot mount your files.",
            "Choose a local one with `docker context use`, or unset DOCKER_HOST.",
        )
    return address


def port_of(address: str) -> int:
    """Return the port at which an engine on this machine listens; 0 for one that does not."""
    _, _, port = address.rpartition(":")
    return int(port) if address.startswith(_REMOTE_SCHEMES) and port.isdecimal() else 0


def is_listening(address: str) -> bool:
    """Return whether something listens at a local engine's socket; True for any other kind of address."""
    scheme, _, path = address.partition("://")
    if scheme != "unix":
        return True
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
    return True


def context_name(environ: Mapping[str, str]) -> str:
    """Return the name of the docker context in use, which only counts without ``DOCKER_HOST``."""
    return environ.get("DOCKER_CONTEXT") or str(_configuration(environ).get("currentContext") or "default")


def proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that the docker command would give every container, by the ``proxies`` of its configuration.

    https://docs.docker.com/engine/cli/proxy/
    """
    all_of_them = _configuration(environ).get("proxies")
    if not isinstance(all_of_them, dict):
        return {}
    chosen = all_of_them.get(engine_address(environ) or DEFAULT_ADDRESS) or all_of_them.get("default")
    if not isinstance(chosen, dict):
        return {}
    named = {f"{kind}_proxy": str(value) for kind in _PROXIES if (value := chosen.get(f"{kind}Proxy"))}
    return {**named, **{name.upper(): value for name, value in named.items()}}


def _configuration(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the docker command's configuration. One that cannot be read counts as empty, as it does there."""
    config: Any = None
    with contextlib.suppress(OSError):
        config = parse_json((_docker_config(environ) / "config.json").read_bytes())
    return config if isinstance(config, dict) else {}


def _docker_config(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("DOCKER_CONFIG") or Path.home() / ".docker")


def _context_address(environ: Mapping[str, str]) -> str:
    name = context_name(environ)
    if name == "default":
        return ""
    directory = _docker_config(environ) / "contexts/meta" / hashlib.sha256(name.encode()).hexdigest()
    try:
        return str(json.loads((directory / "meta.json").read_bytes())["Endpoints"]["docker"]["Host"])
    except FileNotFoundError:
        message = f"There is no docker context called {name}."
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        message = f"The docker context {name} cannot be read."
    raise EngineError(message, "See `docker context ls`, and choose one with `docker context use` or DOCKER_CONTEXT.")
