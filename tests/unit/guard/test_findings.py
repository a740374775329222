"""A look before, a look after, and what changed between: all that the host might run, and nothing else."""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from confined_claude.guard.findings import Finding
from confined_claude.guard.snapshot import KEPT_BYTES
from confined_claude.settings import Settings

from ..guarding import EVIL, HARMLESS, HOOK, Scanned, git_directory, only, put
from .test_gitindex import made_index

GITLINK = 0o160000
COUNT = itertools.count()


# What is planted


@dataclass(frozen=True)
class Plant:
    """Something made by ``make`` in a directory, and what the report says of it."""

    path: str
    red: bool
    words: str
    make: Callable[[Path], object]

    def __str__(self) -> str:
        return f"{self.path} {self.words}"


def file(path: str, red: bool, words: str, content: str | bytes = "x\n") -> Plant:
    return Plant(path, red, words, lambda directory: put(directory / path, content))


def link(path: str, target: str, red: bool, words: str) -> Plant:
    def make(directory: Path) -> None:
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).symlink_to(target)

    return Plant(path, red, words, make)


def in_git(path: str, words: str, content: str | bytes = HOOK, red: bool = True, named: str = "") -> Plant:
    """A file in a new nested repository."""

    def make(directory: Path) -> None:
        git_directory(directory / "vendor/.git")
        put(directory / "vendor/.git" / path, content)

    return Plant(f"vendor/.git/{named or path}", red, words, make)


def repository(place: str, named: str, words: str, red: bool = True) -> Plant:
    """A repository with settings that run something, and a hook."""

    def make(directory: Path) -> None:
        for inner in (path for path in (Path(place), *Path(place).parents) if path.name == ".git"):
            git_directory(directory / inner, EVIL)
        if not (directory / place).exists():
            git_directory(directory / place, EVIL)
        put(directory / place / "hooks/pre-push", HOOK)

    return Plant(named, red, words, make)


def at_root(directory: Path) -> None:
    git_directory(directory, EVIL)
    put(directory / "hooks/x", HOOK)


def pipe(directory: Path) -> None:
    os.mkfifo(directory / "pipe")


def server(directory: Path) -> None:
    here = os.open(".", os.O_RDONLY)
    os.chdir(directory)  # the address of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("server")
    finally:
        os.fchdir(here)
        os.close(here)


def mode(path: str, bits: int) -> Callable[[Path], None]:
    return lambda directory: put(directory / path).chmod(bits)


def fifo_in_git(directory: Path) -> None:
    os.mkfifo(git_directory(directory / "vendor/.git") / "index")


def hidden_module(directory: Path) -> None:
    """A submodule's settings behind names that make the directory above it look like a repository."""
    git_directory(directory / "vendor/.git")
    git_directory(directory / "vendor/.git/modules/lib", EVIL)
    for name in ("HEAD", "commondir"):
        put(directory / "vendor/.git/modules" / name)
    (directory / "vendor/.git/modules/objects").mkdir()


def hidden_in_objects(directory: Path) -> None:
    git_directory(directory / "vendor/.git")
    git_directory(directory / "vendor/.git/modules/objects", EVIL)
    put(directory / "vendor/.git/modules/HEAD")
    (directory / "vendor/.git/modules/refs").mkdir()


def hidden_in_another(directory: Path) -> None:
    git_directory(directory / "vendor/.git")
    git_directory(directory / "vendor/.git/modules/a")
    git_directory(directory / "vendor/.git/modules/a/b", EVIL)


def by_way_of_another(directory: Path) -> None:
    (directory / "tool").symlink_to("/usr/bin/env")
    (directory / ".envrc").symlink_to("tool")


def linked_settings(directory: Path) -> None:
    put(directory / "docs/settings.json", '{"hooks": {}}')
    (directory / ".claude").symlink_to("docs")


def marked_as_environment(directory: Path) -> None:
    put(directory / "backend/pyvenv.cfg")
    put(directory / "backend/.envrc")


