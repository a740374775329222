"""The arguments of ``docker create`` as what the engine's API takes: one description, printed or carried out. Pure.

The options are those that launches use; see "Create a container" in the engine's API.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .mount import mount_fields

_NANO = 10**9


class Creation:
    """A container as the API describes it, ``name`` apart, while its arguments are read one after the other."""

    def __init__(self) -> None:
        self.name = ""
        self.environment: dict[str, str] = {}
        self.config: dict[str, Any] = {"AttachStdout": True, "AttachStderr": True}
        self.host: dict[str, Any] = {}

    @property
    def body(self) -> dict[str, Any]:
        variables = [f"{name}={value}" for name, value in self.environment.items()]
        return {**self.config, "Env": variables, "HostConfig": self.host}

    def interactive(self) -> None:
        self.config |= {"OpenStdin": True, "StdinOnce": True, "AttachStdin": True}

    def env(self, value: str) -> None:
        name, _, text = value.partition("=")
        self.environment[name] = text

    def label(self, value: str) -> None:
        name, _, text = value.partition("=")
        self.config.setdefault("Labels", {})[name] = text

    def mount(self, value: str) -> None:
        options = mount_fields(value)
        self.host.setdefault("Mounts", []).append(
            {
                "Type": options["type"],
                "Source": options.get("source", ""),
                "Target": options["target"],
                "ReadOnly": "readonly" in options,
            }
        )

    def publish(self, value: str) -> None:
        address, port, inside = value.split(":")
        self.config.setdefault("ExposedPorts", {})[f"{inside}/tcp"] = {}
        bindings = self.host.setdefault("PortBindings", {}).setdefault(f"{inside}/tcp", [])
        bindings.append({"HostIp": address, "HostPort": port})

    def sysctl(self, value: str) -> None:
        name, _, setting = value.partition("=")
        self.host.setdefault("Sysctls", {})[name] = setting

    def ulimit(self, value: str) -> None:
        name, _, limit = value.partition("=")
        self.host.setdefault("Ulimits", []).append({"Name": name, "Soft": int(limit), "Hard": int(limit)})

    def security_opt(self, value: str) -> None:
        name, sign, path = value.partition("=")
        if name == "seccomp" and sign:
            value = f"seccomp={json.dumps(json.loads(Path(path).read_bytes()), separators=(',', ':'))}"
        self.host.setdefault("SecurityOpt", []).append(value)


def _put(where: str, key: str, convert: Callable[[str], Any] = str) -> Callable[[Creation, str], None]:
    def put(made: Creation, value: str) -> None:
        getattr(made, where)[key] = convert(value)

    return put


def _append(key: str) -> Callable[[Creation, str], None]:
    def append(made: Creation, value: str) -> None:
        made.host.setdefault(key, []).append(value)

    return append


_FLAGS: dict[str, Callable[[Creation], None]] = {
    "--tty": lambda made: made.config.update(Tty=True),
    "--interactive": Creation.interactive,
    "--read-only": lambda made: made.host.update(ReadonlyRootfs=True),
    "--rm": lambda made: made.host.update(AutoRemove=True),
}
_OPTIONS: dict[str, Callable[[Creation, str], None]] = {
    "--name": lambda made, value: setattr(made, "name", value),
    "--pull": lambda _made, _value: None,  # the API never does
    "--stop-signal": _put("config", "StopSignal"),
    "--hostname": _put("config", "Hostname"),
    "--entrypoint": _put("config", "Entrypoint", lambda value: [value]),
    "--user": _put("config", "User"),
    "--workdir": _put("config", "WorkingDir"),
    "--env": Creation.env,
    "--label": Creation.label,
    "--mount": Creation.mount,
    "--publish": Creation.publish,
    "--security-opt": Creation.security_opt,
    "--cap-add": _append("CapAdd"),
    "--cap-drop": _append("CapDrop"),
    "--add-host": _append("ExtraHosts"),
    "--dns": _append("Dns"),
    "--dns-search": _append("DnsSearch"),
    "--group-add": _append("GroupAdd"),
    "--volumes-from": _append("VolumesFrom"),
    "--network": _put("host", "NetworkMode"),
    "--sysctl": Creation.sysctl,
    "--ulimit": Creation.ulimit,
    "--runtime": _put("host", "Runtime"),
    "--gpus": _put("host", "DeviceRequests", lambda _all: [{"Count": -1, "Capabilities": [["gpu"]]}]),
    "--device": _put("host", "DeviceRequests", lambda name: [{"Driver": "cdi", "DeviceIDs": [name]}]),
    "--userns": _put("host", "UsernsMode"),
    "--log-driver": _put("host", "LogConfig", lambda value: {"Type": value}),
    "--pids-limit": _put("host", "PidsLimit", int),
    "--memory": _put("host", "Memory", int),
    "--memory-swap": _put("host", "MemorySwap", int),
    "--shm-size": _put("host", "ShmSize", int),
    "--cpus": _put("host", "NanoCpus", lambda value: round(float(value) * _NANO)),
}


def read_arguments(arguments: Sequence[str]) -> Creation:
    """Return the container that ``arguments`` of ``docker create`` describe.

    Raises LookupError for an option that is not known here.
    """
    made = Creation()
    words = iter(arguments)
    for word in words:
        if word in _FLAGS:
            _FLAGS[word](made)
        elif word.startswith("-"):
            _OPTIONS[word](made, next(words))
        else:
            made.config |= {"Image": word, "Cmd": list(words)}
    return made
