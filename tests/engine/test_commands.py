"""Every command, wherever its output goes: a pipe, a narrow terminal, one without colours."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from helpers import User
from terminals import terminal

from confined_claude.tasks import ns

# What each is called with, and how it ends in a project where nothing runs. `rebuild` is `build` with other words.
COMMANDS = {
    "run": (["--", "--version"], 0),
    "shell": (["--", "true"], 0),
    "exec": (["--", "true"], 2),
    "stop": ([], 0),
    "status": ([], 0),
    "clean": (["--dry-run"], 0),
    "clean-global": (["--dry-run"], 0),
    "build": ([], 0),
    "review": ([], 0),
    "trust": ([], 0),
    "fetch": ([], 0),
    "blocked": ([], 0),
    "config": ([], 0),
    "doctor": ([], 0),
    "update": ([], 2),
    "login": (["--from-host"], 2),  # this machine is not signed in
    "setup": ([], 0),
    "init": (["--defaults"], 0),  # at a terminal it asks
    "export": (["devcontainer"], 0),
    "eject": ([], 0),
    "requests": ([], 0),
}


def test_none_is_forgotten() -> None:
    assert {*COMMANDS, "rebuild"} == set(ns.task_names)


@pytest.mark.parametrize("name", COMMANDS)
def test_in_a_pipe_there_is_text_and_nothing_else(user: User, project: Path, name: str) -> None:
    words, code = COMMANDS[name]
    done = user.run("confined-claude", name, *words, cwd=project, FORCE_COLOR="")
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert all(char.isprintable() for char in (done.stdout + done.stderr).replace("\n", ""))


def test_timing_prints_the_phases_of_a_start_and_of_its_end(user: User, project: Path) -> None:
    script = "sleep 6; echo x; sleep 4"  # far more than is asked for: it runs before this process knows that it does
    done = user.run("confined-claude", "shell", "--", "sh", "-c", script, cwd=project, CONFINED_CLAUDE_TIMING="1")
    assert (done.returncode, done.stdout) == (0, "x\n")
    rows = re.findall(r"^confined-claude: ([a-z ]+?) +(-?[0-9.]+) +(-?[0-9.]+)$", done.stderr, re.MULTILINE)
    times = {name: (float(began), float(took)) for name, began, took in rows}
    assert [name for name, _, _ in rows if name not in ("baseline", "create")] == [
        "imports", "settings", "launch", "credentials", "setup", "start", "first output", "command", "removal",
        "scan afterwards", "everything",
    ]  # fmt: skip
    assert {"baseline", "create"} <= times.keys()
    assert times["first output"][1] >= 0.3
    assert times["command"][1] >= times["first output"][1] + 0.2
    assert all(began + took <= times["everything"][1] + 0.02 for began, took in times.values())


@pytest.mark.parametrize("name", COMMANDS)
def test_in_a_narrow_terminal_without_colours(user: User, project: Path, name: str) -> None:
    words, code = COMMANDS[name]
    narrow = {"NO_COLOR": "1", "COLUMNS": "30"}
    with terminal(user, project, "confined-claude", name, *words, **narrow) as opened:
        opened.child.setwinsize(40, 30)
        assert opened.wait_for_end() == code, opened.screen
    assert "Traceback" not in opened.everything
    assert not re.search(r"\x1b\[[0-9;]*[34][0-7]m", opened.everything)
