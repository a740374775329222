"""Checks of an engine by its answers. Pure, except for ``ask``, ``context`` and ``files``."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ...engine import containers as client
from ...engine import context as docker_context
from ...host import Host
from ...project import Project
from ...session import limits
from ...session import runtimes as session_runtimes
from ...settings import ENGINE, Settings
from ...state import facts as engine_facts
from ...state import sight
from ...state.facts import EngineFacts
from . import owners
from .results import Result, ok, warning
from .vulnerabilities import components, known_vulnerabilities

# A busy engine is slow, and one that hangs never answers.
_SECONDS = 15
_SNAP = "/var/snap/"
_NO_SNAP = (
    "Keep projects, and the data in XDG_DATA_HOME and XDG_STATE_HOME, in directories of your home that are not hidden; "
    "or remove the snap and install Docker (Debian, Ubuntu: apt-get install docker.io)."
)


class Answers(NamedTuple):
    """What an engine answered to ``docker version`` and ``docker info``."""

    version: Mapping[str, Any]
    info: Mapping[str, Any]

    @property
    def facts(self) -> EngineFacts:
        """What they say of the engine, as far as sessions depend on it."""
        return engine_facts.from_answers(self.info, self.version)


def ask() -> Answers:
    """Ask the engine in use. Raises EngineError if there is none that answers soon."""
    return Answers(client.version(_SECONDS), client.info(_SECONDS))


def context(host: Host) -> Result:
    """Return which engine is in use, and what chose it. Raises EngineError for a context that cannot be used."""
    address = docker_context.address_in_use(host.environ)
    by = "DOCKER_HOST" if host.environ.get("DOCKER_HOST") else f"context {docker_context.context_name(host.environ)}"
    # An address may contain a password.
    what = f"{by}, {re.sub(r'//[^/@]*@', '//', address)}"
    if fault := docker_context.configuration_fault(host.environ):
        return warning(f"{what}; {fault.rstrip('.')}, so it is ignored", "Correct that file, or remove it.")
    return ok(what)


def engine(answers: Answers) -> Result:
    """Return which engine it is. Raises EngineError if it is too old."""
    version, api = (answers.version.get(name, "?") for name in ("Version", "ApiVersion"))
    name = "Podman" if client.is_podman(answers.version) else "Docker"
    client.refuse_too_old(answers.version)
    return ok(f"{name} {version}, API {api}")


def mode(answers: Answers) -> Result:
    """Return what kind of engine it is, as a warning if that kind is not tested."""
    version, info = answers
    facts = answers.facts
    desktop = client.is_desktop(info) or "Docker Desktop" in str((version.get("Platform") or {}).get("Name"))
    words = ["Podman"] if facts.podman else ["Docker Desktop"] if desktop else []
    words.append("rootless" if facts.rootless else "rootful")
    if facts.remaps_users:
        words.append("with userns-remap, which does not apply to sessions")
    if facts.labels_files:
        words.append("with SELinux; sessions run without labels, so none of your files is relabelled")
    if str(info.get("DockerRootDir")).startswith(_SNAP):
        return warning(f"{', '.join(words)}, from a snap: it sees only part of your machine's files", _NO_SNAP)
    if desktop:
        return warning(f"{', '.join(words)}: not tested", "What is tested is in docs/reference/machines.md.")
    return ok(", ".join(words))


def runtimes(answers: Answers, settings: Settings) -> Result:
    """List the engine's runtimes. Raises EngineError if it lacks what the settings name."""
    session_runtimes.refuse_missing(settings, answers.facts)
    default, *others = session_runtimes.names(answers.info) or ["unknown"]
    chosen = f"; sessions have {settings.runtime}" if settings.runtime != ENGINE else ""
    return ok(f"{', '.join((f'{default} (its default)', *others))}{chosen}")


def versions(answers: Answers) -> Result:
    """Check for versions of the engine's parts with known vulnerabilities."""
    if found := list(known_vulnerabilities(*answers)):
        return warning(
            "; ".join(f"{name} {its_version} has {names}" for name, its_version, names in found),
            "Update the engine. A distribution may have fixed this in an older version: see its changelog.",
        )
    known = components(answers.version)
    parts = [f"{name} {known[name]}" for name in ("containerd", "runc") if known.get(name)]
    return ok(", ".join(["no known vulnerabilities", *parts]))


def system_calls(answers: Answers) -> Result:
    """Check that sessions get the tool's own seccomp profile."""
    if answers.facts.takes_seccomp:
        return ok("sessions have this tool's own seccomp profile")
    listed = [str(option) for option in answers.info.get("SecurityOptions") or ()]
    if not any(option.startswith("name=seccomp") for option in listed):
        what, hint = "this engine filters no system calls", "The engine and its kernel need seccomp for that."
    else:
        what = "sessions have this engine's own seccomp profile, which may let them talk to a hypervisor (vsock)"
        hint = "Docker takes this tool's profile, unless it is configured with `seccomp-profile`."
    return warning(what, hint)


def kernel(answers: Answers, settings: Settings) -> Result:
    """Check that the engine's kernel can limit what sessions use."""
    facts = answers.facts
    missing = limits.missing(settings, facts)
    if facts.limits_memory and not facts.limits_swap:
        missing.append("swap")
    if not missing:
        return ok(f"cgroup v{answers.info.get('CgroupVersion') or 1}, every limit works")
    cure = (
        "Let systemd delegate these controllers to you"
        if facts.rootless
        else "Boot the kernel with `cgroup_enable=memory swapaccount=1`"
    )
    told = f"`{docker_context.program_name(os.environ)} info` names what is missing"
    return warning(f"this engine's kernel cannot limit {', '.join(missing)}", f"{cure}; {told}.")


def users(answers: Answers, host: Host, here: Project | None) -> Result:
    """Check that the files which sessions make belong to the user, who may make them."""
    if here is not None and here.root.stat().st_uid != host.uid:
        return owners.others_project(here, host)
    if answers.facts.maps_caller_to_root:
        return ok("sessions are uid 0 inside, which is you; their files are yours")
    if host.uid == 0:
        what = "you are root, so sessions are uid 0 inside; their files are root's"
        return warning(what, "Work as another user, see SECURITY.md.")
    return ok(f"sessions are uid {host.uid}, gid {host.gid}; their files are yours")


def files(answers: Answers, host: Host, here: Project | None) -> Result:
    """Check that the engine has this machine's files. Raises EngineError with what it has instead."""
    address = docker_context.address_in_use(host.environ)
    root = None if here is None else here.root
    with contextlib.ExitStack() as stack:
        if not host.state.is_dir():  # no command has made it, nor does this one
            near = next(place for place in host.state.parents if place.is_dir())
            host = host._replace(state=Path(stack.enter_context(tempfile.TemporaryDirectory(dir=near))))
        places = () if root is None else (root,)
        sight.check(host, address, answers.info, answers.version, places, is_recorded=False)
    return ok("the engine has your machine's files" if root is None else "the engine sees the project")


def root_directory(answers: Answers) -> Path | None:
    """Return the engine's own directory, if that is known and on this machine."""
    root = Path(str(answers.info.get("DockerRootDir") or ""))
    return root if root.is_absolute() and root.is_dir() and not client.is_desktop(answers.info) else None
