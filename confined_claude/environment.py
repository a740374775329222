"""Which variables of the host's environment a session gets.

What signs in is listed one by one, and how Claude Code behaves follows by a rule about its own names, as read from its
program. Everything else stays out, above all the variables that a parent Claude session sets for its children.
"""

from __future__ import annotations

import fnmatch
import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from .container.egress import networks

HOST_GATEWAY = networks.HOST_GATEWAY

# The variables that sign in, in the order in which Claude Code prefers them.
SIGN_IN = ("ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN")


class Cloud(NamedTuple):
    """A cloud through which Claude Code reaches its models.

    ``family`` says whose credentials it takes (aws, google, azure), and ``base_url`` is the variable that leads it to a
    gateway. ``variables`` are patterns of fnmatch; none names a file, or a service that hands out credentials. Names
    that a pattern stands for are among them as well, as far as version 2.1.332 knows them.
    """

    name: str
    suffix: str
    family: str
    base_url: str
    variables: tuple[str, ...]

    @property
    def switch(self) -> str:
        """The variable that turns it on."""
        return f"CLAUDE_CODE_USE_{self.suffix}"

    @property
    def skip(self) -> str:
        """The variable with which a gateway has the cloud's credentials, and Claude Code needs none."""
        return f"CLAUDE_CODE_SKIP_{self.suffix}_AUTH"

    def has(self, name: str) -> bool:
        """Return whether the variable ``name`` is one of this cloud's."""
        patterns = (self.switch, self.skip, *self.variables)
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


_AWS = tuple(
    """AWS_REGION AWS_DEFAULT_REGION AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN
    AWS_BEARER_TOKEN_BEDROCK AWS_ENDPOINT_URL AWS_ENDPOINT_URL_BEDROCK AWS_ENDPOINT_URL_BEDROCK_RUNTIME
    AWS_USE_FIPS_ENDPOINT AWS_USE_DUALSTACK_ENDPOINT AWS_MAX_ATTEMPTS AWS_RETRY_MODE
    ANTHROPIC_SMALL_FAST_MODEL_AWS_REGION ANTHROPIC_BEDROCK_* CLAUDE_CODE_DISABLE_BEDROCK_* ANTHROPIC_AWS_*
    ANTHROPIC_BEDROCK_BASE_URL ANTHROPIC_BEDROCK_MANTLE_BASE_URL ANTHROPIC_BEDROCK_REGION_PREFIX
    ANTHROPIC_BEDROCK_SERVICE_TIER CLAUDE_CODE_DISABLE_BEDROCK_CONTENT_TYPE_DEFAULT
    CLAUDE_CODE_DISABLE_BEDROCK_CONTENT_TYPE_GUARD ANTHROPIC_AWS_BASE_URL ANTHROPIC_AWS_API_KEY
    ANTHROPIC_AWS_WORKSPACE_ID""".split()
)
_GOOGLE = tuple(
    """ANTHROPIC_VERTEX_* ANTHROPIC_GOOGLE_CLOUD_* CLOUD_ML_REGION VERTEX_REGION_* GOOGLE_CLOUD_PROJECT
    GOOGLE_CLOUD_QUOTA_PROJECT GCLOUD_PROJECT ANTHROPIC_VERTEX_BASE_URL ANTHROPIC_VERTEX_PROJECT_ID
    ANTHROPIC_GOOGLE_CLOUD_BASE_URL ANTHROPIC_GOOGLE_CLOUD_LOCATION ANTHROPIC_GOOGLE_CLOUD_PROJECT
    ANTHROPIC_GOOGLE_CLOUD_WORKSPACE_ID""".split()
)
_AZURE = tuple(
    """ANTHROPIC_FOUNDRY_* ANTHROPIC_FOUNDRY_BASE_URL ANTHROPIC_FOUNDRY_RESOURCE ANTHROPIC_FOUNDRY_API_KEY
    ANTHROPIC_FOUNDRY_AUTH_TOKEN""".split()
)

