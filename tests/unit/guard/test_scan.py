"""A scan follows nothing, hangs at nothing, and has a bound for everything."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from confined_claude.fs.directory import Directory
from confined_claude.guard import gitscan, snapshot, walk
from confined_claude.guard.snapshot import resolve_inside

from ..conftest import as_plain_user, nothing_stays_open
from ..guarding import Scanned, git_directory, only, put
from .test_findings import ANYWHERE

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


@pytest.mark.timeout(120)
@pytest.mark.parametrize("below", ["", ".git/", "vendor/.git/", ".git/modules/lib/", ".vscode/", ".confined-claude/"])
def test_no_fifo_is_opened(below: str, root: Path) -> None:
    for name in (*NAMED_BY_RULES, "git-rebase-todo", "rebase-merge/git-rebase-todo"):
        (root / below / name).parent.mkdir(parents=True, exist_ok=True)
        (root / below / name).unlink(missing_ok=True)
        os.mkfifo(root / below / name)
    os.mkfifo(root / "src/.git")
    (root / "src/.mcp.json").symlink_to(root / ".envrc")
    assert Scanned(root).findings() == []


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
    scanned = Scanned(root)
    assert "secret" not in repr([item.content for item in scanned.snapshot.items.values()])
    assert not [path for path in scanned.snapshot.items if path.startswith((f"{below}folder/", f"{below}deep"))]


def test_what_cannot_be_scanned_is_reported_once(plain_folder: Path) -> None:
    def work() -> list[list[tuple[str, bool, str]]]:
        root = plain_folder / "project"
        for name in ("a/b/.envrc", "c/x", ".git/info/attributes", ".git/HEAD"):
            put(root / name)
        expected = []
        for closed in ([], ["a/b", ".git/info"], ["a/b", "c"]):
            scanned = Scanned(root)
            for name in closed:
                (root / name).chmod(0)
            expected.append([(finding.path, finding.red, finding.why) for finding in scanned.findings()])
        return expected

    why = "not scanned: Permission denied"
    assert as_plain_user(work) == [[], [(".git/info", True, why), ("a/b", True, why)], [("c", True, why)]]


@pytest.mark.parametrize("below", ["", "vendor/.git/refs/", "vendor/.git/modules/", "node_modules/"])
def test_what_is_nested_too_deep_is_reported(below: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "_MAX_DEPTH", 9)
    put(root / below / "/".join("xxxxxx") / ".envrc")
    scanned = Scanned(root)
    deep = put(root / below / "/".join("x" * 12) / ".envrc")
    assert [why for why in scanned.red() if "nested too deep" in why]
    assert str(deep.relative_to(root)) not in " ".join(scanned.red())


@pytest.mark.timeout(120)
def test_a_tree_of_any_depth_is_scanned_to_a_bound(root: Path) -> None:
    scanned = Scanned(root)
    here = os.open(".", os.O_RDONLY)
    os.chdir(root)
    try:
        for _ in range(1500):
            Path("d" * 20).mkdir()
            os.chdir("d" * 20)
    finally:
        os.fchdir(here)
        os.close(here)
    assert [path.count("/") for path in scanned.red()] == [100]
    subprocess.run(["rm", "-rf", root], check=True)


def test_a_directory_with_too_many_entries_is_reported(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "_ENTRIES_PER_CLOCK", 4)
    monkeypatch.setattr(walk, "_MAX_ENTRIES", 20)
    git_directory(root / "vendor/.git")
    scanned = Scanned(root)
    for number in range(40):
        put(root / f"src/many/{number}")
        put(root / f"vendor/.git/hooks/{number}")
    why = "not scanned: it holds too many files"
    assert scanned.red() == [f"{path}: {why}" for path in ("src/many", "vendor/.git/hooks")]


def test_a_scan_that_takes_too_long_ends_and_is_reported(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scanned = Scanned(root)
    monkeypatch.setattr(walk, "_MAX_SECONDS", -1)
    assert scanned.red() == [".: not scanned: looking through it takes too long"]


def test_a_project_that_is_gone_is_reported(root: Path) -> None:
    scanned = Scanned(root)
    root.rename(root.with_name("moved"))
    assert scanned.red() == [".: not scanned: No such file or directory"]


@pytest.mark.parametrize("limit", ["MAX_FILE_BYTES", "_MAX_TOTAL_BYTES"])
def test_what_is_too_large_to_read_still_counts_when_it_changes(
    limit: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walk, limit, 100)
    put(root / ".envrc", b"x" * 1000)
    scanned = Scanned(root)
    assert scanned.findings() == []
    with open(root / ".envrc", "r+b") as file:
        file.write(b"y")
    finding = only([finding for finding in scanned.findings() if finding.path == ".envrc"])
    assert (finding.red, finding.before, finding.after) == (True, None, None)


@pytest.mark.timeout(120)
def test_a_huge_file_is_not_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gitscan, "_MAX_INDEX_BYTES", 1000)
    for name in (".envrc", "vendor/.git/config", "vendor/.git/HEAD", "vendor/.git/index", "a/.git"):
        with open(put(root / name), "wb") as sparse:
            sparse.truncate(1 << 40)
    assert Scanned(root).findings() == []


def test_what_vanishes_during_a_scan_is_no_finding(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(root / "gone/x/y")
    put(root / "src/gone.py")
    scanned = Scanned(root)
    listed = walk.Walk.entries

    def entries(self: walk.Walk, directory: Directory, path: str) -> list[os.DirEntry[str]]:
        found = listed(self, directory, path)
        shutil.rmtree(root / "gone", ignore_errors=True)
        if path == "src/":
            (root / "src/gone.py").unlink(missing_ok=True)
        return found

    monkeypatch.setattr(walk.Walk, "entries", entries)
    assert scanned.findings() == []
    assert not (root / "src/gone.py").exists()


def test_no_file_descriptor_stays_open(root: Path) -> None:
    for number, plant in enumerate(ANYWHERE):
        (root / f"p{number}").mkdir()
        plant.make(root / f"p{number}")
    with nothing_stays_open():
        Scanned(root).findings()


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
def test_a_link_that_leads_out_through_another_is_reported_with_its_target(target: str, root: Path) -> None:
    put(root.parent / "beside/deep/x")
    (root / "known").symlink_to("../beside/deep")
    (root / "alias").symlink_to("known/x")
    (root / "tool").symlink_to("/usr/bin/env")
    scanned = Scanned(root)
    (root / "new").symlink_to(target)
    (root / "other").symlink_to("tool")
    new, other = scanned.findings()
    assert (new.path, new.red, new.runs) == ("new", True, "what reads or writes there")
    assert (other.path, other.red) == ("other", False)
    assert other.why.startswith("new link out of the project, to '/usr/")


# Memory and bytes, of a scan as a whole


def test_git_files_of_any_number_and_size_take_little(root: Path) -> None:
    scanned = Scanned(root)
    for number in range(300):
        path = put(root / f"many/{number}/.git", "gitdir: ../x\n")
        os.truncate(path, 64 << 10)  # sparse: a path, and NUL bytes
    found = scanned.findings()
    assert [finding.red for finding in found] == [True] * 300
    assert sum(len(item.content or b"") for item in scanned.project.scan().items.values()) <= 8 << 20
    assert [finding.path for finding in scanned.findings()] == [finding.path for finding in found]


def test_what_is_read_through_links_counts_together(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "_MAX_TOTAL_BYTES", 20_000)
    put(root / "large", "x" * 6_000)
    for number in range(20):
        put(root / f"{number}/x").with_name(".envrc").symlink_to("../large")
    read = []
    original = Directory.read
    monkeypatch.setattr(
        Directory, "read", lambda self, name, limit=0: read.append(original(self, name, limit)) or read[-1]
    )
    scanned = Scanned(root)
    assert sum(len(content or b"") for content in read) <= 20_000
    assert scanned.findings() == []
    put(root / "large", "y" * 6_000)  # beyond the bound it counts by its last change
    assert [finding.path for finding in scanned.findings()] == sorted(f"{number}/.envrc" for number in range(20))


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [(snapshot, "MAX_SIZE", 3000), (walk, "_MAX_ALL_ENTRIES", 20), (walk, "_MAX_SECONDS", -1), (walk, "_MAX_DEPTH", 1)],
)
def test_what_is_cut_short_is_reported_each_time(
    module: ModuleType, name: str, value: float, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(40):
        (put(root / f"src/{number:02}/.envrc").parent / "link").symlink_to("../main.py")
    whole = Scanned(root)
    monkeypatch.setattr(module, name, value)
    found = [finding for finding in whole.findings() if "not scanned" in finding.why]
    assert found
    assert all(finding.red for finding in found)
    cut = Scanned(root)
    again = [finding for finding in cut.findings() if "not scanned" in finding.why]
    assert again
    assert not any(finding.red for finding in again)  # no session's doing
    monkeypatch.undo()
    assert any(finding.path.endswith("/.envrc") and finding.red for finding in cut.findings())


def test_what_nobody_may_read_is_not_reported_each_time(plain_folder: Path) -> None:
    def work() -> list[str]:
        put(plain_folder / "project/closed/x").parent.chmod(0)
        return Scanned(plain_folder / "project").red()

    assert as_plain_user(work) == []


def test_a_large_git_file_that_leads_elsewhere_is_reported(root: Path) -> None:
    """Git reads it up to a NUL byte."""
    put(root / "sub/.git", b"gitdir: ../x\0".ljust(100_000, b"\0"))
    scanned = Scanned(root)
    assert scanned.findings() == []
    put(root / "sub/.git", b"gitdir: ../y\0".ljust(100_000, b"\0"))
    assert [finding.path for finding in scanned.findings()] == ["sub/.git"]
