"""What settings, hooks and scripts lead to in turn is reported if it changes; what they only mention is not."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confined_claude.guard import words
from confined_claude.guard.guarded_project import GuardedProject
from confined_claude.guard.records import Before, Record
from confined_claude.guard.snapshot import TOO_FAR, Kind, key_of
from confined_claude.host import GitVariable, Host
from confined_claude.project import Project
from confined_claude.settings import Settings
from confined_claude.workspace import Workspace

from ..guarding import Scanned, commit, git, git_directory, made_repository, put
from .test_guard import Place, place

__all__ = ["place"]


def command(text: str) -> str:
    return json.dumps({"command": text})


def claude_hook(text: str) -> str:
    return json.dumps({"hooks": {"Stop": [{"hooks": [{"type": "command", "command": text}]}]}})


# What starts something, where that stands, and the file that it leads to.
LED = [
    ("a status line", ".claude/settings.json", json.dumps({"statusLine": json.loads(command("t/line"))}), "t/line"),
    ("a hook of Claude", ".claude/settings.json", claude_hook('"$CLAUDE_PROJECT_DIR"/t/x.sh --a'), "t/x.sh"),
    ("a hook in braces", ".claude/settings.local.json", claude_hook("${CLAUDE_PROJECT_DIR}/t/x.sh"), "t/x.sh"),
    ("a key helper", ".claude/settings.json", json.dumps({"apiKeyHelper": "t/key.py"}), "t/key.py"),
    (
        "an MCP server",
        ".mcp.json",
        json.dumps({"mcpServers": {"a": {"command": "node", "args": ["t/s.js"]}}}),
        "t/s.js",
    ),
    ("an MCP server's module", ".mcp.json", json.dumps({"a": {"args": ["-m", "t.server"]}}), "t/server.py"),
    ("an MCP server below", "sub/.mcp.json", command("python3 t/s.py"), "sub/t/s.py"),
    ("a task", ".vscode/tasks.json", json.dumps({"a": "t/x.sh", "runOptions": {"runOn": "folderOpen"}}), "t/x.sh"),
    ("direnv", ".envrc", "source ./t/env\n", "t/env"),
    ("direnv, below", "a/.envrc", "source_env t/env\n", "a/t/env"),
    ("direnv's flake", ".envrc", "use flake\n", "flake.nix"),
    ("mise", "mise.toml", '[hooks]\nenter = "t/x.sh"\n', "t/x.sh"),
    ("husky", ".husky/pre-commit", "node t/check.js\n", "t/check.js"),
    ("husky, without a suffix", ".husky/pre-commit", "node ./t/check\n", "t/check.js"),
    ("husky, a directory", ".husky/pre-commit", "node ./t\n", "t/index.js"),
    ("lefthook", "lefthook.yml", "pre-commit:\n  commands:\n    a: {run: t/x.sh}\n", "t/x.sh"),
    ("pre-commit", ".pre-commit-config.yaml", "- id: a\n  entry: t/x.sh\n  language: script\n", "t/x.sh"),
    ("pre-commit's module", ".pre-commit-config.yaml", "  entry: python -m t.check\n", "t/check/__main__.py"),
    ("lint-staged", ".lintstagedrc.json", json.dumps({"*.py": ["python t/fmt.py"]}), "t/fmt.py"),
    ("make", ".husky/pre-commit", "make lint\n", "Makefile"),
    ("a tool's settings", ".husky/pre-commit", "npx eslint --fix\n", "eslint.config.mjs"),
    ("tasks", "tasks.py", "from t import build\n", "t/build.py"),
    ("tasks' package", "tasks.py", "import t\n", "t/__init__.py"),
    ("a debugger", ".gdbinit", "source t/x.gdb\n", "t/x.gdb"),
    ("cargo", ".cargo/config.toml", '[build]\nrustc-wrapper = "t/wrap.sh"\n', "t/wrap.sh"),
]
HOOKS = [
    ("a script", "./t/c.sh", "t/c.sh"),
    ("a script by its place", 'exec "$(git rev-parse --show-toplevel)/t/x.sh"', "t/x.sh"),
    ("a script after a variable", '"$ROOT"/t/x.sh', "t/x.sh"),
    ("a script in another directory", "cd t && ./x.sh", "t/x.sh"),
    ("a script in another directory by its place", 'cd "$(git rev-parse --show-toplevel)/t"\n./x.sh', "t/x.sh"),
    ("a script behind an assignment", "A=1 t/x.sh", "t/x.sh"),
    ("a program without a suffix", "./t/x", "t/x"),
    ("a module", "python3 -m nbstrip", "nbstrip.py"),
    ("a package", "python3 -m t.nb", "t/nb/__main__.py"),
    ("what a package runs first", "python3 -m t.nb", "t/__init__.py"),
    ("a file behind an option", "sed -f t/prog", "t/prog"),
    ("a file behind an option, at once", "awk -ft/prog", "t/prog"),
    ("a file behind a long option", "x --config=t/prog", "t/prog"),
    ("a bare file of an interpreter", "sh prog", "prog"),
]
GIT = [
    *HOOKS,
    ("a file of ssh", "ssh -F ./f", "f"),
    ("a bare file of ssh", "ssh -F f", "f"),
    ("settings", "prog --with t/any.toml", "t/any.toml"),
]


def scanned(root: Path) -> Scanned:
    time.sleep(0.05)
    made = Scanned(root, since=time.time())
    time.sleep(0.05)
    return made


def found(made: Scanned) -> list[tuple[str, bool]]:
    return [(finding.path, finding.red) for finding in made.findings() if finding.kind == Kind.REACHED]


def assert_followed(root: Path, path: str) -> None:
    """A change of ``path`` is reported, and so is its appearance; that of another file is not."""
    other = put(root / "other/x.sh", "before")
    for before in ("before", None):
        if before is None:
            (root / path).unlink()
        else:
            put(root / path, before)
        made = scanned(root)
        put(root / path, "after")
        put(other, "after")
        assert found(made) == [(path, True)], before
        assert [finding.path for finding in made.findings()] == [path]


@pytest.mark.parametrize(("name", "where", "text", "path"), LED, ids=[row[0] for row in LED])
def test_what_a_setting_leads_to_is_reported(name: str, where: str, text: str, path: str, tmp_path: Path) -> None:
    put(tmp_path / "project" / where, text)
    (tmp_path / "project" / path).parent.mkdir(parents=True, exist_ok=True)
    assert_followed(tmp_path / "project", path)


@pytest.mark.parametrize(
    "line",
    ["source {}/t/x.sh", "source /{}/t/x.sh", "source /.{}//./t/x.sh", "/{}/t/x.sh", ". .//t/x.sh", '"$ROOT"//t/x.sh'],
)
def test_a_file_by_its_whole_path_is_found_however_that_is_spelled(line: str, tmp_path: Path) -> None:
    root = tmp_path / "project"
    put(root / ".envrc", f"{line.format(root)}\n")
    (root / "t").mkdir()
    assert_followed(root, "t/x.sh")


@pytest.mark.parametrize(("name", "text", "path"), HOOKS, ids=[row[0] for row in HOOKS])
@pytest.mark.parametrize("where", ["", "sub/"])
def test_what_a_hook_leads_to_is_reported(name: str, text: str, path: str, where: str, tmp_path: Path) -> None:
    git_directory(tmp_path / "project" / where / ".git")
    put(tmp_path / "project" / where / ".git/hooks/pre-commit", f"#!/bin/sh\n# see other/x.sh\n{text}\n")
    assert_followed(tmp_path / "project", f"{where}{path}")


@pytest.mark.parametrize(("name", "text", "path"), GIT, ids=[row[0] for row in GIT])
def test_what_a_setting_of_git_leads_to_is_reported(name: str, text: str, path: str, tmp_path: Path) -> None:
    root = made_repository(tmp_path / "project")
    git(root, "config", "core.fsmonitor", text)
    put(root / path, "before")
    put(root / "other/x.sh", "before")
    made = scanned(root)
    put(root / path, "after")
    put(root / "other/x.sh", "after")
    # What the settings name themselves is a rule's.
    assert [(finding.path, finding.red) for finding in made.findings()] == [(path, True)]


SECOND = [
    ("a script of a script", "x.sh", '#!/bin/sh\n. "$(dirname "$0")/lib"\n', "lib"),
    ("a module of a script", "x.py", "import os, helper\n", "helper.py"),
    ("a part of a package", "x.py", "from helper import one\n", "helper/one.py"),
    ("a module of the script's own package", "x.py", "from . import one\n", "one.py"),
    ("a module in place of Python's own", "x.py", "import json\n", "json.py"),
    ("a compiled module", "x.py", "import helper\n", "helper.pyc"),
    ("a library in place of a module", "x.py", "import helper\n", "helper.cpython-311-x86_64-linux-gnu.so"),
    ("a module of JavaScript", "x.js", "const a = require('./lib/a')\n", "lib/a.js"),
    ("a module of Ruby", "x.rb", "require_relative 'helper'\n", "helper.rb"),
]


@pytest.mark.parametrize(("name", "script", "text", "path"), SECOND, ids=[row[0] for row in SECOND])
def test_what_a_script_leads_to_in_turn_is_reported(
    name: str, script: str, text: str, path: str, tmp_path: Path
) -> None:
    root = tmp_path / "project"
    put(root / ".husky/pre-commit", f"tools/{script}\n")
    put(root / "tools" / script, text)
    (root / "tools" / path).parent.mkdir(parents=True, exist_ok=True)
    assert_followed(root, f"tools/{path}")


def test_a_link_on_the_way_and_what_it_leads_to_are_reported(tmp_path: Path) -> None:
    root = tmp_path / "project"
    put(root / ".husky/pre-commit", "./t/x\n")
    put(root / "real/x", "before")
    put(root / "fake/x", "before")
    (root / "t").symlink_to("real")
    made = scanned(root)
    put(root / "real/x", "after")
    assert found(made) == [("real/x", True)]
    put(root / "real/x", "before")
    (root / "t").unlink()
    (root / "t").symlink_to("fake")
    assert ("t/x", True) in found(made)


PACKAGE: dict[str, Any] = {"scripts": {"lint": "node t/lint.js", "start": "node server.js", "prelint": "a"}, "x": 1}


@pytest.mark.parametrize(
    ("change", "is_reported"),
    [
        ({"scripts": PACKAGE["scripts"] | {"lint": "evil"}}, True),
        ({"scripts": PACKAGE["scripts"] | {"prelint": "evil"}}, True),
        ({"scripts": PACKAGE["scripts"] | {"postlint": "evil"}}, True),
        ({"lint-staged": {"*": "evil"}}, True),
        ({"scripts": PACKAGE["scripts"] | {"start": "evil"}}, False),
        ({"dependencies": {"a": "1"}}, False),
    ],
)
def test_of_a_package_json_what_a_hook_uses_counts(change: dict[str, Any], is_reported: bool, tmp_path: Path) -> None:
    root = tmp_path / "project"
    put(root / ".husky/pre-commit", "npm run lint\n")
    put(root / "package.json", json.dumps(PACKAGE))
    put(root / "t/lint.js", "before")
    made = scanned(root)
    put(root / "package.json", json.dumps(PACKAGE | change))
    assert found(made) == [("package.json", True)] * is_reported
    put(root / ".husky/pre-push", "npm run start\n")  # the second that uses it
    later = scanned(root)
    put(root / "package.json", json.dumps(PACKAGE | {"scripts": {"start": "evil"}}))
    assert ("package.json", True) in found(later)
    put(root / "package.json", json.dumps(PACKAGE | change))
    put(root / "t/lint.js", "after")
    assert ("t/lint.js", True) in found(made) or "evil" in str(change.get("scripts", {}).get("lint"))


@pytest.mark.parametrize(
    ("where", "text", "path"),
    [
        (
            ".pre-commit-config.yaml",
            "- id: a\n  files: t/x.py\n  exclude: |\n    t/x.py\n    other\n  entry: b\n",
            "t/x.py",
        ),
        (".pre-commit-config.yaml", "  args: [-c, pyproject.toml]\n", "pyproject.toml"),
        (".husky/pre-commit", "# t/x.py\nmarkdownlint README.md docs/a.rst LICENSE\n", "README.md"),
        (".husky/pre-commit", "echo make sure that the LICENSE is there\n", "LICENSE"),
        (".husky/pre-commit", "# make\nsomething that may make\n", "Makefile"),
        (".husky/pre-commit", "// see t/x.py\ncurl https://t/x.py\n", "t/x.py"),
        ("tasks.py", "def run(c, env):\n    run(env); load(c)\n", "env.txt"),
        ("tasks.py", "def run(c, env):\n    run(c)\n", "c.py"),
        ("tasks.py", "x = [e for e in y]\n", "e"),
        (".claude/settings.json", json.dumps({"permissions": {"allow": ["Bash(t/x.py)"]}}), "t/x.py"),
        (".claude/commands/a.md", "Run t/x.py\n", "t/x.py"),
        (".idea/workspace.xml", "<file path='t/x.py'/>", "t/x.py"),
        (".vscode/launch.json", command("t/x.py"), "t/x.py"),
        (".vscode/tasks.json", command("t/x.py"), "t/x.py"),
        (".husky/pre-commit", "node_modules/.bin/tool.js\n", "node_modules/.bin/tool.js"),
        (".husky/pre-commit", ".venv/bin/tool.py\n", ".venv/bin/tool.py"),
        ("Makefile", "t/x.py\n", "t/x.py"),
    ],
)
def test_what_is_only_mentioned_is_not_red(where: str, text: str, path: str, tmp_path: Path) -> None:
    root = tmp_path / "project"
    put(root / where, text)
    put(root / path, "before").chmod(0o755)
    put(root / ".venv/pyvenv.cfg")
    made = scanned(root)
    put(root / path, "after")
    assert found(made) == []
    assert made.red() == []


def test_data_that_is_named_is_yellow(tmp_path: Path) -> None:
    root = tmp_path / "project"
    put(root / ".husky/pre-commit", "yamllint -s conf/lint.yml\n")
    put(root / "conf/lint.yml", "before")
    made = scanned(root)
    put(root / "conf/lint.yml", "after")
    assert found(made) == [("conf/lint.yml", False)]


def test_what_leads_somewhere_only_now_is_reported_itself(tmp_path: Path) -> None:
    """And of what it leads to, what has changed."""
    root = tmp_path / "project"
    for name in ("old", "new"):
        put(root / f"t/{name}.sh", "before")
    made = scanned(root)
    put(root / ".envrc", "t/old.sh; t/new.sh\n")
    put(root / "t/new.sh", "after")
    assert [(finding.path, finding.red) for finding in made.findings()] == [(".envrc", True), ("t/new.sh", True)]


def test_the_report_says_what_leads_there(tmp_path: Path) -> None:
    put(tmp_path / "project/.husky/pre-commit", "t/x.sh\n")
    put(tmp_path / "project/t/x.sh", "before")
    made = scanned(tmp_path / "project")
    put(tmp_path / "project/t/x.sh", "after")
    (finding,) = made.findings()
    assert (finding.why, finding.before, finding.after) == ("changed", b"before", b"after")
    assert finding.runs == "git commit, through a hook manager, through .husky/pre-commit"


def test_a_file_that_a_branch_brings_is_no_news(place: Place) -> None:
    place.put(".husky/pre-commit", "t/x.sh\n")
    place.put("t/x.sh", "before")
    commit(place.root)
    git(place.root, "switch", "-q", "-c", "other")
    place.put("t/x.sh", "other")
    commit(place.root)
    git(place.root, "switch", "-q", "main")
    assert place.session(lambda: git(place.root, "switch", "-q", "other")) == []
    assert [finding.path for finding in place.session(lambda: place.put("t/x.sh", "evil"))] == ["t/x.sh"]
    assert place.reviewed() == ["t/x.sh"]
    place.put("t/x.sh", "other")
    assert place.reviewed() == []


def test_what_the_user_opened_stays_yellow(tmp_path: Path) -> None:
    put(tmp_path / "project/.mcp.json", command("node dist/index.js"))
    put(tmp_path / "project/dist/index.js", "before")
    made = Scanned(tmp_path / "project", Settings(writable=("dist",)))
    put(tmp_path / "project/dist/index.js", "after")
    assert [(finding.path, finding.red) for finding in made.findings()] == [("dist/index.js", False)]


def test_what_the_users_own_settings_of_git_lead_to_is_reported(tmp_path: Path) -> None:
    root = made_repository(tmp_path / "project")
    put(root / "f", "before")
    host = Host(1000, 1000, tmp_path, {}, tmp_path / "d", tmp_path / "s", tmp_path / "c")
    host.__dict__["git_config"] = (GitVariable("core.sshcommand", "ssh -F f", tmp_path),)
    project = GuardedProject(Workspace(host, Project(root), Settings()))
    before = Before("x", time.time(), project.scan(), ())
    put(root / "f", "after")
    assert [finding.path for finding in project.compare(Record(), before).findings] == ["f"]


def test_bounds_hold_whatever_there_is(tmp_path: Path) -> None:
    root = tmp_path / "project"
    names = [f"t/{number}.sh" for number in range(1500)]
    for name in names:
        put(root / name, " ".join(names[:200]))
    for number in range(40):
        put(root / f"{number}/.envrc", " ".join(names) + "\n")
    begun = time.monotonic()
    snapshot = Scanned(root).snapshot
    assert time.monotonic() - begun < 5
    assert 900 < len(snapshot.reached) < 1100
    assert snapshot.items[key_of(".", Kind.UNSEEN)].content == TOO_FAR.encode()


SLOW = {
    "blanks": "-" + " " * words.MAX_TEXT,
    "dots": "from " + "." * words.MAX_TEXT,
    "names": "import a" + " " * words.MAX_TEXT,
    "a module": "-m" + " " * words.MAX_TEXT,
    "variables": "'A=" * (words.MAX_TEXT // 3),
    "quotes": "-m" + '"' * words.MAX_TEXT,
}


@pytest.mark.parametrize("text", SLOW.values(), ids=SLOW)
def test_no_text_takes_long(text: str, tmp_path: Path) -> None:
    put(tmp_path / "project/.envrc", text[: words.MAX_TEXT])
    begun = time.process_time()
    Scanned(tmp_path / "project")
    assert time.process_time() - begun < 2


TEXTS = st.text(st.sampled_from("ab./-$ \n'\"{}(),:=#m\\\udcff;&|"), max_size=60)


@given(text=TEXTS, name=st.sampled_from([".envrc", "a.json", ".pre-commit-config.yaml", "x.py"]))
def test_any_text_is_searched(text: str, name: str) -> None:
    counts = words.text_of(name, text.encode("utf-8", "surrogateescape"))
    for one in words.paths_in(counts):
        assert "\n" not in one.path
    words.tools(counts)
    words.goes_elsewhere(counts)
    words.used_scripts(text.encode("utf-8", "surrogateescape"), counts)
