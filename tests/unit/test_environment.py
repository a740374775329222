"""Which variables follow into a session, which of them are secret, and what is rewritten."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confined_claude.environment import CLOUDS, is_loopback, known_to_lead, leads_sign_in, proxies, split

SIGN_IN = ("ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN")
PROXIES = tuple(
    name for upper in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY") for name in (upper, upper.lower())
)
GATEWAY = "host.docker.internal"
# What follows of each name: any plain value, a switch or a number, a secret, or none.
NAMES = {
    name: kind
    for kind, name in map(str.split, (Path(__file__).parent / "claude_variables.txt").read_text().splitlines())
}


@pytest.mark.parametrize(
    "name",
    [*SIGN_IN, *PROXIES, "ANTHROPIC_BASE_URL", "ANTHROPIC_CUSTOM_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_X"],
)
def test_what_may_hold_a_secret_follows_as_a_secret(name: str) -> None:
    assert split({name: "sk-fake"}) == ({}, {name: "sk-fake"})


@pytest.mark.parametrize(
    "name",
    """ANTHROPIC_MODEL ANTHROPIC_SMALL_FAST_MODEL ANTHROPIC_DEFAULT_OPUS_MODEL ANTHROPIC_DEFAULT_SONNET_MODEL
    ANTHROPIC_DEFAULT_HAIKU_MODEL ANTHROPIC_BETAS CLAUDE_CODE_SUBAGENT_MODEL CLAUDE_CODE_EFFORT_LEVEL
    CLAUDE_CODE_MAX_OUTPUT_TOKENS MAX_THINKING_TOKENS CLAUDE_CODE_MAX_TURNS CLAUDE_CODE_MAX_RETRIES API_TIMEOUT_MS
    BASH_MAX_OUTPUT_LENGTH BASH_DEFAULT_TIMEOUT_MS BASH_MAX_TIMEOUT_MS MCP_TIMEOUT MCP_TOOL_TIMEOUT
    MAX_MCP_OUTPUT_TOKENS ENABLE_TOOL_SEARCH DISABLE_TELEMETRY DISABLE_ERROR_REPORTING DO_NOT_TRACK
    CLAUDE_CODE_ENABLE_TELEMETRY CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC
    CLAUDE_CODE_DISABLE_OFFICIAL_MARKETPLACE_AUTOINSTALL TERM COLORTERM TERM_PROGRAM NO_COLOR
    FORCE_COLOR CLAUDE_CODE_DISABLE_TERMINAL_TITLE""".split(),
)
def test_claudes_behaviour_follows_the_host(name: str) -> None:
    assert split({name: "1"}) == ({name: "1"}, {})


def test_every_name_in_the_client_is_decided() -> None:
    """Of the names in version 2.1.332 of the client, in the order of what follows of them."""
    found = {}
    for name in NAMES:
        is_secret, follows = bool(split({name: "1"})[1]), (bool(split({name: value})[0]) for value in ("1", "plain"))
        found[name] = "secret" if is_secret else {(1, 1): "any", (1, 0): "switch", (0, 0): "none"}[tuple(follows)]
    assert found == NAMES
    assert len(NAMES) > 1400


@pytest.mark.parametrize("cloud", [None, *CLOUDS], ids=lambda cloud: cloud.suffix if cloud else "none")
def test_what_could_lead_a_sign_in_elsewhere_is_known_by_name(cloud: Any) -> None:
    """So that it can be ruled out where a file cannot be read."""
    assert {name for name in NAMES if leads_sign_in(name, cloud)} <= known_to_lead(cloud)
    assert all(leads_sign_in(name, cloud) for name in known_to_lead(cloud))


@pytest.mark.parametrize(
    "names",
    [
        # secrets
        """ANTHROPIC_AWS_API_KEY ANTHROPIC_IDENTITY_TOKEN ANTHROPIC_WEBHOOK_SIGNING_KEY CLAUDE_API_KEY
        CLAUDE_CODE_CLIENT_KEY_PASSPHRASE CLAUDE_CODE_GATEWAY_TOKEN CLAUDE_CODE_OAUTH_REFRESH_TOKEN
        CLAUDE_CODE_SESSION_ACCESS_TOKEN CLAUDE_CODE_HFI_BEARER_TOKEN CLAUDE_TRUSTED_DEVICE_TOKEN MCP_CLIENT_SECRET
        CLAUDE_BG_SESSION_CREDENTIAL CLAUDE_CODE_RESULT_NONCE CLAUDE_CODE_MCP_SERVE_AUTH_TOKEN""",
        # sockets, descriptors, processes, ports
        """ANTHROPIC_UNIX_SOCKET CLAUDE_CODE_MESSAGING_SOCKET CLAUDE_CODE_API_KEY_FILE_DESCRIPTOR
        CLAUDE_RUNNER_ACTIVITY_FD CLAUDE_PID CLAUDE_CODE_SSE_PORT CLAUDE_CODE_HOST_HTTP_PROXY_PORT
        MCP_OAUTH_CALLBACK_PORT""",
        # places on the host
        """BASH_ENV CLAUDE_ENV_FILE CLAUDE_CONFIG_DIR CLAUDE_CODE_TMPDIR CLAUDE_CODE_PLUGIN_DIRS CLAUDE_CODE_SHELL
        CLAUDE_CODE_MANAGED_SETTINGS_PATH CLAUDE_CODE_GIT_BASH_PATH CLAUDE_SECURESTORAGE_CONFIG_DIR
        CLAUDE_CODE_CLIENT_CERT CLAUDE_CODE_PROCESS_WRAPPER CLAUDE_CODE_SHELL_PREFIX CLAUDE_CODE_EXECPATH
        CLAUDE_PROJECT_DIR""",
        # where requests go
        """ANTHROPIC_API_HOST CLAUDE_CODE_API_BASE_URL CLAUDE_CODE_CUSTOM_OAUTH_URL CLAUDE_CODE_PROXY_URL
        CLAUDE_CODE_HTTPS_PROXY CLAUDE_LOCAL_OAUTH_API_BASE CLAUDE_CODE_MODEL_CATALOG_URL CLAUDE_CODE_USE_GATEWAY
        MCP_PROXY_URL CLAUDE_AI_ORIGIN USE_STAGING_OAUTH""",
        # what a parent session, or another launcher, sets for its children
        """CLAUDE_CODE_SESSION_ID CLAUDE_CODE_CHILD_SESSION CLAUDE_CODE_CHILD_NOTES_DIR CLAUDE_CODE_SESSION_ATTENDED
        CLAUDE_CODE_ENTRYPOINT CLAUDE_EFFORT CLAUDE_CODE_REMOTE CLAUDE_CODE_BRIDGE_SESSION_ID CLAUDE_BG_BACKEND
        CLAUDE_CODE_WORKER_EPOCH CLAUDE_CODE_CONTAINER_ID CLAUDE_CODE_ACCOUNT_UUID CLAUDE_CODE_USER_EMAIL
        CLAUDE_CODE_SPAWN_TIMESTAMP_MS CLAUDE_CODE_RESUME_FROM_SESSION CLAUDE_CODE_TEAMMATE_COMMAND CLAUDE_JOB_DIR""",
        # what decides about trust, and what the image decides
        """CLAUDE_CODE_SANDBOXED CLAUDE_CODE_BUBBLEWRAP CLAUDE_CODE_EVEN_MORE_DANGEROUSLY_SKIP_PERMISSIONS
        CLAUDE_CODE_RELAUNCH_BYPASS_SWITCH CLAUDE_CODE_IGNORE_PERSISTED_TRUST CLAUDE_BG_WORKSPACE_TRUSTED
        CLAUDE_CODE_PROVIDER_MANAGED_BY_HOST DISABLE_AUTOUPDATER DISABLE_UPDATES""",
    ],
)
def test_nothing_dangerous_in_the_client_follows_as_behaviour(names: str) -> None:
    for name in names.split():
        assert name in NAMES, name
        for value in ("1", "true", "plain", "sk-ant-fake", "/tmp/x", "https://x.example"):
            assert split({name: value}) == ({}, {}), name


@pytest.mark.parametrize(
    "name",
    """DISABLE_AUTO_COMPACT DISABLE_PROMPT_CACHING CLAUDE_CODE_DISABLE_AUTO_MEMORY CLAUDE_CODE_DISABLE_1M_CONTEXT
    CLAUDE_CODE_DISABLE_THINKING CLAUDE_CODE_DISABLE_BACKGROUND_TASKS CLAUDE_CODE_FILE_READ_MAX_OUTPUT_TOKENS
    CLAUDE_CODE_EXPERIMENTAL_AGENT_TEAMS CLAUDE_CODE_DISABLE_FILE_CHECKPOINTING CLAUDE_CODE_NO_FLICKER
    CLAUDE_CODE_MAX_TOOL_USE_CONCURRENCY CLAUDE_AUTOCOMPACT_PCT_OVERRIDE CLAUDE_CODE_SUBPROCESS_ENV_SCRUB""".split(),
)
def test_the_switches_that_people_use_follow(name: str) -> None:
    assert split({name: "1"}) == ({name: "1"}, {})


def test_a_body_of_the_users_own_follows_as_a_secret() -> None:
    environ = {"CLAUDE_CODE_EXTRA_BODY": '{"metadata": {"key": "secret"}}'}
    assert split(environ) == ({}, environ)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DISABLE_NEW_THING", "1"),
        ("CLAUDE_CODE_DISABLE_NEW_FILE_THING", "true"),
        ("CLAUDE_CODE_NEW_THING_TIMEOUT_MS", "1500"),
        ("CLAUDE_CODE_MAX_NEW_THINGS_PER_SESSION", "3"),
        ("CLAUDE_CODE_NEW_MODE", "fast"),
        ("ANTHROPIC_DEFAULT_NEW_MODEL", "arn:aws:bedrock:us-east-1:1:inference-profile/x"),
    ],
)
def test_names_of_later_versions_follow(name: str, value: str) -> None:
    assert split({name: value}) == ({name: value}, {})


@pytest.mark.parametrize(
    "name",
    """CLAUDECODE CLAUDE_CODE_SESSION_ID CLAUDE_CODE_ENTRYPOINT CLAUDE_CODE_EXECPATH CLAUDE_CODE_SSE_PORT CLAUDE_PID
    CLAUDE_CODE_MESSAGING_SOCKET CLAUDE_CODE_IDE_SOCKET CLAUDE_CODE_PROJECT_DIR_NAME CLAUDE_CODE_SANDBOXED
    CLAUDE_CONFIG_DIR CLAUDE_SECURESTORAGE_CONFIG_DIR IS_SANDBOX DISABLE_AUTOUPDATER""".split(),
)
def test_what_a_parent_session_or_launcher_sets_never_follows(name: str) -> None:
    assert split({name: "1"}) == ({}, {})


@pytest.mark.parametrize(
    "name",
    """HOME PATH USER PWD LD_PRELOAD NODE_OPTIONS PYTHONPATH BASH_ENV SSH_AUTH_SOCK GITHUB_TOKEN AWS_SECRET_ACCESS_KEY
    GOOGLE_APPLICATION_CREDENTIALS DOCKER_HOST CONFINED_CLAUDE_NETWORK TERMINAL TZDIR MY_TERM XTERM
    ANTHROPIC_MODEL_X XANTHROPIC_MODEL ANTHROPIC_NEW_THING term Anthropic_Model MY_OTEL_X MAX_CONNECTIONS ENABLED
    BASH_COMPAT MY_DISABLE_X
    MY_ANTHROPIC_API_KEY ANTHROPIC_API_KEY_OLD""".split(),
)
def test_nothing_else_follows(name: str) -> None:
    assert split({name: "value"}) == ({}, {})


@pytest.mark.parametrize("name", [*SIGN_IN, "TERM", "HTTP_PROXY", "OTEL_EXPORTER_OTLP_HEADERS"])
def test_an_empty_variable_does_not_follow(name: str) -> None:
    assert split({name: ""}) == ({}, {})


@given(name=st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ_", min_size=1, max_size=12))
def test_what_is_not_known_and_looks_like_a_secret_or_a_place_stays_out(name: str) -> None:
    for ending in ("TOKEN", "API_KEY", "SECRET", "SOCKET", "PATH", "DIR", "URL", "SESSION_ID", "FILE", "PORT", "HOST"):
        for value in ("1", "plain"):
            assert split({f"CLAUDE_CODE_{name}_{ending}": value}) in (
                ({}, {}),
                ({f"CLAUDE_CODE_{name}_{ending}": "1"}, {}),
            )
    for value in ("sk-ant-api03-made-up-0123456789abcdefghij", "/home/me/x", "https://x.example", "a b", "{}"):
        environ = {f"CLAUDE_CODE_{name}": value, f"DISABLE_{name}": value, f"CLAUDE_CODE_DISABLE_{name}": value}
        assert split(environ) == ({}, {})


def test_no_variable_is_both_public_and_secret() -> None:
    environ = dict.fromkeys([*SIGN_IN, *PROXIES, "OTEL_LOGS_EXPORTER", "TERM"], "value")
    public, secret = split(environ)
    assert set(public) == {"TERM"}
    assert set(secret) == set(environ) - set(public)


@pytest.mark.parametrize("signal", ["TRACES", "METRICS", "LOGS"])
def test_headers_of_a_single_telemetry_signal_are_secret(signal: str) -> None:
    environ = {f"OTEL_EXPORTER_OTLP_{signal}_HEADERS": "Authorization=Bearer fake"}
    assert split(environ) == ({}, environ)


# The host's loopback


@pytest.mark.parametrize(
    ("url", "inside"),
    [
        ("http://localhost", f"http://{GATEWAY}"),
        ("http://localhost:8787", f"http://{GATEWAY}:8787"),
        ("http://127.0.0.1:8787/v1/x?a=b&c=%20d#e", f"http://{GATEWAY}:8787/v1/x?a=b&c=%20d#e"),
        ("http://127.3.4.5:1/", f"http://{GATEWAY}:1/"),
        ("https://[::1]:8443/x", f"https://{GATEWAY}:8443/x"),
        ("https://[::1]/x", f"https://{GATEWAY}/x"),
        ("http://user:pass@localhost:3128", f"http://user:pass@{GATEWAY}:3128"),
        ("http://user:p%40ss@[::1]:3128/", f"http://user:p%40ss@{GATEWAY}:3128/"),
        ("http://user:p@ss@127.0.0.1:3128", f"http://user:p@ss@{GATEWAY}:3128"),
        ("http://user@localhost", f"http://user@{GATEWAY}"),
        ("socks5h://localhost:1080", f"socks5h://{GATEWAY}:1080"),
        ("http://LOCALHOST:1/", f"http://{GATEWAY}:1/"),
        ("http://app.localhost:1/", f"http://{GATEWAY}:1/"),
    ],
)
@pytest.mark.parametrize("name", ["ANTHROPIC_BASE_URL", "HTTPS_PROXY", "http_proxy", "OTEL_EXPORTER_OTLP_ENDPOINT"])
def test_a_url_on_the_hosts_loopback_names_the_host_inside(name: str, url: str, inside: str) -> None:
    assert split({name: url}) == ({}, {name: inside})


@pytest.mark.parametrize(
    "value",
    [
        "https://api.example.com",
        "HTTPS://API.Example.com:443/?",
        "http://10.0.0.1:3128",
        "http://[2001:db8::1]:3128/",
        "http://localhost.example.com/#",
        "http://notlocalhost/",
        "http://localhost@example.com/",
        "http://example.com/http://localhost",
        "http://example.com?u=http://127.0.0.1",
        "http://user:localhost@example.com",
        "localhost,127.0.0.1,.corp.example,::1",
        "*",
        "X-Header: http://localhost:1",
        "http://[::1",
        "not a url at all",
        " http://",
        "sk-ant-oat01-fake\nwith a line",
    ],
)
@pytest.mark.parametrize("name", ["ANTHROPIC_BASE_URL", "NO_PROXY", "ANTHROPIC_CUSTOM_HEADERS"])
def test_every_other_value_stays_as_it_is(name: str, value: str) -> None:
    assert split({name: value}) == ({}, {name: value})


@given(st.text(min_size=1))
def test_a_token_stays_as_it_is(token: str) -> None:
    value = f"sk-{token}"
    assert split({"ANTHROPIC_API_KEY": value}) == ({}, {"ANTHROPIC_API_KEY": value})


@given(
    user=st.sampled_from(["", "me@", "me:secret@"]),
    port=st.integers(1, 65535),
    path=st.text(st.sampled_from("ab/%?&=")),
)
def test_rewriting_keeps_sign_in_port_and_path(user: str, port: int, path: str) -> None:
    _, secret = split({"ANTHROPIC_BASE_URL": f"http://{user}127.0.0.1:{port}/x{path}y"})
    assert secret["ANTHROPIC_BASE_URL"] == f"http://{user}{GATEWAY}:{port}/x{path}y"


@pytest.mark.parametrize("url", ["http://localhost:port", "http://127.0.0.1:99999/", "http://[::1]:-1"])
def test_a_port_that_is_none_is_no_traceback(url: str) -> None:
    assert split({"ANTHROPIC_BASE_URL": url}) == ({}, {"ANTHROPIC_BASE_URL": url})


def test_the_endpoint_of_a_single_telemetry_signal_names_the_host_inside() -> None:
    name = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
    public, secret = split({name: "http://localhost:4318/v1/traces"})
    assert {**public, **secret}[name] == f"http://{GATEWAY}:4318/v1/traces"


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://localhost", True),
        ("http://127.0.0.1:1", True),
        ("http://[::1]", True),
        ("http://example.com", False),
        ("http://0.0.0.0.example.com", False),
        ("http://192.168.0.1", False),
        ("", False),
        ("localhost", False),
        ("http://[", False),
    ],
)
def test_loopback(url: str, loopback: bool) -> None:
    assert is_loopback(url) is loopback


# Proxies of an image build


def test_a_build_gets_the_proxies_as_they_are() -> None:
    environ = {
        "HTTP_PROXY": "http://localhost:3128",
        "no_proxy": "a,b",
        "https_proxy": "",
        "ANTHROPIC_API_KEY": "sk-fake",
        "TERM": "x",
    }
    assert proxies(environ) == {"HTTP_PROXY": "http://localhost:3128", "no_proxy": "a,b"}


@pytest.mark.parametrize(
    "name", ["OTEL_A.B", "OTEL_$(touch x)", "OTEL_;touch x", "OTEL_A\nB", "ANTHROPIC_DEFAULT_-_MODEL"]
)
def test_names_that_no_shell_can_export_do_not_follow(name: str) -> None:
    assert split({name: "value", "OTEL_SERVICE_NAME": "kept"}) == ({}, {"OTEL_SERVICE_NAME": "kept"})
