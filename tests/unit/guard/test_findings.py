"""A look before, a look after, and what changed between: all that the host might run, and nothing else."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from confined_claude.fs.directory import Directory
from confined_claude.guard import gitscan, walk
from confined_claude.guard.findings import Finding
from confined_claude.guard.snapshot import KEPT_BYTES, resolve_inside
from confined_claude.settings import Settings

from ..conftest import as_plain_user
from ..guarding import EVIL, HOOK, Looked, commit, git, made_repository, put
from .test_gitindex import made_index

HARMLESS = '[core]\n\tbare = false\n[remote "origin"]\n\turl = https://example.com/a.git\n'
GITLINK = 0o160000
COUNT = itertools.count()


def git_folder(path: Path, config: str = HARMLESS) -> Path:
    """What git takes for a repository, made by hand."""
    for name in ("objects", "refs", "hooks"):
        (path / name).mkdir(parents=True)
    put(path / "HEAD", "ref: refs/heads/main\n")
    put(path / "config", config)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with something of everything."""
    path = tmp_path / "project"
    git_folder(path / ".git")
    put(path / "src/main.py")
    put(path / "Makefile", "all:\n")
    put(path / "package.json", json.dumps({"name": "x", "scripts": {"test": "true"}, "dependencies": {"a": "1"}}))
    put(path / ".claude/settings.local.json", json.dumps({"permissions": {"allow": ["Bash(ls)"]}}))
    return path


# What is planted


@dataclass(frozen=True)
class Plant:
    """Something made by ``make`` in a folder, and what the report says of it."""

    path: str
    red: bool
    words: str
    make: Callable[[Path], object]

    def __str__(self) -> str:
        return f"{self.path} {self.words}"


def file(path: str, red: bool, words: str, content: str | bytes = "x\n") -> Plant:
    return Plant(path, red, words, lambda folder: put(folder / path, content))


def link(path: str, target: str, red: bool, words: str) -> Plant:
    def make(folder: Path) -> None:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).symlink_to(target)

    return Plant(path, red, words, make)


def in_git(path: str, words: str, content: str | bytes = HOOK, red: bool = True, named: str = "") -> Plant:
    """A file in a new nested repository."""

    def make(folder: Path) -> None:
        git_folder(folder / "vendor/.git")
        put(folder / "vendor/.git" / path, content)

    return Plant(f"vendor/.git/{named or path}", red, words, make)


def repository(place: str, named: str, words: str, red: bool = True) -> Plant:
    """A repository with settings that run something, and a hook."""

    def make(folder: Path) -> None:
        for inner in (path for path in (Path(place), *Path(place).parents) if path.name == ".git"):
            git_folder(folder / inner, EVIL)
        if not (folder / place).exists():
            git_folder(folder / place, EVIL)
        put(folder / place / "hooks/pre-push", HOOK)

    return Plant(named, red, words, make)


def at_root(folder: Path) -> None:
    git_folder(folder, EVIL)
    put(folder / "hooks/x", HOOK)


def pipe(folder: Path) -> None:
    os.mkfifo(folder / "pipe")


def server(folder: Path) -> None:
    here = os.open(".", os.O_RDONLY)
    os.chdir(folder)  # the address of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("server")
    finally:
        os.fchdir(here)
        os.close(here)


def mode(path: str, bits: int) -> Callable[[Path], None]:
    return lambda folder: put(folder / path).chmod(bits)


def fifo_in_git(folder: Path) -> None:
    os.mkfifo(git_folder(folder / "vendor/.git") / "index")


def hidden_module(folder: Path) -> None:
    """A submodule's settings behind names that make the folder above it look like a repository."""
    git_folder(folder / "vendor/.git")
    git_folder(folder / "vendor/.git/modules/lib", EVIL)
    for name in ("HEAD", "commondir"):
        put(folder / "vendor/.git/modules" / name)
    (folder / "vendor/.git/modules/objects").mkdir()


def hidden_in_objects(folder: Path) -> None:
    git_folder(folder / "vendor/.git")
    git_folder(folder / "vendor/.git/modules/objects", EVIL)
    put(folder / "vendor/.git/modules/HEAD")
    (folder / "vendor/.git/modules/refs").mkdir()


def hidden_in_another(folder: Path) -> None:
    git_folder(folder / "vendor/.git")
    git_folder(folder / "vendor/.git/modules/a")
    git_folder(folder / "vendor/.git/modules/a/b", EVIL)


