"""Git commands that change a work tree with read-only files: by real git, with mount points that are made up."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from confined_claude.container.git import tree

from ..guarding import git, put

Run = Callable[..., int]


def mountinfo(top: Path, *places: str) -> str:
    """Lines of /proc/self/mountinfo for read-only places below ``top``."""
    return "".join(f"9 8 0:1 / {top}/{place} ro,relatime - ext4 /dev/x rw\n" for place in places)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with a branch that has other contents in two files, of which one is read-only in a session."""
    root = tmp_path / "project"
    root.mkdir()
    git(root, "init", "--quiet")
    for branch, content in (("main", "a"), ("other", "b")):
        git(root, "checkout", "--quiet", *(["-b"] if branch == "other" else ["--orphan"]), branch)
        put(root / ".envrc", content)
        put(root / "file", content)
        git(root, "add", "--all")
        git(root, "commit", "--quiet", "--message", branch)
    put(root / "new", "of other")
    git(root, "add", "new")
    git(root, "commit", "--quiet", "--message", "new")
    git(root, "switch", "--quiet", "main")
    git(root, "tag", "first")
    return root


@pytest.fixture
def run(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run git as in a session where ``.envrc`` is read-only."""
    mounts = tmp_path / "mountinfo"
    mounts.write_text(mountinfo(root, ".envrc"))
    monkeypatch.setattr(tree, "GIT", shutil.which("git"))
    monkeypatch.setattr(tree, "_MOUNTS", mounts)
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # those are of this process
    for name, value in {
        "HOME": str(tmp_path),
        "GIT_CONFIG_NOSYSTEM": "1",
        **{f"GIT_{who}_{what}": "x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    }.items():
        monkeypatch.setenv(name, value)

    def run(*words: str) -> int:
        return tree.main(["-C", str(root), *words])

    return run


def read(root: Path) -> tuple[str, str]:
    return (root / ".envrc").read_text(), (root / "file").read_text()


def bits(root: Path) -> str:
    """The tag of the read-only file: see ``git ls-files -v``."""
    return git(root, "ls-files", "-v", "--", ".envrc")[:1]


@pytest.mark.parametrize(
    "words",
    [
        ["switch", "other"],
        ["checkout", "-q", "other"],
        ["reset", "--hard", "other"],
        ["merge", "-q", "other"],
        ["pull", "-q", ".", "other"],
        ["rebase", "-q", "other"],
        ["cherry-pick", "other~1"],
    ],
    ids=lambda words: words[0],
)
def test_the_branch_comes_and_the_file_stays(
    root: Path, run: Run, words: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(*words) == 0
    assert read(root) == ("a", "b")
    assert git(root, "show", "HEAD:.envrc") == "b"
    assert git(root, "status", "--porcelain") == ""
    assert "cannot change .envrc: your machine runs" in capfd.readouterr().err
    git(root, "commit", "--quiet", "--all", "--allow-empty", "--message", "nothing")
    assert git(root, "show", "HEAD:.envrc") == "b"  # which the host's version does not undo
    # And back, as if nothing had been.
    assert run("switch", "-q", "--detach", "first") == 0
    assert read(root) == ("a", "a")
    assert bits(root) == "H"
    assert not (root / ".git/info/sparse-checkout").exists()
    assert git(root, "status", "--porcelain") == ""


CONFLICTS = {
    "merge": ["merge", "-q", "--no-edit", "other"],
    "pull": ["pull", "-q", "--no-rebase", "--no-edit", ".", "other"],
    "rebase": ["rebase", "-q", "other"],
    "cherry-pick": ["cherry-pick", "other~1"],
}


@pytest.mark.parametrize("words", CONFLICTS.values(), ids=CONFLICTS)
@pytest.mark.parametrize("kept", ["ours", "theirs"])
def test_a_conflict_in_such_a_file_loses_nothing(
    root: Path, run: Run, words: list[str], kept: str, capfd: pytest.CaptureFixture[str]
) -> None:
    put(root / ".envrc", "ours")
    put(root / "more", "m")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "ours")
    put(root / ".envrc", "ours" if kept == "ours" else "b")
    (root.parent / ".config/git").mkdir(parents=True)
    put(root.parent / ".config/git/attributes", "more merge=ours")  # stays in force
    before = read(root)[0]
    if kept == "theirs":
        git(root, "update-index", "--assume-unchanged", ".envrc")  # as the session's git has it
    assert run(*words) == 0
    assert read(root) == (before, "b")
    assert git(root, "show", "HEAD:.envrc") == ("ours" if before == "b" else "b")
    assert git(root, "status", "--porcelain") == ""
    assert "Both sides change .envrc" in capfd.readouterr().err


@pytest.mark.usefixtures("run")  # for its environment
def test_control_without_help_it_is_a_conflict(root: Path) -> None:
    put(root / ".envrc", "ours")
    git(root, "commit", "--quiet", "--all", "--message", "ours")
    done = subprocess.run(["git", "-C", root, *CONFLICTS["merge"]], check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert git(root, "status", "--porcelain", "--", ".envrc") == "UU .envrc\n"


def test_a_conflict_in_another_file_is_one(root: Path, run: Run) -> None:
    put(root / "file", "ours")
    git(root, "commit", "--quiet", "--all", "--message", "ours")
    assert run(*CONFLICTS["merge"]) == 1
    assert git(root, "status", "--porcelain", "--", "file") == "UU file\n"


def test_attributes_are_written_as_git_reads_them(root: Path) -> None:
    paths = ['a "b" c', "x[1]*?", "back\\slash", "dir", "dir/open"]
    for path in (*paths[:3], "dir/x", "dir/open/x", "elsewhere/dir/x"):
        put(root / path)
    points = {path: path != "dir/open" for path in paths}
    put(root / ".git/info/attributes", tree.attributes(points, frozenset(("dir", "dir/open"))))
    asked = [*paths[:3], "dir/x", "dir/open/x", "elsewhere/dir/x"]
    found = git(root, "check-attr", "-z", "merge", "--", *asked).split("\0")[2::3]
    assert found == ["confined-claude"] * 4 + ["unspecified"] * 2


def test_control_without_help_git_writes_the_file(root: Path) -> None:
    git(root, "switch", "--quiet", "other")
    assert read(root) == ("b", "b")


def test_a_stash_and_its_way_back_work_on_another_branch(root: Path, run: Run) -> None:
    put(root / "more", "m")
    assert [run("stash", "-q", "-u"), run("switch", "-q", "other"), run("stash", "pop", "-q")] == [0, 0, 0]
    assert git(root, "status", "--porcelain") == "?? more\n"
    assert sorted(os.listdir(root)) == [".envrc", ".git", "file", "more", "new"]


def test_what_git_does_not_track_is_not_lost(root: Path, run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    put(root / "new", "mine")
    assert run("switch", "other") == 0
    assert (root / "new").read_text() == "mine"
    assert git(root, "status", "--porcelain") == " M new\n"
    assert "Left as before, because git did not track it: new." in capfd.readouterr().err
    # With the option that says so git overwrites it.
    git(root, "restore", "new")
    assert run("switch", "-q", "main") == 0
    put(root / "new", "mine")
    assert run("switch", "-q", "--force", "other") == 0
    assert (root / "new").read_text() == "of other"


def test_a_git_directory_in_the_tree_under_another_name_is_gits_to_write(root: Path, run: Run) -> None:
    """It is no untracked file that has to stay: with `.bare` beside a `.git` file, say."""
    (root / ".git").rename(root / ".bare")
    put(root / ".git", "gitdir: ./.bare\n")
    put(root / "mine")
    assert run("switch", "-q", "other") == 0
    assert git(root, "branch", "--show-current") == "other\n"
    assert run("switch", "-q", "main") == 0
    assert sorted(os.listdir(root)) == [".bare", ".envrc", ".git", "file", "mine"]
    assert git(root, "fsck") == ""


def test_a_change_of_the_users_can_still_be_committed(root: Path, run: Run) -> None:
    put(root / ".envrc", "edited")
    git(root, "branch", "same")
    assert run("switch", "-q", "same") == 0
    assert git(root, "status", "--porcelain") == " M .envrc\n"
    assert [run("switch", "-q", "other"), run("switch", "-q", "main")] == [0, 0]
    assert read(root) == ("edited", "a")


@pytest.mark.parametrize(("bit", "tag"), [("skip-worktree", "S"), ("assume-unchanged", "h")])
def test_bits_of_the_users_own_stay(root: Path, run: Run, bit: str, tag: str) -> None:
    git(root, "update-index", f"--{bit}", ".envrc")
    put(root / ".envrc", "edited")
    assert run("switch", "-q", "other") == 0
    assert bits(root) == tag
    assert run("switch", "-q", "main") == 0
    assert bits(root) == tag
    assert read(root) == ("edited", "a")


def test_a_sparse_checkout_of_the_users_own_stays(root: Path, run: Run) -> None:
    git(root, "config", "core.sparseCheckout", "true")
    put(root / ".git/info/sparse-checkout", "/*\n!/file\n")
    git(root, "read-tree", "-m", "-u", "HEAD")
    assert run("switch", "-q", "other") == 0
    assert sorted(os.listdir(root)) == [".envrc", ".git", "new"]
    assert run("switch", "-q", "main") == 0
    assert (root / ".envrc").read_text() == "a"
    assert git(root, "status", "--porcelain") == ""
    assert (root / ".git/info/sparse-checkout").read_text() == "/*\n!/file\n"


def test_a_failure_is_gits_own(root: Path, run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    put(root / "file", "edited")
    assert run("switch", "other") == 1
    assert "would be overwritten by checkout:\n\tfile" in capfd.readouterr().err
    assert read(root) == ("a", "edited")
    assert bits(root) == "H"


def test_where_nothing_is_read_only_git_takes_over(
    root: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mountinfo").write_text(mountinfo(root.parent, "elsewhere"))

    def become(_: str, words: list[str]) -> None:
        raise SystemExit(" ".join(words[1:]))

    monkeypatch.setattr(os, "execv", become)
    with pytest.raises(SystemExit, match=f"^-C {root} switch other$"):
        run("switch", "other")


def test_mount_points_are_read_as_the_kernel_writes_them() -> None:
    mounts = (
        "9 8 0:1 / /p/a\\040b ro,relatime - ext4 /dev/x rw\n"
        "9 8 0:1 / /p/.claude rw,relatime - ext4 /dev/x rw\n9 8 0:1 / /p/.git/config ro - ext4 /dev/x rw\n"
        "9 8 0:1 / /p2/x ro - ext4 /dev/x rw\n9 8 0:1 / /p rw - ext4 /dev/x rw\n"
    )
    assert tree.mount_points("/p", mounts) == {"a b": True, ".claude": False}
    assert tree.mount_points("/q", mounts) == {}
    assert tree.mount_points("/p/.claude", mounts) == {}


def test_patterns_mean_exactly_what_is_mounted(tmp_path: Path) -> None:
    points = {"a[1]*?": True, "dir": True, "dir/open": False, "back\\slash": True}
    text = tree.patterns(points, frozenset(("dir", "dir/open")))
    assert text.splitlines() == [r"!/a\[1]\*\?", r"!/back\\slash", "!/dir/", "/dir/open/"]
    git(tmp_path, "init", "--quiet")
    put(tmp_path / ".git/info/exclude", text.replace("!/", "/").replace("/dir/open/\n", ""))
    names = ["a[1]*?", "back\\slash", "dir/x"]
    asked = "\0".join(["a1x", *names]).encode()
    words = ["git", "check-ignore", "-z", "--stdin"]
    done = subprocess.run(words, cwd=tmp_path, input=asked, capture_output=True, check=False)
    assert done.stdout.decode().split("\0")[:-1] == names


@pytest.mark.parametrize(
    ("words", "at"),
    [
        (["switch", "x"], 0),
        (["-C", "d", "switch"], 2),
        (["-c", "a=b", "--git-dir", "g", "-p", "merge"], 5),
        (["--git-dir=g", "pull"], 1),
        (["--version"], 1),
    ],
)
def test_general_options_end_where_the_command_is(words: list[str], at: int) -> None:
    assert tree.command_at(words) == at
