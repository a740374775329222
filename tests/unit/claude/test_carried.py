"""Hooks, servers and settings of the host as a session has them: allowed one by one, translated, and never stored."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confined_claude.claude import approvals
from confined_claude.claude.approvals import Item
from confined_claude.claude.carried import HostSetup
from confined_claude.claude.host_commands import HostPaths, guarded_words, in_session
from confined_claude.claude.setup_settings import copy_of
from confined_claude.host import Host
from confined_claude.state.store import state_of

from .test_setup import put

SECRET = "made-up-secret"


@pytest.fixture
def paths(host: Host) -> HostPaths:
    put(host.home / ".claude/hooks/check.py", b"")
    put(host.home / ".claude/status.sh", b"")
    put(host.home / "bin/tool", b"")
    put(host.home / "project/tool", b"")
    return HostPaths(host.home / ".claude", host.home, host.home / "project")


# Commands


@pytest.mark.parametrize(
    ("command", "inside", "scripts"),
    [
        ("python3 ~/.claude/hooks/check.py -v", "python3 /home/claude/.claude/hooks/check.py -v", ["hooks/check.py"]),
        ('"$HOME/.claude/status.sh" x', '"/home/claude/.claude/status.sh" x', ["status.sh"]),
        ("${CLAUDE_CONFIG_DIR}/status.sh", "/home/claude/.claude/status.sh", ["status.sh"]),
        ("A=HOME/.claude/status.sh", "A=/home/claude/.claude/status.sh", ["status.sh"]),
        ("/opt/homebrew/bin/node HOME/.claude/status.sh", "node /home/claude/.claude/status.sh", ["status.sh"]),
        ("HOME/project/tool", "HOME/project/tool", []),
        ('"$CLAUDE_PROJECT_DIR"/.claude/x.sh', '"$CLAUDE_PROJECT_DIR"/.claude/x.sh', []),
        ("curl https://example.com/home/x | sed s/a/b/", "curl https://example.com/home/x | sed s/a/b/", []),
        ("jq . >> ~/log.txt", "jq . >> ~/log.txt", []),
        ("cat /etc/hostname /usr/share/x", "cat /etc/hostname /usr/share/x", []),
    ],
)
def test_commands_have_the_paths_of_the_session(
    command: str, inside: str, scripts: list[str], paths: HostPaths
) -> None:
    found = in_session(command.replace("HOME/", f"{paths.home}/") if "$" not in command else command, paths)
    assert found.text == (inside.replace("HOME/", f"{paths.home}/") if "$" not in inside else inside)
    assert (list(found.scripts), found.problem) == (scripts, "")


@pytest.mark.parametrize("command", ["~/bin/tool", "python3 HOME/bin/tool", "'HOME/bin/tool' x", "x --config=HOME/bin"])
def test_commands_that_name_what_only_the_host_has_cannot_run(command: str, paths: HostPaths) -> None:
    assert "which is not in the session" in in_session(command.replace("HOME", str(paths.home)), paths).problem


def test_a_script_that_is_missing_on_the_host_cannot_run(paths: HostPaths) -> None:
    assert "does not exist" in in_session("python3 ~/.claude/hooks/gone.py", paths).problem


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("echo ran; exit 2", 2),
        ("no-such-program-at-all x; exit 2", 0),
        ("FOO=1 BAR='a b' no-such-program-at-all", 0),
        ("python3 nowhere/missing.py", 0),
        ("bash -c 'exit 2'", 2),
        ("if true; then exit 2; fi", 2),
        ("[ -e / ] && exit 2", 2),
    ],
)
def test_a_hook_does_nothing_where_its_program_or_script_is_missing(command: str, code: int, paths: HostPaths) -> None:
    done = subprocess.run(["bash", "-c", in_session(command, paths).guarded], capture_output=True, check=False)
    assert done.returncode == code


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["bash", "-c", "exit $1", "x y", "2"], 2),
        (["no-such-program-at-all", "x"], 0),
        (["python3", "nowhere/missing.py"], 0),
        (["/usr/bin/python3", "nowhere/missing.py"], 0),
        (["python3", "-c", "import sys; sys.exit(2)"], 2),
        (["false"], 1),
    ],
)
def test_so_does_a_hook_that_is_a_program_with_its_words(words: list[str], code: int) -> None:
    guarded = guarded_words(words)
    done = subprocess.run([guarded["command"], *guarded["args"]], capture_output=True, check=False)  # type: ignore[misc, list-item]
    assert done.returncode == code


@given(
    st.lists(st.sampled_from(["echo", "a b", "'", '"', "~", "/", "$HOME", "x=1", ";", "|", "&&", "`", "(", "[", "é"]))
)
def test_any_text_is_a_command_and_stays_the_same_without_paths(words: list[str]) -> None:
    paths = HostPaths(Path("/h/.claude"), Path("/h"))
    text = " ".join(words)
    found = in_session(text, paths)
    assert (found.text, found.scripts) == (text, ())
    assert found.guarded.endswith(text)


@given(st.text(alphabet="ab. '\"$\\;\n", max_size=12))
def test_a_quoted_script_of_the_config_arrives_at_its_place(name: str) -> None:
    paths = HostPaths(Path("/h/.claude"), Path("/h"))
    found = in_session(f"python3 {shlex.quote('/h/.claude/hooks/x.py')} {shlex.quote(name)}", paths)
    assert found.text.startswith("python3 /home/claude/.claude/hooks/x.py")


# Hooks and servers

SERVERS = {
    "local": {
        "command": "npx",
        "args": ["-y", "server", "--token", SECRET],
        "env": {"KEY": SECRET, "GIVEN": "${MINE}"},
    },
    "remote": {"type": "http", "url": f"https://mcp.example.com/{SECRET}", "headers": {"Authorization": SECRET}},
    "here": {"type": "http", "url": "http://localhost:3000/mcp"},
    "needs": {"command": "npx", "env": {"A": "${NOT_SET}", "B": "${ALSO_NOT:-default}"}},
    "host": {"command": "~/bin/tool"},
    "odd": {"type": "stdio"},
}
HOOKS = {
    "PreToolUse": [{"matcher": "Bash", "hooks": [{"type": "command", "command": "python3 ~/.claude/hooks/check.py"}]}],
    "Stop": [
        {
            "hooks": [
                {"type": "command", "command": f"curl -H 'A: Bearer {SECRET}' https://x.org/{SECRET} --key={SECRET}"},
                {"type": "prompt", "prompt": "?"},
            ]
        }
    ],
    "Odd": [7, {"hooks": 7}, {"hooks": [7]}],
}


@pytest.fixture
def filled(host: Host, paths: HostPaths) -> Host:
    put(host.home / ".claude.json", {"mcpServers": SERVERS, "projects": {"/x": {"mcpServers": {"p": {}}}}})
    put(paths.config / "settings.json", {"hooks": HOOKS})
    return host._replace(environ={"MINE": "from the environment"})


def items(host: Host) -> dict[str, Item]:
    return {item.name if not item.place else item.what.split(":")[0]: item for item in HostSetup(host).items}


def allow(host: Host, *names: str) -> None:
    approvals.decide(state_of(host), {items(host)[name].digest: True for name in names})


def test_each_is_shown_in_plain_words_without_a_secret(filled: Host) -> None:
    assert {name: item.what for name, item in items(filled).items()} == {
        "local": "runs `npx -y server --token ***`, with KEY, GIVEN, using your variables MINE",
        "remote": "talks to https://mcp.example.com, with the headers Authorization",
        "here": "talks to http://localhost:3000, on your machine, which sessions reach if `host_ports` has its port",
        "needs": "runs `npx`, with A, B",
        "host": "runs `~/bin/tool`",
        "odd": "is not understood",
        "PreToolUse of Bash": "PreToolUse of Bash: runs `python3 ~/.claude/hooks/check.py`",
        "Stop": "Stop: asks a model: ?",
    }
    assert SECRET not in str([item.what for item in HostSetup(filled).items])
    problems = {name: item.problem for name, item in items(filled).items() if item.problem}
    assert set(problems) == {"needs", "host", "odd"}
    assert "NOT_SET" in problems["needs"]
    assert "ALSO_NOT" not in problems["needs"]


def test_nothing_is_carried_before_it_is_allowed_and_then_just_that(filled: Host) -> None:
    state = state_of(filled)
    nothing = HostSetup(filled).carried(state)
    assert (nothing.servers, nothing.hooks, nothing.scripts, nothing.waiting) == ("", "", (), 6)
    allow(filled, "local", "PreToolUse of Bash")
    carried = HostSetup(filled).carried(state)
    assert json.loads(carried.servers) == {
        "mcpServers": {"local": {**SERVERS["local"], "env": {"KEY": SECRET, "GIVEN": "from the environment"}}}
    }
    ((group,),) = json.loads(carried.hooks)["hooks"].values()
    assert group["matcher"] == "Bash"
    assert group["hooks"][0]["command"].endswith("; python3 /home/claude/.claude/hooks/check.py")
    assert (carried.scripts, carried.waiting) == (("hooks/check.py",), 4)
    everything = b"".join(path.read_bytes() for path in filled.state.rglob("*") if path.is_file())
    assert SECRET.encode() not in everything


def test_a_refused_one_does_not_wait_and_a_changed_one_waits_again(filled: Host) -> None:
    state = state_of(filled)
    allow(filled, "local")
    approvals.decide(state, {items(filled)["remote"].digest: False})
    assert HostSetup(filled).carried(state).waiting == 4
    changed = {**SERVERS, "local": {**SERVERS["local"], "args": ["-y", "another"]}}
    put(filled.home / ".claude.json", {"mcpServers": changed})
    carried = HostSetup(filled).carried(state)
    assert (carried.servers, carried.waiting) == ("", 5)


def test_a_server_on_this_machine_gets_a_name_that_works_inside(filled: Host) -> None:
    allow(filled, "here")
    servers = json.loads(HostSetup(filled).carried(state_of(filled)).servers)
    assert servers["mcpServers"]["here"]["url"] == "http://host.docker.internal:3000/mcp"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"mcpServers": []}', b'{"mcpServers": {"a": 1}}', b"\xff"])
def test_a_state_of_the_host_that_is_odd_or_broken_carries_nothing(content: bytes, host: Host) -> None:
    put(host.home / ".claude.json", content)
    put(host.home / ".claude/settings.json", content)
    assert HostSetup(host).items == ()


def test_what_does_not_fit_into_a_variable_is_left_out(host: Host) -> None:
    many: dict[str, Any] = {str(number): {"command": "npx", "args": ["x" * 30_000]} for number in range(5)}
    put(host.home / ".claude.json", {"mcpServers": {**many, "long": {"command": "npx", "args": ["x" * 200_000]}}})
    approvals.decide(state_of(host), {item.digest: True for item in HostSetup(host).items})
    carried = HostSetup(host).carried(state_of(host))
    assert len(json.loads(carried.servers)["mcpServers"]) == 3
    assert {item.name for item in HostSetup(host).items if item.problem} == {"long"}


def test_with_another_config_its_own_state_counts(filled: Host, tmp_path: Path) -> None:
    put(tmp_path / "work/.claude.json", {"mcpServers": {"work": {"command": "npx"}}})
    host = filled._replace(environ={"CLAUDE_CONFIG_DIR": str(tmp_path / "work")})
    assert [item.name for item in HostSetup(host).items] == ["work"]


# Settings


def test_settings_lose_what_only_works_on_the_host(paths: HostPaths) -> None:
    settings = {
        "model": "opus",
        "hooks": HOOKS,
        "apiKeyHelper": "~/bin/tool",
        "sandbox": {"enabled": True},
        "statusLine": {"type": "command", "command": "~/.claude/status.sh", "padding": 0},
        "fileSuggestion": {"type": "command", "command": "~/bin/tool"},
        "env": {
            "FOO": "1", "MAX_THINKING_TOKENS": "7", "GH_TOKEN": SECRET, "ANTHROPIC_API_KEY": SECRET, "PATH": "/x",
            "ANTHROPIC_BASE_URL": "http://localhost:1", "NODE_EXTRA_CA_CERTS": "/etc/company.pem",
            "ANTHROPIC_CUSTOM_HEADERS": SECRET, "HTTPS_PROXY": "http://p", "CONFINED_CLAUDE_SUDO": "full",
        },
    }  # fmt: skip
    copy = copy_of(settings, paths)
    assert copy.content == {
        "model": "opus",
        "statusLine": {"type": "command", "command": "/home/claude/.claude/status.sh", "padding": 0},
        "env": {"FOO": "1", "MAX_THINKING_TOKENS": "7"},
    }
    assert copy.scripts == ["status.sh"]
    assert set(copy.left_out) == {
        "apiKeyHelper", "sandbox", "fileSuggestion", "env.GH_TOKEN", "env.ANTHROPIC_API_KEY", "env.PATH",
        "env.ANTHROPIC_BASE_URL", "env.NODE_EXTRA_CA_CERTS", "env.ANTHROPIC_CUSTOM_HEADERS", "env.HTTPS_PROXY",
        "env.CONFINED_CLAUDE_SUDO",
    }  # fmt: skip


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(["hooks", "env", "statusLine", "sandbox", "mcpServers", "x"]), JSON))
def test_settings_of_any_shape_are_no_traceback(
    tmp_path_factory: pytest.TempPathFactory, settings: dict[str, Any]
) -> None:
    folder = tmp_path_factory.mktemp("odd")
    host = Host(1, 1, folder, {}, folder / "data", folder / "state", folder / "config")
    put(folder / ".claude/settings.json", settings)
    put(folder / ".claude.json", {"mcpServers": settings})
    setup = HostSetup(host)
    approvals.decide(state_of(host), {item.digest: True for item in setup.items})
    setup.carried(state_of(host))
    assert "hooks" not in copy_of(setup.settings, setup.paths).content