def by_way_of_another(folder: Path) -> None:
    (folder / "tool").symlink_to("/usr/bin/env")
    (folder / ".envrc").symlink_to("tool")


def linked_settings(folder: Path) -> None:
    put(folder / "docs/settings.json", '{"hooks": {}}')
    (folder / ".claude").symlink_to("docs")


def marked_as_environment(folder: Path) -> None:
    put(folder / "backend/pyvenv.cfg")
    put(folder / "backend/.envrc")


def turned_back(folder: Path) -> None:
    git_folder(folder / "hidden/.git/modules/lib", EVIL)
    (folder / "hidden/deep").mkdir()
    git_folder(folder / ".git/modules/lib")
    (folder / "side").symlink_to("hidden/deep")
    put(folder / "lib/.git", "gitdir: ../side/../.git/modules/lib\n")


TODO = "pick 0123 x\nexec touch /tmp/ran\n"
# Wherever they are put, except those for the project's root below.
ANYWHERE = (
    file(".envrc", True, "new; your shell, on entering the folder"),
    file(".ENVRC", True, "your shell"),
    file(".config/mise/conf.d/x.toml", True, "your shell"),
    file("dotfiles/.bashrc", True, "where your home folder links to it"),
    file(".vscode/settings.json", True, "your editor"),
    file(".vscode/deep/er/any thing", True, "your editor"),
    file(".vscode/extensions.json", False, "offers to install"),
    file("x.code-workspace", True, "your editor"),
    file(".idea/workspace.xml", True, "your editor"),
    file(".exrc", True, "your editor"),
    file(".gdbinit", True, "a debugger"),
    file(".mcp.json", True, "MCP"),
    file(".claude/settings.json", True, "Claude Code on this machine", "{}"),
    file("a/.claude/settings.local.json", True, "Claude Code", '{"hooks": {}}'),
    file("b/.claude/settings.local.json", True, "Claude Code", '{"permissions": {"defaultMode": "x"}}'),
    file("c/.claude/settings.local.json", True, "Claude Code", '{"permissions": ["x"]}'),
    file("d/.claude/settings.local.json", True, "Claude Code", '{"permissions": {"allow": ["x"]}, "env": {}}'),
    file("e/.claude/settings.local.json", True, "Claude Code", "no JSON"),
    file("f/.claude/settings.local.json", False, "Claude Code", '{"permissions": {"allow": ["x"]}}'),
    file(".claude/hooks/stop.sh", True, "Claude Code"),
    file(".claude/agents/deep/x.md", True, "Claude Code"),
    file(".cursor/mcp.json", True, "MCP"),
    file(".cursor/rules/x", True, "another coding agent"),
    file("CLAUDE.md", False, "as its instructions"),
    file(".gitattributes", False, "git, with filters"),
    file(".gitmodules", False, "git, with filters"),
    file("pkg/tasks.py", False, "inv, run in that folder"),
    file("pkg/conftest.py", False, "Python"),
    file("pkg/x.pth", False, "Python"),
    file("pkg/package.json", False, "npm", '{"scripts": {"postinstall": "x"}}'),
    file("pkg2/package.json", False, "npm", '{"name": "x", "workspaces": ["a"]}'),
    file("pkg3/package.json", False, "npm", "no JSON"),
    file("pkg4/package.json", False, "npm", "[" * 100_000),
    file("makefile", False, "make"),
    file("build/rules.mk", False, "make"),
    file("Dockerfile.dev", False, "docker"),
    file(".github/workflows/ci.yml", False, "your forge"),
    file("x/.gitlab-ci.yml", False, "your forge"),
    repository("vendor/.git", "vendor/.git", "new: a repository of its own", red=False),
    repository("vendor/.GIT", "vendor/.GIT", "new: a repository of its own", red=False),
    repository("docs", "docs", "new: a repository of its own", red=False),
    repository("docs", "docs/config", "core.fsmonitor"),
    repository("vendor/.git/modules/a/modules/b", "vendor/.git/modules/a/modules/b/config", "core.fsmonitor"),
    in_git("config", "sets core.fsmonitor", EVIL),
    in_git("config", "sets include.path, core.fsmonitor", "[include]\npath = x\n" + EVIL),
    in_git("config", "sets remote.evil", '[branch "main"]\nremote = evil\n'),
    in_git("config", "cannot be read", "no settings"),
    in_git("config", "cannot be read", "#" * (KEPT_BYTES + 1)),
    in_git("config.worktree", "sets core.fsmonitor", EVIL),
    in_git("hooks/pre-commit", "new hook"),
    in_git("info/attributes", "new attributes", "* filter=x\n"),
    in_git("commondir", "the settings and hooks of '../x'", "../x\n"),
    in_git("rebase-merge/git-rebase-todo", "runs commands", TODO),
    in_git("rebase-merge/git-rebase-todo.backup", "runs commands", TODO),
    repository("vendor/.git/modules/a/b", "vendor/.git/modules/a/b/hooks/pre-push", "new hook"),
    Plant("vendor/.git/modules/lib/config", True, "core.fsmonitor", hidden_module),
    Plant("vendor/.git/modules/a/b/config", True, "core.fsmonitor", hidden_in_another),
    Plant(".envrc", True, "new link to 'tool'; your shell", by_way_of_another),
    Plant("vendor/.git/modules/objects/config", True, "core.fsmonitor", hidden_in_objects),
    in_git("worktrees/w/commondir", "the settings and hooks of '../x'", "../x\n"),
    in_git("worktrees/w/config.worktree", "core.fsmonitor", EVIL),
    in_git("worktrees/w/hooks/x", "hook"),
    in_git("index", "and cannot be read", b"DIRC" + b"\xff" * 100),
    Plant("vendor/.git/index", True, "and cannot be read", fifo_in_git),
    in_git("index", "as a repository", made_index((GITLINK, b"lib")), red=False, named="index: lib"),
    file("sub/.git", True, "leads git to '../evil'", "gitdir: ../evil\n"),
    file("sub/.git", True, "leads git to", "gitdir: ../.git/modules/../../evil\n"),
    file("sub/.git", True, "leads git to", "gitdir: /home/x/.git/worktrees/x\n"),
    file("sub/.git", True, "names no folder", "x"),
    file("sub/.git", True, "names no folder", "x" * (KEPT_BYTES + 1)),
    Plant("lib/.git", True, "leads git to", turned_back),
    link(".git", "src", True, "new link to 'src'"),
    link("vendor/.git/objects", "/var", True, "new link to '/var'"),
    link("vendor/.git/hooks", "../x", True, "new link to '../x'"),
    link("vendor/.git/config", "../x", True, "new link to '../x'"),
    link("vendor/.git/refs/heads/main", "x", True, "new link to 'x'"),
    link("vendor/.git/modules/lib", "x", True, "new link to 'x'"),
    link("data", "/home/someone/.ssh", True, "out of the project, to '/home/someone/.ssh'"),
    link("up", "../" * 50, True, "out of the project"),
    link("tool", "/usr/bin/python3", False, "out of the project"),
    link("tool", "/usr/../home/someone", True, "out of the project"),
    link("tool", "/usr/x\n/../../home/someone", True, "out of the project"),
    link("Makefile.mk", "/home/someone/x", True, "new link to '/home/someone/x'; make"),
    link("rules.mk", "src", False, "new link to 'src'; make"),
    link(".envrc", "src", True, "new link to 'src'; your shell"),
    link(".vscode", "src", True, "new link to 'src'; your editor"),
    Plant(".claude", True, "new link to 'docs'; Claude Code", linked_settings),
    link(".github", "docs", False, "new link to 'docs'"),
    Plant("backend/.envrc", True, "your shell", marked_as_environment),
    Plant("backend", False, "packages changed", marked_as_environment),
    Plant("node_modules", False, "packages changed", lambda folder: put(folder / "node_modules/a/index.js")),
    Plant("pipe", False, "a FIFO, socket or device", pipe),
    Plant("server", False, "a FIFO, socket or device", server),
    Plant("tool", True, "your rights for everybody (setuid or setgid, 0o4755)", mode("tool", 0o4755)),
    Plant("node_modules/tool", True, "0o2755", mode("node_modules/tool", 0o2755)),
)
AT_ROOT = (
    file("tasks.py", True, "new; inv"),
    file("invoke.yaml", True, "inv"),
    file("__pycache__/tasks.cpython-311.pyc", True, "inv"),
    file(".copier-answers.yml", True, "copier update"),
    file(".confined-claude/config.toml", True, "Confined Claude"),
    file(".confined-claude/any", True, "Confined Claude"),
    file(".pre-commit-config.yaml", True, "git commit"),
    file(".husky/pre-push", True, "git commit"),
    file(".gitconfig", True, "git, where your settings include it"),
    file(".git/config", True, "sets core.fsmonitor", HARMLESS + EVIL),
    file(".git/config", True, "changed settings that cannot be read", "x"),
    file(".git/hooks/pre-commit", True, "new hook"),
    file(".git/commondir", True, "the settings and hooks of '../x'", "../x"),
    file(".git/worktrees/w/commondir", True, "the settings and hooks of '../../x'", "../../x"),
    Plant(
        ".git/index: .confined-claude/venvs/x",
        True,
        "as a repository of its own",
        lambda folder: put(folder / ".git/index", made_index((GITLINK, b".confined-claude/venvs/x"))),
    ),
    file("Makefile", False, "changed; make"),
    file("package.json", False, "changed; npm", '{"scripts": {"test": "evil"}}'),
    file(".claude/settings.local.json", False, "changed", '{"permissions": {"allow": ["Bash(rm:*)"]}}'),
    file(".claude/settings.local.json", True, "changed", '{"permissions": {"allow": ["Bash(ls)", "Bash"]}}'),
    file("tasks/__init__.py", False, "inv", "import celery\n"),
    file("tasks/__init__.py", True, "inv", "from invoke import task\n"),
    in_git("remotes/origin", "an old form", b"URL: ../evil\n"),
    in_git("branches/origin", "an old form", b"../evil\n"),
    Plant(".", False, "a repository of its own", at_root),
    Plant("config", True, "core.fsmonitor", at_root),
    Plant("hooks/x", True, "new hook", at_root),
)


