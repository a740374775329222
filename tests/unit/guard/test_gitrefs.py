"""References that lead git to write elsewhere, compared with the names that the installed git accepts."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from confined_claude.guard.gitrefs import MAX_BYTES, leads_astray

from ..guarding import Scanned, git, made_repository, put, run_git

OUTSIDE = b"ref: refs/heads/../../../../outside\n"


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"0" * 40 + b"\n", b"ref", b"refs/../x", b" ref: refs/../x", b"ref: refs/heads/main\n"),
        # In place of a reftable's HEAD, which the file is not, and as nobody else writes it.
        *(b"ref: refs/heads/.invalid\n",),
        *(b"ref:refs/x/y", b"ref: \t refs/remotes/origin/HEAD \n\n", b"ref: refs/heads/a.b-c/\xc3\xa4@"),
    ],
)
def test_what_git_writes_leads_nowhere(content: bytes) -> None:
    assert not leads_astray(content)


@pytest.mark.parametrize(
    "content",
    [
        *(OUTSIDE, b"ref: ../x", b"ref: /etc/x", b"ref:", b"ref: HEAD", b"ref: hooks/x", b"ref:\n\r\t refs/x/../y"),
        *(b"ref: refs/heads/a\0", b"ref: refs/heads/a\nb", b"ref: refs/", b"ref: refs//x", b"ref: refs/x.lock/y"),
        b"ref: refs/heads/.invalid/x",
        OUTSIDE.strip() + b" " * MAX_BYTES,
    ],
)
def test_what_git_never_writes_leads_astray(content: bytes) -> None:
    assert leads_astray(content)


@settings(max_examples=100, deadline=None)
@given(st.text(st.sampled_from("ab./@{~^:?*[\\ \x7f-\n") | st.characters(exclude_categories=["Cs"]), min_size=1))
@example("a.lock/b")
@example("@")
def test_a_name_that_git_refuses_leads_astray(name: str) -> None:
    full = f"refs/{name}"
    if "\0" in full or full != full.rstrip(" \t\n\r"):
        return
    checked = subprocess.run(["git", "check-ref-format", full], check=False).returncode == 0
    assert leads_astray(b"ref: " + full.encode()) == (not checked)


PLACES = [
    *("HEAD", "ORIG_HEAD", "MERGE_HEAD", "refs/stash", "refs/heads/main", "refs/remotes/origin/deep/x"),
    *("worktrees/w/HEAD", "worktrees/w/refs/bisect/bad", "modules/lib/refs/stash"),
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = made_repository(tmp_path)
    git(root, "init", "--quiet", "vendor")
    git(root, "init", "--quiet", "--bare", ".git/modules/lib")
    for name, text in (("HEAD", "ref: refs/heads/w\n"), ("commondir", "../..\n"), ("gitdir", f"{root}/w/.git\n")):
        put(root / ".git/worktrees/w" / name, text)
    return root


@pytest.mark.parametrize("path", [*(f".git/{place}" for place in PLACES), "vendor/.git/HEAD", "vendor/.git/refs/stash"])
def test_a_reference_that_leads_astray_is_red_wherever_it_is(path: str, root: Path) -> None:
    scanned = Scanned(root)
    put(root / path, OUTSIDE)
    assert [line.partition(":")[0] for line in scanned.red()] == [path]


def test_ordinary_references_are_not_reported(root: Path) -> None:
    git(root, "commit", "--quiet", "--allow-empty", "-m", "x")
    scanned = Scanned(root)
    for words in (("branch", "b"), ("tag", "t"), ("symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/b")):
        run_git(root, *words)
    put(root / "file")
    for words in (("add", "file"), ("stash", "--quiet"), ("switch", "--quiet", "b"), ("reset", "--quiet", "HEAD")):
        run_git(root, *words)
    git(root, "commit", "--quiet", "--allow-empty", "-m", "ref: a message that begins so")
    assert (root / ".git/COMMIT_EDITMSG").read_text().startswith("ref:")
    assert scanned.findings() == []
