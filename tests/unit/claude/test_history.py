"""What Claude keeps of one project in a config directory that projects share: found, and deleted without the rest."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from confined_claude.claude import history
from confined_claude.claude.history import History, ProjectScope
from confined_claude.fs.directory import Location
from confined_claude.fs.removal import Leftover, empty_trash
from confined_claude.project import Project

from ..conftest import full_disk, tree
from ..guarding import put

HERE = Path("/made-up/a/b-c")
# Claude gives its directory the same name.
TWIN = Path("/made-up/a-b/c")
ONE, TWO, THREE = (f"{digit * 8}-1111-2222-3333-{digit * 12}" for digit in "abc")
NAME = "-made-up-a-b-c"


class Config:
    """A config directory, filled as Claude does."""

    def __init__(self, base: Path) -> None:
        self.location = Location(base, ("shared", "claude-config"))
        self.path = self.location.path
        self.path.mkdir(parents=True)

    def put(self, path: str, content: str | bytes = "x") -> Path:
        return put(self.path / path, content)

    def conversation(self, session: str, cwd: str | Path, name: str = NAME) -> None:
        lines = [{"type": "mode", "sessionId": session}, {"type": "user", "cwd": str(cwd), "sessionId": session}]
        self.put(f"projects/{name}/{session}.jsonl", "\n".join(map(json.dumps, lines)))
        self.put(f"projects/{name}/{session}/subagents/agent-1.jsonl")
        for path in (
            f"todos/{session}-agent-1.json",
            f"file-history/{session}/x@v1",
            f"debug/{session}.txt",
            f"telemetry/1p_failed_events.{session}.{'f' * 8}-1111-2222-3333-{'f' * 12}.json",
        ):
            self.put(path)

    def prompts(self, *projects: Path, **more: Any) -> None:
        lines = [json.dumps({"display": "hello", "project": str(project), **more}) for project in projects]
        self.put("history.jsonl", "".join(f"{line}\n" for line in lines))

    def state(self, *projects: Path) -> None:
        content = json.dumps({"userID": "u", "projects": {str(project): {"x": 1} for project in projects}})
        self.put(".claude.json", content)
        self.put("backups/.claude.json.backup.1", content)

    def find(self, *others: Path, root: Path = HERE) -> History:
        return history.find(self.location, ProjectScope(root, frozenset(others)))

    def forget(self, *others: Path, root: Path = HERE) -> Leftover:
        with Location(self.path.parent).open() as trash:
            left = history.forget(self.location, ProjectScope(root, frozenset(others)), trash)
            assert empty_trash(trash) == Leftover()
        return left

    @property
    def files(self) -> set[str]:
        return {str(path.relative_to(self.path)) for path in self.path.rglob("*") if path.is_file()}


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(tmp_path / "data")


@pytest.mark.parametrize(
    ("root", "name"),
    [("/a/b", "-a-b"), ("/a_b/C 1.x", "-a-b-C-1-x"), ("/ü", "--"), ("/日本", "---"), ("/😀", "---"), ("/²", "--")],
)
def test_the_name_of_a_projects_directory(root: str, name: str) -> None:
    assert history.directory_name(Path(root)) == name


def test_all_of_a_project_is_deleted_and_nothing_else(config: Config) -> None:
    config.conversation(TWO, "/elsewhere", name="-elsewhere")
    config.put("plugins/x")
    config.prompts(Path("/elsewhere"))
    config.state(Path("/elsewhere"))
    before = {name: (config.path / name).read_text() for name in config.files}
    config.conversation(ONE, HERE)
    config.put(f"projects/{NAME}/memory/MEMORY.md")
    config.prompts(HERE, Path("/elsewhere"), HERE / "sub")
    config.state(HERE, Path("/elsewhere"), HERE / "sub")
    unchanged = tree(config.path)
    found = config.find()
    assert (found.conversations, found.prompts, found.has_settings) == (1, 2, True)
    assert tree(config.path) == unchanged
    assert config.forget() == Leftover()
    assert config.find().is_empty
    after = {name: (config.path / name).read_text() for name in config.files}
    assert {name: reformatted(name, text) for name, text in after.items()} == {
        name: reformatted(name, text) for name, text in before.items()
    }


def reformatted(name: str, text: str) -> Any:
    return json.loads(text) if ".claude.json" in name else text


# Whose it is


def test_the_conversations_and_memory_of_another_project_with_the_same_name_are_kept(config: Config) -> None:
    config.conversation(TWO, TWIN)
    config.put(f"projects/{NAME}/memory/MEMORY.md")
    before = config.files
    config.conversation(ONE, HERE)
    assert config.find().conversations == 1
    config.forget()
    assert config.files == before


def test_a_memory_that_may_be_another_known_projects_is_kept(config: Config) -> None:
    config.put(f"projects/{NAME}/memory/MEMORY.md")
    before = config.files
    assert config.find(TWIN).is_empty
    config.forget(TWIN)
    assert config.files == before
    config.forget(Path("/elsewhere"))
    assert config.files == set()


def test_conversations_held_further_down_are_deleted(config: Config) -> None:
    config.conversation(ONE, HERE / "sub", name=f"{NAME}-sub")
    config.conversation(TWO, "/made-up/a/b-c-sub", name=f"{NAME}-sub")
    config.conversation(THREE, HERE / "x/y", name=f"{NAME}-x-y")
    config.put(f"projects/{NAME}-sub2/memory/x")
    config.forget()
    assert {name for name in config.files if name.startswith("projects/")} == {
        f"projects/{NAME}-sub/{TWO}.jsonl",
        f"projects/{NAME}-sub/{TWO}/subagents/agent-1.jsonl",
        f"projects/{NAME}-sub2/memory/x",
    }


def test_a_known_project_further_down_keeps_its_own(config: Config) -> None:
    inner = HERE / "inner"
    config.conversation(ONE, inner / "x", name=f"{NAME}-inner-x")
    config.prompts(inner)
    config.state(inner)
    before = tree(config.path)
    assert config.find(inner).is_empty
    config.forget(inner)
    assert tree(config.path) == before
    assert config.find().conversations == 1


def test_of_another_project_inside_only_the_id_may_be_known() -> None:
    inner = HERE / "some/inner"
    scope = ProjectScope(HERE, unreadable=frozenset([Project(inner).id]))
    inside = {str(HERE): True, str(HERE / "some"): True, str(inner): False, str(inner / "below"): False}
    assert {path: scope.contains(path) for path in inside} == inside


def test_a_path_is_in_the_project_however_it_is_spelled() -> None:
    scope = ProjectScope(HERE)
    assert all(map(scope.contains, (f"/{HERE}", f"/{HERE}//sub", f"//.{HERE}/sub/..")))


@pytest.mark.parametrize("path", [7, None, "relative", "/made-up/a", "/made-up/a/b-c/../x", "/made-up/a/b-c/\ud83d"])
def test_a_path_that_is_not_in_the_project(path: object) -> None:
    assert not ProjectScope(HERE, unreadable=frozenset(["x-00000000"])).contains(path)


@pytest.mark.parametrize("length", [150, 250])
def test_a_long_path_is_found_by_the_part_that_claude_uses(length: int, config: Config) -> None:
    root = Path("/made-up") / ("x" * length)
    name = history.directory_name(root)
    config.conversation(ONE, root, name=name if length < 200 else f"{name[:200]}-1x2y3z")
    config.forget(root=root)
    assert config.files == set()


# What sessions may have written


def test_where_a_conversation_was_held_may_be_said_late(config: Config) -> None:
    picture = json.dumps({"message": "x" * (3 << 20)})
    lines = [picture, "{broken", "[1]", '{"cwd": 7}', json.dumps({"cwd": str(TWIN)}), json.dumps({"cwd": str(HERE)})]
    config.put(f"projects/{NAME}/{ONE}.jsonl", "\n".join(lines))
    assert config.find().is_empty


def test_a_conversation_that_does_not_say_where_it_was_held(config: Config) -> None:
    config.put(f"projects/{NAME}/{ONE}.jsonl", '{"type": "mode"}\n')
    assert config.find().conversations == 1
    config.conversation(TWO, TWIN)
    assert config.find().is_empty
    config.forget()
    assert f"projects/{NAME}/{ONE}.jsonl" in config.files


def test_a_transcript_without_an_id_leads_nowhere_else(config: Config) -> None:
    config.put(f"projects/{NAME}/d.jsonl", json.dumps({"cwd": str(HERE)}))
    config.put("debug/x.txt")
    config.put("d/d.txt")
    config.forget()
    assert config.files == {"debug/x.txt", "d/d.txt"}


def test_a_pasted_text_is_deleted_unless_another_prompt_has_it(config: Config) -> None:
    one, both = "0123456789abcdef", "fedcba9876543210"
    for name in (one, both):
        config.put(f"paste-cache/{name}.txt")

    def prompt(project: Path, *pastes: str) -> str:
        contents = {str(number): {"contentHash": paste} for number, paste in enumerate(pastes)}
        return json.dumps({"project": str(project), "pastedContents": contents}) + "\n"

    config.put("history.jsonl", prompt(HERE, one, both) + prompt(TWIN, both))
    config.forget()
    assert config.files == {"history.jsonl", f"paste-cache/{both}.txt"}


def test_what_cannot_be_understood_is_left_as_it_is(config: Config) -> None:
    config.put("history.jsonl", b'{broken\n[1]\n\xff\xfe\n{"project": 7}\n{"project": "relative"}\n\n"x"')
    config.put(".claude.json", "{broken")
    config.put("backups/.claude.json.backup.1", '{"projects": []}')
    before = tree(config.path)
    assert config.forget() == Leftover()
    assert tree(config.path) == before


def test_links_and_fifos_are_never_followed(config: Config, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    (precious / "memory").mkdir(parents=True)
    (precious / f"{ONE}.jsonl").write_text(json.dumps({"cwd": str(HERE)}))
    (precious / "history.jsonl").write_text(json.dumps({"project": str(HERE)}))
    before = tree(precious)
    (config.path / "projects").mkdir()
    (config.path / "projects" / NAME).symlink_to(precious)
    (config.path / "history.jsonl").symlink_to(precious / "history.jsonl")
    (config.path / "cache").symlink_to(precious)
    os.mkfifo(config.path / ".claude.json")
    assert config.find().is_empty
    left = config.forget()
    assert (left.number, left.first) == (1, str(config.path / "history.jsonl"))
    config.conversation(TWO, HERE, name=f"{NAME}-x")
    (config.path / f"projects/{NAME}-x/{ONE}.jsonl").symlink_to(precious / f"{ONE}.jsonl")
    config.forget()
    assert not (config.path / f"projects/{NAME}-x").exists()
    assert tree(precious) == before


def test_the_config_directory_may_be_a_link_or_missing(config: Config, tmp_path: Path) -> None:
    config.conversation(ONE, HERE)
    config.path.rename(tmp_path / "away")
    assert config.find().is_empty
    assert config.forget() == Leftover()
    config.path.symlink_to(tmp_path / "away")
    for work in (config.find, config.forget):
        with pytest.raises(OSError, match="directory"):
            work()
    assert (tmp_path / f"away/projects/{NAME}/{ONE}.jsonl").exists()


# What cannot be deleted


@pytest.mark.parametrize("name", ["history.jsonl", ".claude.json"])
def test_what_another_session_is_writing_to_is_reported(
    name: str, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "LONGER_THAN_STALE_SECONDS", 0.0)
    config.prompts(HERE)
    config.state(HERE)
    (config.path / f"{name}.lock").mkdir()
    left = config.forget()
    assert (left.number, left.first) == (1, str(config.path / name))
    assert "another project" in left.reason
    assert str(HERE) in (config.path / name).read_text()


def test_a_full_disk_loses_nothing(config: Config) -> None:
    config.prompts(HERE, TWIN)
    config.state(HERE, TWIN)
    before = {name: (config.path / name).read_bytes() for name in config.files}
    with full_disk():
        left = config.forget()
    assert left.number == len(before)
    assert {name: (config.path / name).read_bytes() for name in config.files} == before
