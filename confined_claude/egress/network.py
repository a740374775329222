"""The network of a session: the docker arguments of its container and of its sidecar, by mode. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from ..container.egress.networks import PROXY_PORT, SIDECARS
from ..engine.mount import bind_value
from ..environment import HOST_GATEWAY, PROXIES
from ..fs.directory import Location
from ..state.facts import EngineFacts
from ..system import APP
from ..workspace import Workspace
from . import endpoints, lending, ports
from .endpoints import allowlist_config
from .network_parts import NetworkParts, sidecar_name
from .ports import Published

CONFIG = "config.json"
_SHARED_IN_SIDECAR = Path("/egress")
_SOCKET_DIRECTORY = str(Path(SIDECARS["allowlist"]).parent)
_PROXY = f"http://127.0.0.1:{PROXY_PORT}"
_LOOPBACK = "localhost,127.0.0.1,::1"
HOSTNAME_LENGTH = 63
_OPEN = "This session is on the engine's plain network: your local network and your machine are within reach."
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
# With these a session's entrypoint sets the rules, and gives both up.
_RULES_CAPABILITIES = ("NET_ADMIN", "SETPCAP")
# As Docker has it by default, for ports 53 and 443 of the loopback.
_ANY_PORT = ("--sysctl", "net.ipv4.ip_unprivileged_port_start=0")


class SidecarPlan(NamedTuple):
    """The container beside a session's that controls its network.

    ``arguments`` are those of ``docker run``, with its ``image`` and what runs in that. If ``must_exist_first``, it
    must exist before the session's container is created, and if ``must_run_first``, it must run before the session is
    started; else the session waits for it. It reads ``config``, which may have passwords, from the file CONFIG in
    ``directory``, which it shares with the host.
    """

    name: str
    image: str
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
    parts = NetworkParts(workspace, key, image, blocked_networks, engine, published, lent)
    ports.refuse_engines(parts.relayed, engine_port)
    egress = _plan_mode(parts, sets_rules=sets_rules)
    if engine.keeps_ids and egress.join != "internet":
        egress = egress._replace(arguments=(*egress.arguments, "--userns", "keep-id", *_AS_ROOT))
    notes = (*egress.notes, *ports.notes(workspace.settings, parts.relayed, published))
    forward = " ".join(parts.forward_words)
    return egress._replace(forward=forward, relayed=parts.relayed, notes=notes)


def _plan_mode(parts: NetworkParts, *, sets_rules: bool) -> Egress:
    mode = parts.workspace.settings.network
    lending.check(mode, parts.lent)
    if mode == "internet":
        return _internet(parts) if sets_rules and not parts.lent else _internet_by_sidecar(parts)
    if mode == "allowlist":
        return _allowlist(parts)
    if mode == "none":
        return Egress(("--network", "none"))
    reach = (*parts.host_aliases, *parts.publish_arguments)
    if mode == "open":
        return Egress(("--network", "bridge", *reach), notes=(_OPEN,))
    return Egress(("--network", mode.removeprefix("docker:"), *reach))


def _internet(parts: NetworkParts) -> Egress:
    """Have rules that block all but the public internet, set by the session's entrypoint."""
    added = (word for name in _RULES_CAPABILITIES for word in ("--cap-add", name))
    arguments = ("--network", "bridge", *parts.host_aliases, *parts.publish_arguments, *added)
    return Egress(arguments, rules=" ".join(parts.rule_words))


def _internet_by_sidecar(parts: NetworkParts) -> Egress:
    """Join the network of a sidecar that has set the same rules; see container/egress/internet.py."""
    arguments = (
        *parts.sidecar_arguments,
        *("--hostname", f"{APP}-{parts.workspace.project.slug}"[:HOSTNAME_LENGTH]),
        *(("--userns", "keep-id") if parts.engine.keeps_ids else ()),
        *("--cap-add", "NET_ADMIN", "--cap-add", "SETGID", "--cap-add", "SETUID", "--user", "0:0"),
        *(_lending_arguments(parts) if parts.lent else ("--pids-limit", "32", "--memory", str(128 << 20))),
        *(*parts.host_aliases, *parts.publish_arguments),
        *("--entrypoint", "/bin/sh", parts.image, "-c", _lending_script(parts) if parts.lent else _INTERNET),
        *("sh", *parts.rule_words),
    )
    name = sidecar_name(parts.key)
    # Podman looks for it when the session's container is created. A network belongs to a namespace of users, and the
    # session has to be in that as well.
    sidecar = SidecarPlan(name, parts.image, arguments, must_exist_first=parts.engine.podman)
    if parts.lent:
        config = allowlist_config(parts.workspace, parts.blocked_networks, opens_all=True)
        sidecar = sidecar._replace(directory=parts.workspace.egress.at(parts.key), config=config)
    users = ("--userns", f"container:{name}", *_AS_ROOT) if parts.engine.keeps_ids else ()
    return Egress(
        ("--network", f"container:{name}", *users),
        hostname=False,
        sidecar=sidecar,
        join="internet",
        environment=_proxy_variables(parts) if parts.lent else {},
    )


