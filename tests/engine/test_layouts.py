"""Layouts of repositories, and what work goes on in each: docs/guides/repositories.md has the table.

With CONFINED_CLAUDE_WRITE_LAYOUTS=1 it is written anew.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from helpers import GITCONFIG, REPOSITORY, User

PAGE = REPOSITORY / "docs/guides/repositories.md"
MARKS = ("<!-- layouts -->\n", "<!-- /layouts -->\n")
# What is tried inside, and what the host's git then has to see.
WORK = {
    "status, log": 'git status --porcelain && test "$(git log -1 --format=%s)" = first',
    "commit": "echo x >new && git add new && git commit -qm second",
    "branch, merge": "git switch -qc t && git commit -q --allow-empty -m third && git checkout -q - && git merge -q t",
    "stash": "echo y >>new && git stash -q && git stash pop -q && git commit -qam fourth",
    "settings stay": "! git config core.fsmonitor x",
}


class Ground:
    """A user's repositories, each with one commit."""

    def __init__(self, user: User, place: Path) -> None:
        self.user, self.place = user, place

    def git(self, directory: Path, *words: str) -> str:
        return self.user.git(directory, *words)

    def made(self, name: str, *parts: str) -> Path:
        """A repository with submodules."""
        path = self.user.folder(self.place / name)
        self.git(path, "init", "--quiet", "--initial-branch=main")
        (path / "file").write_text(name)
        for part in parts:
            self.git(path, "submodule", "--quiet", "add", str(self.place / part), f"libs/{part}")
        self.git(path, "add", "--all")
        self.git(path, "commit", "--quiet", "--message=first")
        return path

    def with_parts(self) -> Path:
        self.made("leaf")
        self.made("mid", "leaf")
        whole = self.made("whole", "mid")
        self.git(whole, "submodule", "--quiet", "update", "--init", "--recursive")
        return whole

    def tree(self, of: Path, name: str = "tree") -> Path:
        self.git(of, "worktree", "add", "--quiet", "-b", "side", str(self.place / name))
        return self.place / name

    def tree_with_parts(self) -> Path:
        tree = self.tree(self.with_parts())
        self.git(tree, "submodule", "--quiet", "update", "--init", "--recursive")
        return tree

    def bare(self) -> Path:
        self.made("origin")
        root = self.user.folder(self.place / "bare")
        self.git(self.place, "clone", "--quiet", "--bare", "origin", "bare/.bare")
        (root / ".git").write_text("gitdir: ./.bare\n")
        self.git(root, "worktree", "add", "--quiet", "feature")
        return root / "feature"

    def in_bare(self) -> Path:
        self.made("origin")
        self.git(self.place, "clone", "--quiet", "--bare", "origin", "repo.git")
        for name in ("main", "feat/one"):
            self.git(self.place / "repo.git", "worktree", "add", "--quiet", "-B", f"b-{name}", name)
        return self.place / "repo.git/feat/one"

    def separate(self) -> Path:
        self.made("origin")
        self.git(self.place, "clone", "--quiet", "--separate-git-dir", "separate.git", "origin", "separate")
        self.git(self.place, "--git-dir=separate.git", "config", "core.worktree", str(self.place / "separate"))
        return self.place / "separate"

    def borrowing(self) -> Path:
        self.made("origin")
        self.git(self.place, "clone", "--quiet", "--shared", "origin", "shared")
        return self.place / "shared"

    def complete(self) -> Path:
        root = self.borrowing()
        self.git(root, "repack", "-a", "-d")
        (root / ".git/objects/info/alternates").unlink()
        return root

    def nested(self) -> Path:
        whole = self.made("origin")
        self.place /= "origin"
        inner = self.made("inner")
        self.place = whole.parent
        return inner

    def inside_a_tree(self) -> Path:
        of = self.made("origin")
        return self.tree(of, "origin/.worktrees/feature")


LAYOUTS: dict[str, Callable[[Ground], Path]] = {
    "A repository": lambda ground: ground.made("plain"),
    "A subdirectory of one": lambda ground: ground.user.folder(ground.made("plain") / "src"),
    "A linked worktree": lambda ground: ground.tree(ground.made("plain")),
    "A linked worktree inside its repository": Ground.inside_a_tree,
    "A repository inside another": Ground.nested,
    "A repository with submodules": Ground.with_parts,
    "A submodule": lambda ground: ground.with_parts() / "libs/mid",
    "A submodule in a submodule": lambda ground: ground.with_parts() / "libs/mid/libs/leaf",
    "A linked worktree with submodules": Ground.tree_with_parts,
    "A submodule of a linked worktree": lambda ground: ground.tree_with_parts() / "libs/mid",
    "A submodule in a submodule of a linked worktree": lambda ground: ground.tree_with_parts() / "libs/mid/libs/leaf",
    "A linked worktree of `.bare` with a `.git` file beside it": Ground.bare,
    "A linked worktree in a bare repository itself (`repo.git/feat/one`)": Ground.in_bare,
    "`--separate-git-dir`, after `git config core.worktree` as the start says": Ground.separate,
    "`clone --shared` or `--reference`, after `git repack -a -d` as the start says": Ground.complete,
    "`clone --shared` or `--reference`, with `mounts` as the start says": Ground.borrowing,
}


