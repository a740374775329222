"""The user's own setup in a session, with the real client: what it is told, and what of the host's Claude it has."""

from __future__ import annotations

import json
from pathlib import Path

from helpers import User, contents, own_name
from terminals import PROMPT, QUESTIONS, terminal


def test_the_agent_knows_where_it_works_unless_that_is_off(user: User, project: Path) -> None:
    asked = f"KNOWS: the project `{project}` (the user's own files)"
    for note, answer in (("on", "KNOWN"), ("off", "UNKNOWN")):
        done = user.run("confined-claude", "--", "-p", asked, cwd=project, CONFINED_CLAUDE_AGENT_NOTE=note)
        assert done.stdout == f"{answer}\n", done.stderr


SERVER = """
import json, os, sys
for line in sys.stdin:
    asked = json.loads(line)
    with open(os.environ["SEEN"], "a") as seen:
        print(asked.get("method"), os.environ.get("TOKEN"), os.environ.get("LITERAL"), file=seen)
    if "id" not in asked:
        continue
    answers = {
        "initialize": {
            "protocolVersion": asked.get("params", {}).get("protocolVersion", ""),
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "made-up", "version": "1"},
        },
        "tools/list": {"tools": [{"name": "hello", "description": "says hello", "inputSchema": {"type": "object"}}]},
    }
    print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": answers.get(asked.get("method"), {})}), flush=True)
"""
HOOK = """
import json, sys
asked = json.load(sys.stdin)
with open("hooked", "a") as file:
    print(asked["tool_input"]["command"], file=file)
sys.exit(2 if "forbidden" in asked["tool_input"]["command"] else 0)
"""
GIVEN, LITERAL = "made-up-of-the-environment", "made-up-literal"


def fill(user: User, project: Path) -> Path:
    """Give ``user`` a setup of Claude with hooks and servers; return its directory."""
    claude = user.folder(user.home / ".claude")
    hooks = [
        {"type": "command", "command": f"python3 {claude}/hooks/check.py"},
        {"type": "command", "command": "python3 ~/.claude/hooks/gone.py"},
        {"type": "command", "command": "no-such-program-here --strict"},
    ]
    server = {
        "command": "/usr/bin/python3",
        "args": ["~/.claude/servers/hello.py".replace("~", str(user.home))],
        "env": {"TOKEN": "${MADE_UP_TOKEN}", "LITERAL": LITERAL, "SEEN": str(project / "seen")},
    }
    settings = {
        "hooks": {"PreToolUse": [{"matcher": "Bash", "hooks": hooks}]},
        "statusLine": {"type": "command", "command": "python3 ~/.claude/status.py"},
    }
    files = {
        "CLAUDE.md": "@docs/style.md",
        "docs/style.md": "The user likes plain words.",
        "skills/greet/SKILL.md": "---\nname: greet\ndescription: Greets in the way that this user likes.\n---\n",
        "hooks/check.py": HOOK,
        "servers/hello.py": SERVER,
        "settings.json": json.dumps(settings),
        "status.py": "print('the user' + chr(39) + 's own status')",
        "../.claude.json": json.dumps({"mcpServers": {"hello": server, "odd": {"command": "no-such-server-here"}}}),
    }
    for name, text in files.items():
        path = claude / name
        user.folder(path.parent)
        path.write_text(text)
        user.own(path)
    return claude


def test_hooks_and_servers_are_in_sessions_once_they_are_allowed(plain_user: User, place: Path) -> None:
    user, project = plain_user, plain_user.folder(own_name(place))
    claude = fill(user, project)
    before = tree(claude), (user.home / ".claude.json").read_bytes()

    def asked(what: str) -> str:
        words = ("confined-claude", "run", "--yolo", "--", "-p", what)
        done = user.run(*words, cwd=project, MADE_UP_TOKEN=GIVEN)
        assert done.returncode == 0, done.stderr
        return done.stdout

    # The control: what nobody has allowed is not there. The rest of the setup is.
    assert asked("RUN: echo forbidden") == "TOOL SAID: forbidden\n"
    assert not (project / "hooked").exists()
    assert not (project / "seen").exists()
    assert asked("KNOWS: The user likes plain words.") == "KNOWN\n"  # what the memory imports
    assert asked("KNOWS: Greets in the way that this user likes.") == "KNOWN\n"

    shown = user.run("confined-claude", "setup", cwd=project, MADE_UP_TOKEN=GIVEN).stdout
    assert "waiting  hello: runs `/usr/bin/python3" in shown
    assert f"{claude}/hooks/gone.py does not exist" in shown
    assert "no-such-server-here is not in the session" in shown
    assert LITERAL not in shown
    allowed = user.run("confined-claude", "setup", "--allow", "all", cwd=project, MADE_UP_TOKEN=GIVEN)
    assert "allowed  hello" in allowed.stdout, allowed.stderr

    listed = "for _ in $(seq 900); do grep -qs tools/list seen && break; sleep .1; done"
    said = asked(f"RUN: {listed}; env; stat -c '%u %a' /etc/claude-code/*servers.json; cat ~/.claude/settings.json")
    assert "\n0 440\n" in said
    assert "CONFINED_CLAUDE_SERVERS" not in said
    assert LITERAL not in said
    assert GIVEN not in said
    assert "env; stat" in (project / "hooked").read_text()
    assert f"tools/list {GIVEN} {LITERAL}" in (project / "seen").read_text()
    assert "forbidden" not in asked("RUN: echo forbidden").replace("echo forbidden", "")
    with terminal(user, project, "confined-claude", MADE_UP_TOKEN=GIVEN) as opened:
        screen = opened.wait_for(PROMPT)
        assert not [question for question in QUESTIONS if question in screen]
        opened.wait_for("the user's own status")
        command = "RUN: tr '\\0' ' ' </proc/$PPID/cmdline"
        joined = user.run(
            "confined-claude", "exec", "--", "claude", "--dangerously-skip-permissions", "-p", command, cwd=project
        )
        assert "--mcp-config=/etc/claude-code/" in joined.stdout, joined.stderr
    assert not [path for path, text in contents(user.home / ".local").items() if LITERAL in text or GIVEN in text]
    assert (tree(claude), (user.home / ".claude.json").read_bytes()) == before


def tree(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path): (path.stat().st_mode, path.stat().st_mtime_ns, path.read_bytes()) for path in paths}