def _lending_script(parts: NetworkParts) -> str:
    """Return the script of a sidecar that sets rules and lends; it becomes the one who owns its directory."""
    host, is_root = parts.workspace.host, parts.engine.rootless and not parts.engine.keeps_ids
    ids = (0, 0) if is_root else (host.uid, host.gid)
    return _LEND.format(*ids, " ".join((str(_SHARED_IN_SIDECAR), *parts.lent_endpoints)))


def _lending_arguments(parts: NetworkParts) -> Iterator[str]:
    """Yield what a sidecar that sets rules and lends is created with beyond one that only sets rules."""
    yield from ("--cap-add", "SETPCAP", "--interactive", *parts.proxy_limits, *_ANY_PORT)
    yield from ("--mount", bind_value(parts.workspace.egress.at(parts.key).path, _SHARED_IN_SIDECAR))
    yield from parts.lending_aliases


def _proxy_variables(parts: NetworkParts) -> dict[str, str]:
    """Return the variables of programs that would use a company's proxy: the sidecar does, and lends on the way."""
    given = endpoints.variables(parts.workspace.host.environ)
    if not any(name.lower() in ("http_proxy", "https_proxy") for name in given):
        return {}
    exempt = given.get("no_proxy") or given.get("NO_PROXY", "")
    return dict.fromkeys(PROXIES, _PROXY) | dict.fromkeys(
        ("NO_PROXY", "no_proxy"), ",".join(filter(None, (_LOOPBACK, exempt)))
    )


def _allowlist(parts: NetworkParts) -> Egress:
    """Have nothing but a loopback, where the sidecar's proxy listens; see container/egress/allowlist.py."""
    host = parts.workspace.host
    directory = parts.workspace.egress.at(parts.key)
    arguments = (
        *parts.sidecar_arguments,
        *("--user", "0:0" if parts.engine.rootless else f"{host.uid}:{host.gid}", *parts.proxy_limits),
        *(["--interactive"] if parts.lent else []),  # by standard input it learns what it lends
        # No name is tried a second time under a company's domain, and no silent server is waited for.
        *("--dns-search", ".", "--env", "RES_OPTIONS=timeout:2 attempts:2"),
        *("--mount", f"type=volume,target={_SOCKET_DIRECTORY}"),
        *("--mount", bind_value(directory.path, _SHARED_IN_SIDECAR)),
        *(["--add-host", f"{HOST_GATEWAY}:host-gateway"] if parts.needs_host_name else []),
        *("--entrypoint", "/usr/bin/python3", parts.image),
        *("-I", _OWN, "egress.allowlist", str(_SHARED_IN_SIDECAR)),
        *parts.lent_endpoints,
    )
    sidecar = SidecarPlan(
        sidecar_name(parts.key),
        parts.image,
        arguments,
        must_exist_first=True,
        must_run_first=False,
        directory=directory,
        config=allowlist_config(parts.workspace, parts.blocked_networks),
    )
    api, port = endpoints.api(host.environ)
    needed = "-" if api == HOST_GATEWAY else f"{f'[{api}]' if ':' in api else api}:{port}"
    proxies = dict.fromkeys(PROXIES, _PROXY)
    loopback = f"{_LOOPBACK},{HOST_GATEWAY}" if parts.relayed else _LOOPBACK
    direct = dict.fromkeys(("NO_PROXY", "no_proxy"), loopback)
    return Egress(
        (
            *("--network", "none", "--volumes-from", f"{sidecar.name}:ro", "--dns", "127.0.0.1"),
            # In the place of the sidecar's directory, where the configuration may have a proxy's password.
            *("--mount", f"type=tmpfs,target={_SHARED_IN_SIDECAR},readonly"),
            *_ANY_PORT,
            *parts.relay_alias,
            *parts.lending_aliases,
        ),
        sidecar=sidecar,
        join=" ".join(("allowlist", needed, *(f"{parts.lending_addresses[host]}:{port}" for host, port in parts.lent))),
        environment={**proxies, **direct, "NODE_USE_ENV_PROXY": "1"},
    )