def turned_back(directory: Path) -> None:
    git_directory(directory / "hidden/.git/modules/lib", EVIL)
    (directory / "hidden/deep").mkdir()
    git_directory(directory / ".git/modules/lib")
    (directory / "side").symlink_to("hidden/deep")
    put(directory / "lib/.git", "gitdir: ../side/../.git/modules/lib\n")


TODO = "pick 0123 x\nexec touch /tmp/ran\n"
# Wherever they are put, except those for the project's root below.
# A split index whose other half is missing.
LONELY = made_index((0o100644, b"a"), extensions=b"link" + (20).to_bytes(4, "big") + b"\1" * 20)
ANYWHERE = (
    file(".envrc", True, "new; your shell, on entering the directory"),
    file(".ENVRC", True, "your shell"),
    file(".config/mise/conf.d/x.toml", True, "your shell"),
    file("dotfiles/.bashrc", True, "where your home directory links to it"),
    file(".vscode/settings.json", True, "your editor"),
    file(".vscode/deep/er/any thing", True, "your editor"),
    file(".vscode/extensions.json", False, "offers to install"),
    file("x.code-workspace", True, "your editor"),
    file(".idea/workspace.xml", True, "your editor"),
    file(".exrc", True, "your editor"),
    file(".gdbinit", True, "a debugger"),
    file(".mcp.json", True, "MCP"),
    file(".claude/settings.json", True, "Claude Code on your machine", "{}"),
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
    file(".gitattributes", False, "git, through filters"),
    file(".gitmodules", False, "git, for submodules"),
    file("pkg/tasks.py", False, "inv, run in that directory"),
    file("pkg/conftest.py", False, "Python"),
    file("pkg/x.pth", False, "Python"),
    file("pkg/package.json", False, "npm", '{"scripts": {"postinstall": "x"}}'),
    file("pkg2/package.json", False, "npm", '{"name": "x", "workspaces": ["a"]}'),
    file("pkg3/package.json", False, "npm", "no JSON"),
    file("pkg4/package.json", False, "npm", "[" * 100_000),
    file("makefile", False, "make"),
    file("build/rules.mk", False, "make"),
    file("Dockerfile.dev", False, "docker"),
    file(".github/workflows/ci.yml", False, "GitHub, GitLab or another forge"),
    file("x/.gitlab-ci.yml", False, "GitHub, GitLab or another forge"),
    repository("vendor/.GIT", "vendor/.GIT/config", "core.fsmonitor"),
    repository("docs", "docs/config", "core.fsmonitor"),
    repository("vendor/.git/modules/a/modules/b", "vendor/.git/modules/a/modules/b/config", "core.fsmonitor"),
    in_git("config", "sets core.fsmonitor", EVIL),
    in_git("config", "sets include.path, core.fsmonitor", "[include]\npath = x\n" + EVIL),
    in_git("config", "sets remote.evil", '[branch "main"]\nremote = evil\n'),
    in_git("config", "cannot be read", "no settings"),
    in_git("config", "cannot be read", "#" * (KEPT_BYTES + 1)),
    in_git("config.worktree", "sets core.fsmonitor", EVIL),
    in_git("hooks/pre-commit", "new hook"),
    in_git("lazygit.yml", "new settings; lazygit"),
    in_git("config", "sets remote.x.url", '[remote "x"]\nurl = ext::touch /tmp/ran\n'),
    in_git("config", "sets remote.x.url", '[remote "x"]\nurl = evil\n'),
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
    in_git("index", "as a separate repository", made_index((GITLINK, b"lib")), red=False, named="index: lib"),
    in_git("index", "a path that git refuses", made_index((0o100644, b"../victim")), named="index: ../victim"),
    in_git(
        "worktrees/w/index",
        "a path that git refuses",
        made_index((0o120000, b".gitmodules")),
        named="worktrees/w/index: .gitmodules",
    ),
    in_git(
        "index",
        "a path that git refuses",
        made_index(*((0o100644, b"/%d" % n) for n in range(25))),
        named="index: 5 more",
    ),
    in_git("index", "and cannot be read", LONELY),
    file("sub/.git", True, "leads git to '../evil'", "gitdir: ../evil\n"),
    file("sub/.git", True, "leads git to", "gitdir: ../.git/modules/../../evil\n"),
    file("sub/.git", True, "leads git to", "gitdir: /home/x/.git/worktrees/x\n"),
    file("sub/.git", True, "names no directory", "x"),
    file("sub/.git", True, "names no directory", "x" * (KEPT_BYTES + 1)),
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
    link(".github", "docs", True, "new link to 'docs'"),
    link(".circleci", "docs", False, "new link to 'docs'"),
    Plant("backend/.envrc", True, "your shell", marked_as_environment),
    Plant("backend", False, "packages changed", marked_as_environment),
    Plant("node_modules", False, "packages changed", lambda directory: put(directory / "node_modules/a/index.js")),
    Plant("pipe", False, "a FIFO, socket or device", pipe),
    Plant("-T x", False, "new name that begins with -", lambda directory: put(directory / "-T x")),
    Plant("--checkpoint=1", False, "an option; tar,", lambda directory: (directory / "--checkpoint=1").mkdir()),
    Plant("-", False, "new name that begins with -", lambda directory: (directory / "-").symlink_to("src")),
    Plant("server", False, "a FIFO, socket or device", server),
    Plant("tool", True, "your rights for everybody (setuid or setgid, 0o4755)", mode("tool", 0o4755)),
    Plant("node_modules/tool", True, "0o2755", mode("node_modules/tool", 0o2755)),
)


