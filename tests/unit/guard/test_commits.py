"""What a session commits and does not leave in the work tree is reported if it acts by itself once it is there."""

from __future__ import annotations

import hashlib
import subprocess
import time
import zlib
from pathlib import Path

import pytest

from confined_claude.guard import review
from confined_claude.guard.report import Limits, difference

from ..guarding import commit, git, made_repository, put
from .test_guard import Place, in_git, place

__all__ = ["place"]
ON = "on a branch: it acts once that is merged or checked out"


@pytest.fixture
def committed(place: Place) -> Place:
    """A project with committed files of each colour, and a branch that has others."""
    git(place.root, "config", "alias.x", "!sh tools/x.sh")
    for path in (".envrc", "tools/x.sh", "sub/.vscode/tasks.json"):
        place.put(path, "before\n")
    commit(place.root)
    git(place.root, "checkout", "-q", "-b", "other")
    place.put(".envrc", "other\n")
    commit(place.root)
    git(place.root, "checkout", "-q", "main")
    return place


def stored(
    root: Path, path: str, content: str = "evil\n", *, mode: str = "100644", ref: str = "refs/heads/topic"
) -> str:
    """Commit a file without the work tree, as a session can where files are read-only; return the commit."""
    file = put(root.parent / "content", content)
    blob = git(root, "hash-object", "-w", str(file)).strip()
    git(root, "update-index", "--add", "--cacheinfo", f"{mode},{blob},{path}")
    tree = git(root, "write-tree").strip()
    git(root, "read-tree", "HEAD")
    made = git(root, "commit-tree", "-m", "x", "-p", "HEAD", tree).strip()
    if ref:
        git(root, "update-ref", ref, made)
    return made


@pytest.mark.parametrize(
    ("path", "why"),
    [
        (".envrc", f"changed {ON}"),
        ("sub/.vscode/tasks.json", f"changed {ON}"),
        ("sub/.vscode/settings.json", f"new {ON}"),
        ("deep/er/.envrc", f"new {ON}"),
        ("tools/x.sh", f"changed {ON}"),
    ],
)
@pytest.mark.parametrize(
    ("ref", "name"),
    [("refs/heads/topic", "topic"), ("refs/remotes/origin/main", "origin/main"), ("refs/stash", "stash"),
     ("HEAD", "HEAD")],
)  # fmt: skip
def test_what_acts_by_itself_is_reported(ref: str, name: str, path: str, why: str, committed: Place) -> None:
    (finding,) = committed.session(lambda: stored(committed.root, path, ref=ref))
    if ref == "HEAD":  # the branch that is checked out
        assert finding.path in (f"HEAD:{path}", f"main:{path}")
    else:
        assert finding.path == f"{name}:{path}"
    assert (finding.red, finding.why, finding.after) == (False, why, b"evil\n")
    shown = difference(finding, Limits(6, 80))
    assert shown.is_whole
    assert "+evil" in shown.lines
    assert ("-before" in shown.lines) is why.startswith("changed")


def test_a_link_with_such_a_name_is_reported(committed: Place) -> None:
    found = committed.session(lambda: stored(committed.root, "deep/.vscode", "../elsewhere", mode="120000"))
    assert [finding.path for finding in found] == ["topic:deep/.vscode"]


@pytest.mark.parametrize("path", ["src/main.py", "Makefile", "node_modules/x/.envrc", "package.json"])
def test_other_files_of_commits_are_not_reported(path: str, committed: Place) -> None:
    assert committed.session(lambda: stored(committed.root, path)) == []


def test_what_was_known_before_is_not_reported(committed: Place) -> None:
    root = committed.root

    def work() -> None:
        put(root / "src/new.py")
        commit(root)
        git(root, "merge", "-q", "--no-edit", "other")
        git(root, "branch", "again", "other")
        git(root, "checkout", "-q", "-b", "third", "main~1")
        git(root, "cherry-pick", "other")

    assert committed.session(work) == []
    # Nor what the host itself had not committed yet.
    put(root / "more/.envrc", "mine\n")
    assert committed.session(lambda: commit(root)) == []


def test_what_is_in_the_work_tree_is_reported_once(committed: Place) -> None:
    def work() -> None:
        committed.put("more/.envrc")
        commit(committed.root)

    assert [finding.path for finding in committed.session(work)] == ["more/.envrc"]


