"""The network of a session: the docker arguments of its container and of its sidecar, by mode. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

from .. import environment
from ..claude import cloud
from ..container.egress.networks import CLOSED
from ..engine import labels
from ..engine.mount import bind_value
from ..environment import HOST_GATEWAY, PROXIES
from ..fs.directory import Location
from ..workspace import Workspace

_NAME = "confined-claude"
CONFIG = "config.json"
_SHARED_IN_SIDECAR = Path("/egress")
_SOCKET_DIRECTORY = "/run/confined-claude-egress"
_PROXY = "http://127.0.0.1:3128"
_LOOPBACK = "localhost,127.0.0.1,::1"
HOSTNAME_LENGTH = 63
_OPEN = "This session is on the engine's plain network: your local network and this machine are within reach."
_OWN = "/opt/confined-claude"
# It prints "ready" as soon as its network can be joined; the session's entrypoint waits for the rules.
_INTERNET = f'echo ready; {_OWN}/egress/rules "$@" && exec /usr/bin/python3 -IS {_OWN} egress.internet'
# With these a session's entrypoint sets the rules, and gives both up.
_RULES_CAPABILITIES = ("NET_ADMIN", "SETPCAP")
_PORTS = {"http": 80, "https": 443}
_ENDPOINT = re.compile("|".join((*PROXIES, "OTEL_.*_ENDPOINT")))
_HOST = re.compile(r"[A-Za-z0-9_.:-]+")

# What Claude Code itself connects to: its API, its sign-in, and its downloads.
CLAUDE_HOSTS = ("api.anthropic.com", "platform.claude.com", "claude.ai", "downloads.claude.ai")
_API = ("api.anthropic.com", 443)

# The proxies between an allowlist's own proxy and the internet, by their names in its configuration: the variables
# that may name each, the first one set counts.
_UPSTREAM = {
    "http": ("http_proxy", "HTTP_PROXY"),
    "https": ("https_proxy", "HTTPS_PROXY"),
    "no_proxy": ("no_proxy", "NO_PROXY"),
}


@dataclass(frozen=True)
class SidecarPlan:
    """The container beside a session's that controls its network.

    ``arguments`` are those of ``docker run``. If ``must_exist_first``, it must exist before the session's container is
    created, and the session waits for it by itself; else it must be ready before the session is started. It reads
    ``config``, which may have passwords, from the file CONFIG in ``directory``, which it shares with the host.
    """

    name: str
    arguments: tuple[str, ...]
    must_exist_first: bool = False
    directory: Location | None = None
    config: str = ""


@dataclass(frozen=True)
class Egress:
    """What a session reaches on the network, and how.

    ``arguments`` are the session's own of ``docker create``; it has a host name of its own unless ``hostname`` is
    False. ``rules`` and ``join`` go to the entrypoint, ``environment`` has variables that replace the host's.
    """

    arguments: tuple[str, ...]
    hostname: bool = True
    sidecar: SidecarPlan | None = None
    rules: str = ""
    join: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
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
    blocked_networks: Sequence[str] = (),
    isolation: Sequence[str] = (),
) -> Egress:
    """Return the network of the session ``key``, by the settings of ``workspace``.

    ``image`` is that of a sidecar. If ``sets_rules``, the session's own entrypoint can be trusted with its network's
    rules, and ``internet`` needs no sidecar. ``blocked_networks`` are the networks that this machine is in (CIDR), and
    ``isolation`` are arguments with which every container is created.
    """
    planner = _Planner(workspace, key, image, blocked_networks, isolation)
    mode = workspace.settings.network
    if mode == "internet":
        return planner.internet() if sets_rules else planner.internet_by_sidecar()
    if mode == "allowlist":
        return planner.allowlist()
    if mode == "none":
        return Egress(("--network", "none"), notes=planner.not_published)
    reach = (*planner.gateway, *planner.published)
    if mode == "open":
        return Egress(("--network", "bridge", *reach), notes=(_OPEN,))
    return Egress(("--network", mode.removeprefix("docker:"), *reach))


def allowlist_config(workspace: Workspace, blocked_networks: Sequence[str]) -> str:
    """Return what the proxy of a session with an allowlist reads; ``blocked_networks`` is as for ``plan_egress``."""
    return _Planner(workspace, "", "", blocked_networks, ()).allowlist_config()


def mask_config(config: str, mask: str) -> str:
    """Return a sidecar's configuration with ``mask`` in place of the proxies, which may have passwords."""
    value = json.loads(config)
    value["upstream"] = {kind: proxy and mask for kind, proxy in value["upstream"].items()}
    return json.dumps(value)


