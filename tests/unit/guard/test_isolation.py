"""A copy of the repository for sessions: made once, used while the host's has not moved, gone once it is fetched."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from confined_claude.engine.mount import Mount
from confined_claude.errors import ConfinedError
from confined_claude.guard import isolation, repository
from confined_claude.guard.records import Record, Records, locked
from confined_claude.host import Host
from confined_claude.project import Project

from ..conftest import full_disk, tree
from ..guarding import EVIL, commit, git, made_repository, put

BRANCHES = "+refs/heads/*:refs/remotes/confined/*"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return made_repository(tmp_path / "my 'app")


@pytest.fixture
def kept(root: Path, host: Host) -> Iterator[Records]:
    with locked(Project(root), host) as records:
        yield records


def copied(root: Path, host: Host, kept: Records) -> Mount:
    found = repository.find(root)
    assert found is not None
    return isolation.copy_for(found, Project(root), host, kept)


def work_in(copy: Path, root: Path, branch: str = "main") -> None:
    """Commit something as a session does, in the copy, without a trace on the host."""
    here = ["--git-dir", str(copy), "--work-tree", str(root)]
    git(root, *here, "symbolic-ref", "HEAD", f"refs/heads/{branch}")
    git(root, *here, "commit", "--quiet", "--allow-empty", "--message", branch)


def test_the_copy_is_the_whole_repository_mounted_in_its_place(root: Path, host: Host, kept: Records) -> None:
    (root / ".git/link").symlink_to("HEAD")
    before = tree(root)
    mount = copied(root, host, kept)
    assert (mount.base, mount.target, mount.read_only) == (host.data, str(root / ".git"), False)
    assert mount.parts == ("projects", Project(root).id, "git", "1")
    assert {name: (entry[0], entry[3]) for name, entry in tree(mount.source).items()} == {
        name.removeprefix(".git/"): (entry[0], entry[3]) for name, entry in before.items() if name.startswith(".git/")
    }
    assert tree(root) == before
    assert git(root, "--git-dir", str(mount.source), "fsck", "--no-dangling") == ""


def test_a_copy_is_used_again_while_the_hosts_repository_has_not_moved(root: Path, host: Host, kept: Records) -> None:
    first = copied(root, host, kept)
    work_in(first.source, root)
    put(root / "src/main.py", "changed, not committed")
    git(root, "gc", "--quiet")
    assert copied(root, host, kept) == first
    commit(root)
    second = copied(root, host, kept)
    assert second.source.name == "2"
    assert first.source.exists()  # it holds what the host does not have
    git(root, "checkout", "--quiet", "-b", "other")
    third = copied(root, host, kept)
    assert (
        kept.copies()[third.source.name]["HEAD"]
        == (third.source / "HEAD").read_text().strip()
        == "ref: refs/heads/other"
    )


def test_a_copy_without_anything_new_goes_once_the_host_has_moved(root: Path, host: Host, kept: Records) -> None:
    first = copied(root, host, kept)
    put(root / "x")
    commit(root)
    second = copied(root, host, kept)
    assert list(kept.copies()) == [second.source.name]
    assert not (first.source / "HEAD").exists() or first.source == second.source


def test_a_copy_that_somebody_deleted_is_made_again(root: Path, host: Host, kept: Records) -> None:
    first = copied(root, host, kept)
    shutil.rmtree(host.data)
    assert isolation.waiting(Project(root), host, kept) == []
    again = copied(root, host, kept)
    assert again == first
    assert (again.source / "HEAD").exists()


def test_a_commit_without_a_branch_waits_too(root: Path, host: Host, kept: Records) -> None:
    copy = copied(root, host, kept).source
    git(root, "--git-dir", str(copy), "--work-tree", str(root), "checkout", "--quiet", "--detach")
    git(root, "--git-dir", str(copy), "--work-tree", str(root), "commit", "--quiet", "--allow-empty", "--message", "x")
    (found,) = isolation.waiting(Project(root), host, kept)
    subprocess.run(shlex.split(found.command), check=True, env={"PATH": os.environ["PATH"], "HOME": str(host.home)})
    assert git(root, "log", "-1", "--format=%s", "refs/remotes/confined/HEAD") == "x\n"


def test_no_copy_goes_while_a_session_may_be_at_work_on_it(root: Path, host: Host, kept: Records) -> None:
    first = copied(root, host, kept)
    handle = kept.begin("ab", Record())
    put(root / "x")
    commit(root)
    second = copied(root, host, kept)
    assert second.source != first.source
    assert (first.source / "HEAD").exists()
    os.close(handle)
    kept.end("ab")
    assert copied(root, host, kept) == second
    assert not first.source.exists()


def test_what_waits_is_told_until_it_is_fetched_and_then_the_copy_goes(root: Path, host: Host, kept: Records) -> None:
    project = Project(root)
    assert isolation.waiting(project, host, kept) == []
    mount = copied(root, host, kept)
    assert isolation.waiting(project, host, kept) == []
    work_in(mount.source, root)
    work_in(mount.source, root, "topic/$(id)")
    (waiting,) = isolation.waiting(project, host, kept)
    assert waiting.branches == ("main", "topic/$(id)")
    words = shlex.split(waiting.command)
    assert words == ["git", "-C", str(root), "fetch", str(mount.source), BRANCHES]
    with open(mount.source / "config", "a") as config:
        config.write(EVIL.replace("/tmp/ran", str(root / "ran")))
    done = subprocess.run(
        ["/bin/sh", "-c", waiting.command],
        env={"PATH": os.environ["PATH"], "HOME": str(host.home), "GIT_CONFIG_NOSYSTEM": "1"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not (root / "ran").exists()
    assert "topic/$(id)" in git(root, "branch", "--remotes")
    copied(root, host, kept)
    assert not [path for path in mount.source.parent.iterdir() if path.name not in kept.copies()]
    assert isolation.waiting(project, host, kept) == []


def test_references_are_read_without_git_and_without_following_links(root: Path, tmp_path: Path) -> None:
    git(root, "tag", "v1")
    git(root, "pack-refs", "--all")
    git(root, "branch", "loose/deep")
    head = git(root, "rev-parse", "HEAD").strip()
    names = {"refs/heads/main", "refs/heads/loose/deep", "refs/tags/v1"}
    assert isolation.references(root / ".git") == dict.fromkeys(names, head)
    secret = put(tmp_path / "secret/x", "secret")
    (root / ".git/refs/heads/link").symlink_to(secret)
    (root / ".git/refs/linked").symlink_to(secret.parent)
    assert isolation.references(root / ".git") == dict.fromkeys(names, head)
    (root / ".git/packed-refs").unlink()
    (root / ".git/packed-refs").symlink_to(secret)
    assert isolation.references(root / ".git") == {"refs/heads/loose/deep": head}


@pytest.mark.timeout(10)
def test_whatever_a_session_leaves_as_references_is_read(root: Path) -> None:
    refs = root / ".git/refs/heads"
    os.mkfifo(refs / "fifo")
    put(refs / os.fsdecode(b"\xff\n"), b"\xff")
    put(refs / "large", b"x" * 10_000)
    put(refs / "/".join("d" * 40) / "x")
    put(root / ".git/packed-refs", b"# x\n^y\n\xff \xff\nnothing\n")
    found = isolation.references(root / ".git")
    assert {"refs/heads/main", os.fsdecode(b"refs/heads/\xff\n"), os.fsdecode(b"\xff")} == set(found)
    assert isolation.references(root / "missing") == {}


def test_a_full_disk_is_a_clear_error_and_leaves_no_half_copy(root: Path, host: Host, kept: Records) -> None:
    with full_disk(100), pytest.raises(ConfinedError, match="Cannot copy the repository to"):
        copied(root, host, kept)
    assert not (host.data / "projects" / Project(root).id / "git/1").exists()
    assert copied(root, host, kept).source.name == "1"


def test_the_copy_of_a_worktree_is_that_of_its_repository(root: Path, host: Host, tmp_path: Path) -> None:
    git(root, "worktree", "add", "--quiet", "-b", "other", "../tree")
    with locked(Project(tmp_path / "tree"), host) as kept:
        mount = copied(tmp_path / "tree", host, kept)
        assert mount.target == str(root / ".git")
        assert (mount.source / "worktrees/tree/HEAD").exists()
        assert kept.copies()["1"]["HEAD"] == "ref: refs/heads/other"