def told(findings: list[Finding], path: str) -> list[Finding]:
    return [finding for finding in findings if finding.path == path]


def assert_told(plant: Plant, place: str, findings: list[Finding]) -> None:
    """The report names what was planted in the folder ``place``."""
    path = str(Path(place, plant.path)) if plant.path != "." else "."
    verdicts = [(finding.red, f"{finding.why}; {finding.runs}") for finding in told(findings, path)]
    assert [red for red, words in verdicts if plant.words in words] == [plant.red], (path, verdicts or findings)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(("plant", "place"), [*((one, "a/b") for one in ANYWHERE), *((one, "") for one in AT_ROOT)])
def test_what_is_planted_is_told_by_its_path_its_colour_and_a_reason(plant: Plant, place: str, root: Path) -> None:
    (root / place).mkdir(parents=True, exist_ok=True)
    looked = Looked(root)
    plant.make(root / place)
    findings = looked.findings()
    assert_told(plant, place, findings)
    assert [finding.red for finding in findings] == sorted((finding.red for finding in findings), reverse=True)
    kept = Looked(root)
    kept.since = time.time() + 1000
    assert kept.findings() == []  # what was there before is no news


# Any tree

NAMES = [
    *("src", "b", "c.py", "Makefile", ".envrc", "package.json", "CLAUDE.md", ".vscode", "lib", "tasks.py", ".claude"),
    *("two\nlines", "\x1b[31mred", "\u202egnp", os.fsdecode(b"\xff\x80"), "-x", "a b", "x" * 200, "$(id)", "HEAD"),
]
paths = st.lists(st.sampled_from(NAMES), min_size=1, max_size=4).map("/".join)
trees = st.dictionaries(paths, st.binary(max_size=20), max_size=12)