def hidden_by_a_sparse_index(directory: Path) -> None:
    """A repository in a directory whose content the index lacks."""
    git_directory(directory / "a/sub/.git")
    put(directory / ".git/index", made_index((0o040000, b"a/"), (0o040000, b"src/")))


AT_ROOT = (
    Plant(".git/index: a", True, "as a separate repository", hidden_by_a_sparse_index),
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
        "as a separate repository",
        lambda directory: put(directory / ".git/index", made_index((GITLINK, b".confined-claude/venvs/x"))),
    ),
    file("Makefile", False, "changed; make"),
    file("package.json", False, "changed; npm", '{"scripts": {"test": "evil"}}'),
    file(".claude/settings.local.json", False, "changed", '{"permissions": {"allow": ["Bash(rm:*)"]}}'),
    file(".claude/settings.local.json", True, "changed", '{"permissions": {"allow": ["Bash(ls)", "Bash"]}}'),
    file("tasks/__init__.py", False, "inv", "import celery\n"),
    file("tasks/__init__.py", True, "inv", "from invoke import task\n"),
    in_git("remotes/origin", "git's old format", b"URL: ../evil\n"),
    in_git("branches/origin", "git's old format", b"../evil\n"),
    Plant("config", True, "core.fsmonitor", at_root),
    Plant("hooks/x", True, "new hook", at_root),
)


def reported(findings: list[Finding], path: str) -> list[Finding]:
    return [finding for finding in findings if finding.path == path]


def assert_reported(plant: Plant, place: str, findings: list[Finding]) -> None:
    """The report names what was planted in the directory ``place``."""
    path = str(Path(place, plant.path)) if plant.path != "." else "."
    verdicts = [(finding.red, f"{finding.why}; {finding.runs}") for finding in reported(findings, path)]
    assert [red for red, words in verdicts if plant.words in words] == [plant.red], (path, verdicts or findings)


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("plant", "place"), [*((one, "a/b") for one in ANYWHERE), *((one, "") for one in AT_ROOT)])
def test_what_is_planted_is_reported_with_its_path_its_colour_and_a_reason(
    plant: Plant, place: str, root: Path
) -> None:
    (root / place).mkdir(parents=True, exist_ok=True)
    scanned = Scanned(root)
    plant.make(root / place)
    findings = scanned.findings()
    assert_reported(plant, place, findings)
    assert [finding.red for finding in findings] == sorted((finding.red for finding in findings), reverse=True)
    kept = Scanned(root)
    kept.since = time.time() + 1000
    assert kept.findings() == []  # what was there before is no news