@dataclass(frozen=True)
class _Planner:
    """What the modes have in common, see ``plan_egress``."""

    workspace: Workspace
    key: str
    image: str
    blocked_networks: Sequence[str]
    isolation: Sequence[str]

    def internet(self) -> Egress:
        """Have rules that block all but the public internet, set by the session's entrypoint."""
        added = (word for name in _RULES_CAPABILITIES for word in ("--cap-add", name))
        arguments = ("--network", "bridge", *self.gateway, *self.published, *added)
        return Egress(arguments, rules=" ".join(self.rules))

    def internet_by_sidecar(self) -> Egress:
        """Join the network of a sidecar that has set the same rules; see container/egress/internet.py."""
        arguments = (
            *self.common_arguments,
            *("--hostname", f"{_NAME}-{self.workspace.project.slug}"[:HOSTNAME_LENGTH]),
            *("--cap-add", "NET_ADMIN", "--cap-add", "SETGID", "--cap-add", "SETUID", "--user", "0:0"),
            *("--pids-limit", "32", "--memory", "128m", *self.published),
            *("--entrypoint", "/bin/sh", self.image, "-c", _INTERNET, "sh", *self.rules),
        )
        sidecar = SidecarPlan(sidecar_name(self.key), arguments)
        return Egress(("--network", f"container:{sidecar.name}"), hostname=False, sidecar=sidecar, join="internet")

    @property
    def rules(self) -> Iterator[str]:
        """The arguments of container/egress/rules."""
        settings = self.workspace.settings
        yield from (f"closed={network}" for network in (*CLOSED, *self.blocked_networks))
        yield from (f"host_port={port}" for port in settings.host_ports)
        yield from (f"port={port}" for port in settings.ports)
        yield from (f"named={port},{host}" for host, port in self.named)

    def allowlist(self) -> Egress:
        """Have nothing but a loopback, where the sidecar's proxy listens; see container/egress/allowlist.py."""
        host, settings = self.workspace.host, self.workspace.settings
        directory = self.workspace.egress.at(self.key)
        arguments = (
            *self.common_arguments,
            *("--user", f"{host.uid}:{host.gid}", "--pids-limit", "64", "--memory", "256m"),
            # No name is tried a second time under a company's domain, and no silent server is waited for.
            *("--dns-search", ".", "--env", "RES_OPTIONS=timeout:2 attempts:2"),
            *("--mount", f"type=volume,target={_SOCKET_DIRECTORY}"),
            *("--mount", bind_value(directory.path, _SHARED_IN_SIDECAR)),
            *("--entrypoint", "/usr/bin/python3", self.image),
            *("-I", _OWN, "egress.allowlist", str(_SHARED_IN_SIDECAR)),
        )
        sidecar = SidecarPlan(
            sidecar_name(self.key),
            arguments,
            must_exist_first=True,
            directory=directory,
            config=self.allowlist_config(),
        )
        api, port = self.api
        proxies = dict.fromkeys(PROXIES, _PROXY)
        direct = dict.fromkeys(("NO_PROXY", "no_proxy"), _LOOPBACK)
        return Egress(
            (
                *("--network", "none", "--volumes-from", f"{sidecar.name}:ro", "--dns", "127.0.0.1"),
                *(["--add-host", f"{HOST_GATEWAY}:127.0.0.1"] if settings.host_ports else []),
            ),
            sidecar=sidecar,
            join=f"allowlist {','.join(settings.host_ports) or '-'} {f'[{api}]' if ':' in api else api}:{port}",
            environment={**proxies, **direct, "NODE_USE_ENV_PROXY": "1"},
            notes=self.not_published,
        )

    def allowlist_config(self) -> str:
        settings = self.workspace.settings
        upstream = {
            kind: next((value for name in names if (value := self.endpoints.get(name))), None)
            for kind, names in _UPSTREAM.items()
        }
        config = {
            "allow": [*CLAUDE_HOSTS, *cloud.hosts(self.workspace.host.environ), *settings.allow],
            "named": [*self.named, *((HOST_GATEWAY, int(port)) for port in settings.host_ports)],
            "forward": [int(port) for port in settings.host_ports],
            "closed": list(self.blocked_networks),
            "upstream": {**upstream, "no_proxy": upstream["no_proxy"] or ""},
        }
        return json.dumps(config)

    @property
    def api(self) -> tuple[str, int]:
        """The (host, port) that Claude Code cannot do without."""
        environ = self.workspace.host.environ
        used, hosts = environment.cloud_in(environ), cloud.hosts(environ)
        default = (hosts[0], _API[1]) if hosts else _API
        return next(_endpoints({"": self.endpoints.get(used.base_url if used else "ANTHROPIC_BASE_URL", "")}), default)

    @cached_property
    def endpoints(self) -> dict[str, str]:
        """Those of the session's variables that name what it connects to."""
        variables = environment.split(self.workspace.host.environ)[1]
        return {
            name: value
            for name, value in variables.items()
            if _ENDPOINT.fullmatch(name) or environment.is_endpoint(name)
        }

    @cached_property
    def named(self) -> list[tuple[str, int]]:
        """The (host, port) pairs in them: the user wants the session to reach these wherever they are."""
        return sorted(set(_endpoints(self.endpoints)))

    @property
    def gateway(self) -> list[str]:
        is_named = self.workspace.settings.host_ports or any(host == HOST_GATEWAY for host, _ in self.named)
        return ["--add-host", f"{HOST_GATEWAY}:host-gateway"] if is_named else []

    @property
    def published(self) -> Iterator[str]:
        for port in self.workspace.settings.ports:
            yield from ("--publish", f"127.0.0.1:{port}:{port}")

    @property
    def not_published(self) -> tuple[str, ...]:
        ports = ", ".join(self.workspace.settings.ports)
        return (f"Nothing is published at {ports}: this network takes no connections.",) if ports else ()

    @property
    def common_arguments(self) -> tuple[str, ...]:
        """What every sidecar is created with."""
        return (
            *("--name", sidecar_name(self.key), "--rm", "--pull", "never"),
            *("--label", f"{labels.KIND}={labels.SIDECAR}", "--label", f"{labels.PROJECT}={self.workspace.project.id}"),
            *("--label", f"{labels.KEY}={self.key}", "--label", f"{labels.OWNER}={self.workspace.host.owner}"),
            *("--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--read-only", *self.isolation),
            *("--log-driver", "none", "--network", "bridge", *self.gateway),
        )


def _endpoints(variables: Mapping[str, str]) -> Iterator[tuple[str, int]]:
    """Yield the (host, port) pairs in URLs; skip what is none."""
    for name, value in variables.items():
        try:
            parts = urlsplit(value if "://" in value else f"http://{value}")
            host, port = parts.hostname, parts.port or _PORTS.get(parts.scheme, 0)
        except ValueError:
            continue
        if host and _HOST.fullmatch(host) and port and name.lower() != "no_proxy":
            yield host, port
