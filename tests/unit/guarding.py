"""What the tests of the guard share: real git in a directory, and a session that is scanned before and after."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

from confined_claude.guard.findings import Finding
from confined_claude.guard.guarded_project import GuardedProject
from confined_claude.guard.records import Before, Record
from confined_claude.guard.repository import Repository
from confined_claude.host import Host
from confined_claude.project import Project
from confined_claude.settings import Settings
from confined_claude.workspace import Workspace

WHO = {f"GIT_{who}_{what}": "x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
# A file that runs a program wherever git reads it as its settings.
EVIL = "[core]\n\tfsmonitor = touch /tmp/ran\n"
HOOK = "#!/bin/sh\ntouch /tmp/ran\n"
HARMLESS = '[core]\n\tbare = false\n[remote "origin"]\n\turl = https://example.com/a.git\n'
# git's own without its dozen examples of hooks: they would be half of all files that the tests make.
TEMPLATE = Path(__file__).parent / "__pycache__/git-template"
(TEMPLATE / "hooks").mkdir(parents=True, exist_ok=True)


def run_git(home: Path, *words: str, directory: Path | None = None, code: int | None = 0) -> bytes:
    """What git prints with HOME at ``home``, and nothing else of this machine's configuration."""
    done = subprocess.run(
        ["git", *words],
        cwd=directory or home,
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


def git(directory: Path, *words: str, **settings: str) -> str:
    """What real git prints in ``directory``, with nothing of this machine's configuration."""
    given = {"protocol.file.allow": "always", "init.defaultBranch": "main", "core.fsync": "none", **settings}
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_EDITOR": "true",
        **WHO,
    }
    environ["GIT_TEMPLATE_DIR"] = str(TEMPLATE)
    environ["GIT_CONFIG_COUNT"] = str(len(given))
    for number, (key, value) in enumerate(given.items()):
        environ |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    done = subprocess.run(["git", *words], cwd=directory, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def made_repository(directory: Path) -> Path:
    """A repository with one commit."""
    directory.mkdir(parents=True, exist_ok=True)
    git(directory, "init", "--quiet")
    put(directory / "src/main.py", "print()\n")
    commit(directory)
    return directory


def commit(directory: Path) -> None:
    git(directory, "add", "--all")
    git(directory, "commit", "--quiet", "--message", "x")


def put(path: Path, content: str | bytes = "x\n") -> Path:
    """Write ``content`` to ``path``, whose directories are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def nowhere(place: Path) -> Host:
    """A host whose own directories do not exist."""
    return Host(1000, 1000, place, {}, place / "data", place / "state", place / "config")


class Scanned:
    """A project that was scanned before something is done to it."""

    def __init__(self, root: Path, chosen: Settings | None = None, since: float = 0.0, path: str = "") -> None:
        host = nowhere(root.with_name("nowhere"))._replace(environ={"PATH": path})
        workspace = Workspace(host, Project(root), chosen or Settings())
        self.project = GuardedProject(workspace, lenient=True)
        repository = self.project.repository
        directories = map(self.project.name, repository.git_directories()) if repository else ()
        self.record = Record(git_directories=tuple(directories))
        self.session, self.since, self.snapshot = "made-up", since, self.project.scan()

    def findings(self, unchanged: Iterable[str] = ()) -> list[Finding]:
        before = Before(self.session, self.since, self.snapshot, self.project.programs)
        return self.project.compare(self.record, before, unchanged).findings

    def red(self) -> list[str]:
        return [f"{finding.path}: {finding.why}" for finding in self.findings() if finding.red]


def plain_repository(common: Path) -> Repository:
    return Repository(common, common)


def git_directory(path: Path, config: str = HARMLESS) -> Path:
    """What git takes for a repository, made by hand."""
    for name in ("objects", "refs", "hooks"):
        (path / name).mkdir(parents=True)
    put(path / "HEAD", "ref: refs/heads/main\n")
    put(path / "config", config)
    return path


def only(findings: list[Finding]) -> Finding:
    (finding,) = findings
    return finding
