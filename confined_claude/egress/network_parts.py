"""What the networks of sessions are put together from: arguments and words, by the settings. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

from ..container.egress.networks import CLOSED, PROXY_PORT
from ..engine import labels
from ..environment import HOST_GATEWAY, PROXIES
from ..state.facts import EngineFacts
from ..system import APP
from ..workspace import Workspace
from . import endpoints, ports
from .ports import Published

# The engine's own way to the host: what listens on its bridge, too. The other name leads to the session's relays.
_BRIDGE = "gateway.docker.internal"
# What an allowlist's sidecar has for itself.
_PROXY_PORTS = frozenset((PROXY_PORT, 53))


def sidecar_name(key: str) -> str:
    """Return the name of the sidecar of the session ``key``."""
    return f"{APP}-net-{key}"


class _Planned(NamedTuple):
    workspace: Workspace
    key: str
    image: str
    blocked_networks: Sequence[str]
    engine: EngineFacts
    published: Sequence[Published]
    lent: Sequence[tuple[str, int]]


class NetworkParts(_Planned):
    """The parts of one session's network, see ``plan_egress``."""

    @cached_property
    def relayed(self) -> tuple[int, ...]:
        """The ports of this machine that the session has on its own loopback: set by the user, or in an endpoint."""
        mode, wanted = self.workspace.settings.network, {int(port) for port in self.workspace.settings.host_ports}
        if mode == "none":
            return ()
        # With an allowlist the proxies are the sidecar's to reach, and two ports are its own.
        own = {
            name: value
            for name, value in endpoints.variables(self.workspace.host.environ).items()
            if mode != "allowlist" or name not in PROXIES
        }
        wanted.update(port for host, port in endpoints.pairs(own) if host == HOST_GATEWAY)
        return tuple(sorted(wanted - (_PROXY_PORTS if mode == "allowlist" else set())))

    @cached_property
    def named_endpoints(self) -> list[tuple[str, int]]:
        """The hosts and ports that the environment names, as a proxy or an API: a session reaches them in any case."""
        return endpoints.named_endpoints(self.workspace.host.environ)

    @property
    def needs_host_name(self) -> bool:
        """Whether a sidecar needs the name of this machine: the settings or the environment name a port of it."""
        return bool(self.workspace.settings.host_ports) or any(host == HOST_GATEWAY for host, _ in self.named_endpoints)

    @cached_property
    def lending_addresses(self) -> dict[str, str]:
        """Where on the session's loopback each host is that something is lent to: not every program uses a proxy."""
        found = dict.fromkeys(host for host, _ in self.lent)
        return {host: f"127.1.0.{number}" for number, host in enumerate(found, 1)}

    @property
    def lending_aliases(self) -> list[str]:
        """The arguments by which a container finds the hosts that something is lent to at ``lending_addresses``."""
        return [word for host, place in self.lending_addresses.items() for word in ("--add-host", f"{host}:{place}")]

    @property
    def lent_endpoints(self) -> tuple[str, ...]:
        """What something is lent to, as a sidecar is told it."""
        return tuple(f"{host}:{port}" for host, port in self.lent)

    @property
    def relay_alias(self) -> tuple[str, ...]:
        """The arguments by which the well-known name of this machine leads to the session's relays, if it has any."""
        return ("--add-host", f"{HOST_GATEWAY}:127.0.0.1") if self.relayed else ()

    @property
    def host_aliases(self) -> tuple[str, ...]:
        """The arguments for both names of this machine: the other leads to what the relays fall back to."""
        return (*self.relay_alias, "--add-host", f"{_BRIDGE}:host-gateway") if self.relayed else ()

    @cached_property
    def inner_ports(self) -> dict[Published, int]:
        """The ports at which the session's container takes what comes for its published ones."""
        return ports.inner_ports(self.published, self.relayed)

    @property
    def publish_arguments(self) -> Iterator[str]:
        """The arguments with which the engine publishes the session's ports, on this machine's loopback alone."""
        for each, inner in self.inner_ports.items():
            yield from ("--publish", f"127.0.0.1:{each.host}:{inner}")

    @property
    def forward_words(self) -> Iterator[str]:
        """The arguments of container/egress/forward.py."""
        yield from (f"in={inner}:{each.session}" for each, inner in self.inner_ports.items())
        if self.relayed:
            yield f"via={'proxy' if self.workspace.settings.network == 'allowlist' else _BRIDGE}"
        yield from (f"out={port}" for port in self.relayed)

    @property
    def rule_words(self) -> Iterator[str]:
        """The arguments of container/egress/rules."""
        yield from (f"closed={network}" for network in (*CLOSED, *self.blocked_networks))
        yield from (f"port={inner}" for inner in self.inner_ports.values())
        yield from (f"named={port},{host}" for host, port in self.named_endpoints if host != HOST_GATEWAY)
        yield from (f"named={port},{_BRIDGE}" for port in self.relayed)

    @property
    def proxy_limits(self) -> tuple[str, ...]:
        """What a sidecar with a proxy may use; nothing that is lent goes to a disk."""
        memory = str(256 << 20)
        swap = ("--memory-swap", memory) if self.lent and self.engine.limits_swap else ()
        return ("--pids-limit", "64", "--memory", memory, *swap)

    @property
    def sidecar_arguments(self) -> tuple[str, ...]:
        """What every sidecar is created with."""
        return (
            *("--name", sidecar_name(self.key), "--rm", "--pull", "never"),
            *("--label", f"{labels.KIND}={labels.SIDECAR}", "--label", f"{labels.PROJECT}={self.workspace.project.id}"),
            *("--label", f"{labels.KEY}={self.key}", "--label", f"{labels.OWNER}={self.workspace.host.owner}"),
            *("--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--read-only", *self.engine.isolation),
            *("--log-driver", "none", "--network", "bridge"),
            # What is lent is in its memory, which no crash writes to a disk.
            *("--ulimit", "core=0"),
            # Podman, and the docker command of a dry run, would put the proxies they know there, for `inspect` to show.
            *(word for name in (*PROXIES, "FTP_PROXY", "ftp_proxy") for word in ("--env", f"{name}=")),
        )