# Any tree

NAMES = [
    *("src", "b", "c.py", "Makefile", ".envrc", "package.json", "CLAUDE.md", ".vscode", "lib", "tasks.py", ".claude"),
    *("two\nlines", "\x1b[31mred", "\u202egnp", os.fsdecode(b"\xff\x80"), "-x", "a b", "x" * 200, "$(id)", "HEAD"),
]
paths = st.lists(st.sampled_from(NAMES), min_size=1, max_size=4).map("/".join)
trees = st.dictionaries(paths, st.binary(max_size=20), max_size=12)


def fresh_directory(tmp_path: Path) -> Path:
    directory = tmp_path / f"tree{next(COUNT)}"
    directory.mkdir()
    return directory


def grow(directory: Path, tree: dict[str, bytes]) -> None:
    for path, content in tree.items():
        try:
            put(directory / path, content)
        except OSError:
            continue  # a file where a directory is, or the reverse


@settings(max_examples=100)
@given(tree=trees, place=st.lists(st.sampled_from(NAMES), max_size=4), plant=st.sampled_from(ANYWHERE))
def test_whatever_is_planted_anywhere_in_any_tree_is_reported(
    tree: dict[str, bytes], place: list[str], plant: Plant, tmp_path: Path
) -> None:
    root = fresh_directory(tmp_path)
    directory = root.joinpath("new", *place)  # nothing but what is planted stands there
    grow(root, tree)
    scanned = Scanned(root)
    directory.mkdir(parents=True)
    plant.make(directory)
    path = str(directory.relative_to(root) / plant.path)
    found = reported(scanned.findings(), path)
    assert found
    assert any(finding.red for finding in found) >= plant.red  # in a directory like .vscode all of it is red


# A directory of packages that is another one now is a finding, whatever is in it.
SAME_WHEREVER = [
    plant for plant in ANYWHERE if "node_modules" not in plant.path and plant.make is not marked_as_environment
]


@given(tree=trees, plants=st.lists(st.sampled_from(SAME_WHEREVER), max_size=4))
def test_a_tree_written_again_with_the_same_content_is_no_finding(
    tree: dict[str, bytes], plants: list[Plant], tmp_path: Path
) -> None:
    root = fresh_directory(tmp_path)
    grow(root, tree)
    for number, plant in enumerate(plants):
        (root / f"p{number}").mkdir()
        plant.make(root / f"p{number}")
    scanned = Scanned(root, since=time.time() + 1000)
    again = root.with_name(f"{root.name}-again")
    subprocess.run(["cp", "-R", "--no-preserve=all", "--", root, again], check=True)
    subprocess.run(["find", again, "-exec", "touch", "-h", "-d", "2001-01-01", "{}", "+"], check=True)
    shutil.rmtree(root)
    again.rename(root)
    assert scanned.findings() == []


# What a finding says


def test_a_finding_has_what_there_was_and_what_there_is_and_whose_it_is(root: Path) -> None:
    scanned = Scanned(root)
    scanned.session = "confined-claude-x"
    put(root / "Makefile", "evil:\n")
    finding = only(scanned.findings())
    assert (finding.before, finding.after) == (b"all:\n", b"evil:\n")
    assert finding.digest_before != finding.digest_after
    assert (finding.session, finding.since, finding.key) == ("confined-claude-x", 0.0, "Makefile")
    put(root / "Makefile", b"x" * (KEPT_BYTES + 1))
    assert only(scanned.findings()).after is None