def fresh_folder(tmp_path: Path) -> Path:
    folder = tmp_path / f"tree{next(COUNT)}"
    folder.mkdir()
    return folder


def grow(folder: Path, tree: dict[str, bytes]) -> None:
    for path, content in tree.items():
        try:
            put(folder / path, content)
        except OSError:
            continue  # a file where a folder is, or the reverse


@settings(max_examples=100)
@given(tree=trees, place=st.lists(st.sampled_from(NAMES), max_size=4), plant=st.sampled_from(ANYWHERE))
def test_whatever_is_planted_anywhere_in_any_tree_is_told(
    tree: dict[str, bytes], place: list[str], plant: Plant, tmp_path: Path
) -> None:
    root = fresh_folder(tmp_path)
    folder = root.joinpath("new", *place)  # nothing but what is planted stands there
    grow(root, tree)
    looked = Looked(root)
    folder.mkdir(parents=True)
    plant.make(folder)
    path = str(folder.relative_to(root) / plant.path)
    found = told(looked.findings(), path)
    assert found
    assert any(finding.red for finding in found) >= plant.red  # in a folder like .vscode all of it is red


@given(tree=trees, plants=st.lists(st.sampled_from(ANYWHERE), max_size=4))
def test_a_tree_written_again_with_the_same_content_is_no_finding(
    tree: dict[str, bytes], plants: list[Plant], tmp_path: Path
) -> None:
    root = fresh_folder(tmp_path)
    grow(root, tree)
    for number, plant in enumerate(plants):
        (root / f"p{number}").mkdir()
        plant.make(root / f"p{number}")
    looked = Looked(root, since=time.time() + 1000)
    again = root.with_name(f"{root.name}-again")
    subprocess.run(["cp", "-R", "--no-preserve=all", "--", root, again], check=True)
    subprocess.run(["find", again, "-exec", "touch", "-h", "-d", "2001-01-01", "{}", "+"], check=True)
    shutil.rmtree(root)
    again.rename(root)
    assert looked.findings() == []


