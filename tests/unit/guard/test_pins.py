"""What a session may not change is a mount of its own, and so is every directory that leads there."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from confined_claude.engine.mount import Mount
from confined_claude.errors import ConfinedError
from confined_claude.fs.directory import Location
from confined_claude.guard import pins as pins_module
from confined_claude.guard import repository
from confined_claude.guard.pins import Pins, make_missing, plan_mounts, plan_pins, remove_made
from confined_claude.guard.rules import Matcher, rules_for
from confined_claude.project import Project

from ..conftest import as_plain_user, tree
from ..guarding import commit, git, made_repository, plain_repository, put

DATA = Location(Path("/data"))
OF_GIT = {".git/config", ".git/hooks"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "project"
    path.mkdir()
    return path


def planned(root: Path, protect: tuple[str, ...] = (), writable: tuple[str, ...] = (), *, git: bool = True) -> Pins:
    found = repository.find(root) if git else None
    return plan_pins(Project(root), found, Matcher(rules_for(protect, writable)))


def names(paths: tuple[Path, ...], base: Path) -> set[str]:
    return {os.path.relpath(path, base) for path in paths}


def mounts(root: Path, pins: Pins) -> list[Mount]:
    return list(plan_mounts(pins, Project(root), repository.find(root), DATA))


def assert_nothing_can_be_moved(root: Path, pins: Pins) -> None:
    """Every directory between what is mounted as a whole and what is kept is a mount point itself."""
    planned = mounts(root, pins)
    targets = [Path(mount.target) for mount in planned]
    assert len(set(targets)) == len(targets)
    wholes = {root, *(Path(mount.target) for mount in planned if not mount.pin)}
    read_only = {Path(mount.target) for mount in planned if mount.read_only}
    assert read_only == {*pins.read_only, *pins.missing}
    for mount in planned:
        assert mount.source == Path(mount.target) or mount.base == DATA.base
        assert not any(
            mount.base.joinpath(*mount.parts[:count]).is_symlink() for count in range(1, len(mount.parts) + 1)
        )
        for directory in Path(mount.target).parents if mount.pin else ():
            if directory in wholes or directory in root.parents:
                break
            inside_kept = any(kept == directory or kept in directory.parents for kept in read_only)
            assert directory in targets or inside_kept, f"{directory} could be moved away"
            assert targets.index(Path(mount.target)) > targets.index(directory) if directory in targets else True


# What is kept


def test_an_empty_project_has_no_pins(root: Path) -> None:
    assert planned(root) == Pins(())
    assert mounts(root, planned(root)) == []


def test_the_settings_and_hooks_of_a_plain_repository_are_pinned(root: Path) -> None:
    made_repository(root)
    pins = planned(root)
    assert names(pins.read_only, root) == OF_GIT
    assert names(pins.missing, root) == {".git/commondir"}
    assert_nothing_can_be_moved(root, pins)
    assert [mount.target for mount in mounts(root, pins) if not mount.read_only] == [str(root / ".git")]
    assert planned(root, git=False) == Pins(())


def test_more_of_git_is_pinned_if_it_exists(root: Path) -> None:
    made_repository(root)
    git(root, "sparse-checkout", "set", "src")
    put(root / ".git/info/attributes")
    put(root / ".git/commondir", ".\n")
    (root / ".git/config").unlink()
    for path in (root / ".git/hooks").iterdir():
        path.unlink()
    (root / ".git/hooks").rmdir()
    pins = planned(root)
    assert names(pins.read_only, root) == {".git/commondir", ".git/config.worktree", ".git/info/attributes"}
    assert names(pins.missing, root) == OF_GIT
    assert_nothing_can_be_moved(root, pins)


def test_the_pointer_and_the_repository_of_a_worktree_are_pinned(root: Path, tmp_path: Path) -> None:
    main = made_repository(tmp_path / "main")
    root.rmdir()
    git(main, "worktree", "add", "--quiet", "-b", "other", str(root))
    put(main / ".git/worktrees/project/config.worktree")
    pins = planned(root)
    common = main / ".git"
    assert names(pins.read_only, root) - names(pins.read_only, common) == {".git"} | {
        f"../main/.git/{name}"
        for name in ("config", "hooks", "worktrees/project/commondir", "worktrees/project/config.worktree")
    }
    assert pins.missing == (common / "commondir",)
    assert_nothing_can_be_moved(root, pins)
    first, *rest = mounts(root, pins)
    assert (first.base, first.parts, first.target, first.read_only, first.pin) == (
        common,
        (),
        str(common),
        False,
        False,
    )
    writable = {mount.target for mount in rest if not mount.read_only}
    assert writable == {str(common / "worktrees"), str(common / "worktrees/project")}


def test_a_repository_of_another_name_beside_a_git_file_is_pinned(root: Path, tmp_path: Path) -> None:
    made_repository(tmp_path / "origin")
    git(root, "clone", "--quiet", "--bare", "../origin", "x/.bare")
    put(root / ".git", "gitdir: x/.bare\n")
    pins = planned(root)
    assert names(pins.read_only, root) >= {".git", "x/.bare/config"}
    assert names((*pins.read_only, *pins.missing), root) >= {"x/.bare/hooks", "x/.bare/commondir"}
    assert_nothing_can_be_moved(root, pins)


def test_submodules_of_a_worktree_are_pinned(root: Path, tmp_path: Path) -> None:
    main = made_repository(tmp_path / "main")
    made_repository(tmp_path / "lib")
    git(main, "submodule", "--quiet", "add", "../lib", "lib", **{"remote.origin.url": str(main)})
    commit(main)
    root.rmdir()
    git(main, "worktree", "add", "--quiet", "-b", "other", str(root))
    git(root, "submodule", "--quiet", "update", "--init")
    pins = planned(root)
    inner = main / ".git/worktrees/project/modules/lib"
    assert {inner / "config", inner / "hooks", inner / "commondir"} <= {*pins.read_only, *pins.missing}
    assert_nothing_can_be_moved(root, pins)


def test_a_worktree_of_many_can_still_be_worked_in(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    main = made_repository(tmp_path / "main")
    root.rmdir()
    git(main, "worktree", "add", "--quiet", "-b", "other", str(root))
    git(main, "worktree", "add", "--quiet", "-b", "third", "../third")
    monkeypatch.setattr(pins_module, "_MAX_GIT_DIRECTORIES", 1)
    pins = planned(root)
    own = main / ".git/worktrees/project"
    assert main / ".git/worktrees" in pins.read_only
    nearest = max((mount for mount in mounts(root, pins) if own.is_relative_to(mount.target)), key=lambda m: m.target)
    assert not nearest.read_only
    assert own / "commondir" in pins.read_only
    assert_nothing_can_be_moved(root, pins)


def test_worktrees_in_the_project_are_the_sessions_and_others_stay_as_they_are(root: Path, tmp_path: Path) -> None:
    made_repository(root)
    git(root, "worktree", "add", "--quiet", "inner/tree")
    git(root, "worktree", "add", "--quiet", str(tmp_path / "elsewhere"))
    pins = planned(root)
    place = ".git/worktrees/elsewhere"
    assert names(pins.read_only, root) == OF_GIT | {f"{place}/commondir", f"{place}/gitdir"}
    assert names(pins.missing, root) == {".git/commondir", f"{place}/locked"}
    assert_nothing_can_be_moved(root, pins)
    make_missing(pins.missing, root)
    git(root, "worktree", "prune", "--expire=now")
    (tmp_path / "elsewhere").rename(tmp_path / "moved")
    git(root, "worktree", "prune")
    assert (root / place / "HEAD").exists()
    remove_made(pins.missing, root)
    git(root, "worktree", "prune")  # the control
    assert not (root / place).exists()


def test_all_that_git_obeys_in_submodules_is_pinned(root: Path, tmp_path: Path) -> None:
    made_repository(tmp_path / "lib")
    made_repository(root)
    for name in ("one", "deep/two"):
        git(root, "submodule", "--quiet", "add", str(tmp_path / "lib"), name)
    commit(root)
    pins = planned(root)
    of_modules = {f".git/modules/{name}/{file}" for name in ("one", "deep/two") for file in ("config", "hooks")}
    assert names(pins.read_only, root) == OF_GIT | of_modules
    assert names(pins.missing, root) == {
        ".git/commondir",
        ".git/modules/one/commondir",
        ".git/modules/deep/two/commondir",
    }
    assert_nothing_can_be_moved(root, pins)


def test_the_directory_of_many_submodules_is_pinned_as_a_whole(root: Path) -> None:
    made_repository(root)
    for number in range(101):
        put(root / f".git/modules/{number}/HEAD")
        put(root / f".git/modules/{number}/config")
    pins = planned(root)
    assert names(pins.read_only, root) == {*OF_GIT, ".git/modules"}
    assert_nothing_can_be_moved(root, pins)


def test_a_project_that_is_a_submodule_has_its_own_directory_pinned(root: Path, tmp_path: Path) -> None:
    made_repository(tmp_path / "lib")
    made_repository(root)
    git(root, "submodule", "--quiet", "add", str(tmp_path / "lib"), "lib")
    pins = planned(root / "lib")
    place = root / ".git/modules/lib"
    assert set(pins.read_only) == {root / "lib/.git", place / "config", place / "hooks"}
    assert_nothing_can_be_moved(root / "lib", pins)


@pytest.mark.parametrize(
    ("made", "kept"),
    [
        ([".vscode/settings.json", ".vscode/x/y"], {".vscode"}),
        ([".envrc", "src/.envrc", "README.md"], {".envrc"}),
        ([".claude/settings.json", ".claude/todo", ".claude/hooks/x"], {".claude/settings.json", ".claude/hooks"}),
        ([".config/mise/config.toml", ".config/other"], {".config/mise"}),
        (["x.code-workspace", ".copier-answers.x.yml"], {"x.code-workspace", ".copier-answers.x.yml"}),
        ([".confined-claude/config.toml"], {".confined-claude"}),
        (["Makefile", "package.json", ".github/workflows/x.yml", "CLAUDE.md"], set()),
        ([".vscode"], set()),
        ([".envrc/x"], set()),
        (["tasks.py", "__pycache__/x.pyc"], {"tasks.py", "__pycache__"}),
        (["tasks.py", "__pycache__/tasks.cpython-311.pyc"], {"tasks.py", "__pycache__"}),
        (["sub/tasks.py"], set()),
    ],
)
def test_what_the_host_obeys_at_the_root_is_pinned_if_it_exists(made: list[str], kept: set[str], root: Path) -> None:
    for path in made:
        put(root / path)
    pins = planned(root)
    assert names(pins.read_only, root) == kept
    assert pins.missing == ()
    assert_nothing_can_be_moved(root, pins)


def test_where_tasks_are_their_compiled_ones_are_not_to_come(root: Path) -> None:
    put(root / "tasks.py")
    pins = planned(root)
    assert names(pins.missing, root) == {"__pycache__"}
    assert_nothing_can_be_moved(root, pins)


def test_what_the_user_protects_and_opens_is(root: Path) -> None:
    for path in (
        "deploy/keys/a.pem",
        "deploy/log/x",
        "conf/a.d/x",
        "conf/b/x",
        ".vscode/tasks.json",
        ".vscode/x",
        ".envrc",
        "app/[id]/x.sh",
        "app/i/x.sh",
    ):
        put(root / path)
    pins = planned(
        root, ("deploy", "conf/*.d", "app/[*/x.sh"), (".vscode/tasks.json", "deploy/log", ".envrc", "nowhere")
    )
    assert names(pins.read_only, root) == {"deploy", "conf/a.d", ".vscode", "app/[id]/x.sh"}
    assert names(pins.writable, root) == {".vscode/tasks.json", "deploy/log"}
    assert_nothing_can_be_moved(root, pins)
    writable = {mount.target for mount in mounts(root, pins) if not mount.read_only}
    assert writable == {str(root / name) for name in ("app", "app/[id]", "conf", ".vscode/tasks.json", "deploy/log")}


@pytest.mark.parametrize("writable", [".gi*", ".git*/config", ".GIT", ".Confined-Claude", ".confined-c*", ".*/config"])
def test_nothing_opens_the_guards_own_files(writable: str, root: Path) -> None:
    made_repository(root)
    put(root / ".confined-claude/config.toml")
    pins = planned(root, (), (writable,))
    assert names(pins.read_only, root) >= {*OF_GIT, ".confined-claude"}
    assert pins.writable == ()


def test_environments_of_the_host_are_hidden(root: Path) -> None:
    for path in ("env/pyvenv.cfg", ".venv/x", "venv/x", "src/deep/pyvenv.cfg"):
        put(root / path)
    (root / "link").symlink_to("env")
    pins = planned(root)
    assert pins.hidden == (".venv", "env")
    hidden = {mount.target: mount.parts for mount in mounts(root, pins)}
    assert hidden == {str(root / name): ("hidden", name) for name in pins.hidden}
    assert {mount.base for mount in mounts(root, pins)} == {DATA.base}


# Links


@pytest.mark.parametrize("name", [".envrc", ".vscode", ".claude", "x.code-workspace", "deploy", "tasks.py", ".venv"])
@pytest.mark.parametrize("target", ["there", "/etc", "nowhere"])
def test_a_link_is_never_a_pin(name: str, target: str, root: Path) -> None:
    put(root / "there/settings.json")
    (root / name).symlink_to(target)
    assert set(planned(root, ("deploy",)).read_only) <= {root / "__pycache__"}
    assert planned(root).hidden == ()


@pytest.mark.parametrize(
    "name", ["config", "hooks", "config.worktree", "info", "modules/lib/config", "modules/lib/hooks"]
)
def test_a_link_among_gits_files_is_refused(name: str, root: Path) -> None:
    made_repository(root)
    put(root / ".git/modules/lib/HEAD")
    path = root / ".git" / name
    if path.exists():
        path.rename(root / "moved")
    path.symlink_to(root / "moved")
    with pytest.raises(ConfinedError, match=f"{path} is a link") as caught:
        planned(root)
    assert 'git = "open"' in caught.value.hint
    assert planned(root, git=False) == Pins(())


@pytest.mark.parametrize("content", ["../evil", "..", "", "/x", "./."])
def test_a_repository_that_is_led_elsewhere_is_refused(content: str, root: Path) -> None:
    made_repository(root)
    put(root / ".git/commondir", f"{content}\n")
    with pytest.raises(ConfinedError, match="leads git to other settings and hooks"):
        planned(root)


# What is made


def test_what_is_made_is_removed_again(root: Path) -> None:
    made_repository(root)
    put(root / "tasks.py")
    (root / ".git/config").unlink()
    before = {name: entry[::3] for name, entry in tree(root).items()}
    pins = planned(root)
    make_missing(pins.missing, root)
    make_missing(pins.missing, root)
    assert names(pins.missing, root) == {"__pycache__", ".git/commondir", ".git/config"}
    assert all(path.exists() for path in pins.missing)
    assert git(root, "rev-parse", "--git-dir") == ".git\n"
    again = planned(root)
    assert set(again.read_only) == {*pins.read_only, *pins.missing}
    assert again.missing == ()
    remove_made(pins.missing, root)
    remove_made(pins.missing, root)
    assert {name: entry[::3] for name, entry in tree(root).items()} == before


Change = Callable[[Path], object]


@pytest.mark.parametrize(
    "change",
    [
        lambda path: put(path / "x") if path.is_dir() else put(path, "changed"),
        lambda path: (
            [path.rename(path.with_name("moved")), put(path.with_name("moved") / "x"), path.symlink_to("moved")]
            if path.is_dir()
            else [path.rename(path.with_name("moved")), path.symlink_to("moved")]
        ),
        lambda path: [path.rename(path.with_name("moved")), put(path / "mine" if path.suffix else path, "mine")],
    ],
)
def test_nothing_else_is_ever_taken_away(change: Change, root: Path) -> None:
    made_repository(root)
    put(root / "tasks.py")
    (root / ".git/config").unlink()
    pins = planned(root)
    make_missing(pins.missing, root)
    for path in pins.missing:
        change(path)
    before = tree(root)
    remove_made(pins.missing, root)
    assert tree(root) == before


def test_what_cannot_be_made_is_a_clear_error(root: Path) -> None:
    with pytest.raises(ConfinedError, match=f"Cannot make {root}/nowhere/commondir"):
        make_missing([root / "nowhere/commondir"], root)


def test_where_nothing_can_be_made_nothing_is_missing(plain_folder: Path) -> None:
    def work() -> tuple[set[str], set[str]]:
        root = plain_folder / "project"
        put(root / ".git/HEAD")
        put(root / ".git/config")
        put(root / "tasks.py")
        for directory in (root / ".git", root):
            directory.chmod(0o500)
        pins = planned(root)
        return names(pins.read_only, root), names(pins.missing, root)

    assert as_plain_user(work) == ({".git/config", "tasks.py"}, set())


# Beside other sessions


def test_only_what_other_sessions_pin_as_well_is_pinned(root: Path) -> None:
    pins = Pins((root / "a", root / "b"), (root / "a/x", root / "b/y"), (root / "m", root / "n"), (".venv",))
    others = [root / "b", root / "b/y", root / "n", root / "z"]
    assert pins.restricted_to(others) == Pins((root / "b",), (root / "b/y",), (root / "n",), (".venv",))
    assert pins.restricted_to((*pins.read_only, *pins.writable, *pins.missing)) == pins
    assert pins.restricted_to([]) == Pins((), hidden=(".venv",))


def test_mounts_of_a_repository_inside_do_not_depend_on_its_finding(root: Path) -> None:
    made_repository(root)
    pins = planned(root)
    found = list(plan_mounts(pins, Project(root), plain_repository(root / ".git"), DATA))
    assert found == list(plan_mounts(pins, Project(root), None, DATA))
