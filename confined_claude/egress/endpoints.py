"""What the variables of a session name on the network, and what its proxy is told of that. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from urllib.parse import urlsplit

from .. import environment
from ..claude import cloud
from ..environment import HOST_GATEWAY, PROXIES
from ..settings import SPECS
from ..workspace import Workspace

_PORTS = {"http": 80, "https": 443}
_USUAL_PORTS = frozenset(_PORTS.values())
_ENDPOINT = "|".join((*PROXIES, "OTEL_.*_ENDPOINT"))
_HOST = r"[A-Za-z0-9_.:-]+"

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


def variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return those variables of a session that name what it connects to; ``environ`` is the user's environment."""
    found = environment.split(environ)[1]
    return {
        name: value for name, value in found.items() if re.fullmatch(_ENDPOINT, name) or environment.is_endpoint(name)
    }


def named_endpoints(environ: Mapping[str, str]) -> list[tuple[str, int]]:
    """Return the (host, port) pairs in them: the user wants the session to reach these wherever they are."""
    return sorted(set(pairs(variables(environ))))


def api(environ: Mapping[str, str]) -> tuple[str, int]:
    """Return the (host, port) that Claude Code cannot do without."""
    used, hosts = environment.cloud_in(environ), cloud.hosts(environ)
    default = (hosts[0], _API[1]) if hosts else _API
    base = variables(environ).get(used.base_url if used else "ANTHROPIC_BASE_URL", "")
    return next(pairs({"": base}), default)


def host_of(url: str) -> str:
    """Return the host of a URL as an allowlist names it, with an unusual port.

    It is empty if it may be a part of a password, and for what no allowlist can have.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return ""
    if port is not None and "@" not in parts.netloc and "@" in url:
        return ""
    host = host if port is None or port in _USUAL_PORTS else f"{host}:{port}"
    return host if SPECS["allow"].allows(host) else ""


def is_allowed(host: str, entries: Iterable[str]) -> bool:
    """Return whether one of the ``entries`` of `allow` is about ``host``, which has its port if that is unusual."""
    name, _, port = host.partition(":")
    ports = {port} if port else {"", *map(str, _USUAL_PORTS)}
    split = (entry.partition(":") for entry in entries)
    return any(
        its_port in ports and (name == its_name or (its_name[:2] == "*." and name.endswith(its_name[1:])))
        for its_name, _, its_port in split
    )


def allowlist_config(workspace: Workspace, blocked_networks: Sequence[str], *, opens_all: bool = False) -> str:
    """Return what the proxy of a session with an allowlist reads, or of one that lends and ``opens_all`` names.

    ``blocked_networks`` are those of this machine.
    """
    environ, settings = workspace.host.environ, workspace.settings
    given = variables(environ)
    upstream = {
        kind: next((value for name in names if (value := given.get(name))), None) for kind, names in _UPSTREAM.items()
    }
    config = {
        "allow": [*CLAUDE_HOSTS, *cloud.hosts(environ), *settings.allow],
        "named": [*named_endpoints(environ), *((HOST_GATEWAY, int(port)) for port in settings.host_ports)],
        "closed": list(blocked_networks),
        "upstream": {**upstream, "no_proxy": upstream["no_proxy"] or ""},
        **({"opens_all": True} if opens_all else {}),
    }
    return json.dumps(config)


def mask_config(config: str, mask: str) -> str:
    """Return a sidecar's configuration with ``mask`` in place of the proxies, which may have passwords."""
    value = json.loads(config)
    value["upstream"] = {kind: proxy and mask for kind, proxy in value["upstream"].items()}
    return json.dumps(value)


def pairs(variables: Mapping[str, str]) -> Iterator[tuple[str, int]]:
    """Yield the (host, port) pairs in URLs; skip anything else."""
    for name, value in variables.items():
        try:
            parts = urlsplit(value if "://" in value else f"http://{value}")
            host, port = parts.hostname, parts.port or _PORTS.get(parts.scheme, 0)
        except ValueError:
            continue
        if host and re.fullmatch(_HOST, host) and port and name.lower() != "no_proxy":
            yield host, port