# Ordinary work


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


def packages(root: Path) -> None:
    for name in ("left", "@scope/right"):
        folder = root / "node_modules" / name
        for inner in ("index.js", "Makefile", ".envrc", ".vscode/settings.json", ".claude/settings.json"):
            put(folder / inner)
        put(folder / "package.json", json.dumps({"scripts": {"install": "x"}}))
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


def told_only(root: Path) -> None:
    """What is worth a word, and no more."""
    for name in ("Makefile", "setup.py", ".github/workflows/ci.yml", "CLAUDE.md", ".gitattributes", "Dockerfile"):
        put(root / name, "changed")
    put(root / "package.json", '{"scripts": {"test": "other"}}')


ORDINARY = (edit, branches, rebase, worktrees, settings_of_git, submodules, clones, packages, environments)
SILENT = (edit, branches, rebase, settings_of_git, dependencies, touched, deleted)


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
    "work", [*ORDINARY, dependencies, permissions, touched, deleted, renamed, told_only], ids=lambda work: work.__name__
)
def test_ordinary_work_is_not_red(work: Callable[[Path], None], chosen: Settings, used: Path) -> None:
    looked = Looked(used, chosen)
    work(used)
    assert looked.red() == []


@pytest.mark.parametrize("work", SILENT, ids=lambda work: work.__name__)
def test_most_of_ordinary_work_is_not_told_at_all(work: Callable[[Path], None], used: Path) -> None:
    looked = Looked(used)
    work(used)
    assert looked.findings() == []


def test_what_a_worktree_and_a_clone_hold_is_told_like_any_file(used: Path) -> None:
    looked = Looked(used)
    worktrees(used)
    assert {finding.path for finding in looked.findings()} == {"nested/.git"} | {
        f"{tree}/{name}"
        for tree in ("one", "src/deep/two")
        for name in ("Makefile", "package.json", ".claude/settings.local.json")
    }


# What a finding says


def only(findings: list[Finding]) -> Finding:
    (finding,) = findings
    return finding


def test_a_finding_has_what_there_was_and_what_there_is_and_whose_it_is(root: Path) -> None:
    looked = Looked(root)
    looked.session = "confined-claude-x"
    put(root / "Makefile", "evil:\n")
    finding = only(looked.findings())
    assert (finding.before, finding.after) == (b"all:\n", b"evil:\n")
    assert finding.digest_before != finding.digest_after
    assert (finding.session, finding.since, finding.key) == ("confined-claude-x", 0.0, "Makefile")
    put(root / "Makefile", b"x" * (KEPT_BYTES + 1))
    assert only(looked.findings()).after is None


def test_what_was_of_another_kind_is_not_taken_for_its_content(root: Path) -> None:
    (root / ".envrc").symlink_to("src/main.py")
    looked = Looked(root)
    (root / ".envrc").unlink()
    put(root / ".envrc")
    finding = only(looked.findings())
    assert (finding.red, finding.before, bool(finding.digest_before)) == (True, None, True)