# What the names of a family's other variables begin with: its tools and SDKs take credentials from many of them, or
# from the service that they name.
PREFIXES = {
    "aws": ("AWS_",),
    "google": ("GOOGLE_", "GCLOUD_", "CLOUDSDK_", "CLOUD_ML_", "VERTEX_", "GCE_METADATA_", "METADATA_SERVER_"),
    "azure": ("AZURE_", "IDENTITY_", "MSI_", "IMDS_"),
}

# In the order in which Claude Code (2.1.332) prefers them, as `claude auth status` tells it for every pair.
CLOUDS = (
    Cloud("Amazon Bedrock", "BEDROCK", "aws", "ANTHROPIC_BEDROCK_BASE_URL", _AWS),
    Cloud("Microsoft Foundry", "FOUNDRY", "azure", "ANTHROPIC_FOUNDRY_BASE_URL", _AZURE),
    Cloud("Claude on AWS", "ANTHROPIC_AWS", "aws", "ANTHROPIC_AWS_BASE_URL", _AWS),
    Cloud("Claude on Google Cloud", "ANTHROPIC_GOOGLE_CLOUD", "google", "ANTHROPIC_GOOGLE_CLOUD_BASE_URL", _GOOGLE),
    Cloud("Amazon Bedrock (Mantle)", "MANTLE", "aws", "ANTHROPIC_BEDROCK_MANTLE_BASE_URL", _AWS),
    Cloud("Google Vertex AI", "VERTEX", "google", "ANTHROPIC_VERTEX_BASE_URL", _GOOGLE),
)

# Patterns of fnmatch. These may hold a secret (a proxy's password, say), so `docker inspect` never shows them.
PROXIES = tuple("HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY http_proxy https_proxy all_proxy no_proxy".split())
SECRET = (
    *(*SIGN_IN, "ANTHROPIC_BASE_URL", "ANTHROPIC_CUSTOM_HEADERS", *PROXIES, "OTEL_*"),
    *("CLAUDE_CODE_EXTRA_BODY", "CLAUDE_CODE_EXTRA_METADATA"),
)
# Where Claude Code sends its requests, and with them the sign-in.
ENDPOINTS = ("ANTHROPIC_*BASE_URL", "ANTHROPIC_FOUNDRY_RESOURCE", "AWS_ENDPOINT_URL*")

