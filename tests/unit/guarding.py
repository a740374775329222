"""What the tests of the guard share: real git in a folder, and a session that is looked at before and after."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

from confined_claude.guard.findings import Finding
from confined_claude.guard.guard import Ground
from confined_claude.guard.records import Before, Record
from confined_claude.guard.repository import Repository
from confined_claude.project import Project
from confined_claude.settings import Settings

WHO = {f"GIT_{who}_{what}": "x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
# A file that runs a program wherever git reads it as its settings.
EVIL = "[core]\n\tfsmonitor = touch /tmp/ran\n"
HOOK = "#!/bin/sh\ntouch /tmp/ran\n"
# git's own without its dozen examples of hooks: they would be half of all files that the tests make.
TEMPLATE = Path(__file__).parent / "__pycache__/git-template"
(TEMPLATE / "hooks").mkdir(parents=True, exist_ok=True)


def run_git(home: Path, *words: str, folder: Path | None = None, code: int | None = 0) -> bytes:
    """What git prints with HOME at ``home``, and nothing else of this machine's configuration."""
    done = subprocess.run(
        ["git", *words],
        cwd=folder or home,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "GIT_CONFIG_NOSYSTEM": "1",
            **WHO,
        },
        capture_output=True,
        check=False,
    )
    assert code is None or done.returncode == code, done.stderr
    return done.stdout if done.returncode == 0 else b"failed"


def git(folder: Path, *words: str, **settings: str) -> str:
    """What real git prints in ``folder``, with nothing of this machine's configuration."""
    given = {"protocol.file.allow": "always", "init.defaultBranch": "main", "core.fsync": "none", **settings}
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1", "GIT_EDITOR": "true", **WHO}
    environ["GIT_TEMPLATE_DIR"] = str(TEMPLATE)
    environ["GIT_CONFIG_COUNT"] = str(len(given))
    for number, (key, value) in enumerate(given.items()):
        environ |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    done = subprocess.run(["git", *words], cwd=folder, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def made_repository(folder: Path) -> Path:
    """A repository with one commit."""
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "--quiet")
    put(folder / "src/main.py", "print()\n")
    commit(folder)
    return folder


def commit(folder: Path) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "x")


def put(path: Path, content: str | bytes = "x\n") -> Path:
    """Write ``content`` to ``path``, whose folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


class Looked:
    """A project that was looked at, before something is done to it."""

    def __init__(self, root: Path, chosen: Settings | None = None, since: float = 0.0) -> None:
        self.ground = Ground(Project(root), chosen or Settings(), forgiving=True)
        repository = self.ground.repository
        folders = [self.ground.name(folder) for folder in repository.git_directories()] if repository else []
        self.record = Record(git_folders=folders)
        self.session, self.since, self.snapshot = "made-up", since, self.ground.look()

    def findings(self, held: Iterable[str] = ()) -> list[Finding]:
        return self.ground.compare(self.record, Before(self.session, self.since, self.snapshot), held)

    def red(self) -> list[str]:
        return [f"{finding.path}: {finding.why}" for finding in self.findings() if finding.red]


def plain_repository(common: Path) -> Repository:
    return Repository(common, common)