def test_what_a_link_leads_to_counts_where_its_name_does(root: Path) -> None:
    (root / ".envrc").symlink_to("src/main.py")
    looked = Looked(root)
    put(root / "src/main.py", "evil\n")
    assert [(finding.path, finding.red, finding.why) for finding in looked.findings()] == [
        (".envrc", True, "changed link to 'src/main.py'")
    ]


@pytest.mark.parametrize("name", [".vscode", ".claude"])
def test_what_is_in_a_folder_that_a_link_leads_to_counts_where_the_links_name_does(name: str, root: Path) -> None:
    put(root / "conf/settings.json", "{}")
    (root / "src" / name).symlink_to("../conf")
    looked = Looked(root)
    put(root / "conf/settings.json", '{"evil": 1}')
    assert looked.red() != []


def test_of_settings_only_what_is_new_is_named(root: Path) -> None:
    put(root / ".git/config", EVIL)
    looked = Looked(root)
    put(root / ".git/config", EVIL + '[alias]\n\tx = "!touch"\n[core]\n\tbare = false\n')
    assert [finding.why for finding in looked.findings()] == ["sets alias.x"]


def test_a_remote_without_a_url_is_named_once(root: Path) -> None:
    looked = Looked(root)
    put(root / ".git/config", '[branch "main"]\n\tremote = evil\n')
    assert only(looked.findings()).why == "sets remote.evil without a URL, so that git takes the name for a path"


@pytest.mark.parametrize("folder", [".git", ".git/worktrees/w"])
def test_no_text_makes_a_gitlink_pass_for_one_of_another_repository_format(folder: str, root: Path) -> None:
    """Whose index has names of 20 bytes cannot have it read as one with names of 32, in which nothing is found."""
    put(root / ".git/worktrees/w/commondir", "../..\n")
    looked = Looked(root)
    put(root / folder / "config", "# sha256\n")
    put(root / folder / "index", made_index((GITLINK, b"lib")))
    assert f"{folder}/index: lib" in [finding.path for finding in looked.findings()]


def test_a_lost_pin_is_told_with_what_changed_there(root: Path) -> None:
    put(root / ".envrc")
    looked = Looked(root)
    looked.record.kept = {".envrc": (0, 1), "gone": (0, 1)}
    put(root / ".envrc", "changed")
    finding = only(looked.findings())
    assert finding.red
    assert finding.why == "changed; it was replaced on this machine meanwhile, which ended its protection"


def test_what_was_held_all_the_time_is_not_told_but_what_was_open_in_it_is(root: Path) -> None:
    put(root / ".vscode/settings.json")
    put(root / ".vscode/tasks.json")
    put(root / ".vscode/shared.json")
    looked = Looked(root)
    status = (root / ".vscode").stat()
    looked.record.kept = {".vscode": (status.st_dev, status.st_ino)}
    looked.record.opened = [".vscode/tasks.json"]
    os.link(root / ".vscode/shared.json", root / "other")
    looked.snapshot = looked.ground.look()
    put(root / "other", "by another name")
    put(root / ".vscode/settings.json", "mine")
    put(root / ".vscode/tasks.json", "changed")
    put(root / ".vscode.envrc/.envrc", "beside it")
    told = [".vscode.envrc/.envrc", ".vscode/shared.json", ".vscode/tasks.json"]
    assert [finding.path for finding in looked.findings(held=[".vscode"])] == told