# Patterns of fnmatch: what follows whatever it says. Models, the terminal, and settings that the rule below leaves out.
LISTED = tuple(
    """
    ANTHROPIC_MODEL ANTHROPIC_SMALL_FAST_MODEL ANTHROPIC_DEFAULT_*MODEL* ANTHROPIC_CUSTOM_MODEL_OPTION* ANTHROPIC_BETAS
    CLAUDE_CODE_SUBAGENT_MODEL CLAUDE_CODE_WORKFLOW_SUBAGENT_MODEL CLAUDE_CODE_AUTO_MODE_MODEL
    API_TIMEOUT_MS ENABLE_TOOL_SEARCH MCP_DISCOVERY_CACHE TASK_MAX_OUTPUT_LENGTH USE_BUILTIN_RIPGREP
    FORCE_PROMPT_CACHING_5M FALLBACK_FOR_ALL_PRIMARY_MODELS DO_NOT_TRACK CLAUDE_BASH_MAINTAIN_PROJECT_WORKING_DIR
    CLAUDE_CODE_ADDITIONAL_DIRECTORIES_CLAUDE_MD CLAUDE_CODE_SUBPROCESS_ENV_SCRUB CLAUDE_CODE_USE_NATIVE_FILE_SEARCH
    CLAUDE_CODE_*_TOKEN_THRESHOLD
    TERM COLORTERM TERM_PROGRAM NO_COLOR FORCE_COLOR
    """.split()
)
# The rule for all other names of Claude Code, so that those of new versions follow as well. Decided by going through
# the 1,500 names in version 2.1.332; tests/unit/claude_variables.txt has the result.
# What never follows: secrets, open files and processes, identities, what a parent session or another launcher of Claude
# Code sets for its children, and what decides about trust. Words of a name.
_NEVER = frozenset(
    """
    TOKEN KEY KEYS SECRET PASSWORD PASSPHRASE CREDENTIAL CREDENTIALS CREDS CREDMAN AUTH OAUTH AUTHENTICATE BEARER CERT
    NONCE SHA256 HEADERS SOCKET SOCK FD DESCRIPTOR PID PORT PROXY HOST HOSTED GATEWAY ID IDS UUID EMAIL
    ENTRYPOINT REMOTE BRIDGE BG CCR RUNNER SDK DESKTOP COWORK DAEMON WORKER EVAL HFI RELAUNCH CHILD PARENT CONTAINER
    PTY TEAMMATE COORDINATOR SUPERVISED TESTING MOCK SIMULATE INTERNAL LAUNCHER DELEGATED TRACEPARENT PROVIDER
    SANDBOX SANDBOXED BUBBLEWRAP DANGEROUSLY BYPASS PERMISSION PERMISSIONS TRUST POLICY MANAGED ACCEPT
    RESTRICTED SERVE TELEPORT TETHER TUI CREATED TIMESTAMP AUTOUPDATER AUTOUPDATE UPDATES UPDATE
    """.split()
)
# A name with one of these is a switch or a number: it follows, whatever else is in the name, if its value is one.
_SWITCHES = frozenset("DISABLE ENABLE EXPERIMENTAL FORCE HIDE MAX NO SHOW SKIP".split())
_NUMBERS = ("_MS", "_SECONDS", "_MINUTES", "_TIMEOUT", "_TOKENS", "_RETRIES", "_LIMIT", "_WINDOW", "_INTERVAL")
# A name with none of these follows with a plain word as its value. They stand for places on the host, and for what
# belongs to one run of Claude Code.
_NOT_WITH_WORDS = frozenset(
    """
    PATH PATHS PSMODULEPATH DIR DIRS DIRECTORY DIRECTORIES FOLDER FILE FILES ROOT ROOTS URL URLS URI ORIGIN ENDPOINT BIN
    BINARY EXEC EXECPATH SCRIPT SHELL WRAPPER TMPDIR HOME CGROUP SCRATCHPAD WORKSPACE WORKTREE REPO REPOSITORY CHECKOUTS
    STORE ENV PREFIX COMMAND SESSION SESSIONS AGENT ACCOUNT ORGANIZATION ORG SUBSCRIPTION TIER SPAWN SPAWNED LAUNCHED
    LAUNCH INVOKED RESUME TMUX IDE CLOUD ENVIRONMENT PROJECT PROJECTS SERVER SERVERS USER NAME VERSION HELPER HELPERS
    LOG RECORDING TRACE ACTION ARTIFACT REF REFS TAGS CONFIG SEED PROFILE EXTRA REPL PROBE PLATFORM BENCH STAMPED SYNC
    MACHINE
    """.split()
)
_SWITCH = r"(?i)[0-9]{1,9}(\.[0-9]{1,6})?|true|false|yes|no|on|off"
_WORD = r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}"
# Of these only switches and numbers follow, as other programs use such names too.
_SHARED = r"(DISABLE|ENABLE|MCP)_\w+|MAX_\w+_(TOKENS|RETRIES)|BASH_(MAX|DEFAULT)_\w+"
_OWN = r"CLAUDE_(CODE(?!_USE_)|AUTOCOMPACT|AX|AFK|STREAM|BYTE|ENABLE|DISABLE|ASYNC)_\w+"
# With what all these begin. Few environments have any, and the patterns take a millisecond to compile.
_FIRST_WORDS = frozenset("DISABLE ENABLE MCP MAX BASH CLAUDE".split())


