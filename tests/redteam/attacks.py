"""Attacks as data, and the ground on which they are tried: with the guard, and without it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from helpers import User, docker

REVIEW = 4
SECRET = "private-key"


@dataclass(frozen=True)
class Attack:
    """What a session does, and what the host does afterwards.

    ``script`` runs inside, ``trigger`` then on the host, where the attack has worked if there is
    anything in OUTSIDE; CANARY is a file there, PROJECT the project. ``before`` prepares the
    project on the host. ``named`` are the paths that the report must name, with their colour. With
    ``undone`` the user puts it right, RESTORE being `review --restore` of all that is named. ``bare`` takes
    away, for the control, what the tool's own files do against it.
    """

    name: str
    script: str
    trigger: str
    named: tuple[str, ...] = ()
    before: str = ""
    undone: str = "RESTORE"
    bare: str = ""

    @property
    def code(self) -> int:
        """The exit code of what meets the findings."""
        return REVIEW if any(entry.startswith("red ") for entry in self.named) else 0


def table(attacks: Iterable[Attack]) -> list[Any]:
    """The attacks as parameters."""
    return [pytest.param(attack, id=attack.name) for attack in attacks]


@dataclass(frozen=True)
class Field:
    """A user's project, and a folder beside it that no session may reach."""

    user: User
    project: Path
    outside: Path

    def text(self, script: str) -> str:
        for word, path in (("CANARY", self.outside / "canary"), ("OUTSIDE", self.outside), ("PROJECT", self.project)):
            script = script.replace(word, str(path))
        return script

    def host(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run ``script`` on the host, as the user, in the project."""
        return self.user.run("sh", "-c", self.text(script), cwd=self.project)

    def prepare(self, script: str) -> None:
        done = self.host(f"set -e\n{script}")
        assert done.returncode == 0, done.stdout + done.stderr

    def session(self, script: str, *flags: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run ``script`` in a session."""
        words = ("confined-claude", "shell", *flags, "--", "sh", "-c", self.text(script))
        return self.user.run(*words, cwd=self.project, **variables)

    def unguarded(self, script: str, *folders: Path) -> str:
        """Run ``script`` as the same user in a plain container with the project, as simple scripts do."""
        who = {
            f"GIT_{role}_{what}": "x@example.invalid" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
        }
        variables = {"HOME": "/tmp", "GIT_CONFIG_NOSYSTEM": "1", **who}
        return docker(
            *("run", "--rm", "--network", "none", "--user", f"{self.user.uid}:{self.user.gid}", "--entrypoint", "sh"),
            *(word for name, value in variables.items() for word in ("--env", f"{name}={value}")),
            *(word for folder in (self.project, *folders) for word in ("--volume", f"{folder}:{folder}")),
            *("--workdir", str(self.project)),
            *("confined-claude:latest", "-c", self.text(script)),
            check=False,
        )

    def review(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.user.run("confined-claude", "review", *words, cwd=self.project)

    def escaped(self) -> list[str]:
        """What there is outside: nothing, unless an attack has worked."""
        return sorted(path.name for path in self.outside.iterdir())

    # What the tests of each table say

    def assert_kept(self, attack: Attack) -> None:
        """In a session the attack does nothing that the host falls for."""
        self.prepare(attack.before or ":")
        done = self.session(attack.script)
        self._assert_told(attack, done.stderr)
        self.host(attack.trigger)
        assert self.escaped() == [], done.stdout + done.stderr

    def assert_told(self, attack: Attack) -> None:
        """What a session leaves is told before it can do anything, and is harmless once put right."""
        self.prepare(attack.before or ":")
        done = self.session(attack.script)
        self._assert_told(attack, done.stderr)
        reviewed = self.review()
        self._assert_named(attack, reviewed.stdout)
        assert reviewed.returncode == attack.code
        again = self.session("true")
        assert again.returncode == attack.code, again.stderr
        assert self.escaped() == []
        for path in attack.named if attack.undone == "RESTORE" else ():
            restored = self.review("--restore", path.partition(" ")[2])
            assert "Traceback" not in restored.stderr
            assert restored.returncode in (0, REVIEW), restored.stderr
        self.host(attack.undone.replace("RESTORE", ":"))
        self.host(attack.trigger)
        assert self.escaped() == []
        last = self.session("true")
        assert last.returncode == 0, last.stderr

    def assert_works_unguarded(self, attack: Attack, *folders: Path) -> None:
        self.prepare(attack.before or ":")
        self.prepare(attack.bare or ":")
        self.unguarded(attack.script, *folders)
        assert self.escaped() == []
        done = self.host(attack.trigger)
        assert self.escaped() != [], done.stdout + done.stderr

    def _assert_told(self, attack: Attack, report: str) -> None:
        """The report at the end lists what is red, and names what is yellow."""
        listed = [" ".join(line.split()) for line in report.splitlines()]
        for entry in attack.named:
            assert entry in listed or (entry.startswith("yellow ") and entry.partition(" ")[2] in report), report

    def _assert_named(self, attack: Attack, report: str) -> None:
        listed = [" ".join(line.split()) for line in report.splitlines()]
        for entry in attack.named:
            assert entry in listed, report