def test_however_many_findings_there_are_none_is_left_out(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("confined_claude.guard.findings.MAX_WITH_CONTENT", 3)
    looked = Looked(root)
    for number in range(9):
        put(root / f"{number}/.envrc")
    findings = looked.findings()
    assert [finding.path for finding in findings] == [f"{number}/.envrc" for number in range(9)]
    assert [finding.after is not None for finding in findings] == [True] * 3 + [False] * 6
    assert all(finding.digest_after and finding.red for finding in findings)


def test_files_that_run_as_their_owner_count_by_their_time_of_change(root: Path) -> None:
    put(root / "old").chmod(0o4755)
    put(root / "changed").chmod(0o4755)
    time.sleep(0.05)
    looked = Looked(root, since=time.time())
    time.sleep(0.05)
    put(root / "new").chmod(0o4755)
    for name in ("new", "changed"):
        os.utime(root / name, (0, 0))
    assert sorted(finding.path for finding in looked.findings()) == ["changed", "new"]


def test_settings_that_open_or_protect_change_the_colour(root: Path) -> None:
    looked = Looked(root, Settings(protect=("src/*.key", "deploy"), writable=(".vscode/tasks.json",)))
    for name in ("src/a.key", "deploy/x/y", "x/src/a.key", ".vscode/tasks.json", ".vscode/settings.json"):
        put(root / name)
    assert {finding.path: (finding.red, finding.runs) for finding in looked.findings()} == {
        "src/a.key": (True, "what you named in `protect`"),
        "deploy/x/y": (True, "what you named in `protect`"),
        ".vscode/tasks.json": (False, "what it is for; you opened it with `writable`"),
        ".vscode/settings.json": (True, "your editor, on opening the folder"),
    }


# Nothing is followed, nothing hangs, nothing is without bound

NAMED_BY_RULES = [
    ".envrc",
    "config",
    "hooks/pre-commit",
    "commondir",
    "index",
    "HEAD",
    "config.worktree",
    "info/attributes",
]


@pytest.mark.timeout(10)
@pytest.mark.parametrize("below", ["", ".git/", "vendor/.git/", ".git/modules/lib/", ".vscode/", ".confined-claude/"])
def test_no_fifo_is_opened(below: str, root: Path) -> None:
    for name in (*NAMED_BY_RULES, "git-rebase-todo", "rebase-merge/git-rebase-todo"):
        (root / below / name).parent.mkdir(parents=True, exist_ok=True)
        (root / below / name).unlink(missing_ok=True)
        os.mkfifo(root / below / name)
    os.mkfifo(root / "src/.git")
    (root / "src/.mcp.json").symlink_to(root / ".envrc")
    assert Looked(root).findings() == []


@pytest.mark.parametrize("below", ["", "vendor/.git/", "docs/", ".vscode/", ".confined-claude/"])
def test_no_link_is_followed(below: str, root: Path, tmp_path: Path) -> None:
    secret = tmp_path / "outside"
    for name in (*NAMED_BY_RULES, "deep/.envrc", "deep/.git/config", "objects/x"):
        put(secret / name, "secret")
    for name in (*NAMED_BY_RULES, "objects", "folder", "Makefile", ".vscode"):
        place = root / below / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if not os.path.lexists(place):
            place.symlink_to(secret / name.replace("folder", "deep"))
    looked = Looked(root)
    assert "secret" not in repr([item.content for item in looked.snapshot.items.values()])
    assert not [path for path in looked.snapshot.items if path.startswith((f"{below}folder/", f"{below}deep"))]


def test_what_cannot_be_looked_through_is_told_once(plain_folder: Path) -> None:
    def work() -> list[list[tuple[str, bool, str]]]:
        root = plain_folder / "project"
        for name in ("a/b/.envrc", "c/x", ".git/info/attributes", ".git/HEAD"):
            put(root / name)
        told = []
        for closed in ([], ["a/b", ".git/info"], ["a/b", "c"]):
            looked = Looked(root)
            for name in closed:
                (root / name).chmod(0)
            told.append([(finding.path, finding.red, finding.why) for finding in looked.findings()])
        return told

    why = "not looked through: Permission denied"
    assert as_plain_user(work) == [[], [(".git/info", True, why), ("a/b", True, why)], [("c", True, why)]]


@pytest.mark.parametrize("below", ["", "vendor/.git/refs/", "vendor/.git/modules/", "node_modules/"])
def test_what_is_nested_too_deep_is_told(below: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "_MAX_DEPTH", 9)
    put(root / below / "/".join("xxxxxx") / ".envrc")
    looked = Looked(root)
    deep = put(root / below / "/".join("x" * 12) / ".envrc")
    assert [why for why in looked.red() if "nested too deep" in why]
    assert str(deep.relative_to(root)) not in " ".join(looked.red())


@pytest.mark.timeout(60)
def test_a_tree_of_any_depth_is_looked_through_to_a_bound(root: Path) -> None:
    looked = Looked(root)
    here = os.open(".", os.O_RDONLY)
    os.chdir(root)
    try:
        for _ in range(1500):
            Path("d" * 20).mkdir()
            os.chdir("d" * 20)
    finally:
        os.fchdir(here)
        os.close(here)
    assert [path.count("/") for path in looked.red()] == [100]
    subprocess.run(["rm", "-rf", root], check=True)


def test_a_folder_with_too_many_entries_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "_ENTRIES_PER_CLOCK", 4)
    monkeypatch.setattr(walk, "_MAX_ENTRIES", 20)
    looked = Looked(root)
    for number in range(40):
        put(root / f"src/many/{number}")
        put(root / f"vendor/.git/hooks/{number}")
    why = "not looked through: it holds more than 20 files"
    assert looked.red() == [f"{path}: {why}" for path in ("src/many", "vendor/.git/hooks")]


