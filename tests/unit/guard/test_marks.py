"""The marks that a session's git leaves in the index are taken out of it, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from confined_claude.guard import marks
from confined_claude.guard.repository import Repository
from confined_claude.guard.rules import Matcher, rules_for

from ..guarding import commit, git, put

MATCHER = Matcher(rules_for((), ()))


@pytest.fixture(params=["sha1", "sha256"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet", f"--object-format={request.param}")
    for path in (".envrc", ".husky/pre-commit", "file", "src/.envrc"):
        put(tmp_path / path)
    commit(tmp_path)
    return tmp_path


def mark(root: Path, *paths: str) -> None:
    for bit in ("skip-worktree", "assume-unchanged"):
        git(root, "update-index", f"--{bit}", *paths)


def tags(root: Path) -> str:
    return "".join(line[0] for line in git(root, "ls-files", "-v").splitlines())


def clear(root: Path) -> tuple[str, ...]:
    return marks.clear(Repository(root / ".git", root / ".git"), MATCHER)


@pytest.mark.parametrize(
    "setting",
    [
        lambda _: None,
        lambda root: git(root, "update-index", "--index-version", "4"),
        lambda root: git(root, "config", "index.skipHash", "true"),
    ],
    ids=["version 3", "version 4", "without a hash"],
)
def test_protected_files_count_again(root: Path, setting: Callable[[Path], object]) -> None:
    setting(root)
    mark(root, ".envrc", ".husky/pre-commit", "file")
    put(root / ".envrc", "of the host")
    put(root / "file", "changed")
    assert git(root, "status", "--porcelain") == ""  # the control
    assert clear(root) == (".envrc", ".husky/pre-commit")
    assert tags(root) == "HHsH"  # a file that is not protected is none of the tool's marks
    assert git(root, "status", "--porcelain") == " M .envrc\n"
    git(root, "fsck", "--strict")
    assert clear(root) == ()
    assert sorted(path.name for path in (root / ".git").glob("index*")) == ["index"]


def test_bits_of_the_users_own_stay(root: Path) -> None:
    git(root, "update-index", "--skip-worktree", ".envrc")
    git(root, "update-index", "--assume-unchanged", ".husky/pre-commit")
    before = (root / ".git/index").read_bytes()
    assert clear(root) == ()
    assert (root / ".git/index").read_bytes() == before


def test_an_index_that_is_locked_or_none_stays_as_it_is(root: Path) -> None:
    mark(root, ".envrc")
    put(root / ".git/index.lock", "")
    before = (root / ".git/index").read_bytes()
    assert clear(root) == ()
    assert (root / ".git/index").read_bytes() == before
    (root / ".git/index.lock").unlink()
    put(root / ".git/index", "DIRC" * 20)
    assert clear(root) == ()
    (root / ".git/index").unlink()
    (root / ".git/index").symlink_to("/dev/zero")
    assert clear(root) == ()
