"""The engines that are tried: on which Debian each runs, and how it starts there."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from helpers import PATIENCE

from .machine import UID, Machine

_RUN = f"/run/user/{UID}"
# What a machine without systemd needs, and one on which limits are low.
_CONTAINERS = """\
[containers]
default_ulimits = ["nofile=1024:4096", "nproc=1024:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
"""


_PODMAN_SERVICE = """
podman system service --time 0 unix:///run/podman/podman.sock &
while [ ! -S /run/podman/podman.sock ]; do sleep 0.1; done
chgrp "$1" /run/podman/podman.sock && chmod 660 /run/podman/podman.sock
wait
"""


@dataclass(frozen=True)
class Kind:
    """An engine, as ``start`` starts it on a machine of ``suite``; its socket is ``address``."""

    name: str
    suite: str
    address: str
    start: Callable[[Machine, Path], None]
    is_required: bool = True

    @property
    def variables(self) -> dict[str, str]:
        """The environment of somebody who uses it."""
        return {"DOCKER_HOST": f"unix://{self.address}", "XDG_RUNTIME_DIR": _RUN}

    @property
    def is_podman(self) -> bool:
        return "podman" in self.address

    @property
    def is_rootless(self) -> bool:
        return self.address.startswith(_RUN)

    @property
    def uid(self) -> int:
        """The uid that may use its own command."""
        return UID if self.is_rootless else 0

    @property
    def command(self) -> tuple[str, ...]:
        """The words with which its own command begins."""
        return ("podman", "--url", f"unix://{self.address}") if self.is_podman else ("docker",)

    def begin(self, machine: Machine, log: Path) -> None:
        """Start it, and return when it answers."""
        self.start(machine, log)
        deadline = time.monotonic() + PATIENCE
        while not self.version(machine):
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.2)

    def version(self, machine: Machine) -> str:
        """Return its version; empty if it does not answer."""
        words = ("version", "--format", "{{.Server.Version}}")
        return machine.run(*self.command, *words, uid=self.uid, check=False, **self.variables).strip()

    def load(self, machine: Machine, archive: Path) -> None:
        """Bring images there that ``docker save`` has put into a file, by their names there."""
        machine.run(*self.command, "load", "-i", str(archive), uid=self.uid, **self.variables)

    def __str__(self) -> str:
        return self.name


def _docker(machine: Machine, log: Path) -> None:
    machine.start("dockerd", "--group", str(UID), log=log)


def _rootless_docker(machine: Machine, log: Path) -> None:
    script = "/usr/share/docker.io/contrib/dockerd-rootless.sh"
    network = {"DOCKERD_ROOTLESS_ROOTLESSKIT_NET": "slirp4netns"}
    machine.start(script, log=log, uid=UID, XDG_RUNTIME_DIR=_RUN, **network)


def _configure_podman(machine: Machine) -> None:
    machine.run(
        "sh", "-c", 'mkdir -p /etc/containers && printf %s "$1" >/etc/containers/containers.conf', "sh", _CONTAINERS
    )


def _podman(machine: Machine, log: Path) -> None:
    _configure_podman(machine)
    machine.run("mkdir", "/run/podman")
    # Its unit has SocketGroup= for this.
    machine.run("chmod", "755", "/run/podman")
    machine.start("sh", "-c", _PODMAN_SERVICE, "sh", str(UID), log=log)


def _rootless_podman(machine: Machine, log: Path) -> None:
    _configure_podman(machine)
    address = f"unix://{_RUN}/podman.sock"
    machine.start("podman", "system", "service", "--time", "0", address, log=log, uid=UID, XDG_RUNTIME_DIR=_RUN)


KINDS = (
    Kind("Docker of Debian 12", "bookworm", "/var/run/docker.sock", _docker),
    Kind("Docker of Debian 13", "trixie", "/var/run/docker.sock", _docker),
    Kind("Docker of Debian sid", "sid", "/var/run/docker.sock", _docker, is_required=False),
    Kind("Docker of Debian 13, rootless", "trixie", f"{_RUN}/docker.sock", _rootless_docker),
    Kind("Podman of Debian 13", "trixie", "/run/podman/podman.sock", _podman),
    Kind("Podman of Debian 13, rootless", "trixie", f"{_RUN}/podman.sock", _rootless_podman),
)
