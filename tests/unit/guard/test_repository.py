"""Which repository a project has: its own, and none that it merely names."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from confined_claude.errors import ConfinedError
from confined_claude.guard.guard import GuardPlan, plan_dry_run
from confined_claude.guard.guarded_project import GuardedProject
from confined_claude.guard.repository import (
    Repository,
    above,
    find,
    parse_pointer,
    submodules,
    worktrees,
)
from confined_claude.host import Host
from confined_claude.project import Project
from confined_claude.settings import Settings
from confined_claude.workspace import Workspace

from ..conftest import host_below
from ..guarding import commit, git, made_repository, put, run_git
from .test_guard import Place


@pytest.fixture
def main(tmp_path: Path) -> Path:
    return made_repository(tmp_path / "main")


@pytest.fixture
def worktree(main: Path) -> Path:
    git(main, "worktree", "add", "--quiet", "-b", "other", "../tree")
    return main.parent / "tree"


@pytest.fixture
def submodule(main: Path) -> Path:
    made_repository(main.parent / "lib")
    git(main, "submodule", "--quiet", "add", "../lib", "deps/lib", **{"remote.origin.url": str(main)})
    commit(main)
    return main / "deps/lib"


def test_a_directory_without_a_repository_has_none(tmp_path: Path) -> None:
    assert find(tmp_path) is None
    (tmp_path / ".git").mkdir()  # git takes it for none
    assert find(tmp_path) is None


def test_a_plain_repository_is_its_own(main: Path) -> None:
    assert find(main) == Repository(main / ".git", main / ".git")


def test_a_worktree_has_the_repository_it_was_made_from(main: Path, worktree: Path) -> None:
    found = find(worktree)
    assert found == Repository(main / ".git", main / ".git/worktrees/tree")
    assert found is not None
    assert found.git_directories() == (main / ".git", main / ".git/worktrees/tree")


def test_a_submodule_has_its_directory_in_the_repository_above(main: Path, submodule: Path) -> None:
    place = main / ".git/modules/deps/lib"
    assert find(submodule) == Repository(place, place)
    assert submodules(main / ".git") == (place,)


def test_pointers_may_be_relative(main: Path, worktree: Path) -> None:
    put(worktree / ".git", "gitdir: ../main/.git/worktrees/tree\n")
    put(main / ".git/worktrees/tree/gitdir", "../../../../tree/.git\n")
    assert find(worktree) == Repository(main / ".git", main / ".git/worktrees/tree")
    assert git(worktree, "rev-parse", "--git-dir").strip() == str(main / ".git/worktrees/tree")


def test_pointers_may_lead_through_a_link_above(main: Path, worktree: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(tmp_path)
    put(worktree / ".git", f"gitdir: {tmp_path}/alias/main/.git/worktrees/tree\n")
    assert find(worktree) == Repository(main / ".git", main / ".git/worktrees/tree")


class Places(NamedTuple):
    """A repository, a directory with a pointer to it, and the directory in the repository that it points to."""

    main: Path
    tree: Path
    own: Path


Change = Callable[[Places], object]


@pytest.mark.parametrize(
    "change",
    [
        lambda at: put(at.own / "gitdir", f"{at.main}/.git\n"),
        lambda at: put(at.own / "gitdir", f"{at.tree}\n"),
        lambda at: (at.own / "gitdir").unlink(),
        lambda at: [(at.own / "gitdir").unlink(), os.mkfifo(at.own / "gitdir")],
        lambda at: put(at.own / "commondir", "..\n"),
        lambda at: put(at.own / "commondir", "\n"),
        lambda at: (at.own / "commondir").unlink(),
        lambda at: put(at.tree / ".git", f"gitdir: {at.main}/.git\n"),
        lambda at: put(at.tree / ".git", "gitdir: /etc\n"),
        lambda at: put(at.tree / ".git", "gitdir: ../nowhere\n"),
        lambda at: [
            at.own.rename(at.main / "elsewhere"),
            put(at.main / "elsewhere/commondir", f"{at.main}/.git\n"),
            put(at.tree / ".git", f"gitdir: {at.main}/elsewhere\n"),
        ],
        lambda at: [
            put(at.main / "evil/commondir", "../.git\n"),
            put(at.main / "evil/gitdir", f"{at.tree}/.git\n"),
            put(at.tree / ".git", f"gitdir: {at.main}/evil\n"),
        ],
    ],
)
@pytest.mark.timeout(120)
def test_a_worktree_must_be_named_in_turn(change: Change, main: Path, worktree: Path) -> None:
    change(Places(main, worktree, main / ".git/worktrees/tree"))
    with pytest.raises(ConfinedError, match="does not point back to this project") as caught:
        find(worktree)
    assert 'git = "open"' in caught.value.hint


@pytest.mark.parametrize(
    "change",
    [
        lambda at: put(at.own / "config", "[core]\n\tworktree = ../../../../src\n"),
        lambda at: put(at.own / "config", "[core]\n\tbare = false\n"),
        lambda at: put(at.own / "config", "not git's"),
        lambda at: (at.own / "config").unlink(),
        lambda at: put(at.tree / ".git", f"gitdir: {at.main}/.git\n"),
        lambda at: [at.own.rename(at.main / "other"), put(at.tree / ".git", f"gitdir: {at.main}/other\n")],
    ],
)
def test_a_submodule_must_be_named_in_turn(change: Change, main: Path, submodule: Path) -> None:
    change(Places(main, submodule, main / ".git/modules/deps/lib"))
    with pytest.raises(ConfinedError, match="does not point back to this project"):
        find(submodule)


def layout_of_bare(place: Path) -> Path:
    """A directory with a bare repository in it, a ``.git`` file that names that, and worktrees."""
    made_repository(place / "origin")
    root = place / "project"
    git(place, "clone", "--quiet", "--bare", "origin", "project/.bare")
    put(root / ".git", "gitdir: ./.bare\n")
    git(root, "worktree", "add", "--quiet", "feature")
    return root


def test_a_git_directory_of_another_name_in_the_project_is_its_repository(tmp_path: Path) -> None:
    root = layout_of_bare(tmp_path)
    common, own = root / ".bare", root / ".bare/worktrees/feature"
    assert find(root) == Repository(common, common)
    assert find(root / "feature") == Repository(common, own)
    (common / "HEAD").unlink()  # as a session may
    assert find(root) == Repository(common, common)


@pytest.mark.parametrize("named", ["link/.bare", "x/../.bare", ".confined-claude/venvs/.bare", ".", "src"])
def test_a_git_directory_in_the_project_that_a_session_could_replace_is_refused(tmp_path: Path, named: str) -> None:
    root = layout_of_bare(tmp_path)
    (root / "link").symlink_to(".")
    (root / "src").mkdir()
    (root / ".confined-claude/venvs").mkdir(parents=True)
    if "venvs" in named:
        (root / ".bare").rename(root / named)
    put(root / ".git", f"gitdir: {named}\n")
    with pytest.raises(ConfinedError, match="does not point back to this project"):
        find(root)


def hinted(root: Path) -> list[str]:
    """The command that the refusal of a repository names, if it names one, word by word."""
    with pytest.raises(ConfinedError, match="does not point back to this project") as caught:
        find(root)
    assert "emove" not in caught.value.hint
    return shlex.split(caught.value.hint.split("`")[1])


def test_a_git_directory_elsewhere_counts_once_it_names_the_project_by_the_hints_own_command(tmp_path: Path) -> None:
    made_repository(tmp_path / "origin")
    git(tmp_path, "clone", "--quiet", "--separate-git-dir", "else where.git", "origin", "project")
    root, common = tmp_path / "project", tmp_path / "else where.git"
    program, *words = hinted(root)
    assert program == "git"
    git(tmp_path, *words)
    assert find(root) == Repository(common, common)
    assert git(root, "status", "--porcelain") == ""
    (tmp_path / "project").rename(tmp_path / "moved")
    hinted(tmp_path / "moved")


def test_a_worktree_that_was_moved_counts_after_the_hints_own_command(main: Path, worktree: Path) -> None:
    moved = worktree.rename(worktree.with_name("moved"))
    git(main, *hinted(moved)[1:])
    assert find(moved) == Repository(main / ".git", main / ".git/worktrees/tree")


def test_the_directory_of_another_work_tree_is_refused_without_leading_it_elsewhere(main: Path, tmp_path: Path) -> None:
    put(tmp_path / "other/.git", f"gitdir: {main}/.git\n")
    assert hinted(tmp_path / "other") == ["git", "worktree", "add"]


def test_submodules_of_worktrees_and_those_in_submodules_are_git_directories_of_the_repository(tmp_path: Path) -> None:
    for name, parts in (("leaf", []), ("mid", ["leaf"]), ("main", ["mid"])):
        made_repository(tmp_path / name)
        for part in parts:
            git(tmp_path / name, "submodule", "--quiet", "add", str(tmp_path / part), f"libs/{part}")
            commit(tmp_path / name)
    main, tree = tmp_path / "main", tmp_path / "tree"
    git(main, "worktree", "add", "--quiet", "../tree")
    for place in (main, tree):
        git(place, "submodule", "--quiet", "update", "--init", "--recursive")
    found = find(tree)
    assert found is not None
    common = main / ".git"
    for git_directory in (common, common / "worktrees/tree"):
        inner = git_directory / "modules/libs/mid"
        assert {inner, inner / "modules/libs/leaf"} < set(found.git_directories())
    for place, git_directory in ((main, common), (tree, common / "worktrees/tree")):
        inner = git_directory / "modules/libs/mid"
        assert find(place / "libs/mid") == Repository(inner, inner)
        inner /= "modules/libs/leaf"
        assert find(place / "libs/mid/libs/leaf") == Repository(inner, inner)


def parts_of_a_git_directory(place: Path, settings: str) -> None:
    for name in ("objects/x", "refs/x"):
        put(place / name, "")
    put(place / "HEAD", "ref: refs/heads/main\n")
    put(place / "config", f"[core]\n\tworktree = {settings}\n")


def as_separate(home: Path) -> None:
    """What an archive unpacked in a home directory can leave there."""
    parts_of_a_git_directory(home, "nice")
    put(home / "nice/.git", "gitdir: ..\n")


def as_worktree(home: Path) -> None:
    parts_of_a_git_directory(home, "other")
    put(home / "worktrees/x/commondir", "../..\n")
    put(home / "worktrees/x/gitdir", "../../nice/.git\n")
    put(home / "nice/.git", "gitdir: ../worktrees/x\n")


def test_a_directory_around_the_project_is_no_repository_of_it_as_the_project_alone_says_so(tmp_path: Path) -> None:
    as_separate(tmp_path)
    with pytest.raises(ConfinedError, match="which contains this project"):
        find(tmp_path / "nice")


def test_the_project_itself_is_no_repository_of_it(tmp_path: Path) -> None:
    parts_of_a_git_directory(tmp_path, ".")
    put(tmp_path / ".git", "gitdir: .\n")
    with pytest.raises(ConfinedError, match="which contains this project"):
        find(tmp_path)


def planned(root: Path, host: Host, git: str = "guarded") -> GuardPlan:
    return plan_dry_run(Workspace(host, Project(root), Settings(git=git)), "k")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A worktree in a bare repository itself, with others and more beside it."""
    made_repository(tmp_path / "origin")
    git(tmp_path, "clone", "--quiet", "--bare", "origin", "bare.git")
    for name in ("feat/one", "feat/two", "main"):
        git(tmp_path / "bare.git", "worktree", "add", "--quiet", "-b", f"b-{name}", name)
    return tmp_path / "bare.git/feat/one"


