"""What differs between the systems that the tool runs on: Linux, which WSL2 is too, and macOS."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

APP = "confined-claude"
IS_LINUX, IS_MAC = sys.platform == "linux", sys.platform == "darwin"
IS_WSL = IS_LINUX and "microsoft" in os.uname().release.lower()
# Where Claude Code (2.1.332) has the settings of administrators.
CLAUDE_MANAGED = Path("/Library/Application Support/ClaudeCode" if IS_MAC else "/etc/claude-code")

# Where engines listen for one user: below XDG_RUNTIME_DIR, or below the home directory.
_OF_HOME = {
    "Docker Desktop": ".docker/run/docker.sock",
    "Docker Desktop for Linux": ".docker/desktop/docker.sock",
    "OrbStack": ".orbstack/run/docker.sock",
    "Colima": ".colima/default/docker.sock",
    "Lima": ".lima/docker/sock/docker.sock",
    "Rancher Desktop": ".rd/docker.sock",
    "Podman": ".local/share/containers/podman/machine/podman.sock",
}
_OF_RUNTIME = {"Docker, rootless": "docker.sock", "Podman, rootless": "podman/podman.sock"}


def directories(home: Path, environ: Mapping[str, str]) -> tuple[Path, Path, Path]:
    """Return where the tool keeps its data, its state and its configuration: by the XDG variables, on macOS too.

    There version 0.1 had all three in one directory; where that is, it stays.
    """
    earlier = home / "Library/Application Support" / APP
    if IS_MAC and earlier.is_dir():
        return earlier, earlier, earlier
    defaults = {"XDG_DATA_HOME": ".local/share", "XDG_STATE_HOME": ".local/state", "XDG_CONFIG_HOME": ".config"}
    given = {name: Path(environ.get(name, "")) for name in defaults}
    bases = (given[name] if given[name].is_absolute() else home / path for name, path in defaults.items())
    data, state, config = (base / APP for base in bases)
    return data, state, config


def engine_sockets(environ: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    """Yield the engines that may listen for this user alone, and the socket of each."""
    for variable, sockets in (("XDG_RUNTIME_DIR", _OF_RUNTIME), ("HOME", _OF_HOME)):
        if (base := Path(environ.get(variable, ""))).is_absolute():
            yield from ((name, base / path) for name, path in sockets.items())