def script() -> str:
    tries = "\n".join(
        f"if ( set -e; {work} ) >/dev/null 2>/tmp/said; then echo yes; else echo no; cat /tmp/said >&2; fi"
        for work in WORK.values()
    )
    return f"pwd; {tries}"


def between(page: str) -> str:
    return page.partition(MARKS[0])[2].partition(MARKS[1])[0]


def test_the_table_of_layouts_is_what_happens(user: User, place: Path) -> None:
    (user.home / ".gitconfig").write_text(GITCONFIG)
    lines = [f"| Where you start | {' | '.join(WORK)} |", f"|---|{'---|' * len(WORK)}"]
    for number, (name, make) in enumerate(LAYOUTS.items()):
        directory = make(Ground(user, user.folder(place / f"layout{number}")))
        mounts = f"{directory.parent}/origin/.git/objects" if make is Ground.borrowing else ""
        words = ["confined-claude", "shell", "--", "sh", "-c", script()]
        done = user.run(*words, cwd=directory, CONFINED_CLAUDE_MOUNTS=mounts)
        assert done.returncode == 0, f"{name}: {done.stderr}"
        where, *results = done.stdout.split()
        assert where == str(directory), name
        lines.append(f"| {name} | {' | '.join(results)} |")
        if "no" not in results:
            assert user.git(directory, "log", "-1", "--format=%s") == "fourth\n", name
            assert user.git(directory, "status", "--porcelain") == "", name
            assert "red" not in done.stderr, f"{name}: {done.stderr}"
    table, page = "".join(f"{line}\n" for line in lines), PAGE.read_text()
    if os.environ.get("CONFINED_CLAUDE_WRITE_LAYOUTS"):
        before, rest = page.split(MARKS[0])
        PAGE.write_text(f"{before}{MARKS[0]}{table}{MARKS[1]}{rest.split(MARKS[1])[1]}")
    assert between(PAGE.read_text()) == table
    assert "no" not in table.split()


def test_a_worktree_in_a_bare_repository_sees_no_other_and_stays_in_its_place(user: User, place: Path) -> None:
    (user.home / ".gitconfig").write_text(GITCONFIG)
    root = Ground(user, user.folder(place / "ground")).in_bare()
    bare = root.parent.parent
    (bare / "main/secret").write_text("secret")
    (bare / "notes").write_text("secret")
    user.own(bare)
    script = f"""cd {bare}; cat main/* notes; (echo x >main/new; echo x >notes) 2>/dev/null; mv feat away 2>/dev/null
        mv main away 2>/dev/null; rm -r main notes 2>/dev/null; echo x >hooks/post-commit; cd {root}
        git worktree prune; git gc -q; git worktree list | wc -l; git commit -q --allow-empty -m inside
        echo x >../.envrc"""
    done = user.run("confined-claude", "shell", "--", "sh", "-c", script, cwd=root)
    assert done.stdout == "3\n", done.stderr
    assert f"red {bare}/feat/.envrc" in " ".join(done.stderr.split())
    assert (bare / "main/secret").read_text() == (bare / "notes").read_text() == "secret"
    assert user.git(root, "log", "-1", "--format=%s") == "inside\n"
    assert user.git(bare / "main", "status", "--porcelain") == "?? secret\n"
    assert not (bare / "hooks/post-commit").exists()
    left = {path.name for path in bare.iterdir()} - {"feat", "main", "notes", "packed-refs", "logs", "worktrees"}
    assert left == {"HEAD", "config", "description", "hooks", "info", "objects", "refs", "branches"} & left
    assert all(path.lstat().st_uid == user.uid for path in bare.rglob("*"))


def test_what_other_layouts_and_systems_obey_cannot_be_changed_in_a_session(user: User, place: Path) -> None:
    (user.home / ".gitconfig").write_text(GITCONFIG)
    root = Ground(user, user.folder(place / "ground")).bare().parent
    for name in (".hg/store", ".jj/repo/store"):
        (root / name).mkdir(parents=True)
    (root / ".hg/requires").write_text("share-safe\n")
    (root / ".jj/repo/store/git_target").write_text("../../../.git")
    before = contents(root)
    written = [".git", ".bare/config", ".bare/hooks/pre-commit", ".bare/commondir", ".hg/hgrc", ".hg/hgrc-not-shared",
               ".hg/requires", ".jj/repo/store/git_target"]  # fmt: skip
    tried = [f"(echo x >{name}) 2>/dev/null" for name in written]
    tried += [f"mv {name} away 2>/dev/null" for name in (".git", ".bare", ".bare/hooks", ".hg", ".jj", ".jj/repo")]
    tried += [f"rm -f {name} 2>/dev/null" for name in (".git", ".bare/config", ".hg/requires")]
    script = "\n".join(f"if {words}; then echo '{words}'; fi" for words in tried)
    done = user.run("confined-claude", "shell", "--", "sh", "-c", script, cwd=root)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert contents(root) == before


def contents(root: Path) -> dict[Path, bytes]:
    """The files of version control that a session must not change."""
    places = [root / name for name in (".hg", ".jj", ".git", ".bare/config", ".bare/hooks")]
    found = (path for place in places for path in (place, *place.rglob("*")))
    return {path: path.read_bytes() for path in found if path.is_file()}