def test_a_worktree_in_a_bare_repository_sees_nothing_there_but_gits(tree: Path, host: Host) -> None:
    bare = tree.parent.parent
    put(bare / "notes.txt")
    put(bare / "other/project/x")
    mounts = {mount.target: mount for mount in planned(tree, host).mounts}
    hidden = {target for target, mount in mounts.items() if mount.parts[:1] == ("stand-ins",)}
    assert hidden == {f"{bare}/{name}" for name in ("feat/two", "main", "notes.txt", "other")}
    assert all(mounts[target].read_only for target in hidden)
    assert not mounts[str(bare)].read_only
    assert mounts[f"{bare}/feat"].pin  # it cannot be moved with the project in it
    assert mounts[f"{bare}/hooks"].read_only
    with pytest.raises(ConfinedError, match="a copy cannot replace it"):
        planned(tree, host, "isolated")


def test_what_a_session_puts_beside_such_a_worktree_is_told(
    tree: Path, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare, place = tree.parent.parent, Place(tree, host, monkeypatch)
    put(bare / ".envrc")
    # The control: the host's other worktree, and git's own.
    assert place.session(lambda: put(bare / "main/src/more.py"), lambda: put(bare / "packed-refs.lock")) == []

    def works() -> None:
        git(bare, "worktree", "add", "--quiet", "-b", "new", "feat/new")
        put(bare / ".envrc", "evil")
        put(bare / "feat/Makefile")
        put(bare / ".vscode/tasks.json")

    assert [(finding.path, finding.red) for finding in place.session(works)] == [
        (f"{bare}/.envrc", True),
        (f"{bare}/.vscode", True),
        (f"{bare}/feat/new", True),
        (f"{bare}/feat/Makefile", False),
    ]


def test_an_archive_shows_nothing_of_the_directory_that_it_takes_for_a_repository(tmp_path: Path, host: Host) -> None:
    ground = tmp_path / "ground"
    as_worktree(ground)
    put(ground / "private/key")
    put(ground / "key.txt")
    mounts = planned(ground / "nice", host).mounts
    assert {Path(mount.target).name for mount in mounts if mount.parts[:1] == ("stand-ins",)} >= {"private", "key.txt"}
    (ground / "objects").rename(ground / "o")
    with pytest.raises(ConfinedError, match="which contains this project"):
        find(ground / "nice")


@pytest.mark.parametrize("part", ["HEAD", "objects", "refs"])
def test_a_directory_elsewhere_that_git_takes_for_no_repository_is_none(part: str, tmp_path: Path) -> None:
    parts_of_a_git_directory(tmp_path / "elsewhere", "../project")
    put(tmp_path / "project/.git", "gitdir: ../elsewhere\n")
    assert find(tmp_path / "project") is not None
    (tmp_path / "elsewhere" / part).rename(tmp_path / part)
    with pytest.raises(ConfinedError, match="does not point back to this project"):
        find(tmp_path / "project")


@pytest.mark.parametrize("place", [".ssh", ".config/x", "bin"])
def test_a_repository_where_no_project_may_be_is_not_mounted(place: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    for name, elsewhere in (("a", place), ("b", "repositories/b.git"), ("c", "main/.git")):
        parts_of_a_git_directory(home / elsewhere, str(home / name))
        put(home / name / ".git", f"gitdir: ../{elsewhere}\n")
    host = host_below(tmp_path)

    def project(name: str, settings: Settings) -> GuardedProject:
        return GuardedProject(Workspace(host, Project(home / name), settings))

    with pytest.raises(ConfinedError, match="which no session may see"):
        project("a", Settings())
    assert project("a", Settings(git="open")).repository is None
    for name in ("b", "c"):
        assert project(name, Settings()).repository is not None


@pytest.mark.parametrize("option", ["--shared", "--reference"])
def test_a_repository_that_takes_objects_from_elsewhere_says_so_until_it_has_them(option: str, tmp_path: Path) -> None:
    made_repository(tmp_path / "origin")
    words = ["--reference", "origin"] if option == "--reference" else [option]
    git(tmp_path, "clone", "--quiet", *words, f"file://{tmp_path}/origin" if len(words) > 1 else "origin", "project")
    root = tmp_path / "project"
    found = find(root)
    assert found is not None
    file = root / ".git/objects/info/alternates"
    assert found.alternates(root) == (file, (tmp_path / "origin/.git/objects",))
    git(root, "repack", "-a", "-d")
    file.unlink()
    assert not found.alternates(root).directories
    (tmp_path / "origin").rename(tmp_path / "gone")
    git(root, "fsck", "--full")
    assert git(root, "log", "--format=%s") == "x\n"


def test_objects_in_the_project_are_no_others(main: Path) -> None:
    put(main / ".git/objects/info/alternates", f"{main}/.git/modules/x/objects\n../../vendor/.git/objects\n")
    found = find(main)
    assert found is not None
    assert found.alternates(main).directories == ()
    assert len(found.alternates(main / "src").directories) == 1


def test_a_link_in_place_of_git_is_refused(main: Path, tmp_path: Path) -> None:
    for target in (main / ".git", tmp_path / "nowhere", ".git"):
        project = tmp_path / "project"
        project.mkdir(exist_ok=True)
        (project / ".git").unlink(missing_ok=True)
        (project / ".git").symlink_to(target)
        with pytest.raises(ConfinedError, match="is a link"):
            find(project)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", ["text", "empty", "fifo", "huge"])
def test_what_names_no_directory_is_refused(kind: str, tmp_path: Path) -> None:
    if kind == "fifo":
        os.mkfifo(tmp_path / ".git")
    else:
        put(tmp_path / ".git", {"text": "x", "empty": "", "huge": "gitdir: " + "x" * (2 << 20)}[kind])
    with pytest.raises(ConfinedError, match="neither a directory nor a file that names one"):
        find(tmp_path)


def test_the_repository_above_is_found(main: Path, submodule: Path, tmp_path: Path) -> None:
    assert above(put(main / "a/b/c").parent) == main
    assert above(submodule / "src") == submodule
    assert above(main) is None


def test_submodules_are_found_in_directories_and_in_each_other_and_not_through_links(tmp_path: Path) -> None:
    for name in ("modules/a", "modules/b/c", "modules/a/modules/d", "worktrees/w"):
        put(tmp_path / name / "HEAD")
    (tmp_path / "modules/link").symlink_to(tmp_path / "modules/a")
    (tmp_path / "worktrees/link").symlink_to(tmp_path / "modules/a")
    names = [str(path.relative_to(tmp_path / "modules")) for path in submodules(tmp_path)]
    assert sorted(names) == ["a", "a/modules/d", "b/c"]
    assert worktrees(tmp_path) == (tmp_path / "worktrees/w",)
    assert Repository(tmp_path, tmp_path).git_directories()[0] == tmp_path


# Pointers


@pytest.mark.parametrize(
    ("content", "path"),
    [
        *((b"gitdir: ../x\n", "../x"), (b"gitdir: /a b\r\n\n", "/a b"), (b"gitdir: x", "x"), (b"gitdir:  x \n", " x ")),
        *((b"gitdir: a\nb\n", "a\nb"), (b"gitdir: \xff", "\udcff"), (b"gitdir: /a\0b", "/a"), (b"gitdir: \0b", ".")),
        *((b"", None), (b"gitdir:x", None), (b"gitdir: ", None), (b"gitdir: \n", None), (b" gitdir: x", None)),
        *((b"GITDIR: x", None), (b"gitdir\t: x", None), (b"\xef\xbb\xbfgitdir: x", None)),
    ],
)
def test_a_git_file_leads_to_a_path(content: bytes, path: str | None) -> None:
    assert parse_pointer(content) == path


@pytest.mark.parametrize(
    "content", [b"gitdir: real", b"gitdir: real\r\n\r\n", b"gitdir: real\0x\n", b"gitdir: .//real\n"]
)
def test_git_follows_a_git_file_to_the_same_path(content: bytes, tmp_path: Path) -> None:
    run_git(tmp_path, "init", "--quiet", "--bare", "real")
    (tmp_path / ".git").write_bytes(content)
    found = run_git(tmp_path, "rev-parse", "--absolute-git-dir").decode().strip()
    assert (tmp_path / (parse_pointer(content) or "")).resolve() == Path(found).resolve()
