"""The modes of the network, and what of a session's container and its sidecar they decide. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

from ..engine import labels
from ..engine.mount import bind_value
from ..environment import HOST_GATEWAY, PROXIES
from ..fs.safefs import Place
from ..host import Host
from ..project import Project
from ..settings import Settings
from ..state import store as state

_NAME = "confined-claude"
CONFIG = "config.json"
FOLDER = "egress"
_FOLDER_IN_SIDECAR = Path("/egress")
_SOCKET_FOLDER = "/run/confined-claude-egress"
_PROXY = "http://127.0.0.1:3128"
_LOOPBACK = "localhost,127.0.0.1,::1"
_HOSTNAME_LENGTH = 63
_OPEN = "This session is on the engine's plain network: your local network and this machine are within reach."
# It says so as soon as its network can be joined; the session's entrypoint waits for the rules.
_INTERNET = "echo ready; exec /usr/bin/python3 -IS /opt/confined-claude egress.internet"
_PORTS = {"http": 80, "https": 443}
_ENDPOINT = re.compile("|".join((*PROXIES, "ANTHROPIC_BASE_URL", "OTEL_.*_ENDPOINT")))
_HOST = re.compile(r"[A-Za-z0-9_.:-]+")

# Where Claude Code itself goes: its API, its sign-in, and its downloads.
CLAUDE_HOSTS = ("api.anthropic.com", "platform.claude.com", "claude.ai", "downloads.claude.ai")
_API = ("api.anthropic.com", 443)

# The proxies that an allowlist's own proxy goes through, in its configuration: the variables that name each.
UPSTREAM = {
    "http": ("http_proxy", "HTTP_PROXY"),
    "https": ("https_proxy", "HTTPS_PROXY"),
    "no_proxy": ("no_proxy", "NO_PROXY"),
}


@dataclass(frozen=True)
class Sidecar:
    """The container beside a session's that keeps its network.

    ``arguments`` are those of ``docker create``; if ``first``, it has to be there when the session's container is
    created. It reads ``given`` from its standard input, and ``config`` from
    the file CONFIG in ``folder``, which it shares with the host.
    """

    name: str
    arguments: tuple[str, ...]
    given: str = ""
    first: bool = False
    folder: Place | None = None
    config: str = ""


@dataclass(frozen=True)
class Egress:
    """How a session is on the network.

    ``arguments`` are the session's own of ``docker create``, with ``hostname`` to come if it may have one.
    ``join`` is what the entrypoint is told, ``environment`` are variables that win over the host's.
    """

    arguments: tuple[str, ...]
    hostname: bool = True
    sidecar: Sidecar | None = None
    join: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def sidecar_name(key: str) -> str:
    """The name of the sidecar of the session with this key."""
    return f"{_NAME}-net-{key}"


@dataclass(frozen=True)
class Session:
    """What a network is planned for.

    ``key`` is the session's own. ``endpoints`` are those of its variables that name where it connects to, ``closed``
    the networks in which the machine is, ``namespaces`` what every container of it is created with.
    """

    project: Project
    host: Host
    settings: Settings
    image: str
    key: str
    endpoints: Mapping[str, str]
    closed: Sequence[str] = ()
    namespaces: Sequence[str] = ()

    @property
    def folder(self) -> Place:
        """Where the sidecar has its configuration, and tells what it blocked."""
        return state.place(self.host, "projects", self.project.id, FOLDER, self.key)

    @property
    def sidecar(self) -> str:
        return sidecar_name(self.key)

    @cached_property
    def named(self) -> list[tuple[str, int]]:
        """The (host, port) pairs that the user has named for it, wherever they are."""
        return sorted(set(_named(self.endpoints)))

    @property
    def gateway(self) -> list[str]:
        is_named = self.settings.host_ports or any(host == HOST_GATEWAY for host, _ in self.named)
        return ["--add-host", f"{HOST_GATEWAY}:host-gateway"] if is_named else []

    @property
    def published(self) -> Iterator[str]:
        for port in self.settings.ports:
            yield from ("--publish", f"127.0.0.1:{port}:{port}")

    @property
    def not_published(self) -> tuple[str, ...]:
        ports = ", ".join(self.settings.ports)
        return (f"Nothing is published at {ports}: this network takes no connections.",) if ports else ()


def endpoints_of(variables: Mapping[str, str]) -> dict[str, str]:
    """Those of a session's variables that name where it connects to."""
    return {name: value for name, value in variables.items() if _ENDPOINT.fullmatch(name)}


