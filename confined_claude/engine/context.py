"""Where the engine is: the docker context in use, from the docker command's own variables and files."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ConfinedError, EngineError
from ..fs.directory import read_config
from ..text import as_dict, escape, parse_json, sha256

DEFAULT_ADDRESS = "unix:///var/run/docker.sock"
_PROXIES = ("http", "https", "no", "all")
_REMOTE_SCHEMES = ("tcp:", "http:", "https:", "ssh:")


def address_in_use(environ: Mapping[str, str]) -> str:
    """Return the address of the engine in use, by ``DOCKER_HOST`` or docker context, as ``SCHEME://PLACE``.

    Raises EngineError for a context that is missing or damaged, for a path in place of an address, for a pipe of
    Windows, and for an engine on another machine, which could not mount this machine's files.
    """
    address = environ.get("DOCKER_HOST") or _context_address(environ)
    if address.startswith("/"):  # docker takes it for a machine without a name
        path = escape(address)
        otherwise = "unset it" if environ.get("DOCKER_HOST") else "choose another context with `docker context use`"
        raise EngineError(f"The engine's address is a path: {path}.", f"Set DOCKER_HOST=unix://{path}, or {otherwise}.")
    address = _normalized(address)
    if address.startswith(_REMOTE_SCHEMES):
        from ..environment import is_loopback  # most engines listen at a socket

        if not is_loopback(address):
            raise EngineError(
                "The docker context points to an engine on another machine, which cannot mount your files.",
                "Choose a local one with `docker context use`, or unset DOCKER_HOST.",
            )
    if address.startswith("npipe:"):
        raise EngineError(
            "The docker context points to a Windows pipe, which programs in WSL cannot reach.",
            "Turn on WSL integration in Docker Desktop's settings, then choose `docker context use default`.",
        )
    return address


def _normalized(address: str) -> str:
    """Return what the docker command takes an ``address`` for: without a scheme it is one of TCP."""
    address = address.strip()
    if address in ("", "unix://"):
        return DEFAULT_ADDRESS
    return address if "://" in address else f"tcp://{address}"


def program_name(environ: Mapping[str, str]) -> str:
    """Return the name of the command of the engine in use, for what people are told: podman, or else docker.

    It is judged by the name of the socket, to which the package podman-docker has a link. Raises EngineError as
    ``address_in_use`` does.
    """
    scheme, _, place = address_in_use(environ).partition("://")
    path = os.path.realpath(place) if scheme == "unix" else place
    return "podman" if "podman" in path.rpartition("/")[2] else "docker"


def port_of(address: str) -> int:
    """Return the port at which an engine on this machine listens; 0 for one that does not."""
    if address.startswith(_REMOTE_SCHEMES):
        from urllib.parse import urlsplit

        with contextlib.suppress(ValueError):
            return urlsplit(address).port or 0
    return 0


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


def with_proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """Return ``environ`` with the proxies of the docker command's configuration for which it has no variable.

    The docker command gives them to every container, https://docs.docker.com/engine/cli/proxy/.
    """
    found: dict[str, str] = {}
    every = as_dict(_configuration(environ).get("proxies"))
    chosen = as_dict(every and (every.get(address_in_use(environ)) or every.get("default")))
    for kind in _PROXIES:
        names = (f"{kind}_proxy", f"{kind}_proxy".upper())
        if (value := chosen.get(f"{kind}Proxy")) and not any(map(environ.get, names)):
            found |= dict.fromkeys(names, str(value))
    return {**environ, **found}


def configuration_fault(environ: Mapping[str, str]) -> str:
    """Return why the docker command's configuration does not count; empty if it does, or there is none."""
    path = _configuration_file(environ)
    try:
        text = read_config(path)
    except ConfinedError as error:
        return error.message
    return "" if text is None or isinstance(parse_json(text), dict) else f"{path} is damaged."


def _configuration(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the docker command's configuration. One that cannot be read counts as empty, as it does there."""
    with contextlib.suppress(ConfinedError):
        return as_dict(parse_json(read_config(_configuration_file(environ))))
    return {}


def _configuration_file(environ: Mapping[str, str]) -> Path:
    return _docker_config(environ) / "config.json"


def _docker_config(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("DOCKER_CONFIG") or Path.home() / ".docker")


def _context_address(environ: Mapping[str, str]) -> str:
    name = context_name(environ)
    if name == "default":
        return ""
    directory = _docker_config(environ) / "contexts/meta" / sha256(name.encode())
    try:
        return str(json.loads((directory / "meta.json").read_bytes())["Endpoints"]["docker"]["Host"])
    except FileNotFoundError:
        message = f"There is no docker context called {name}."
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        message = f"The docker context {name} cannot be read."
    raise EngineError(message, "See `docker context ls`, and choose one with `docker context use` or DOCKER_CONTEXT.")