def test_what_was_of_another_kind_is_not_taken_for_its_content(root: Path) -> None:
    (root / ".envrc").symlink_to("src/main.py")
    scanned = Scanned(root)
    (root / ".envrc").unlink()
    put(root / ".envrc")
    finding = only(scanned.findings())
    assert (finding.red, finding.before, bool(finding.digest_before)) == (True, None, True)


def test_what_a_link_leads_to_counts_where_its_name_does(root: Path) -> None:
    (root / ".envrc").symlink_to("src/main.py")
    scanned = Scanned(root)
    put(root / "src/main.py", "evil\n")
    assert [(finding.path, finding.red, finding.why) for finding in scanned.findings()] == [
        (".envrc", True, "changed link to 'src/main.py'")
    ]


@pytest.mark.parametrize("name", [".vscode", ".claude"])
def test_what_is_in_a_directory_that_a_link_leads_to_counts_where_the_links_name_does(name: str, root: Path) -> None:
    put(root / "conf/settings.json", "{}")
    (root / "src" / name).symlink_to("../conf")
    scanned = Scanned(root)
    put(root / "conf/settings.json", '{"evil": 1}')
    assert scanned.red() != []


def test_only_new_settings_are_named(root: Path) -> None:
    put(root / ".git/config", EVIL)
    scanned = Scanned(root)
    put(root / ".git/config", EVIL + '[alias]\n\tx = "!touch"\n[core]\n\tbare = false\n')
    assert [finding.why for finding in scanned.findings()] == ["sets alias.x"]


def test_a_remote_without_a_url_is_named_once(root: Path) -> None:
    scanned = Scanned(root)
    put(root / ".git/config", '[branch "main"]\n\tremote = evil\n')
    assert only(scanned.findings()).why == "sets remote.evil without a URL, so that git takes the name for a path"


@pytest.mark.parametrize("directory", [".git", ".git/worktrees/w"])
def test_no_text_makes_a_gitlink_pass_for_one_of_another_repository_format(directory: str, root: Path) -> None:
    """Whose index has names of 20 bytes cannot have it read as one with names of 32, in which nothing is found."""
    put(root / ".git/worktrees/w/commondir", "../..\n")
    scanned = Scanned(root)
    put(root / directory / "config", "# sha256\n")
    put(root / directory / "index", made_index((GITLINK, b"lib")))
    assert f"{directory}/index: lib" in [finding.path for finding in scanned.findings()]


def test_a_replaced_pin_is_reported_with_what_changed_there(root: Path) -> None:
    put(root / ".envrc")
    scanned = Scanned(root)
    scanned.record = scanned.record._replace(pinned={".envrc": (0, 1), "gone": (0, 1)})
    put(root / ".envrc", "changed")
    finding = only(scanned.findings())
    assert finding.red
    assert finding.why == "changed; it was replaced on your machine during the session, which ended its protection"


def test_what_was_pinned_all_the_time_is_not_reported_but_what_was_writable_in_it_is(root: Path) -> None:
    put(root / ".vscode/settings.json")
    put(root / ".vscode/tasks.json")
    put(root / ".vscode/shared.json")
    scanned = Scanned(root)
    status = (root / ".vscode").stat()
    pinned = {".vscode": (status.st_dev, status.st_ino)}
    scanned.record = scanned.record._replace(pinned=pinned, writable=(".vscode/tasks.json",))
    os.link(root / ".vscode/shared.json", root / "other")
    scanned.snapshot = scanned.project.scan()
    put(root / "other", "by another name")
    put(root / ".vscode/settings.json", "mine")
    put(root / ".vscode/tasks.json", "changed")
    put(root / ".vscode.envrc/.envrc", "beside it")
    expected = [".vscode.envrc/.envrc", ".vscode/shared.json", ".vscode/tasks.json"]
    assert [finding.path for finding in scanned.findings(unchanged=[".vscode"])] == expected


