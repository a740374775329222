"""What a session does to the scripts that hooks and settings lead to in turn: each of them is reported."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from attacks import REVIEW, Field

SHELL, PYTHON = "touch OUTSIDE/WAY", "import os; os.system('touch OUTSIDE/WAY')"
COMMIT = "git commit -q --allow-empty -m x"


@dataclass(frozen=True)
class Way:
    """A file at ``path`` that something of PREPARED leads to, what a session writes there, and what the host does.

    WAY stands for the name of the way. One that ``is_new`` is not there before.
    """

    path: str
    evil: str
    trigger: str
    is_new: bool = False

    @property
    def program(self) -> str:
        """Shell words that make it a program. What git's settings have with a slash is protected if it is one."""
        return ":" if self.path == "f" else f"chmod +x {self.path}"


PREPARED = r"""
    mkdir .claude a b c d e g h i
    printf '#!/bin/sh\n./a/c.sh\n"$(git rev-parse --show-toplevel)"/b/x.sh\n./h/x.sh\n' > .git/hooks/pre-commit
    echo '. ./h/lib' > h/x.sh; chmod +x .git/hooks/pre-commit h/x.sh
    git config core.fsmonitor 'python3 -m nbstrip'
    git config alias.directory '!cd c && ./x.sh'
    git config alias.beside '!python3 d/x.py'; echo 'import helper' > d/x.py
    git config alias.instead '!python3 e/x.py'; echo 'import json' > e/x.py
    git config alias.option '!sed -f ./f file'
    echo '. ./g/env' > .envrc
    echo '{"statusLine": {"command": "sh i/line.sh"}}' > .claude/settings.json
"""
WAYS = {
    "script": Way("a/c.sh", SHELL, COMMIT),
    "place": Way("b/x.sh", SHELL, COMMIT),
    "second": Way("h/lib", SHELL, COMMIT),
    "module": Way("nbstrip.py", PYTHON, "git status"),
    "directory": Way("c/x.sh", SHELL, "git directory"),
    "beside": Way("d/helper.py", PYTHON, "git beside"),
    "instead": Way("e/json.py", PYTHON, "git instead", is_new=True),
    "option": Way("f", f"1e {SHELL}", "git option"),
    "shell": Way("g/env", SHELL, ". ./.envrc"),
    "status": Way("i/line.sh", SHELL, "sh i/line.sh"),  # as Claude Code does
}
PLANT = "\n".join(
    f"printf '%s\\n' {shlex.quote(way.evil.replace('WAY', name))} > {way.path}; {way.program}"
    for name, way in WAYS.items()
)
# Nothing leads to this one.
CONTROL = "mkdir -p other; echo evil > other/x.sh; chmod +x other/x.sh"


def prepare(field: Field) -> None:
    field.prepare(PREPARED)
    for way in WAYS.values():
        if not way.is_new:
            field.prepare(f": > {way.path}; {way.program}")


def pull_triggers(field: Field) -> None:
    for trigger in dict.fromkeys(way.trigger for way in WAYS.values()):
        field.host(trigger)


def test_what_hooks_and_settings_lead_to_in_turn_is_reported(repository: Field) -> None:
    prepare(repository)
    done = repository.session(f"{PLANT}\n{CONTROL}")
    assert "through .git/hooks/pre-commit" in done.stderr
    assert repository.session("true").returncode == REVIEW
    listed = [" ".join(line.split()) for line in repository.review().stdout.splitlines()]
    assert {line for line in listed if line.startswith(("red ", "yellow "))} == {
        f"red {way.path}" for way in WAYS.values()
    }
    old = [way.path for way in WAYS.values() if not way.is_new]
    assert repository.review("--restore", *old).returncode == REVIEW
    repository.prepare("rm e/json.py")
    assert repository.review().returncode == 0
    pull_triggers(repository)
    assert repository.escaped() == []
    assert repository.session("true").returncode == 0


def test_without_the_guard_each_of_them_runs(repository: Field) -> None:
    prepare(repository)
    repository.unguarded(PLANT)
    assert repository.escaped() == []
    pull_triggers(repository)
    assert repository.escaped() == sorted(WAYS)
