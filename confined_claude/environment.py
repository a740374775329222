"""Which variables of the host's environment a session gets.

They are listed one by one. Everything else stays out, above all the variables that a parent Claude session sets for
its children. The names are Claude Code's own, as read from its program.
"""

from __future__ import annotations

import fnmatch
import ipaddress
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

HOST_GATEWAY = "host.docker.internal"

# The variables that sign in, in the order in which Claude Code prefers them.
SIGN_IN = ("ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN")

# Patterns of fnmatch. These may hold a secret (a proxy's password, say), so `docker inspect` never shows them.
PROXIES = tuple("HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY http_proxy https_proxy all_proxy no_proxy".split())
SECRET = (*SIGN_IN, "ANTHROPIC_BASE_URL", "ANTHROPIC_CUSTOM_HEADERS", *PROXIES, "OTEL_*")

# Patterns of fnmatch: the model, limits, telemetry and other traffic, the terminal.
BEHAVIOUR = tuple(
    """
    ANTHROPIC_MODEL ANTHROPIC_SMALL_FAST_MODEL ANTHROPIC_DEFAULT_*_MODEL ANTHROPIC_BETAS
    CLAUDE_CODE_SUBAGENT_MODEL CLAUDE_CODE_EFFORT_LEVEL

    CLAUDE_CODE_MAX_OUTPUT_TOKENS MAX_THINKING_TOKENS CLAUDE_CODE_MAX_TURNS CLAUDE_CODE_MAX_RETRIES API_TIMEOUT_MS
    BASH_MAX_OUTPUT_LENGTH BASH_DEFAULT_TIMEOUT_MS BASH_MAX_TIMEOUT_MS
    MCP_TIMEOUT MCP_TOOL_TIMEOUT MAX_MCP_OUTPUT_TOKENS ENABLE_TOOL_SEARCH

    DISABLE_TELEMETRY DISABLE_ERROR_REPORTING DO_NOT_TRACK CLAUDE_CODE_ENABLE_TELEMETRY
    CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC CLAUDE_CODE_DISABLE_OFFICIAL_MARKETPLACE_AUTOINSTALL

    TERM COLORTERM TERM_PROGRAM NO_COLOR FORCE_COLOR CLAUDE_CODE_DISABLE_TERMINAL_TITLE TZ
    """.split()
)
# Other names are possible, but no shell can export them.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BEHAVIOUR = re.compile("|".join(map(fnmatch.translate, BEHAVIOUR)))
_SECRET = re.compile("|".join(map(fnmatch.translate, SECRET)))


def split(environ: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return what a session gets of ``environ``: (public variables, secret ones), without empty values.

    URLs of the host's loopback are rewritten to the name under which a container reaches the host.
    """
    given = {name: value for name, value in environ.items() if value and _NAME.fullmatch(name)}
    secret = {name: reachable(value) for name, value in given.items() if _SECRET.match(name)}
    public = {name: value for name, value in given.items() if _BEHAVIOUR.match(name)}
    return public, secret


def proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the proxy variables unchanged, for an image build."""
    return {name: environ[name] for name in PROXIES if environ.get(name)}


def is_loopback(url: str) -> bool:
    """Return whether ``url`` names this machine's loopback."""
    try:
        name = urlsplit(url).hostname or ""
    except ValueError:
        return False
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def reachable(value: str) -> str:
    """Return ``value``; if it is a URL of the host's loopback, with the name that the host has in a container."""
    if not is_loopback(value):
        return value
    parts = urlsplit(value)
    try:
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return value
    sign_in, at, _ = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{sign_in}{at}{HOST_GATEWAY}{port}").geturl()