def plan_egress(session: Session) -> Egress:
    """The network of a session, by its settings."""
    mode = session.settings.network
    if mode == "internet":
        return _internet(session)
    if mode == "allowlist":
        return _allowlist(session)
    if mode == "none":
        return Egress(("--network", "none"), notes=session.not_published)
    reach = (*session.gateway, *session.published)
    if mode == "open":
        return Egress(("--network", "bridge", *reach), notes=(_OPEN,))
    return Egress(("--network", mode.removeprefix("docker:"), *reach))


def _internet(session: Session) -> Egress:
    """The session joins the network of a sidecar that has closed it; see container/egress/internet.py."""
    settings = session.settings
    config = {
        "closed": list(session.closed),
        "named": session.named,
        "host_ports": list(settings.host_ports),
        "ports": list(settings.ports),
    }
    arguments = (
        *_sidecar(session),
        *("--hostname", f"{_NAME}-{session.project.slug}"[:_HOSTNAME_LENGTH]),
        *("--cap-add", "NET_ADMIN", "--cap-add", "SETGID", "--cap-add", "SETUID", "--user", "0:0"),
        *("--pids-limit", "32", "--memory", "128m", *session.published),
        *("--entrypoint", "/bin/sh", session.image, "-c", _INTERNET),
    )
    sidecar = Sidecar(session.sidecar, arguments, given=json.dumps(config) + "\n")
    return Egress(("--network", f"container:{sidecar.name}"), hostname=False, sidecar=sidecar, join="internet")


def _allowlist(session: Session) -> Egress:
    """The session has a loopback alone, where the sidecar's proxy listens; see container/egress/allowlist.py."""
    host, settings = session.host, session.settings
    arguments = (
        *_sidecar(session),
        *("--user", f"{host.uid}:{host.gid}", "--pids-limit", "64", "--memory", "256m"),
        # No name is tried a second time under a company's domain, and no silent server is waited for.
        *("--dns-search", ".", "--env", "RES_OPTIONS=timeout:2 attempts:2"),
        *("--mount", f"type=volume,target={_SOCKET_FOLDER}"),
        *("--mount", bind_value(session.folder.path, _FOLDER_IN_SIDECAR)),
        *("--entrypoint", "/usr/bin/python3", session.image),
        *("-I", "/opt/confined-claude", "egress.allowlist", str(_FOLDER_IN_SIDECAR)),
    )
    sidecar = Sidecar(session.sidecar, arguments, first=True, folder=session.folder, config=allowlist_config(session))
    api, port = next(_named({"": session.endpoints.get("ANTHROPIC_BASE_URL", "")}), _API)
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
        notes=session.not_published,
    )


def allowlist_config(session: Session) -> str:
    """What the proxy of a session with an allowlist reads."""
    settings = session.settings
    upstream = upstream_of(session.endpoints)
    config = {
        "allow": [*CLAUDE_HOSTS, *settings.allow],
        "named": [*session.named, *((HOST_GATEWAY, int(port)) for port in settings.host_ports)],
        "forward": [int(port) for port in settings.host_ports],
        "closed": list(session.closed),
        "upstream": {"http": None, "https": None, "no_proxy": ""}
        | {kind: session.endpoints[name] for kind, name in upstream.items()},
    }
    return json.dumps(config)


def upstream_of(endpoints: Mapping[str, str]) -> dict[str, str]:
    """The variable in ``endpoints`` that counts for each kind of UPSTREAM; none for a kind without."""
    found = {kind: next((name for name in names if endpoints.get(name)), "") for kind, names in UPSTREAM.items()}
    return {kind: name for kind, name in found.items() if name}


def _sidecar(session: Session) -> tuple[str, ...]:
    """What the sidecars of all modes are created with."""
    return (
        *("--name", session.sidecar, "--rm", "--pull", "never", "--interactive"),
        *("--label", f"{labels.KIND}={labels.SIDECAR}", "--label", f"{labels.PROJECT}={session.project.id}"),
        *("--label", f"{labels.KEY}={session.key}", "--label", f"{labels.OWNER}={session.host.owner}"),
        *("--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--read-only", *session.namespaces),
        *("--log-driver", "none", "--network", "bridge", *session.gateway),
    )


def _named(endpoints: Mapping[str, str]) -> Iterator[tuple[str, int]]:
    """The (host, port) pairs in URLs; what is none is passed over."""
    for name, value in endpoints.items():
        try:
            parts = urlsplit(value if "://" in value else f"http://{value}")
            host, port = parts.hostname, parts.port or _PORTS.get(parts.scheme, 0)
        except ValueError:
            continue
        if host and _HOST.fullmatch(host) and port and name.lower() != "no_proxy":
            yield host, port
