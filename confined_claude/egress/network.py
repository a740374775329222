"""The network of a session: the docker arguments of its container and of its sidecar, by mode. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from ..container.egress.networks import CLOSED
from ..engine import labels
from ..engine.mount import bind_value
from ..environment import HOST_GATEWAY, PROXIES
from ..fs.directory import Location
from ..state.facts import EngineFacts
from ..workspace import Workspace
from . import endpoints, lending, ports
from .endpoints import allowlist_config
from .ports import Published

_NAME = "confined-claude"
CONFIG = "config.json"
_SHARED_IN_SIDECAR = Path("/egress")
_SOCKET_DIRECTORY = "/run/confined-claude-egress"
_PROXY = "http://127.0.0.1:3128"
_LOOPBACK = "localhost,127.0.0.1,::1"
HOSTNAME_LENGTH = 63
_OPEN = "This session is on the engine's plain network: your local network and this machine are within reach."
_OWN = "/opt/confined-claude"
# Where ids are kept, Podman would begin as the caller, without the entrypoint's work. In the image, root has this name.
_AS_ROOT = ("--user", "claude")
# Its network is joined meanwhile; the session's entrypoint waits for the rules.
_INTERNET = f'{_OWN}/egress/rules "$@" && exec /usr/bin/python3 -IS {_OWN} egress.internet'
# The same as this machine's user, without any right to change the rules.
_LEND = (
    f'{_OWN}/egress/rules "$@" && exec /usr/bin/setpriv --reuid {{}} --regid {{}} --clear-groups '
    f"--inh-caps=-all --bounding-set=-all /usr/bin/python3 -I {_OWN} egress.lending {{}}"
)
# The engine's own way to the host: what listens on its bridge, too. The other name leads to the session's relays.
_BRIDGE = "gateway.docker.internal"
_PROXY_PORTS = frozenset((3128, 53))
# With these a session's entrypoint sets the rules, and gives both up.
_RULES_CAPABILITIES = ("NET_ADMIN", "SETPCAP")
# As Docker has it by default, for ports 53 and 443 of the loopback.
_ANY_PORT = ("--sysctl", "net.ipv4.ip_unprivileged_port_start=0")


class SidecarPlan(NamedTuple):
    """The container beside a session's that controls its network.

    ``arguments`` are those of ``docker run``. If ``must_exist_first``, it must exist before the session's container is
    created, and if ``must_run_first``, it must run before the session is started; else the session waits for it. It
    reads ``config``, which may have passwords, from the file CONFIG in ``directory``, which it shares with the host.
    """

    name: str
    arguments: tuple[str, ...]
    must_exist_first: bool = False
    must_run_first: bool = True
    directory: Location | None = None
    config: str = ""


class Egress(NamedTuple):
    """What a session reaches on the network, and how.

    ``arguments`` are the session's own of ``docker create``; it has a host name of its own unless ``hostname`` is
    False. ``rules``, ``join`` and ``forward`` go to the entrypoint, ``environment`` has variables that replace the
    host's. ``relayed`` are the ports of this machine that are relayed to it.
    """

    arguments: tuple[str, ...]
    hostname: bool = True
    sidecar: SidecarPlan | None = None
    rules: str = ""
    join: str = ""
    forward: str = ""
    relayed: tuple[int, ...] = ()
    environment: Mapping[str, str] = MappingProxyType({})
    notes: tuple[str, ...] = ()


def sidecar_name(key: str) -> str:
    """Return the name of the sidecar of the session ``key``."""
    return f"{_NAME}-net-{key}"


def plan_egress(
    workspace: Workspace,
    *,
    key: str,
    image: str,
    sets_rules: bool,
    engine: EngineFacts,
    blocked_networks: Sequence[str] = (),
    published: Sequence[Published] = (),
    engine_port: int = 0,
    lent: Sequence[tuple[str, int]] = (),
) -> Egress:
    """Return the network of the session ``key``, by the settings of ``workspace``.

    ``image`` is that of a sidecar. If ``sets_rules``, the session's own entrypoint can be trusted with its network's
    rules, and ``internet`` needs no sidecar. ``blocked_networks`` are the networks that this machine is in (CIDR).
    ``published`` is where the session's ports are, ``engine_port`` the one of the engine in use. Secrets are ``lent``
    to these (host, port) pairs. Raises ConfinedError for a port of an engine among the host's, and for a network in
    which nothing can be lent.
    """
    planner = _Planner(workspace, key, image, blocked_networks, engine, published, lent)
    ports.refuse_engines(planner.relayed, engine_port)
    egress = _plan_mode(planner, sets_rules=sets_rules)
    if engine.keeps_ids and egress.join != "internet":
        egress = egress._replace(arguments=(*egress.arguments, "--userns", "keep-id", *_AS_ROOT))
    notes = (*egress.notes, *ports.notes(workspace.settings, planner.relayed, published))
    forward = " ".join(planner.forward)
    return egress._replace(forward=forward, relayed=planner.relayed, notes=notes)


def _plan_mode(planner: _Planner, *, sets_rules: bool) -> Egress:
    mode = planner.workspace.settings.network
    lending.check(mode, planner.lent)
    if mode == "internet":
        return planner.internet() if sets_rules and not planner.lent else planner.internet_by_sidecar()
    if mode == "allowlist":
        return planner.allowlist()
    if mode == "none":
        return Egress(("--network", "none"))
    reach = (*planner.names, *planner.publish)
    if mode == "open":
        return Egress(("--network", "bridge", *reach), notes=(_OPEN,))
    return Egress(("--network", mode.removeprefix("docker:"), *reach))


class _Plan(NamedTuple):
    workspace: Workspace
    key: str
    image: str
    blocked_networks: Sequence[str]
    engine: EngineFacts
    published: Sequence[Published]
    lent: Sequence[tuple[str, int]]


class _Planner(_Plan):
    """What the modes have in common, see ``plan_egress``."""

    def internet(self) -> Egress:
        """Have rules that block all but the public internet, set by the session's entrypoint."""
        added = (word for name in _RULES_CAPABILITIES for word in ("--cap-add", name))
        arguments = ("--network", "bridge", *self.names, *self.publish, *added)
        return Egress(arguments, rules=" ".join(self.rules))

    def internet_by_sidecar(self) -> Egress:
        """Join the network of a sidecar that has set the same rules; see container/egress/internet.py."""
        arguments = (
            *self.common_arguments,
            *("--hostname", f"{_NAME}-{self.workspace.project.slug}"[:HOSTNAME_LENGTH]),
            *(("--userns", "keep-id") if self.engine.keeps_ids else ()),
            *("--cap-add", "NET_ADMIN", "--cap-add", "SETGID", "--cap-add", "SETUID", "--user", "0:0"),
            *(self.lending_arguments if self.lent else ("--pids-limit", "32", "--memory", str(128 << 20))),
            *(*self.names, *self.publish),
            *("--entrypoint", "/bin/sh", self.image, "-c", self.lending if self.lent else _INTERNET, "sh", *self.rules),
        )
        name = sidecar_name(self.key)
        # Podman looks for it when the session's container is created. A network belongs to a namespace of users, and
        # the session has to be in that as well.
        sidecar = SidecarPlan(name, arguments, must_exist_first=self.engine.podman)
        if self.lent:
            config = allowlist_config(self.workspace, self.blocked_networks, opens_all=True)
            sidecar = sidecar._replace(directory=self.workspace.egress.at(self.key), config=config)
        users = ("--userns", f"container:{name}", *_AS_ROOT) if self.engine.keeps_ids else ()
        return Egress(
            ("--network", f"container:{name}", *users),
            hostname=False,
            sidecar=sidecar,
            join="internet",
            environment=self.proxied if self.lent else {},
        )

    @property
    def lending(self) -> str:
        """The script of a sidecar that sets rules and lends; it becomes the one who owns its directory."""
        host, is_root = self.workspace.host, self.engine.rootless and not self.engine.keeps_ids
        ids = (0, 0) if is_root else (host.uid, host.gid)
        return _LEND.format(*ids, " ".join((str(_SHARED_IN_SIDECAR), *self.lent_endpoints)))

    @property
    def lending_arguments(self) -> Iterator[str]:
        yield from ("--cap-add", "SETPCAP", "--interactive", *self.proxy_limits, *_ANY_PORT)
        yield from ("--mount", bind_value(self.workspace.egress.at(self.key).path, _SHARED_IN_SIDECAR))
        yield from self.place_names

    @property
    def proxy_limits(self) -> tuple[str, ...]:
        """What a sidecar with a proxy may use; nothing that is lent goes to a disk."""
        memory = str(256 << 20)
        swap = ("--memory-swap", memory) if self.lent and self.engine.limits_swap else ()
        return ("--pids-limit", "64", "--memory", memory, *swap)

    @property
    def lent_endpoints(self) -> tuple[str, ...]:
        return tuple(f"{host}:{port}" for host, port in self.lent)

    @property
    def proxied(self) -> dict[str, str]:
        """The variables of programs that would use a company's proxy: the sidecar does, and lends on the way."""
        given = endpoints.variables(self.workspace.host.environ)
        if not any(name.lower() in ("http_proxy", "https_proxy") for name in given):
            return {}
        exempt = given.get("no_proxy") or given.get("NO_PROXY", "")
        return dict.fromkeys(PROXIES, _PROXY) | dict.fromkeys(
            ("NO_PROXY", "no_proxy"), ",".join(filter(None, (_LOOPBACK, exempt)))
        )

    @property
    def rules(self) -> Iterator[str]:
        """The arguments of container/egress/rules."""
        yield from (f"closed={network}" for network in (*CLOSED, *self.blocked_networks))
        yield from (f"port={inner}" for inner in self.inner_ports.values())
        yield from (f"named={port},{host}" for host, port in self.named if host != HOST_GATEWAY)
        yield from (f"named={port},{_BRIDGE}" for port in self.relayed)

    def allowlist(self) -> Egress:
        """Have nothing but a loopback, where the sidecar's proxy listens; see container/egress/allowlist.py."""
        host = self.workspace.host
        directory = self.workspace.egress.at(self.key)
        arguments = (
            *self.common_arguments,
            *("--user", "0:0" if self.engine.rootless else f"{host.uid}:{host.gid}", *self.proxy_limits),
            *(["--interactive"] if self.lent else []),  # by standard input it learns what it lends
            # No name is tried a second time under a company's domain, and no silent server is waited for.
            *("--dns-search", ".", "--env", "RES_OPTIONS=timeout:2 attempts:2"),
            *("--mount", f"type=volume,target={_SOCKET_DIRECTORY}"),
            *("--mount", bind_value(directory.path, _SHARED_IN_SIDECAR)),
            *(["--add-host", f"{HOST_GATEWAY}:host-gateway"] if self.names_host else []),
            *("--entrypoint", "/usr/bin/python3", self.image),
            *("-I", _OWN, "egress.allowlist", str(_SHARED_IN_SIDECAR)),
            *self.lent_endpoints,
        )
        sidecar = SidecarPlan(
            sidecar_name(self.key),
            arguments,
            must_exist_first=True,
            must_run_first=False,
            directory=directory,
            config=allowlist_config(self.workspace, self.blocked_networks),
        )
        api, port = endpoints.api(host.environ)
        needed = "-" if api == HOST_GATEWAY else f"{f'[{api}]' if ':' in api else api}:{port}"
        proxies = dict.fromkeys(PROXIES, _PROXY)
        loopback = f"{_LOOPBACK},{HOST_GATEWAY}" if self.relayed else _LOOPBACK
        direct = dict.fromkeys(("NO_PROXY", "no_proxy"), loopback)
        return Egress(
            (
                *("--network", "none", "--volumes-from", f"{sidecar.name}:ro", "--dns", "127.0.0.1"),
                # In the place of the sidecar's directory, where the configuration may have a proxy's password.
                *("--mount", f"type=tmpfs,target={_SHARED_IN_SIDECAR},readonly"),
                *_ANY_PORT,
                *self.names[:2],
                *self.place_names,
            ),
            sidecar=sidecar,
            join=" ".join(("allowlist", needed, *(f"{self.places[host]}:{port}" for host, port in self.lent))),
            environment={**proxies, **direct, "NODE_USE_ENV_PROXY": "1"},
        )

    @cached_property
    def named(self) -> list[tuple[str, int]]:
        return endpoints.named(self.workspace.host.environ)

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

    @property
    def names_host(self) -> bool:
        """Whether something of this machine is named."""
        return bool(self.workspace.settings.host_ports) or any(host == HOST_GATEWAY for host, _ in self.named)

    @cached_property
    def places(self) -> dict[str, str]:
        """Where on the session's loopback each host is that something is lent to: not every program uses a proxy."""
        found = dict.fromkeys(host for host, _ in self.lent)
        return {host: f"127.1.0.{number}" for number, host in enumerate(found, 1)}

    @property
    def place_names(self) -> list[str]:
        return [word for host, place in self.places.items() for word in ("--add-host", f"{host}:{place}")]

    @property
    def names(self) -> list[str]:
        """The names of this machine: the well-known one leads to the relays, the other to what they fall back to."""
        names = (f"{HOST_GATEWAY}:127.0.0.1", f"{_BRIDGE}:host-gateway")
        return [word for name in names for word in ("--add-host", name)] if self.relayed else []

    @cached_property
    def inner_ports(self) -> dict[Published, int]:
        return ports.inner_ports(self.published, self.relayed)

    @property
    def publish(self) -> Iterator[str]:
        for each, inner in self.inner_ports.items():
            yield from ("--publish", f"127.0.0.1:{each.host}:{inner}")

    @property
    def forward(self) -> Iterator[str]:
        """The arguments of container/egress/forward.py."""
        yield from (f"in={inner}:{each.session}" for each, inner in self.inner_ports.items())
        if self.relayed:
            yield f"via={'proxy' if self.workspace.settings.network == 'allowlist' else _BRIDGE}"
        yield from (f"out={port}" for port in self.relayed)

    @property
    def common_arguments(self) -> tuple[str, ...]:
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
