"""The engine's failures as errors: the one translation, from the words of its API and of the docker command."""

from __future__ import annotations

import contextlib
import os
import re

from ..errors import EngineError
from ..host import missing
from ..system import IS_MAC, IS_WSL, engine_sockets
from ..text import escape
from .context import address_in_use, is_listening, port_of, program_name

INSTALL_HINT = (
    "Install Docker Desktop, OrbStack or Colima."
    if IS_MAC
    else "Install Docker (Debian, Ubuntu: apt-get install docker.io) or run ./install.sh --with-engine."
)
_START = (
    "Start it: Docker Desktop, OrbStack or `colima start`"
    if IS_MAC
    else "Start it (`sudo systemctl start docker`, or `sudo service docker start`)"
)
_OF_WINDOWS = "start Docker Desktop on Windows and turn on its WSL integration"
PODMAN_HINT = (
    "`systemctl --user enable --now podman.socket`, and DOCKER_HOST=unix://$XDG_RUNTIME_DIR/podman/podman.sock."
)
# How long the engine may take for an answer.
SECONDS = 60
NOT_UNDERSTOOD = "its answer cannot be understood"
SEE_LOG = "See the engine's log."
SEE_LOG_OR_RESTART = "See its own log, or restart it."
_UNREACHABLE = r"(?i)(cannot|failed to|trying to) connect to|error during connect|docker endpoint"
# It is not seen at all; or it is on a file system that only its user may enter, as with FUSE, and NFS with root_squash.
OTHER_FILES = (
    "The engine sees other files than you do: it is in a virtual machine, a snap, or on another machine. Choose one of "
    "your machine (DOCKER_HOST or `docker context use`), or share that directory with it."
)
_HIDDEN_FILES = (
    "The engine may not enter that directory: its file system is for you alone (FUSE without `allow_other`, NFS with "
    "root_squash). Work in a directory on another file system, or mount this one differently."
)
_NO_GPU = (
    "The setting `gpus` needs a GPU on the engine's machine, and what brings it into containers: the NVIDIA Container "
    "Toolkit. Without it leave the setting out."
)
_NO_RUNTIME = (
    "The runtime's program is not there. Install it on the engine's machine, correct its path in the engine's "
    "daemon.json, or change the setting `runtime`."
)
_FULL = "[Nn]o space left on device"
# Where that is not about a disk: groups of processes, which the kernel counts, and file systems in memory.
_NO_GROUP = rf"(cgroup|control group).*{_FULL}"
_FULL_MEMORY = rf"(^|[^\w/.])(/var)?(/run|/dev/shm)/[^\s:]*: {_FULL}"
_FULL_DISK = f"{_FULL}|[Dd]isk quota exceeded"
DISK_HINT = "Free some disk space on the engine's disk and start again."
_NO_GROUP_HINT = (
    "The kernel takes no more control groups. End containers that nobody needs, or restart the engine's machine."
)
_MEMORY_HINT = (
    "A file system in memory on the engine's machine is full, see `df -h /run /dev/shm`. Free some space there."
)
_HINTS = (
    ("bind source path does not exist|[Mm]ounts denied|statfs .*no such", OTHER_FILES),
    ("creating mount source path|making volume mountpoint", OTHER_FILES),
    (r"(?s)mount.*(stat|mount|open|lstat) .*permission denied", _HIDDEN_FILES),
    ("execute nft", "Podman's networks need nftables: install it (Debian, Ubuntu: apt-get install nftables)."),
    (_NO_GROUP, _NO_GROUP_HINT),
    (_FULL_MEMORY, _MEMORY_HINT),
    (_FULL_DISK, DISK_HINT),
    (r"device driver .* with capabilities: \[\[gpu|GPU vendor|CDI devices", _NO_GPU),
    (r"fork/exec \S+: no such file|binary not installed|containerd-shim-.* (not found|does not exist)", _NO_RUNTIME),
    ("network .*not found", "See `{program} network ls` for the networks there are."),
)


def refused(doing: str, reason: str) -> EngineError:
    """Return the error for an engine that did not do something (``create the container``), with its ``reason``."""
    if is_unreachable(reason):
        return unreachable(reason)
    hint = hint_on(reason) or "See the engine's own log for more."
    return EngineError(f"The engine could not {doing}: {reason.strip().rstrip('.')}.", hint)


def hint_on(reason: str) -> str:
    """Return what to do about an engine's ``reason``; empty if that is not known."""
    found = next((hint for pattern, hint in _HINTS if re.search(pattern, reason)), "")
    return found.replace("{program}", program_name(os.environ)) if "{" in found else found


def is_disk_full(reason: str) -> bool:
    """Return whether the engine, or a program in a build of it, says that the engine's disk is full."""
    return re.search(_FULL_DISK, reason) is not None and not re.search(f"{_NO_GROUP}|{_FULL_MEMORY}", reason)


def is_unreachable(reason: str) -> bool:
    """Return whether the docker command says that there is no connection to the engine."""
    return re.search(_UNREACHABLE, reason) is not None


def unreachable(reason: str) -> EngineError:
    """Return the error for an engine that there is no connection to; ``reason`` is how the attempt failed."""
    try:
        is_podmans = program_name(os.environ) == "podman"
    except EngineError as error:
        return error
    if "permission denied" in reason.lower():
        hint = f"Use an engine of your own: {PODMAN_HINT}" if is_podmans else _permission_hint()
        return EngineError(f"You have no permission to use the {'Podman' if is_podmans else 'Docker'} engine.", hint)
    if is_podmans:
        return EngineError("The Podman engine does not answer.", f"Start it: {PODMAN_HINT}")
    import shutil  # only for this

    if hint := _another():
        return EngineError("The engine in use does not answer.", hint)
    has_docker = shutil.which("docker") is not None
    if not (has_docker or port_of(address_in_use(os.environ))):
        or_windows = f" Or {_OF_WINDOWS}." if IS_WSL else ""  # its docker command goes with it
        hint = f"Podman is here. Start its engine: {PODMAN_HINT}" if shutil.which("podman") else INSTALL_HINT
        hint += or_windows
        return EngineError(
            f"There is no Docker engine on your machine: {missing('the docker command', 'docker')}.", hint
        )
    host = os.environ.get("DOCKER_HOST")
    else_ = f", or correct DOCKER_HOST, which is {escape(host)}." if host else " and check `docker context ls`."
    name = "Docker engine" if has_docker else "engine in use"
    return EngineError(f"The {name} does not answer.", f"{_START}{f', or {_OF_WINDOWS}' if IS_WSL else ''}{else_}")


def _another() -> str:
    """Return how to take another engine that listens on this machine; empty if none does.

    None is taken unasked: it may be meant for other things, and have other files.
    """
    in_use = address_in_use(os.environ)
    for name, path in engine_sockets(os.environ):
        address = f"unix://{path}"
        if address != in_use and path.is_socket() and is_listening(address):
            return f"{name} listens at {path}: choose it with `docker context use`, or set DOCKER_HOST={address}."
    return ""


def _permission_hint() -> str:
    import grp
    import pwd

    with contextlib.suppress(KeyError):
        if pwd.getpwuid(os.getuid()).pw_name in grp.getgrnam("docker").gr_mem:
            return "You are a member of the group docker, but not in this login yet: log out and in again."
    return f"Run `sudo usermod -aG docker {os.environ.get('USER') or '$USER'}`, log out and in again."


def no_answer(seconds: float) -> EngineError:
    """Return the error for an engine that did not answer within ``seconds``."""
    return EngineError(f"The engine did not answer within {seconds:.0f} s.", SEE_LOG_OR_RESTART)
