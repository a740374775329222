"""What sessions download: kept for the next one, and for other projects if they share it; by the real tools."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from helpers import User

pytestmark = pytest.mark.xdist_group("network")

INTERNET = {"CONFINED_CLAUDE_NETWORK": "internet", "ANTHROPIC_BASE_URL": ""}
# Installed for the user, so for the project.
TOOLS = "set -e; pip install -q --user uv; npm install -g --silent pnpm@10 >&2"
UV = "uv venv -q /tmp/v; VIRTUAL_ENV=/tmp/v uv pip install -q {} iniconfig; /tmp/v/bin/python -c 'import iniconfig'"
USED = "node -e 'require(\"is-number\")'"
PNPM = f"mkdir -p app; cd app; echo '{{}}' >package.json; pnpm add --silent is-number@7.0.0; {USED}"
LOCKED = f"cd app; pnpm install --silent --offline --frozen-lockfile; {USED}"
NPM = "mkdir -p /tmp/n; cd /tmp/n; npm init -y >/dev/null; npm install --silent {} is-number@7.0.0"


def session(user: User, project: Path, *steps: str, **variables: str) -> tuple[int, str]:
    script = "; ".join((TOOLS, *(f"({step})" for step in steps)))
    done = user.run("confined-claude", "shell", "--", "sh", "-c", script, cwd=project, **INTERNET, **variables)
    return done.returncode, done.stdout + done.stderr


def test_downloads_of_one_session_are_there_in_the_next_and_in_other_projects(plain_user: User, place: Path) -> None:
    one, other = plain_user.folder(place / "one"), plain_user.folder(place / "other")
    code, told = session(plain_user, one, UV.format(""), PNPM, NPM.format(""))
    assert code == 0, told
    assert "hardlink" not in told  # of uv, which would have to copy
    again = session(plain_user, one, UV.format("--offline"), f"rm -r app/node_modules; {LOCKED}")
    assert again[0] == 0, again[1]
    shutil.copytree(one / "app", other / "app", ignore=shutil.ignore_patterns("node_modules"))
    plain_user.own(other / "app", *(other / "app").iterdir())
    elsewhere = session(plain_user, other, LOCKED, NPM.format("--offline"))
    assert elsewhere[0] == 0, elsewhere[1]
    # uv runs programs from its cache, so it is each project's own.
    assert session(plain_user, other, UV.format("--offline"))[0] != 0
    # The control: a project with caches of its own has none of it yet.
    for step in (f"rm -r app/node_modules; {LOCKED}", NPM.format("--offline")):
        assert session(plain_user, other, step, CONFINED_CLAUDE_CACHES="project")[0] != 0
    made = {path.name for path in (*one.rglob("*"), *other.rglob("*"))}
    assert ".pnpm-store" not in made
    assert plain_user.run("confined-claude", "shell", "--", "pnpm", "store", "path", cwd=one, **INTERNET).stdout == (
        "/home/claude/.cache/downloads/pnpm/v10\n"
    )


def test_the_newest_pnpm_keeps_nothing_in_the_project_either(plain_user: User, place: Path) -> None:
    project = plain_user.folder(place / "newest")
    script = "npx --yes pnpm@latest store path && npx pnpm@latest config get enableGlobalVirtualStore"
    done = plain_user.run("confined-claude", "shell", "--", "sh", "-c", script, cwd=project, **INTERNET)
    store, is_virtual = done.stdout.split()
    assert store.startswith("/home/claude/.cache/downloads/pnpm/"), done.stderr
    assert is_virtual == "false"


def test_the_directories_of_other_tools_are_theirs(plain_user: User, place: Path) -> None:
    """Cargo, Go and Gradle make these themselves, above and beside what is kept."""
    project = plain_user.folder(place / "tools")
    script = """set -e
        for directory in ~/.cargo/registry ~/go/pkg/mod ~/.gradle/caches/modules-2 ~/.cache/npm ~/.config/pnpm; do
            mkdir $directory/own; rmdir $directory/own
        done
        for kept in ~/.cargo/registry/cache ~/go/pkg/mod/cache/download ~/.gradle/caches/modules-2/files-2.1; do
            if [ -e $kept/mark ]; then echo kept; else echo x >$kept/mark; fi
        done
        echo $PLAYWRIGHT_BROWSERS_PATH; mkdir -p $PLAYWRIGHT_BROWSERS_PATH/x"""
    for expected in ("", "kept\nkept\nkept\n"):
        done = plain_user.run("confined-claude", "shell", "--", "sh", "-c", script, cwd=project, **INTERNET)
        assert done.stdout == f"{expected}/home/claude/.local/lib/ms-playwright\n", done.stderr
    # Playwright runs the browsers from there, so they are the project's.
    assert (project / ".confined-claude/local-bin/.lib/ms-playwright/x").is_dir()
