"""A project's own conversations: gathered from where all were kept before, and taken along when it moves."""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path

import pytest

from confined_claude.claude import conversations, history
from confined_claude.claude.conversations import Move
from confined_claude.claude.history import ProjectScope
from confined_claude.claude.names import directory_name
from confined_claude.fs.directory import Location
from confined_claude.host import Host
from confined_claude.project import Project

from ..conftest import tree
from ..guarding import put

ID = "aa6c0f87-48fb-4867-ad01-15184805c813"


def hold(projects: Path, place: Path, session: str = ID) -> Path:
    """Leave a conversation that was held in ``place``."""
    return put(projects / directory_name(place) / f"{session}.jsonl", json.dumps({"cwd": str(place)}))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "config/projects").mkdir(parents=True)
    return tmp_path / "config"


def gather(config: Path, own: Path, root: Path, *others: Path) -> list[str]:
    return list(conversations.gather(Location(config), Location(own), ProjectScope(root, frozenset(others))))


def test_what_all_projects_shared_is_gathered_by_project(config: Path, tmp_path: Path) -> None:
    root, own = Path("/p/app"), tmp_path / "own"
    mine = [hold(config / "projects", place) for place in (root, root / "sub", root / ".claude/worktrees/x")]
    memory = put(config / "projects" / directory_name(root) / "memory/MEMORY.md", "me")
    theirs = [hold(config / "projects", place) for place in (Path("/p/app-2"), Path("/p/other"), root / "known")]
    assert gather(config, own, root, Path("/p/app-2"), root / "known") == []
    for file in (*mine, memory):
        assert not file.exists()
        assert (own / file.relative_to(config / "projects")).exists()
    assert all(file.exists() for file in theirs)
    assert len(list(own.iterdir())) == 3
    before = tree(tmp_path)
    assert gather(config, own, root, Path("/p/app-2"), root / "known") == []
    assert tree(tmp_path) == before


def test_of_two_projects_with_one_name_each_gets_its_own(config: Path, tmp_path: Path) -> None:
    one, two = Path("/p/a-b"), Path("/p/a.b")
    hold(config / "projects", one, ID)
    hold(config / "projects", two, ID.replace("a", "b"))
    for root, other in ((one, two), (two, one)):
        own = tmp_path / f"own of {root.name}"
        assert gather(config, own, root, other) == []
        (found,) = own.rglob("*.jsonl")
        assert json.loads(found.read_text())["cwd"] == str(root)


def test_nothing_that_is_there_already_is_replaced(config: Path, tmp_path: Path) -> None:
    root, own = Path("/p/app"), tmp_path / "own"
    hold(config / "projects", root)
    hold(config / "projects", root, ID.replace("a", "b"))
    newer = put(own / directory_name(root) / f"{ID}.jsonl", "newer")
    assert gather(config, own, root) == []
    assert newer.read_text() == "newer"
    assert len(list(newer.parent.iterdir())) == 2


def test_what_is_kept_elsewhere_of_the_own_conversations_is_forgotten(config: Path, tmp_path: Path) -> None:
    own = Location(tmp_path / "own")
    hold(own.path, Path("/p/app"))
    mine = put(config / f"file-history/{ID}/x")
    theirs = put(config / f"file-history/{ID.replace('a', 'b')}/x")
    scope = ProjectScope(Path("/p/app"))
    found = history.find(Location(config), scope, own)
    assert (found.conversations, found.is_empty) == (1, False)
    with Location(config).open() as trash:
        history.forget(Location(config), scope, trash, own)
    assert (mine.exists(), theirs.exists()) == (False, True)


@pytest.mark.parametrize("profile", ["", "profiles/work/"])
def test_a_project_that_moved_takes_all_of_it_along(host: Host, profile: str) -> None:
    old, new = Path("/p/old"), Path("/q/new")
    config = host.data / (f"{profile}claude-config" if profile else "shared/claude-config")
    before, after = (host.data / "projects" / Project(root).id / profile for root in (old, new))
    for place in (old, old / "sub", Path("/p/old-2")):
        hold(before / "conversations", place)
    hold(config / "projects", old, ID.replace("a", "b"))  # left by an earlier version
    put(config / ".claude.json", json.dumps({"projects": {"/p/old": 1, "/p/old/sub": 2, "/p/old-2": 3}, "x": 1}))
    lines = [{"display": "1", "project": "/p/old/sub"}, {"display": "2", "project": "/p/old-2"}]
    put(config / "history.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    for _ in range(2):
        (said,) = conversations.carry_over(host, Move(old, new), ProjectScope(old))
        assert said.startswith("This project was at /p/old:")
        names = {file.parent.name for file in (after / "conversations").rglob("*.jsonl")}
        # What is in its own directory is the project's, whatever the name looks like.
        assert names == {"-q-new", "-q-new-sub", "-q-new-2"}
        assert len(list((after / "conversations/-q-new").iterdir())) == 2
        state = json.loads((config / ".claude.json").read_text())
        assert state == {"projects": {"/q/new": 1, "/q/new/sub": 2, "/p/old-2": 3}, "x": 1}
        prompts = [json.loads(line)["project"] for line in (config / "history.jsonl").read_text().splitlines()]
        assert prompts == ["/q/new/sub", "/p/old-2"]
    assert not (before / "conversations").exists()


def test_what_is_nested_deeply_is_no_traceback(host: Host, request: pytest.FixtureRequest) -> None:
    config, moved, limit = host.data / "shared/claude-config", [], sys.getrecursionlimit()
    request.addfinalizer(lambda: sys.setrecursionlimit(limit))
    sys.setrecursionlimit(len(inspect.stack()) + 150)  # the files of 1000 would be large
    for depth in (10, *range(80, 150)):  # which of them can be read and not be written depends on the version
        nested = "[" * depth + "]" * depth
        put(config / ".claude.json", f'{{"projects": {{"/p/old": {nested}}}}}')
        put(config / "history.jsonl", f'{{"project": "/p/old", "x": {nested}}}\n{{"project": "/p/old"}}\n')
        (said,) = conversations.carry_over(host, Move(Path("/p/old"), Path("/q/new")), ProjectScope(Path("/p/old")))
        assert said.startswith("This project was at /p/old:")
        moved.append("/q/new" in (config / ".claude.json").read_text())
        assert (config / "history.jsonl").read_text().endswith('\n{"project": "/q/new"}\n')
    assert moved == sorted(moved, reverse=True)
    assert (moved[0], moved[-1]) == (True, False)


def test_a_config_of_the_projects_own_moves_with_it(host: Host) -> None:
    old, new = Path("/p/old"), Path("/q/new")
    before, after = (host.data / "projects" / Project(root).id / "claude-config" for root in (old, new))
    hold(before / "projects", old)
    put(before / "settings.json", "mine")
    list(conversations.carry_over(host, Move(old, new), ProjectScope(old)))
    assert (after / "settings.json").read_text() == "mine"
    assert (after / "projects/-q-new" / f"{ID}.jsonl").exists()
    assert not before.exists()
