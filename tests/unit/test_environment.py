"""Which variables follow into a session, which of them are secret, and what is rewritten."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confined_claude.environment import is_loopback, proxies, split

SIGN_IN = ("ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN")
PROXIES = tuple(
    name for upper in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY") for name in (upper, upper.lower())
)
GATEWAY = "host.docker.internal"


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
    FORCE_COLOR CLAUDE_CODE_DISABLE_TERMINAL_TITLE TZ""".split(),
)
def test_claudes_behaviour_follows_the_host(name: str) -> None:
    assert split({name: "value"}) == ({name: "value"}, {})


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
    ANTHROPIC_MODEL_X XANTHROPIC_MODEL ANTHROPIC_DEFAULT_OPUS_MODEL_NAME term Anthropic_Model MY_OTEL_X
    MY_ANTHROPIC_API_KEY ANTHROPIC_API_KEY_OLD""".split(),
)
def test_nothing_else_follows(name: str) -> None:
    assert split({name: "value"}) == ({}, {})


@pytest.mark.parametrize("name", [*SIGN_IN, "TERM", "HTTP_PROXY", "OTEL_EXPORTER_OTLP_HEADERS"])
def test_an_empty_variable_does_not_follow(name: str) -> None:
    assert split({name: ""}) == ({}, {})


@given(name=st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ_", min_size=1, max_size=12))
def test_a_variable_of_claude_code_that_is_not_known_stays_out(name: str) -> None:
    assert split({f"CLAUDE_CODE_{name}_X": "1", f"ANTHROPIC_{name}_X": "1", f"CLAUDE_{name}": "1"}) == ({}, {})


def test_no_variable_is_both_public_and_secret() -> None:
    environ = dict.fromkeys([*SIGN_IN, *PROXIES, "OTEL_LOGS_EXPORTER", "TERM", "TZ"], "value")
    public, secret = split(environ)
    assert set(public) == {"TERM", "TZ"}
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
