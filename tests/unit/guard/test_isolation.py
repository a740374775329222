"""A copy of the repository for sessions: made once, used while the host's has not moved, gone once it is fetched."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from confined_claude.engine.mount import Mount
from confined_claude.errors import ConfinedError
from confined_claude.fs.copying import copy_tree
from confined_claude.fs.directory import Directory, Location
from confined_claude.guard import fetching, isolation, repository
from confined_claude.guard.isolation import CopyPlan, Unfetched
from confined_claude.guard.records import Record, Records, locked
from confined_claude.host import Host
from confined_claude.project import Project
from confined_claude.workspace import Workspace

from ..conftest import full_disk, tree
from ..guarding import EVIL, commit, git, made_repository, put


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return made_repository(tmp_path / "my 'app")


class Copies:
    """The copies of the repository of the project at ``root``, and the records that say which there are."""

    def __init__(self, workspace: Workspace, records: Records) -> None:
        self.root = workspace.project.root
        self.records = records
        self.location = workspace.data.at(isolation.DIRECTORY)

    def plan(self) -> CopyPlan:
        found = repository.find(self.root)
        assert found is not None
        return isolation.plan_copy(found, self.location, self.records)

    def mount(self) -> Mount:
        """The mount of the copy for a session that starts now."""
        plan = self.plan()
        isolation.make_copy(plan, self.records)
        return plan.mount

    def unfetched(self) -> list[Unfetched]:
        return isolation.unfetched(self.root, self.location, self.records)


@contextlib.contextmanager
def copies_of(root: Path, host: Host) -> Iterator[Copies]:
    workspace = Workspace(host, Project(root))
    with locked(workspace.state) as records:
        yield Copies(workspace, records)


@pytest.fixture
def copies(root: Path, host: Host) -> Iterator[Copies]:
    with copies_of(root, host) as copies:
        yield copies


def references(repository: Path) -> dict[str, str]:
    return isolation.references(Location(repository))


def work_in(copy: Path, root: Path, branch: str = "main") -> None:
    """Commit something as a session does, in the copy, without a trace on the host."""
    here = ["--git-dir", str(copy), "--work-tree", str(root)]
    git(root, *here, "symbolic-ref", "HEAD", f"refs/heads/{branch}")
    git(root, *here, "commit", "--quiet", "--allow-empty", "--message", branch)


def fetch(waiting: Unfetched, root: Path) -> str:
    """Fetch as `fetch` does; return what git says."""
    environ = {"PATH": os.environ["PATH"], "HOME": str(root.parent), "GIT_CONFIG_NOSYSTEM": "1"}
    with fetching.fetching(waiting) as words:
        done = subprocess.run([*words, "--quiet"], env=environ, capture_output=True, text=True, check=False)
    assert os.listdir(waiting.copy.parent.path) == [waiting.copy.name]
    return done.stderr


def test_the_copy_is_the_whole_repository_mounted_in_its_place(root: Path, copies: Copies) -> None:
    (root / ".git/link").symlink_to("HEAD")
    before = tree(root)
    mount = copies.mount()
    assert (mount.base, mount.target, mount.read_only) == (copies.location.base, str(root / ".git"), False)
    assert mount.parts == ("projects", Project(root).id, "git", "1")
    assert {name: (entry[0], entry[3]) for name, entry in tree(mount.source).items()} == {
        name.removeprefix(".git/"): (entry[0], entry[3]) for name, entry in before.items() if name.startswith(".git/")
    }
    assert tree(root) == before
    assert git(root, "--git-dir", str(mount.source), "fsck", "--no-dangling") == ""


def test_a_copy_is_used_again_while_the_hosts_repository_has_not_changed(root: Path, copies: Copies) -> None:
    first = copies.mount()
    work_in(first.source, root)
    put(root / "src/main.py", "changed, not committed")
    git(root, "gc", "--quiet")
    assert copies.mount() == first
    commit(root)
    second = copies.mount()
    assert second.source.name == "2"
    assert first.source.exists()  # it holds what the host does not have
    git(root, "checkout", "--quiet", "-b", "other")
    third = copies.mount()
    assert (
        copies.records.copies()[third.source.name]["HEAD"]
        == (third.source / "HEAD").read_text().strip()
        == "ref: refs/heads/other"
    )


def test_a_copy_without_anything_new_is_deleted_once_the_host_has_changed(root: Path, copies: Copies) -> None:
    first = copies.mount()
    put(root / "x")
    commit(root)
    second = copies.mount()
    assert list(copies.records.copies()) == [second.source.name]
    assert not (first.source / "HEAD").exists() or first.source == second.source


def test_a_copy_that_someone_deleted_is_made_again(root: Path, copies: Copies) -> None:
    first = copies.mount()
    shutil.rmtree(copies.location.base)
    assert copies.unfetched() == []
    again = copies.mount()
    assert again == first
    assert (again.source / "HEAD").exists()


def test_a_commit_without_a_branch_waits_too(root: Path, copies: Copies) -> None:
    copy = copies.mount().source
    git(root, "--git-dir", str(copy), "--work-tree", str(root), "checkout", "--quiet", "--detach")
    git(root, "--git-dir", str(copy), "--work-tree", str(root), "commit", "--quiet", "--allow-empty", "--message", "x")
    (found,) = copies.unfetched()
    assert fetch(found, root) == ""
    assert git(root, "log", "-1", "--format=%s", "refs/remotes/confined/HEAD") == "x\n"


def test_no_copy_goes_while_a_session_may_be_at_work_on_it(root: Path, copies: Copies) -> None:
    first = copies.mount()
    owner = copies.records.begin("ab", Record())
    put(root / "x")
    commit(root)
    second = copies.mount()
    assert second.source != first.source
    assert (first.source / "HEAD").exists()
    owner.close()
    copies.records.end("ab")
    assert copies.mount() == second
    assert not first.source.exists()


def test_commits_are_reported_until_they_are_fetched_and_then_the_copy_goes(root: Path, copies: Copies) -> None:
    assert copies.unfetched() == []
    mount = copies.mount()
    assert copies.unfetched() == []
    work_in(mount.source, root)
    work_in(mount.source, root, "topic/$(id)")
    (waiting,) = copies.unfetched()
    assert waiting.branches == ("main", "topic/$(id)")
    assert shlex.split(waiting.command) == ["cd", str(root), "&&", "confined-claude", "fetch"]
    with open(mount.source / "config", "a") as config:
        config.write(EVIL.replace("/tmp/ran", str(root / "ran")))
    assert fetch(waiting, root) == ""
    assert not (root / "ran").exists()
    assert "topic/$(id)" in git(root, "branch", "--remotes")
    assert copies.unfetched() == []
    copies.mount()
    assert not [path for path in mount.source.parent.iterdir() if path.name not in copies.records.copies()]
    assert copies.unfetched() == []


def test_references_are_read_without_git_and_without_following_links(root: Path, tmp_path: Path) -> None:
    git(root, "tag", "v1")
    git(root, "pack-refs", "--all")
    git(root, "branch", "loose/deep")
    head = git(root, "rev-parse", "HEAD").strip()
    names = {"refs/heads/main", "refs/heads/loose/deep", "refs/tags/v1"}
    assert references(root / ".git") == dict.fromkeys(names, head)
    secret = put(tmp_path / "secret/x", "secret")
    (root / ".git/refs/heads/link").symlink_to(secret)
    (root / ".git/refs/linked").symlink_to(secret.parent)
    assert references(root / ".git") == dict.fromkeys(names, head)
    (root / ".git/packed-refs").unlink()
    (root / ".git/packed-refs").symlink_to(secret)
    assert references(root / ".git") == {"refs/heads/loose/deep": head}


# What a session does in its copy, to have git find the branch `secret` of the repository $OTHER there.
TO_OBJECTS = "echo $OTHER/objects >objects/info/alternates"
TO_COMMIT = "cat $OTHER/refs/heads/secret >refs/heads/secret"
LEADING = {
    "references": f"ln -s $OTHER/refs/heads refs/heads/x; {TO_OBJECTS}",
    "one reference": f"ln -s $OTHER/refs/heads/secret refs/heads/secret; {TO_OBJECTS}",
    "packed references": f"git --git-dir=$OTHER pack-refs --all; ln -s $OTHER/packed-refs packed-refs; {TO_OBJECTS}",
    "a known commit": f"{TO_COMMIT}; {TO_OBJECTS}",
    "packs": f"{TO_COMMIT}; git --git-dir=$OTHER repack -adq; rm -rf objects/pack; ln -s $OTHER/objects/pack objects",
    "objects": f"{TO_COMMIT}; here=$PWD/objects; cd $OTHER/objects; for x in ??/*; do "
    "mkdir -p $here/${x%/*}; ln -sf $PWD/$x $here/$x; done",
    "commondir": "echo $OTHER >commondir",
    "a repository in it": "echo gitdir: $OTHER >.git",
}


@pytest.mark.parametrize("how", LEADING)
def test_a_copy_leads_to_no_other_repository(how: str, root: Path, tmp_path: Path, copies: Copies) -> None:
    other = made_repository(tmp_path / "other")
    put(other / "secret")
    commit(other)
    git(other, "branch", "secret")
    secret = git(other, "rev-parse", "secret").strip()
    copy = copies.mount().source
    work_in(copy, root, "work")
    subprocess.run(["/bin/sh", "-ec", LEADING[how]], cwd=copy, env={**os.environ, "OTHER": f"{other}/.git"}, check=True)
    waiting = copies.unfetched()
    assert waiting
    for each in waiting:
        fetch(each, root)
    with pytest.raises(AssertionError):
        git(root, "cat-file", "-e", secret)
    git(root, "fetch", "--quiet", str(copy), "+refs/heads/*:refs/remotes/control/*")
    git(root, "cat-file", "-e", secret)


def with_pack(index: bytes, name: bytes) -> bytes:
    """An index of several packs (multi-pack-index) with another name of its only pack, see git's gitformat-pack(5)."""
    head, count = index[:12], index[6]
    table = [struct.unpack_from(">4sQ", index, 12 + 12 * number) for number in range(count + 1)]
    chunks = [(kind, index[start : table[number + 1][1]]) for number, (kind, start) in enumerate(table[:-1])]
    names = name + b"\0"
    new = [(kind, names.ljust(-(-len(names) // 4) * 4, b"\0") if kind == b"PNAM" else data) for kind, data in chunks]
    offset, rows = 12 + 12 * (count + 1), b""
    for kind, data in [*new, (bytes(4), b"")]:
        rows += struct.pack(">4sQ", kind, offset)
        offset += len(data)
    return head + rows + b"".join(data for _, data in new) + index[-20:]


def test_an_index_of_several_packs_leads_to_no_other_repository(root: Path, tmp_path: Path, copies: Copies) -> None:
    """git makes the path of a pack of the name in the index, which may have `..` in it."""
    other = made_repository(tmp_path / "other")
    put(other / "secret")
    commit(other)
    secret = git(other, "rev-parse", "HEAD").strip()
    git(other, "repack", "-adq")
    git(other, "multi-pack-index", "write")
    copy = copies.mount().source
    work_in(copy, root, "work")
    (copy / "refs/heads/stolen").write_text(f"{secret}\n")
    theirs, packs = other / ".git/objects/pack", copy / "objects/pack"
    [name] = [path.name for path in theirs.glob("*.idx")]
    packs.mkdir(exist_ok=True)
    far = os.path.relpath(theirs / name, packs)
    (packs / "multi-pack-index").write_bytes(with_pack((theirs / "multi-pack-index").read_bytes(), os.fsencode(far)))
    # The control: git reads it so in the copy.
    assert git(root, "--git-dir", str(copy), "cat-file", "-t", secret) == "commit\n"
    [waiting] = copies.unfetched()
    fetch(waiting, root)
    with pytest.raises(AssertionError):
        git(root, "cat-file", "-e", secret)


IN_A_SUBMODULE = {
    "another repository": "git -C sub remote add origin $OTHER",
    "a program": 'git -C sub config protocol.ext.allow always; git -C sub remote add origin "ext::touch $CANARY"',
}
NAME_IT = "printf '[submodule \"sub\"]\\npath = sub\\nurl = x\\n' >.gitmodules"


@pytest.mark.parametrize("active", [False, True])
@pytest.mark.parametrize("how", IN_A_SUBMODULE)
def test_a_fetch_enters_no_submodule(how: str, active: bool, root: Path, tmp_path: Path, copies: Copies) -> None:
    """A session writes repositories in the project as it likes, also while git fetches."""
    other = made_repository(tmp_path / "other")
    put(other / "secret")
    commit(other)
    secret = git(other, "rev-parse", "HEAD").strip()
    inner = made_repository(root / "sub")
    put(inner / "a")
    commit(inner)
    git(root, "add", "sub")
    commit(root)
    if active:
        git(root, "config", "submodule.active", ".")
    copy, canary = copies.mount().source, tmp_path / "canary"
    environ = {**os.environ, "OTHER": f"{other}/.git", "CANARY": str(canary)}
    subprocess.run(["/bin/sh", "-ec", f"{NAME_IT}; {IN_A_SUBMODULE[how]}"], cwd=root, env=environ, check=True)
    here = ["--git-dir", str(copy), "--work-tree", str(root)]
    git(root, *here, "branch", "work")
    git(root, *here, "symbolic-ref", "HEAD", "refs/heads/work")
    git(root, *here, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},sub")
    git(root, *here, "commit", "--quiet", "--message", "work")

    def is_reached() -> bool:
        words = ["git", "-C", inner, "cat-file", "-e", secret]
        return canary.exists() or subprocess.run(words, check=False, capture_output=True).returncode == 0

    [waiting] = copies.unfetched()
    assert fetch(waiting, root) == ""
    assert not is_reached()
    assert git(root, "log", "-1", "--format=%s", "confined/work") == "work\n"
    # The control: git by itself enters it.
    git(root, "update-ref", "-d", "refs/remotes/confined/work")
    by_itself = ["git", "-C", root, "fetch", copy, "+refs/heads/*:refs/remotes/control/*"]
    subprocess.run(by_itself, check=False, capture_output=True)
    assert is_reached()


def test_a_fetch_writes_through_no_link_and_waits_for_no_fifo(root: Path, tmp_path: Path, copies: Copies) -> None:
    """A session may run meanwhile that can write the project."""
    copy = copies.mount().source
    work_in(copy, root, "work")
    precious = tmp_path / "precious"
    precious.write_text("x")
    (root / ".git/FETCH_HEAD").symlink_to(precious)
    os.mkfifo(root / ".gitmodules")
    [waiting] = copies.unfetched()
    assert fetch(waiting, root) == ""
    assert precious.read_text() == "x"
    # The control: git by itself writes there.
    (root / ".gitmodules").unlink()
    git(root, "fetch", "--quiet", str(copy), "+refs/heads/*:refs/remotes/control/*")
    assert precious.read_text() != "x"


def test_a_fetch_removes_no_branch_that_came_from_another_copy(root: Path, copies: Copies) -> None:
    copy = copies.mount().source
    work_in(copy, root, "work")
    git(root, "config", "fetch.prune", "true")
    git(root, "update-ref", "refs/remotes/confined/earlier", "HEAD")
    [waiting] = copies.unfetched()
    assert fetch(waiting, root) == ""
    assert set(references(root / ".git")) >= {"refs/remotes/confined/earlier", "refs/remotes/confined/work"}
    # The control: git by itself does.
    git(root, "fetch", "--quiet", str(copy), "+refs/heads/*:refs/remotes/confined/*")
    assert "refs/remotes/confined/earlier" not in references(root / ".git")


def test_tags_come_with_their_commits_and_another_name_of_a_branch_is_none(root: Path, copies: Copies) -> None:
    copy = copies.mount().source
    work_in(copy, root, "work")
    here = ["--git-dir", str(copy), "--work-tree", str(root)]
    git(root, *here, "tag", "light")
    git(root, *here, "tag", "--annotate", "--message", "m", "heavy")
    git(root, *here, "symbolic-ref", "refs/heads/alias", "refs/heads/work")
    [waiting] = copies.unfetched()
    assert waiting.branches == ("work",)
    assert fetch(waiting, root) == ""
    assert git(root, "tag") == "heavy\nlight\n"
    assert copies.unfetched() == []


def test_a_start_takes_nothing_away_from_a_fetch(root: Path, copies: Copies) -> None:
    """A start that makes a copy clears away what a killed one has left."""
    work_in(copies.mount().source, root, "work")
    [waiting] = copies.unfetched()
    with fetching.fetching(waiting) as words:
        put(root / "more")
        commit(root)
        copies.mount()
        subprocess.run(words, check=True, capture_output=True)


@pytest.mark.parametrize("kind", ["sha256", "shallow", "borrowed", "blobless"])
def test_what_is_fetched_from_a_copy_of_any_repository(kind: str, tmp_path: Path, host: Host) -> None:
    options = ["--object-format=sha256"] if kind == "sha256" else []
    base, root = tmp_path / "base", tmp_path / "clone"
    subprocess.run(["git", "init", "--quiet", "--initial-branch=main", *options, base], check=True)
    for content in ("1", "2"):
        put(base / "file", content)
        commit(base)
    git(base, "config", "uploadpack.allowFilter", "true")
    how = {"shallow": "--depth=1", "borrowed": "--shared", "blobless": "--filter=blob:none"}.get(kind, "--no-tags")
    source = str(base) if kind == "borrowed" else f"file://{base}"
    subprocess.run(["git", "clone", "--quiet", how, source, root], check=True)
    with copies_of(root, host) as copies:
        copy = copies.mount().source
        put(root / "new")
        here = ["--git-dir", str(copy), "--work-tree", str(root)]
        git(root, *here, "add", "new")
        work_in(copy, root)
        (waiting,) = copies.unfetched()
        assert fetch(waiting, root) == ""
    assert git(root, "show", "confined/main:new") == (root / "new").read_text()
    git(root, "fsck")


@pytest.mark.timeout(120)
def test_whatever_a_session_leaves_as_references_is_read(root: Path) -> None:
    refs = root / ".git/refs/heads"
    os.mkfifo(refs / "fifo")
    put(refs / os.fsdecode(b"\xff\n"), b"\xff")
    put(refs / "large", b"x" * 10_000)
    put(refs / "/".join("d" * 40) / "x")
    put(root / ".git/packed-refs", b"# x\n^y\n\xff \xff\nnothing\n")
    found = references(root / ".git")
    assert {"refs/heads/main", os.fsdecode(b"refs/heads/\xff\n"), os.fsdecode(b"\xff")} == set(found)
    assert references(root / "missing") == {}


def test_a_full_disk_is_a_clear_error_and_leaves_no_half_copy(root: Path, copies: Copies) -> None:
    with full_disk(100), pytest.raises(ConfinedError, match="Cannot copy the repository to"):
        copies.mount()
    assert list(copies.location.path.iterdir()) == []
    assert copies.mount().source.name == "1"


@pytest.mark.parametrize("is_killed", [False, True])
def test_an_interrupted_copy_is_never_used_and_does_not_stay(
    is_killed: bool, root: Path, copies: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(source: Directory, target: Directory, name: str) -> None:
        copy_tree(source, target, name)
        (target.path / name / "HEAD").unlink()
        raise SystemExit(130)

    with monkeypatch.context() as patch:
        patch.setattr(isolation, "copy_tree", interrupted)
        if is_killed:
            patch.setattr(isolation, "remove_tree", lambda *_: None)
        with pytest.raises(SystemExit):
            copies.mount()
    assert len(list(copies.location.path.iterdir())) == is_killed
    assert (copies.mount().source / "HEAD").exists()
    assert [path.name for path in copies.location.path.iterdir()] == ["1"]


def test_the_copy_of_a_worktree_is_that_of_its_repository(root: Path, host: Host, tmp_path: Path) -> None:
    git(root, "worktree", "add", "--quiet", "-b", "other", "../tree")
    with copies_of(tmp_path / "tree", host) as copies:
        mount = copies.mount()
        assert mount.target == str(root / ".git")
        assert (mount.source / "worktrees/tree/HEAD").exists()
        assert copies.records.copies()["1"]["HEAD"] == "ref: refs/heads/other"


def test_a_plan_makes_and_deletes_nothing(root: Path, copies: Copies, host: Host) -> None:
    first = copies.mount()
    put(root / "x")
    commit(root)
    before = tree(host.home)
    plan = copies.plan()
    assert (plan.is_new, plan.name, plan.obsolete) == (True, "2", (first.source.name,))
    assert tree(host.home) == before


def test_a_leftover_copy_is_in_nobodys_way(copies: Copies) -> None:
    copies.location.at("7").make().close()
    assert copies.mount().source.name == "8"
