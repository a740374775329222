"""Objects from elsewhere and in place of others: what the installed git takes from there is reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..guarding import Scanned, commit, git, made_repository, only, put


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made_repository(tmp_path / "outside")
    put(tmp_path / "outside/secret", "secret")
    commit(tmp_path / "outside")
    return made_repository(tmp_path / "project")


PATH = ".git/objects/info/alternates"


@pytest.mark.parametrize(
    ("text", "is_read", "red"),
    [
        ("OUTSIDE/.git/objects\n", True, True),
        ("# nothing\n\n../../../outside/.git/objects", True, True),
        ('"OUTSIDE/.git/\\157bjects"\n', True, True),
        ("../../link/objects\n", True, True),
        ("#OUTSIDE/.git/objects\n", False, False),
        ("../../sub/.git/objects\n", False, False),
        ("../../x/objects\n", True, True),  # whose own file leads out
        ("../../sub/.git/objects/x\n", True, True),
        ("OUTSIDE/.git/objects\0x\n", True, True),
        ("../../empty\n", False, True),  # which may have one at any later time
    ],
)
def test_git_reads_what_is_outside_only_where_that_is_red(text: str, is_read: bool, red: bool, root: Path) -> None:
    made_repository(root / "sub")
    (root / "link").symlink_to("../outside/.git")
    scanned = Scanned(root)
    for inner in ("x/objects", "sub/.git/objects/x"):
        if f"/{inner}\n" in text:
            put(root / inner / "info/alternates", f"{root.parent}/outside/.git/objects\n")
    put(root / PATH, text.replace("OUTSIDE", str(root.parent / "outside")))
    finding = next(one for one in scanned.findings() if one.path == PATH)
    assert (finding.path, finding.red) == (PATH, red)
    secret = git(root.parent / "outside", "rev-parse", "HEAD").strip()
    kinds = git(root, "cat-file", "--batch-all-objects", "--batch-check")
    assert (secret in kinds) == is_read


def test_addresses_of_objects_are_red(root: Path) -> None:
    scanned = Scanned(root)
    put(root / ".git/objects/info/http-alternates", "https://evil.invalid/objects\n")
    assert only(scanned.findings()).red


def test_a_clone_that_shares_objects_of_the_project_is_yellow(root: Path) -> None:
    scanned = Scanned(root)
    git(root, "clone", "--quiet", "--shared", ".", "copy")
    assert [(finding.path, finding.red) for finding in scanned.findings()] == [(f"copy/{PATH}", False)]


@pytest.mark.parametrize("packed", [False, True])
def test_objects_that_others_replace_are_reported(packed: bool, root: Path) -> None:
    first = git(root, "rev-parse", "HEAD").strip()
    git(root, "switch", "--quiet", "-c", "other")
    put(root / "src/main.py", "evil")
    commit(root)
    scanned = Scanned(root)
    git(root, "replace", first, "other")
    if packed:
        git(root, "pack-refs", "--all")
    assert git(root, "show", f"{first}:src/main.py") == "evil"
    finding = only(scanned.findings())
    assert (finding.path, finding.red) == (f".git/refs/replace/{first}" if not packed else ".git/packed-refs", False)
    git(root, "branch", "more")
    git(root, "pack-refs", "--all")
    assert Scanned(root).findings() == []


def test_grafts_are_reported(root: Path) -> None:
    put(root / "x")
    commit(root)
    scanned = Scanned(root)
    put(root / ".git/info/grafts", git(root, "rev-parse", "HEAD"))
    assert git(root, "rev-list", "--count", "HEAD").strip() == "1"
    assert (only(scanned.findings()).path, scanned.red()) == (".git/info/grafts", [])