def test_a_look_that_takes_too_long_ends_and_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = Looked(root)
    monkeypatch.setattr(walk, "_MAX_SECONDS", -1)
    assert looked.red() == [".: not looked through: looking through it takes too long"]


def test_a_project_that_is_gone_is_told(root: Path) -> None:
    looked = Looked(root)
    root.rename(root.with_name("moved"))
    assert looked.red() == [".: not looked through: No such file or directory"]


@pytest.mark.parametrize("limit", ["MAX_FILE_BYTES", "_MAX_TOTAL_BYTES"])
def test_what_is_too_large_to_read_still_counts_when_it_changes(
    limit: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walk, limit, 100)
    put(root / ".envrc", b"x" * 1000)
    looked = Looked(root)
    assert looked.findings() == []
    with open(root / ".envrc", "r+b") as file:
        file.write(b"y")
    finding = only([finding for finding in looked.findings() if finding.path == ".envrc"])
    assert (finding.red, finding.before, finding.after) == (True, None, None)


@pytest.mark.timeout(10)
def test_a_huge_file_is_not_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gitscan, "_MAX_INDEX_BYTES", 1000)
    for name in (".envrc", "vendor/.git/config", "vendor/.git/HEAD", "vendor/.git/index", "a/.git"):
        with open(put(root / name), "wb") as sparse:
            sparse.truncate(1 << 40)
    assert Looked(root).findings() == []


def test_what_vanishes_during_a_look_is_no_finding(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(root / "gone/x/y")
    put(root / "src/gone.py")
    looked = Looked(root)
    listed = walk.Walk.entries

    def entries(self: walk.Walk, directory: Directory, path: str) -> list[os.DirEntry[str]]:
        found = listed(self, directory, path)
        shutil.rmtree(root / "gone", ignore_errors=True)
        if path == "src/":
            (root / "src/gone.py").unlink(missing_ok=True)
        return found

    monkeypatch.setattr(walk.Walk, "entries", entries)
    assert looked.findings() == []
    assert not (root / "src/gone.py").exists()


def test_no_handle_stays_open(root: Path) -> None:
    for number, plant in enumerate(ANYWHERE):
        (root / f"p{number}").mkdir()
        plant.make(root / f"p{number}")
    before = os.listdir("/proc/self/fd")
    Looked(root).findings()
    assert os.listdir("/proc/self/fd") == before


# Where links lead


@pytest.mark.parametrize(
    ("prefix", "target", "leads"),
    [
        ("", "a/b", "a/b"),
        ("x/y/", "../a", "x/a"),
        ("x/y/", "./../../a//b/.", "a/b"),
        ("x/", "..", ""),
        ("x/", "../..", None),
        ("", "..", None),
        ("", "/etc", None),
        ("", "/srv/app", ""),
        ("x/", "/srv/app/a", "a"),
        ("", "/srv/application", None),
        ("", "/srv/app/../other", None),
        ("", "a/../b", "b"),
        ("", "a/../../b", None),
    ],
)
def test_where_a_link_leads(prefix: str, target: str, leads: str | None) -> None:
    found = resolve_inside(Path("/srv/app"), prefix, target)
    assert (None if found is None else "/".join(found)) == leads


@pytest.mark.parametrize("target", ["known/../x", "known/x", "alias"])
def test_a_link_that_leads_out_through_another_is_told_by_where_it_leads(target: str, root: Path) -> None:
    put(root.parent / "beside/deep/x")
    (root / "known").symlink_to("../beside/deep")
    (root / "alias").symlink_to("known/x")
    (root / "tool").symlink_to("/usr/bin/env")
    looked = Looked(root)
    (root / "new").symlink_to(target)
    (root / "other").symlink_to("tool")
    new, other = looked.findings()
    assert (new.path, new.red, new.runs) == ("new", True, "what reads or writes there")
    assert (other.path, other.red) == ("other", False)
    assert other.why.startswith("new link out of the project, to '/usr/")
