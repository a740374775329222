"""Ordinary work is never red, and mostly not worth a word."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from confined_claude.settings import Settings

from ..guarding import Scanned, commit, git, made_repository, put

URL = "https://example.com"


def online(tmp_path: Path) -> dict[str, str]:
    """Settings of git by which repositories in ``tmp_path`` are reached at an address."""
    return {f"url.file://{tmp_path}/origins/.insteadOf": f"{URL}/"}


def origin(tmp_path: Path) -> dict[str, str]:
    """Repositories ``lib`` and ``app``, which has ``lib`` as a submodule, and how to reach them."""
    reach = online(tmp_path)
    made_repository(tmp_path / "origins/lib")
    git(made_repository(tmp_path / "origins/app"), "submodule", "--quiet", "add", f"{URL}/lib", "deps/lib", **reach)
    commit(tmp_path / "origins/app")
    return reach


def edit(root: Path) -> None:
    put(root / "src/main.py", "changed\n")
    put(root / "src/new/other.py")
    put(root / "src/.main.py.swp")
    put(root / "src/__pycache__/main.cpython-311.pyc")
    put(root / ".pytest_cache/CACHEDIR.TAG")
    (root / "src/.#main.py").symlink_to("someone@machine.1234:567890")
    (root / "src/alias.py").symlink_to("main.py")
    (root / "latest").symlink_to(root / "src")


def branches(root: Path) -> None:
    git(root, "checkout", "--quiet", "-b", "topic")
    put(root / "src/main.py", "topic\n")
    commit(root)
    git(root, "checkout", "--quiet", "main")
    put(root / "src/other.py")
    commit(root)
    git(root, "merge", "--quiet", "--no-ff", "topic")
    git(root, "branch", "--delete", "topic")
    git(root, "tag", "--annotate", "--message", "x", "v1")
    git(root, "notes", "add", "--message", "x")
    put(root / "src/main.py", "stashed\n")
    git(root, "stash")
    git(root, "stash", "pop")
    commit(root)
    git(root, "commit", "--quiet", "--amend", "--message", "y")
    git(root, "gc", "--quiet", "--prune=now")


def rebase(root: Path) -> None:
    git(root, "checkout", "--quiet", "-b", "topic")
    put(root / "src/main.py", "topic\n")
    commit(root)
    git(root, "checkout", "--quiet", "main")
    put(root / "src/other.py")
    commit(root)
    git(root, "rebase", "--quiet", "main", "topic")
    git(root, "rebase", "--interactive", "HEAD~1", **{"sequence.editor": "sed -i s/^pick/edit/"})
    assert (root / ".git/rebase-merge/git-rebase-todo").exists()


def worktrees(root: Path) -> None:
    git(root, "worktree", "add", "--quiet", "-b", "one", "one")
    git(root, "worktree", "add", "--quiet", "-b", "two", "src/deep/two")
    put(root / "src/deep/two/x")
    commit(root / "src/deep/two")
    git(made_repository(root / "nested"), "worktree", "add", "--quiet", "-b", "x", "../of-nested")


def settings_of_git(root: Path) -> None:
    git(root, "remote", "add", "origin", f"{URL}/x")
    git(root, "config", "branch.main.remote", "origin")
    git(root, "config", "user.name", "x")
    git(root, "sparse-checkout", "set", "src")


def submodules(root: Path) -> None:
    reach = origin(root.parent)
    git(root, "submodule", "--quiet", "add", f"{URL}/lib", "vendor/lib", **reach)
    git(root, "submodule", "--quiet", "add", f"{URL}/app", "vendor/app", **reach)
    git(root, "submodule", "--quiet", "update", "--init", "--recursive", **reach)
    assert (root / ".git/modules/vendor/app/modules/deps/lib/config").exists()
    commit(root)
    git(root, "worktree", "add", "--quiet", "-b", "one", "one")


def clones(root: Path) -> None:
    reach = origin(root.parent)
    git(root, "clone", "--quiet", f"{URL}/app", "plain", **reach)
    git(root, "clone", "--quiet", "--recurse-submodules", f"{URL}/app", "third/party", **reach)
    git(root, "clone", "--quiet", "--bare", "--depth", "1", f"{URL}/lib", "mirror.git", **reach)
    git(root, "clone", "--quiet", "--branch", "main", "--origin", "up", f"{URL}/lib", "other", **reach)
    assert (root / "third/party/deps/lib/.git").is_file()


def local_clones(root: Path) -> None:
    git(root, "clone", "--quiet", ".", "copy")
    git(root, "clone", "--quiet", str(made_repository(root / "elsewhere")), "other")
    git(root, "clone", "--quiet", "--bare", f"file://{root}/elsewhere", "mirror.git")
    git(root / "src", "clone", "--quiet", "../mirror", "again")
    git(root, "init", "--quiet", "new")
    for name in ("Makefile", "package.json", ".claude/settings.local.json"):  # not what this is about
        (root / "copy" / name).unlink()


def packages(root: Path) -> None:
    for name in ("left", "@scope/right"):
        directory = root / "node_modules" / name
        for inner in ("index.js", "Makefile", ".envrc", ".vscode/settings.json", ".claude/settings.json"):
            put(directory / inner)
        put(directory / "package.json", json.dumps({"scripts": {"install": "x"}}))
    put(root / "node_modules/.bin/x").unlink()
    (root / "node_modules/.bin/x").symlink_to("../left/index.js")
    (root / "node_modules/.envrc").symlink_to("left/.envrc")
    put(root / "package-lock.json", "{}")


def environments(root: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", root / "env"], check=True)
    (site,) = (root / "env/lib").glob("*/site-packages")
    for name in ("x.pth", "pkg/conftest.py", "pkg/.vscode/settings.json", "pkg/setup.py"):
        put(site / name)


def dependencies(root: Path) -> None:
    package = json.loads((root / "package.json").read_text())
    package |= {"dependencies": {"a": "2", "b": "1"}, "devDependencies": {"c": "1"}, "version": "2.0.0"}
    put(root / "package.json", json.dumps(package, indent=4))


def permissions(root: Path) -> None:
    allowed = {"permissions": {"allow": ["Bash(ls)", "Bash(make)"], "deny": ["Read(.env)"], "ask": []}}
    put(root / ".claude/settings.local.json", json.dumps(allowed))


def touched(root: Path) -> None:
    for path in root.rglob("*"):
        os.utime(path, (0, 0), follow_symlinks=False)
    for path in (root / "src").rglob("*"):
        path.chmod(0o777)


def deleted(root: Path) -> None:
    (root / "Makefile").unlink()
    shutil.rmtree(root / "src")
    shutil.rmtree(root / ".claude")
    for path in (root / ".git/hooks").iterdir():
        path.unlink()


def renamed(root: Path) -> None:
    put(root / "src/Makefile")
    (root / "src").rename(root / "lib")


def yellow_only(root: Path) -> None:
    """What is worth a word, and no more."""
    for name in ("Makefile", "setup.py", ".github/workflows/ci.yml", "CLAUDE.md", ".gitattributes", "Dockerfile"):
        put(root / name, "changed")
    put(root / "package.json", '{"scripts": {"test": "other"}}')


def indexes(root: Path) -> None:
    """Every form of an index that git writes."""
    git(root, "checkout", "--quiet", "-b", "topic")
    for name in (".gitmodules", ".github/x", "other/...", "other/file.", "deep/er/git~2", "third/\u200bx", "x\\y"):
        put(root / name)
    (root / "link").symlink_to("src")
    commit(root)
    for version in ("4", "2"):
        git(root, "update-index", "--index-version", version)
    git(root, "update-index", "--split-index")
    put(root / "src/main.py", "changed\n")
    (root / "link").unlink()
    (root / "link").symlink_to("other")
    git(root, "add", "--all", **{"splitIndex.maxPercentChange": "100"})
    git(root, "update-index", "--no-split-index")
    commit(root)
    git(root, "sparse-checkout", "set", "--cone", "--sparse-index", "src")
    put(root / "src/other.py")
    commit(root)


ORDINARY = (edit, branches, rebase, worktrees, settings_of_git, submodules, clones, packages, environments, indexes)
SILENT = (edit, branches, rebase, worktrees, local_clones, dependencies, touched, deleted)


@pytest.fixture
def used(tmp_path: Path) -> Path:
    """A project with a real repository, at work for a while."""
    root = tmp_path / "used"
    put(root / "Makefile", "all:\n")
    put(root / "package.json", json.dumps({"name": "x", "scripts": {"test": "x"}, "dependencies": {"a": "1"}}))
    put(root / ".claude/settings.local.json", json.dumps({"permissions": {"allow": ["Bash(ls)"]}}))
    return made_repository(root)


@pytest.mark.parametrize("chosen", [Settings(), Settings(git="open")], ids=lambda chosen: chosen.git)
@pytest.mark.parametrize(
    "work",
    [*ORDINARY, dependencies, permissions, touched, deleted, renamed, yellow_only],
    ids=lambda work: work.__name__,
)
def test_ordinary_work_is_not_red(work: Callable[[Path], None], chosen: Settings, used: Path) -> None:
    scanned = Scanned(used, chosen)
    work(used)
    assert scanned.red() == []


@pytest.mark.parametrize("work", SILENT, ids=lambda work: work.__name__)
def test_most_of_ordinary_work_is_not_reported_at_all(work: Callable[[Path], None], used: Path) -> None:
    scanned = Scanned(used)
    work(used)
    assert scanned.findings() == []


def test_a_new_remote_is_reported_once(used: Path) -> None:
    scanned = Scanned(used)
    settings_of_git(used)
    (finding,) = scanned.findings()
    assert (finding.path, finding.red) == (".git/config", False)
    assert finding.why == f"remote.origin.url is '{URL}/x' and was not set"


def test_a_virtual_environment_is_one_line(used: Path) -> None:
    scanned = Scanned(used)
    environments(used)
    assert [finding.path for finding in scanned.findings()] == ["env"]


def test_files_of_a_clone_are_reported_like_any_other(used: Path) -> None:
    scanned = Scanned(used)
    git(used, "clone", "--quiet", ".", "copy")
    assert {finding.path for finding in scanned.findings()} == {
        f"copy/{name}" for name in ("Makefile", "package.json", ".claude/settings.local.json")
    }