def test_it_is_reported_once_and_closes_with_its_branch(committed: Place) -> None:
    root = committed.root
    assert len(committed.session(lambda: stored(root, ".envrc"))) == 1
    assert committed.session(in_git(committed, "commit", "-q", "--allow-empty", "-m", "x")) == []
    assert committed.session(in_git(committed, "branch", "again", "topic")) == []
    assert committed.reviewed() == ["topic:.envrc"]
    git(root, "branch", "-D", "topic")
    assert committed.reviewed() == []


def test_it_can_be_accepted_and_not_restored(committed: Place) -> None:
    committed.session(lambda: stored(committed.root, ".envrc"))
    with pytest.raises(Exception, match="is in a commit") as caught:
        review.restore(committed.workspace, "topic:.envrc")
    assert "review --accept topic:.envrc" in str(caught.value)
    review.accept_path(committed.workspace, "topic:.envrc")
    assert committed.reviewed() == []
    assert committed.session(in_git(committed, "branch", "again", "topic")) == []


def test_a_repository_that_a_session_makes_counts_as_well(tmp_path: Path, committed: Place) -> None:
    root = committed.root
    for path in (".git", ".envrc", "sub/.vscode/tasks.json", "tools/x.sh"):
        (root / path).rename(tmp_path / path.replace("/", "-"))

    def work() -> None:
        made_repository(root)
        stored(root, "sub/.envrc")

    assert "topic:sub/.envrc" in [finding.path for finding in committed.session(work)]
    # Its commits vouch for nothing.
    bring = in_git(committed, "checkout", "-q", "topic", "--", "sub/.envrc")
    assert [finding.path for finding in committed.session(bring)] == ["sub/.envrc"]


def test_what_cannot_be_read_is_reported(committed: Place) -> None:
    root = committed.root

    def work() -> None:
        made = stored(root, "deep/er/.envrc")
        tree = git(root, "rev-parse", f"{made}:deep").strip()
        (root / ".git/objects" / tree[:2] / tree[2:]).unlink()

    (finding,) = committed.session(work)
    assert (finding.path, finding.red) == ("topic:", False)
    assert "could not be scanned" in finding.why
    assert committed.reviewed() == ["topic:"]


def test_a_tree_of_any_depth_and_size_takes_little(committed: Place) -> None:
    root = committed.root

    def work() -> None:
        inner = b""
        blob = bytes.fromhex(git(root, "hash-object", "-w", ".envrc").strip())
        for _ in range(150):
            entries = (b"100644 file-%05d\0" % number + blob for number in range(3000))
            tree = inner + b"".join(entries)
            whole = b"tree %d\0" % len(tree) + tree
            name = hashlib.sha1(whole).hexdigest()
            put(root / ".git/objects" / name[:2] / name[2:], zlib.compress(whole, 1))
            inner = b"40000 d\0" + bytes.fromhex(name)
        git(root, "update-ref", "refs/heads/topic", git(root, "commit-tree", "-m", "x", name).strip())

    one = committed.start()
    work()
    begun = time.process_time()
    found = one.finish()
    assert time.process_time() - begun < 8
    assert [finding.path for finding in found] == ["topic:"]


@pytest.mark.parametrize(
    ("name", "path"), [("HEAD:.envrc", ".envrc"), ("HEAD^{tree}", ""), ("HEAD:sub/.vscode", "sub/.vscode/tasks.json")]
)
def test_an_object_with_another_content_than_its_name_says_is_red(name: str, path: str, committed: Place) -> None:
    root = committed.root
    id = git(root, "rev-parse", name).strip()
    kind = git(root, "cat-file", "-t", id).strip()
    file = root / ".git/objects" / id[:2] / id[2:]
    right = file.read_bytes()

    def forge() -> None:
        content = subprocess.run(["git", "cat-file", kind, id], cwd=root, check=True, capture_output=True).stdout
        content = (
            content.replace(b"before", b"evil!!")
            .replace(b"tasks.json", b"TASKS.json")
            .replace(b"Makefile", b"MAKEFILE")
        )
        file.chmod(0o644)
        file.write_bytes(zlib.compress(b"%b %d\0%b" % (kind.encode(), len(content), content)))

    (finding,) = committed.session(forge)
    assert (finding.path, finding.red) == (f"main:{path}", True)
    assert "git fsck" in finding.why
    assert committed.reviewed() == [f"main:{path}"]
    file.write_bytes(right)
    assert committed.reviewed() == []
    assert committed.session(lambda: None) == []
