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
    """Return the name of the docker context in use, which only counts without ``DOCKER_HOST``.

    A configuration of docker's that cannot be read counts as empty, as it does for the docker command.
    """
    if name := environ.get("DOCKER_CONTEXT"):
        return name
    config: Any = None
    with contextlib.suppress(OSError):
        config = parse_json((_docker_config(environ) / "config.json").read_bytes())
    return str(config.get("currentContext") or "default") if isinstance(config, dict) else "default"


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
