"""Changes of a repository that lead git elsewhere: other addresses, and no repository at all."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from confined_claude.guard import gitindex, gitscan, guarded_project, report
from confined_claude.guard.repository import find

from ..guarding import HARMLESS, HOOK, Scanned, git, git_directory, made_repository, only, put, run_git

OLD, NEW = "https://example.com/a.git", "https://other.example/b.git"
SETTINGS = f"""{HARMLESS}
[branch "old"]
    remote = origin
[remote "other"]
    url = {NEW}
"""
WHOLE = (".git", ".git/modules/lib", "vendor/.git")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = made_repository(tmp_path / "project")
    git(root, "worktree", "add", "--quiet", "-b", "x", "w")
    for nested in (".git/modules/lib", "vendor/.git"):
        git_directory(root / nested)
    return root


@pytest.mark.parametrize("place", [".git", "vendor/.git"])
@pytest.mark.parametrize(
    ("section", "setting", "why"),
    [
        ('remote "origin"', f"url = {NEW}", f"remote.origin.url is '{NEW}' and was '{OLD}'"),
        ('remote "origin"', f"pushurl = {NEW}", f"remote.origin.pushurl is '{NEW}' and was not set"),
        ('branch "main"', f"pushRemote = {NEW}", f"branch.main.pushremote is '{NEW}' and was not set"),
        ('branch "old"', "remote = other", "branch.old.remote is 'other' and was 'origin'"),
        (f'url "{NEW}"', f"insteadOf = {OLD}", f"url.{NEW}.insteadof is '{OLD}' and was not set"),
        (f'url "{NEW}"', f"pushInsteadOf = {OLD}", f"url.{NEW}.pushinsteadof is '{OLD}' and was not set"),
        ("remote", "pushDefault = other", "remote.pushdefault is 'other' and was not set"),
    ],
)
def test_an_address_that_changed_is_reported_with_the_old_one(
    section: str, setting: str, why: str, place: str, root: Path
) -> None:
    put(root / place / "config", SETTINGS)
    scanned = Scanned(root)
    put(root / place / "config", f"{SETTINGS}[{section}]\n\t{setting}\n")
    finding = only(scanned.findings())
    assert (finding.path, finding.red) == (f"{place}/config", True)
    assert why in finding.why


def test_a_new_remote_is_yellow_and_those_of_a_new_clone_are_not_reported(root: Path) -> None:
    put(root / "vendor/.git/config", SETTINGS)
    scanned = Scanned(root)
    put(root / "vendor/.git/config", f'{SETTINGS}[remote "new"]\n\turl = {NEW}\n')
    git_directory(root / "clone/.git", SETTINGS)
    found = {finding.path: (finding.red, finding.why) for finding in scanned.findings()}
    assert found["vendor/.git/config"] == (False, f"remote.new.url is '{NEW}' and was not set")
    assert "clone/.git/config" not in found


@pytest.mark.parametrize(
    ("directory", "change"),
    [
        *((place, change) for place in WHOLE for change in ("missing", "nonsense", "refs", "objects")),
        *((".git/worktrees/w", change) for change in ("missing", "nonsense")),
    ],
)
def test_a_repository_that_is_none_any_more_is_red(directory: str, change: str, root: Path) -> None:
    if directory == ".git":
        put(root / ".git/commondir", ".\n")  # as during a session
    scanned = Scanned(root)
    before = find(root)
    if change in ("refs", "objects"):
        (root / directory / change).rename(root / directory / "away")
    elif change == "missing":
        (root / directory / "HEAD").rename(root / directory / "H2")
    else:
        put(root / directory / "HEAD", "nonsense\n")
    assert [line.partition(":")[0] for line in scanned.red()] == [f"{directory}/HEAD"]
    # The control: git finds no repository there, and we protect it all the same.
    assert run_git(root, "--git-dir", str(root / directory), "rev-parse", "--git-dir", code=None) == b"failed"
    after = find(root)
    assert before is not None
    assert after is not None
    assert sorted(after.git_directories()) == sorted(before.git_directories())


@pytest.mark.parametrize("part", ["HEAD", "objects", "refs"])
def test_so_is_one_that_a_git_file_beside_it_names(part: str, tmp_path: Path) -> None:
    made_repository(tmp_path / "origin")
    git(tmp_path, "clone", "--quiet", "--bare", "origin", "project/.bare")
    put(tmp_path / "project/.git", "gitdir: .bare\n")
    scanned = Scanned(tmp_path / "project")
    (tmp_path / "project/.bare" / part).rename(tmp_path / "project/.bare/away")
    assert [line.partition(":")[0] for line in scanned.red()] == [".bare/HEAD"]


@pytest.mark.parametrize("target", ["refs/heads/main", "nowhere", os.fsdecode(b"\xff")])
def test_a_head_that_is_a_link_is_read_as_git_reads_it(target: str, root: Path) -> None:
    scanned = Scanned(root)
    (root / "vendor/.git/HEAD").unlink()
    (root / "vendor/.git/HEAD").symlink_to(target)
    assert [line.partition(":")[0] for line in scanned.red()] == ["vendor/.git/HEAD"]  # a link in a git directory


@pytest.mark.parametrize("content", [b"", b"/a\0b", b"x" * 5000, b"\xff/.git"])
@pytest.mark.parametrize("directory", ["worktrees/w", "modules/lib"])
def test_no_name_of_a_work_tree_ends_a_start(directory: str, content: bytes, root: Path) -> None:
    put(root / ".git" / directory / "gitdir", content)
    Scanned(root)


def test_a_repository_that_is_one_again_is_not_reported(root: Path) -> None:
    (root / ".git/HEAD").rename(root / ".git/H2")
    scanned = Scanned(root)
    (root / ".git/H2").rename(root / ".git/HEAD")
    assert scanned.findings() == []


def test_an_index_is_parsed_again_only_if_it_changed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gitscan, "_PARSED", {})
    parsed: list[bytes] = []
    parse = gitindex.parse_index
    monkeypatch.setattr(gitindex, "parse_index", lambda index, size: (parsed.append(index), parse(index, size))[1])
    monkeypatch.setattr(gitscan, "_SETTLED_NS", -1_000_000_000)
    index = root / ".git/index"
    content = index.read_bytes()
    scanned = Scanned(root)
    assert scanned.findings() == []
    assert parsed.count(content) == 1
    for changed in (content.replace(b"src/main.py", b"src/../main"), content):
        times = index.stat()
        index.write_bytes(changed)
        os.utime(index, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert [line.partition(":")[0] for line in scanned.red()] == [".git/index"] * (changed != content)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text + "[color]\n" + "".join(f"a{number}\n" for number in range(8000)),
        lambda text: text + "[color]\n" + "a\n" * 30_000,
        lambda text: text + "".join(f"url=a{number}\n" for number in range(4000)),
    ],
    ids=["different", "the same", "addresses"],
)
def test_no_number_of_settings_takes_long(change: Callable[[str], str], root: Path) -> None:
    for number in range(5):
        git_directory(
            root / f"{number}/.git", f'[core]\n[remote "a"]\n{"".join(f"url=b{n}{chr(10)}" for n in range(99))}'
        )
    scanned = Scanned(root)
    for number in range(5):
        path = root / f"{number}/.git/config"
        put(path, change(path.read_text()))
    begun = time.process_time()
    assert all(len(finding.why) < 10_000 for finding in scanned.findings())
    assert time.process_time() - begun < 5


def test_files_that_git_passes_over_from_now_on_are_reported(root: Path) -> None:
    paths = ("src/known.py", "src/gone.py", ".envrc", "sub/.envrc")
    for path in paths:
        put(root / path)
    git(root, "add", *paths)
    git(root, "commit", "--quiet", "--message", "x")
    git(root, "update-index", "--assume-unchanged", "src/known.py")
    (root / "src/gone.py").unlink()
    scanned = Scanned(root)
    git(root, "update-index", "--assume-unchanged", "src/main.py", "src/gone.py")
    git(root / "w", "update-index", "--skip-worktree", "src/main.py")
    for bit in ("assume-unchanged", "skip-worktree"):  # what the session's git does with protected files
        git(root, "update-index", f"--{bit}", ".envrc", "src/known.py")
    put(root / "src/main.py", "hidden\n")
    assert git(root, "status", "--porcelain", "--untracked-files=no") == ""  # the control
    found = scanned.findings()
    assert [finding.path for finding in found] == [
        ".git/index: src/known.py",
        ".git/index: src/main.py",
        ".git/worktrees/w/index: src/main.py",
    ]
    assert not any(finding.red for finding in found)
    assert "ignore changes to it" in found[0].why
    assert report.difference(found[0], report.Limits(6, 80)) == ([], True)
    git(root, "update-index", "--no-assume-unchanged", "src/main.py")
    assert " M src/main.py" in git(root, "status", "--porcelain")


def test_very_many_such_files_are_counted(root: Path) -> None:
    for number in range(50):
        put(root / f"many/{number}")
    git(root, "add", "many")
    scanned = Scanned(root)
    git(root, "update-index", "--assume-unchanged", *(f"many/{number}" for number in range(50)))
    found = scanned.findings()
    assert len(found) == 21
    assert [finding.path for finding in found if "more" in finding.path] == [".git/index: 30 more"]


@pytest.mark.parametrize("before", [0o755, 0o644])
@pytest.mark.parametrize("path", ["vendor/.git/hooks/pre-commit", "sub/.claude/hooks/check"])
def test_whether_a_hook_can_be_executed_counts(path: str, before: int, root: Path) -> None:
    put(root / path, HOOK).chmod(before)
    scanned = Scanned(root)
    (root / path).chmod(before ^ 0o111)
    finding = only(scanned.findings())
    assert (finding.path, finding.red) == (path, True)
    assert "its executable bit" in finding.why
    (root / path).chmod(before)
    assert scanned.findings() == []


def test_a_secret_that_git_ignores_no_longer_is_reported(root: Path) -> None:
    exclude = put(root / ".git/info/exclude", "# mine\n.env\n*.pyc\n")
    scanned = Scanned(root)
    put(exclude, "# mine\n.env\nbuild\n")
    assert scanned.findings() == []
    put(exclude, "*.pyc\n")
    finding = only(scanned.findings())
    assert (finding.path, finding.red) == (".git/info/exclude", False)
    assert "without '.env'" in finding.why
    exclude.unlink()
    assert only(scanned.findings()).why.startswith("removed: ")


# New repositories that were cloned from a directory, or say so


@pytest.fixture
def private(root: Path) -> str:
    """A repository that no session sees, and ways to it that were there before; what fetches get of it."""
    outside = made_repository(root.parent / "private")
    git(outside, "clone", "--quiet", "--bare", ".", str(root.parent / "project.git"))
    (root / "way").symlink_to("../private")
    (root / "tool").mkdir()
    (root / "tool/.git").symlink_to("../../private/.git")
    git(outside, "worktree", "add", "--quiet", "--detach", str(root / "tree"))
    git(root, "clone", "--quiet", "../private", "secret")
    git(root / "secret", "remote", "remove", "origin")
    return git(outside, "rev-parse", "HEAD").strip()


@pytest.mark.parametrize("place", ["new", "w"])  # also in place of one whose `.git` is a file
@pytest.mark.parametrize(
    "address",
    [
        *("ROOT/../private", "ROOT/x/../../private", "ROOT/../private/.git", "ROOT/way", "ROOT/tool", "ROOT/tree"),
        *("ROOT/secret", "ROOT/secret/.git", "file://ROOT/../private", "file://ROOT/%2e%2e/private", "../../private"),
    ],
)
def test_a_new_repository_that_fetches_from_where_the_session_saw_none_is_red(
    address: str, place: str, private: str, root: Path
) -> None:
    scanned = Scanned(root)
    scanned.record = scanned.record._replace(hidden=("secret",))
    shutil.rmtree(root / place, ignore_errors=True)
    git(root, "init", "--quiet", place)
    (root / "x").mkdir()
    git(root / place, "remote", "add", "origin", address.replace("ROOT", str(root)))
    finding = only(scanned.findings())
    assert (finding.path, finding.red) == (f"{place}/.git/config", True)
    assert "remote.origin.url" in finding.why
    git(root / place, "fetch", "--quiet")  # the control
    assert git(root / place, "cat-file", "-t", private).strip() == "commit"


def test_a_bare_repository_beside_the_project_is_none_that_the_session_saw(private: str, root: Path) -> None:
    """Git adds the suffix where there is no repository."""
    (root / ".git").rename(root.parent / "away")
    scanned = Scanned(root)
    git(root, "init", "--quiet", "new")
    git(root / "new", "remote", "add", "origin", str(root))
    assert only(scanned.findings()).why == (
        f"remote.origin.url is '{root}', where the session saw nothing of your machine: a fetch copies what is there"
    )
    git(root / "new", "fetch", "--quiet")
    assert git(root / "new", "cat-file", "-t", private).strip() == "commit"


def test_a_clone_of_what_the_session_saw_is_not_reported(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounted, home = made_repository(root.parent / "mounted"), root.parent / "home"
    monkeypatch.setattr(guarded_project, "CONTAINER_HOME", home)
    home.mkdir()
    scanned = Scanned(root)
    git(root, "clone", "--quiet", "../mounted", "one")
    git(root, "clone", "--quiet", f"file://{mounted}", "two")
    git(root, "init", "--quiet", "three")
    git(root / "three", "remote", "add", "origin", f"{home}/{'x' * 5000}")
    assert len(scanned.red()) == 3
    scanned.record = scanned.record._replace(seen=(str(mounted),))
    assert [line.partition(":")[0] for line in scanned.red()] == ["three/.git/config"]
    home.rmdir()  # it is in containers alone
    assert scanned.findings() == []


def test_a_clone_in_a_worktree_of_the_project_or_of_one_is_not_reported(root: Path) -> None:
    tree = root.parent / "tree"
    git(root, "worktree", "add", "--quiet", "--detach", str(tree))
    scanned = Scanned(tree)
    git(tree, "clone", "--quiet", ".", "copy")
    git(tree, "clone", "--quiet", str(root / ".git"), "other")
    assert scanned.findings() == []
    scanned = Scanned(root)
    git(root, "clone", "--quiet", "w", "copy")
    assert scanned.findings() == []
