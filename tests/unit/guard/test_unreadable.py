"""Nothing in a project that its user may not read prevents a start: each path of a full one in turn is not readable."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from confined_claude.claude import choosing
from confined_claude.errors import ConfinedError
from confined_claude.fs.directory import Location
from confined_claude.guard import guard
from confined_claude.guard.guarded_project import GuardedProject
from confined_claude.guard.records import Before, Record
from confined_claude.guard.repository import above
from confined_claude.project import find
from confined_claude.settings import Settings
from confined_claude.workspace import Workspace

from ..conftest import PLAIN_ID, as_plain_user, host_below
from ..guarding import git, made_repository, put

FILES = """.envrc .idea/workspace.xml .vscode/settings.json .vscode/tasks.json .claude/settings.json .claude/hooks/x.sh
.mcp.json CLAUDE.md tasks.py __pycache__/x.pyc tasks/__init__.py package.json node_modules/p/index.js
.venv/pyvenv.cfg other/pyvenv.cfg pgdata/PG_VERSION pgdata/base/1 lost+found/x a/b/.envrc a/b/.git/HEAD
.pre-commit-config.yaml .github/workflows/ci.yml .husky/pre-commit .gitattributes .gitmodules
Makefile bin/tool .hg/hgrc .jj/repo/store/git/config""".split()


def full_project(root: Path) -> None:
    made_repository(root)
    for name in FILES:
        put(root / name)
    put(root / ".envrc", "sh a/b/script.sh\n")
    put(root / "a/b/script.sh", "echo\n")
    git(root, "config", "include.path", "../included")
    put(root / "included", "[core]\n\tpager = ./bin/tool\n")
    git(root, "worktree", "add", "--quiet", "trees/one")
    put(root / ".git/info/attributes", "* text\n")
    put(root / ".git/config.worktree", "")
    inner = made_repository(root.with_name("inner"))
    git(root, "submodule", "--quiet", "add", str(inner), "sub")


def starts(root: Path, settings: Settings) -> str:
    """What a start by a plain user finds out and plans, and a look at it afterwards; why there is none."""
    host = host_below(root.parent, PLAIN_ID, PLAIN_ID)
    workspace = Workspace(host, find(root, host), settings)
    try:
        project = GuardedProject(workspace)
        guard.plan(project, None, ())
        choosing.set_inside(root, root, Location(host.home / "none"), {})
        above(root)
        before = Before("s", 0.0, project.scan(), project.programs)
        project.compare(Record(), before)
    except (ConfinedError, OSError) as error:
        return str(error)
    return ""


@pytest.mark.parametrize("git_setting", ["guarded", "open"])
def test_whatever_is_not_readable_a_session_starts(plain_folder: Path, git_setting: str) -> None:
    settings = Settings(git=git_setting)

    def work() -> dict[str, str]:
        root = plain_folder / "app"
        full_project(root)
        refused = {"": starts(root, settings)}
        for path in [Path(place, name) for place, *names in os.walk(root) for each in names for name in each]:
            if path.is_symlink() or "objects" in path.parts[:-1]:
                continue
            mode = path.stat().st_mode
            path.chmod(0)
            refused[str(path.relative_to(root))] = starts(root, settings)
            path.chmod(mode & 0o7777)
        return {path: why for path, why in refused.items() if why}

    assert as_plain_user(work) == {}
