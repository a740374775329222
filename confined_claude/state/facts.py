"""What kind of engine this is: asked once after each start of the engine, as far as that shows, and recorded."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..engine import containers
from ..errors import ConfinedError
from ..fs.directory import Location
from ..settings import ENGINE
from ..text import parse_json, sha256

_FILE = "engine.json"
# How long an answer counts; and where nothing shows whether the engine has been started since.
_VALID_SECONDS, _UNSURE_SECONDS = 24 * 3600.0, 600.0
_PID_FILE = "docker.pid"
# Read by an engine when it starts, and some of it whenever it is told to.
_CONFIGURATIONS = (
    *("/etc/docker/daemon.json", "~/.config/docker/daemon.json"),
    *("/etc/containers/containers.conf", "~/.config/containers/containers.conf"),
)
_MOST_PLACES = 256
# 1: the engine has passed a check; before that there was none. 2: its default runtime.
_VERSION = 2
_SECCOMP = Path(containers.__file__).with_name("seccomp") / "profile.json"
# How engines name their default profile, or none: a profile that somebody has written for an engine is kept.
_REPLACEABLE = {f"name=seccomp,profile={name}" for name in ("default", "builtin", "unconfined")}

# Runtimes whose containers use this kernel and its networks, as engines without any other name them.
_ORDINARY = frozenset(("", "runc", "crun", "io.containerd.runc.v2"))

# Raises ConfinedError for an engine that gave these answers to ``docker info`` and ``docker version``.
Check = Callable[[Mapping[str, Any], Mapping[str, Any]], None]


class EngineFacts(NamedTuple):
    """Facts about an engine.

    Whose uids its containers have, whether SELinux labels keep them from files, whether it takes a seccomp profile from
    its client, by which runtime it starts them unless told otherwise, the release of its kernel, how much there is
    (bytes, processors), and what it limits.
    """

    podman: bool = False
    rootless: bool = False
    remaps_users: bool = False
    labels_files: bool = False
    takes_seccomp: bool = False
    default_runtime: str = ""
    kernel: str = ""
    memory: int = 1 << 33
    cpus: int = 1
    limits_pids: bool = True
    limits_memory: bool = True
    limits_swap: bool = True
    limits_cpus: bool = True

    @property
    def keeps_ids(self) -> bool:
        """Whether containers can have the caller's own uid although the engine is rootless."""
        return self.podman and self.rootless

    @property
    def maps_caller_to_root(self) -> bool:
        """Whether the caller is uid 0 in containers, and cannot be another."""
        return self.rootless and not self.podman

    def has_foreign_runtime(self, runtime: str) -> bool:
        """Return whether a session with the setting ``runtime`` may have a kernel, or a network stack, of its own."""
        return runtime != ENGINE or self.default_runtime not in _ORDINARY

    @property
    def isolation(self) -> tuple[str, ...]:
        """The arguments of ``docker create`` for every container: uids are the host's, system calls are filtered.

        With SELinux a container may open files of its own label only. Instead of giving that to the user's files, which
        would keep other programs from them, containers are kept out of it.
        """
        return (
            *(("--userns", "host") if self.remaps_users else ()),
            *(("--security-opt", "label=disable") if self.labels_files else ()),
            *(("--security-opt", f"seccomp={_SECCOMP}") if self.takes_seccomp else ()),
        )


def from_answers(info: Mapping[str, Any], version: Mapping[str, Any]) -> EngineFacts:
    """Return the facts in an engine's answers to ``docker info`` and ``docker version``."""
    options = [str(option) for option in info.get("SecurityOptions") or ()]
    default = EngineFacts()
    podman = containers.is_podman(version)
    rootless = "name=rootless" in options or info.get("Rootless") is True
    return EngineFacts(
        podman=podman,
        rootless=rootless,
        remaps_users="name=userns" in options,
        labels_files=any(option.partition(",")[0] == "name=selinux" for option in options),
        # Podman's API takes the path of a profile on its own machine instead.
        takes_seccomp=not podman and not _REPLACEABLE.isdisjoint(options),
        # Podman may name it by its path.
        default_runtime=str(info.get("DefaultRuntime") or "").rpartition("/")[2],
        kernel=str(info.get("KernelVersion") or ""),
        memory=int(info.get("MemTotal") or default.memory),
        cpus=int(info.get("NCPU") or default.cpus),
        limits_pids=_limits(info, "PidsLimit", "pids"),
        limits_memory=_limits(info, "MemoryLimit", "memory"),
        limits_swap=_limits(info, "SwapLimit", "memory"),
        limits_cpus=_limits(info, "CpuCfsQuota", "cpu"),
    )


def _limits(info: Mapping[str, Any], name: str, controller: str) -> bool:
    """Return whether an engine limits something: what Podman says itself is about the machine, not about its user."""
    controllers = info.get(containers.CONTROLLERS)
    return bool(info.get(name, True)) and (not isinstance(controllers, list) or controller in controllers)


def current_facts(
    state: Location,
    address: str,
    check: Check = lambda _info, _version: None,
    places: Iterable[Path] = (),
    *,
    record: bool = True,
) -> EngineFacts:
    """Return the facts of the engine at ``address``: those recorded in <state>, or what the engine answers.

    What was recorded before an engine was started again does not count: its socket is another, or, where systemd keeps
    that for it, the file with the number of its process. The answer is recorded if ``record``, and the engine has
    passed ``check``, which was about ``places``. Podman has to pass it for each place: it makes those that it lacks.
    Raises EngineError if the engine does not answer or is too old, and what ``check`` raises.
    """
    identity, is_sure = _identity(address)
    wanted = [sha256(bytes(place)) for place in places]  # no project is named where `eject` does not look
    passed: list[str] = []
    with contextlib.suppress(TypeError, LookupError):
        known = parse_json(state.read(_FILE))
        seconds = _VALID_SECONDS if is_sure else _UNSURE_SECONDS
        is_current = 0 <= time.time() - known["asked"] < seconds and known["version"] == _VERSION
        if identity and known["identity"] == identity and is_current:
            facts = EngineFacts(**{name: known["facts"][name] for name in EngineFacts._fields})
            passed = [str(place) for place in known["places"]]
            if not (record and facts.podman and set(wanted).difference(passed)):
                return facts
    info, version = containers.info(), containers.version()
    containers.refuse_too_old(version)
    facts = from_answers(info, version)
    if record:
        check(info, version)
        answer = {
            **{"identity": identity, "asked": time.time(), "facts": facts._asdict(), "version": _VERSION},
            "places": [*dict.fromkeys([*passed, *wanted])][-_MOST_PLACES:] if facts.podman else [],
        }
        with contextlib.suppress(OSError, ConfinedError), state.make() as directory:
            directory.write(_FILE, json.dumps(answer).encode())
    return facts


def _identity(address: str) -> tuple[list[Any], bool]:
    """Return what changes when the engine at ``address`` is another, and whether also each time that it is started.

    The first is empty if that cannot be found out.
    """
    scheme, _, path = address.partition("://")
    if scheme != "unix":
        return [], False
    try:
        status = Path(path).stat()
    except OSError:
        return [], False
    process = _sign(Path(path).with_name(_PID_FILE))
    configured = [_sign(Path(place).expanduser()) for place in _CONFIGURATIONS]
    return [address, status.st_dev, status.st_ino, status.st_ctime_ns, process, configured], process is not None


def _sign(path: Path) -> list[int] | None:
    """Return what changes when a file is written again; None for one that cannot be looked at."""
    try:
        status = path.stat()
    except OSError:
        return None
    return [status.st_ino, status.st_mtime_ns]
