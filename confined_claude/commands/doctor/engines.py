"""What is said of an engine: its address and its answers. But for ``ask`` and ``context`` pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...engine import command as client
from ...engine import context as docker_context
from ...host import Host
from ...project import Project
from ...session import limits
from ...settings import Settings
from ...state import facts as engine_facts
from .lines import OK, WARNING, Line
from .vulnerabilities import components, known_holes

# A busy engine is slow, one that hangs never answers.
_SECONDS = 15


@dataclass(frozen=True)
class Answers:
    """What an engine answered to ``docker version`` and ``docker info``."""

    version: Mapping[str, Any]
    info: Mapping[str, Any]


def ask() -> Answers:
    """Ask the engine in use. Raises EngineError if there is none that answers soon."""
    return Answers(client.version(_SECONDS), client.info(_SECONDS))


def context(host: Host) -> Line:
    """Which engine is in use, and by what. Raises EngineError for a context that cannot be used."""
    address = docker_context.engine_address(host.environ) or docker_context.DEFAULT_ADDRESS
    by = "DOCKER_HOST" if host.environ.get("DOCKER_HOST") else f"context {docker_context.context_name(host.environ)}"
    # An address may hold a password.
    return Line("context", OK, f"{by}, {re.sub(r'//[^/@]*@', '//', address)}")


def engine(answers: Answers) -> Line:
    version, api = (answers.version.get(name, "?") for name in ("Version", "ApiVersion"))
    name = "Podman" if _is_podman(answers.version) else "Docker"
    return Line("engine", OK, f"{name} {version}, API {api}")


def mode(version: Mapping[str, Any], info: Mapping[str, Any]) -> Line:
    """What kind of engine it is. Those that are not tested are a warning."""
    facts = engine_facts.from_info(info)
    desktop = "Docker Desktop" in f"{info.get('OperatingSystem')} {(version.get('Platform') or {}).get('Name')}"
    words = ["Podman"] if _is_podman(version) else ["Docker Desktop"] if desktop else []
    words.append("rootless" if facts.rootless else "rootful")
    if facts.remaps_users:
        words.append("with userns-remap, which sessions are kept out of")
    if desktop or facts.rootless or _is_podman(version):
        return Line("mode", WARNING, f"{', '.join(words)}: not tested", "What is tested is Docker Engine, rootful.")
    return Line("mode", OK, ", ".join(words))


def versions(version: Mapping[str, Any], info: Mapping[str, Any]) -> Line:
    """Whether a part of the engine has a version with known holes."""
    if found := list(known_holes(version, info)):
        return Line(
            "versions",
            WARNING,
            "; ".join(f"{name} {its_version} has {holes}" for name, its_version, holes in found),
            "Bring the engine up to date. A distribution's package may be mended in an older version: "
            "its changelog names what is.",
        )
    known = components(version)
    parts = [f"{name} {known[name]}" for name in ("containerd", "runc") if known.get(name)]
    return Line("versions", OK, ", ".join(["no known holes", *parts]))


def kernel(info: Mapping[str, Any], settings: Settings) -> Line:
    """What of a session the engine's kernel cannot limit."""
    facts = engine_facts.from_info(info)
    missing = limits.missing(settings, facts)
    if facts.limits_memory and not facts.limits_swap:
        missing.append("swap")
    if not missing:
        return Line("limits", OK, f"cgroup v{info.get('CgroupVersion') or 1}, all are kept")
    cure = (
        "Let systemd delegate these controllers to you; `docker info` names what is missing."
        if facts.rootless
        else "Boot the kernel with `cgroup_enable=memory swapaccount=1`; `docker info` names what is missing."
    )
    return Line("limits", WARNING, f"this engine's kernel cannot limit {', '.join(missing)}", cure)


def users(info: Mapping[str, Any], host: Host, here: Project | None) -> Line:
    """Whose the files are that sessions make."""
    facts = engine_facts.from_info(info)
    owner = here.root.stat().st_uid if here is not None else host.uid
    if owner != host.uid:
        what = f"the project belongs to uid {owner}, and files of sessions to you, uid {host.uid}"
        return Line("users", WARNING, what, "Work in it as its owner, or make it yours.")
    if facts.rootless:
        return Line("users", OK, "sessions are uid 0 inside, which is you; their files are yours")
    if host.uid == 0:
        what = "you are root, so sessions are uid 0 inside; their files are root's"
        return Line("users", WARNING, what, "Work as another user, see SECURITY.md.")
    return Line("users", OK, f"sessions are uid {host.uid}, gid {host.gid}; their files are yours")


def root_folder(answers: Answers) -> Path | None:
    """The engine's own folder if that is on this machine, None if it cannot be told."""
    folder = Path(str(answers.info.get("DockerRootDir") or ""))
    has_own_disk = "Docker Desktop" in str(answers.info.get("OperatingSystem"))
    return folder if folder.is_absolute() and folder.is_dir() and not has_own_disk else None


def _is_podman(version: Mapping[str, Any]) -> bool:
    return any("Podman" in name for name in components(version))