def test_however_many_findings_there_are_none_is_left_out(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("confined_claude.guard.findings._MAX_CONTENT_BYTES", 6)
    scanned = Scanned(root)
    for number in range(9):
        put(root / f"{number}/.envrc")
    findings = scanned.findings()
    assert [finding.path for finding in findings] == [f"{number}/.envrc" for number in range(9)]
    assert [finding.after is not None for finding in findings] == [True] * 3 + [False] * 6
    assert all(finding.digest_after and finding.red for finding in findings)


def test_files_that_run_as_their_owner_count_by_their_time_of_change(root: Path) -> None:
    put(root / "old").chmod(0o4755)
    put(root / "changed").chmod(0o4755)
    time.sleep(0.05)
    scanned = Scanned(root, since=time.time())
    time.sleep(0.05)
    put(root / "new").chmod(0o4755)
    for name in ("new", "changed"):
        os.utime(root / name, (0, 0))
    assert sorted(finding.path for finding in scanned.findings()) == ["changed", "new"]


def test_settings_that_open_or_protect_change_the_colour(root: Path) -> None:
    scanned = Scanned(root, Settings(protect=("src/*.key", "deploy"), writable=(".vscode/tasks.json",)))
    for name in ("src/a.key", "deploy/x/y", "x/src/a.key", ".vscode/tasks.json", ".vscode/settings.json"):
        put(root / name)
    assert {finding.path: (finding.red, finding.runs) for finding in scanned.findings()} == {
        "src/a.key": (True, "your programs (you named it in `protect`)"),
        "deploy/x/y": (True, "your programs (you named it in `protect`)"),
        ".vscode/tasks.json": (False, "your programs (you made it writable)"),
        ".vscode/settings.json": (True, "your editor, on opening the directory"),
    }


@pytest.mark.parametrize(
    ("link", "target", "file", "named"),
    [
        ("sub/.claude/skills/x", "../../../skills/x", "skills/x/SKILL.md", "sub/.claude/skills/x/SKILL.md"),
        (".agents/skills/x", "../../skills/x", "skills/x/run.sh", ".agents/skills/x/run.sh"),
        ("sub/.vscode", "../conf", "conf/tasks.json", "sub/.vscode/tasks.json"),
        ("conf/tasks.json", "../real.json", "real.json", "sub/.vscode/tasks.json"),
        (".agents/all", "../skills", "more/x/SKILL.md", ".agents/all/x/SKILL.md"),
    ],
)
def test_what_is_read_through_links_in_a_directory_with_a_rule_is_looked_at(
    link: str, target: str, file: str, named: str, root: Path
) -> None:
    """Skills are often so: a session changes what a link of the user's leads to."""
    put(root / "skills/x/SKILL.md")
    put(root / "more/x/SKILL.md")
    put(root / "conf/other", "x")
    (root / "skills/y").symlink_to("../more")
    if link == "conf/tasks.json":
        (root / "sub").mkdir()
        (root / "sub/.vscode").symlink_to("../conf")
    (root / link).parent.mkdir(parents=True, exist_ok=True)
    (root / link).symlink_to(target)
    put(root / file, "before")
    before = Scanned(root)
    put(root / "skills/other/x", "a control")
    put(root / file, '{"runOn": "folderOpen"}')
    named = named.replace(".agents/all/x", ".agents/all/y/x")
    assert named in [finding.path for finding in before.findings()]


@pytest.mark.timeout(120)
def test_links_that_lead_back_are_followed_to_an_end(root: Path) -> None:
    for number in range(4):
        for other in range(4):
            put(root / f"d{number}/file")
            (root / f"d{number}/to-{other}").symlink_to(f"../d{other}")
    (root / "sub/.vscode").mkdir(parents=True)
    (root / "sub/.vscode/up").symlink_to("..")
    (root / "sub/.vscode/d").symlink_to("../../d0")
    before = Scanned(root)
    put(root / "d2/file", "changed")
    assert "sub/.vscode/d/to-1/to-2/file" in [finding.path for finding in before.findings()]