def _one_of(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Return a function that tells whether a name has one of these patterns of fnmatch.

    Compiling them all would take a millisecond of each start: most are plain names, or begin as no name here does.
    """
    plain = frozenset(pattern for pattern in patterns if "*" not in pattern)
    others = tuple(pattern for pattern in patterns if "*" in pattern)
    begins = tuple(pattern.partition("*")[0] for pattern in others)
    return lambda name: (
        name in plain or (name.startswith(begins) and any(fnmatch.fnmatchcase(name, pattern) for pattern in others))
    )


_is_listed, _is_secret, _is_endpoint = map(_one_of, (LISTED, SECRET, ENDPOINTS))
_PLAIN = frozenset((*SIGN_IN, "ANTHROPIC_CUSTOM_HEADERS", "CLAUDE_CODE_API_KEY_HELPER_TTL_MS"))


def is_true(value: str | None) -> bool:
    """Return whether Claude Code reads the value of a switch as yes."""
    return (value or "").lower() in ("1", "true", "yes", "on")


def is_endpoint(name: str) -> bool:
    """Return whether the variable ``name`` says where requests go."""
    return _is_endpoint(name)


def is_of_sign_in(name: str) -> bool:
    """Return whether the variable ``name`` says how Claude Code signs in, or where."""
    return name in _PLAIN or is_endpoint(name) or any(cloud.has(name) for cloud in CLOUDS)


def is_of_connection(name: str) -> bool:
    """Return whether the variable ``name`` says how Claude Code signs in, where, or through which proxy."""
    return is_of_sign_in(name) or name in PROXIES


# Whichever sign-in is used, these say how, where or through what; a cloud that is turned off does not matter.
_OF_EVERY_SIGN_IN = frozenset(
    (*_PLAIN, *PROXIES, "ANTHROPIC_BASE_URL", *(name for cloud in CLOUDS for name in (cloud.switch, cloud.skip)))
)


def leads_sign_in(name: str, cloud: Cloud | None) -> bool:
    """Return whether the variable ``name`` could lead a sign-in elsewhere, or replace it, where ``cloud`` is used."""
    return name in _OF_EVERY_SIGN_IN or (cloud is not None and cloud.has(name))


def known_to_lead(cloud: Cloud | None) -> frozenset[str]:
    """Return the names of all such variables, as far as they are known."""
    return _OF_EVERY_SIGN_IN | {name for name in (cloud.variables if cloud else ()) if "*" not in name}


def cloud_in(environ: Mapping[str, str]) -> Cloud | None:
    """Return the cloud that Claude Code uses with ``environ``; None without one."""
    return next((cloud for cloud in CLOUDS if is_true(environ.get(cloud.switch))), None)


def split(environ: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return what a session gets of ``environ``: (public variables, secret ones), without empty values.

    Those of a cloud follow if it is turned on. URLs of the host's loopback are rewritten to the name under which a
    container reaches the host.
    """
    given = {name: value for name, value in environ.items() if value and _is_exported(name)}
    cloud = cloud_in(given)
    secret = {
        name: reachable(value)
        for name, value in given.items()
        if _is_secret(name) or (cloud is not None and cloud.has(name))
    }
    public = {name: value for name, value in given.items() if name not in secret and is_behaviour(name, value)}
    return public, secret


def is_behaviour(name: str, value: str) -> bool:
    """Return whether a variable of this ``name`` and ``value`` only says how Claude Code behaves."""
    if _is_listed(name):
        return True
    if name.partition("_")[0] not in _FIRST_WORDS:
        return False
    is_own = re.fullmatch(_OWN, name) is not None
    words = frozenset(name.split("_"))
    if not (is_own or re.fullmatch(_SHARED, name)) or words & _NEVER:
        return False
    if words & _SWITCHES or name.endswith(_NUMBERS):
        return re.fullmatch(_SWITCH, value) is not None
    allowed = _WORD if is_own else _SWITCH
    return not words & _NOT_WITH_WORDS and re.fullmatch(allowed, value) is not None


def _is_exported(name: str) -> bool:
    """Return whether a shell can export a variable of this ``name``. Others are possible."""
    return name.isascii() and name.isidentifier()


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
