"""What Claude keeps of one project in a config that projects share: found by what it says, forgotten alone."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from confined_claude.fs import safefs
from confined_claude.project import Project
from confined_claude.session import claude_history as history
from confined_claude.session.claude_history import History, Whose

from ..conftest import full_disk, tree

HERE = Path("/made-up/a/b-c")
# Whose folder Claude calls the same.
TWIN = Path("/made-up/a-b/c")
ONE, TWO, THREE = (f"{digit * 8}-1111-2222-3333-{digit * 12}" for digit in "abc")
FOLDER = "-made-up-a-b-c"


class Config:
    """A config folder, filled as Claude does."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.path = base / "shared/claude-config"
        self.path.mkdir(parents=True)

    def put(self, path: str, content: str | bytes = "x") -> Path:
        file = self.path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    def conversation(self, session: str, cwd: str | Path, folder: str = FOLDER) -> None:
        lines = [{"type": "mode", "sessionId": session}, {"type": "user", "cwd": str(cwd), "sessionId": session}]
        self.put(f"projects/{folder}/{session}.jsonl", "\n".join(map(json.dumps, lines)))
        self.put(f"projects/{folder}/{session}/subagents/agent-1.jsonl")
        for path in (f"todos/{session}-agent-1.json", f"file-history/{session}/x@v1", f"debug/{session}.txt"):
            self.put(path)

    def prompts(self, *projects: Path, **more: Any) -> None:
        lines = [json.dumps({"display": "hello", "project": str(project), **more}) for project in projects]
        self.put("history.jsonl", "".join(f"{line}\n" for line in lines))

    def state(self, *projects: Path) -> None:
        content = json.dumps({"userID": "u", "projects": {str(project): {"x": 1} for project in projects}})
        self.put(".claude.json", content)
        self.put("backups/.claude.json.backup.1", content)

    def look(self, *others: Path) -> History:
        return history.look(self.base, ("shared", "claude-config"), Whose(HERE, others))

    def forget(self, *others: Path) -> safefs.Left:
        with safefs.opened(self.base, "shared") as aside:
            left = history.forget(self.base, ("shared", "claude-config"), Whose(HERE, others), aside)
            for name in safefs.are_aside(aside):
                assert safefs.remove_tree(aside, name).number == 0
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
def test_the_name_of_a_projects_folder(root: str, name: str) -> None:
    assert history.folder_name(Path(root)) == name


def test_all_of_a_project_goes_and_nothing_else(config: Config) -> None:
    config.conversation(TWO, "/elsewhere", folder="-elsewhere")
    config.put("plugins/x")
    config.prompts(Path("/elsewhere"))
    config.state(Path("/elsewhere"))
    before = config.files
    kept = {name: (config.path / name).read_text() for name in (".claude.json", "history.jsonl")}
    config.conversation(ONE, HERE)
    config.put(f"projects/{FOLDER}/memory/MEMORY.md")
    config.prompts(HERE, Path("/elsewhere"), HERE / "sub")
    config.state(HERE, Path("/elsewhere"), HERE / "sub")
    found = config.look()
    assert (found.conversations, found.prompts, found.has_settings) == (1, 2, True)
    assert config.forget().number == 0
    assert config.files == before
    for name, text in kept.items():
        assert (config.path / name).read_text().split() == json_text(text, name).split()
    assert config.look().is_empty


def json_text(text: str, name: str) -> str:
    """The state as it is written."""
    return json.dumps(json.loads(text), indent=2) if name == ".claude.json" else text


def test_looking_changes_nothing(config: Config) -> None:
    config.conversation(ONE, HERE)
    config.prompts(HERE)
    config.state(HERE)
    before = tree(config.base)
    config.look()
    assert tree(config.base) == before


def test_of_two_projects_with_one_folder_the_others_conversations_and_memory_stay(config: Config) -> None:
    config.conversation(TWO, TWIN)
    config.put(f"projects/{FOLDER}/memory/MEMORY.md")
    before = config.files
    config.conversation(ONE, HERE)
    assert config.look().conversations == 1
    config.forget()
    assert config.files == before


def test_a_memory_that_could_be_another_known_projects_stays(config: Config) -> None:
    config.put(f"projects/{FOLDER}/memory/MEMORY.md")
    before = config.files
    assert config.look(TWIN).is_empty
    config.forget(TWIN)
    assert config.files == before
    config.forget(Path("/elsewhere"))
    assert config.files == set()


def test_conversations_held_further_down_go_with_their_folder(config: Config) -> None:
    config.conversation(ONE, HERE / "sub", folder=f"{FOLDER}-sub")
    config.conversation(TWO, "/made-up/a/b-c-sub", folder=f"{FOLDER}-sub")
    config.conversation(THREE, HERE / "x/y", folder=f"{FOLDER}-x-y")
    config.put(f"projects/{FOLDER}-sub2/memory/x")
    config.forget()
    left = {name for name in config.files if name.startswith("projects/")}
    assert left == {
        f"projects/{FOLDER}-sub/{TWO}.jsonl",
        f"projects/{FOLDER}-sub/{TWO}/subagents/agent-1.jsonl",
        f"projects/{FOLDER}-sub2/memory/x",
    }


def test_a_known_project_further_down_keeps_its_own(config: Config) -> None:
    inner = HERE / "inner"
    config.conversation(ONE, inner / "x", folder=f"{FOLDER}-inner-x")
    config.prompts(inner)
    config.state(inner)
    before = tree(config.path)
    assert config.look(inner).is_empty
    config.forget(inner)
    assert tree(config.path) == before
    assert config.look().conversations == 1


@pytest.mark.parametrize("length", [150, 250])
def test_a_long_path_is_found_by_the_part_that_claude_keeps(length: int, config: Config) -> None:
    root = Path("/made-up") / ("x" * length)
    name = history.folder_name(root)
    config.conversation(ONE, root, folder=name if length < 200 else f"{name[:200]}-1x2y3z")
    with safefs.opened(config.base, "shared") as aside:
        history.forget(config.base, ("shared", "claude-config"), Whose(root), aside)
    assert config.files == set()


def test_where_a_conversation_was_held_may_stand_far_down(config: Config) -> None:
    picture = json.dumps({"message": "x" * (3 << 20)})
    lines = [picture, "{broken", "[1]", '{"cwd": 7}', json.dumps({"cwd": str(TWIN)}), json.dumps({"cwd": str(HERE)})]
    config.put(f"projects/{FOLDER}/{ONE}.jsonl", "\n".join(lines))
    assert config.look().is_empty


def test_a_conversation_that_does_not_say_where_goes_with_the_others(config: Config) -> None:
    config.put(f"projects/{FOLDER}/{ONE}.jsonl", '{"type": "mode"}\n')
    assert config.look().conversations == 1
    config.conversation(TWO, TWIN)
    assert config.look().is_empty
    config.forget()
    assert f"projects/{FOLDER}/{ONE}.jsonl" in config.files


def test_what_has_no_id_of_a_conversation_leads_nowhere_else(config: Config) -> None:
    config.put(f"projects/{FOLDER}/d.jsonl", json.dumps({"cwd": str(HERE)}))
    config.put("debug/x.txt")
    config.put("d/d.txt")
    config.forget()
    assert config.files == {"debug/x.txt", "d/d.txt"}


def test_pasted_text_goes_with_the_prompt_that_nobody_else_has(config: Config) -> None:
    for name in ("0123456789abcdef", "fedcba9876543210"):
        config.put(f"paste-cache/{name}.txt")

    def prompt(project: Path, *pastes: str) -> str:
        contents = {str(number): {"contentHash": paste} for number, paste in enumerate(pastes)}
        return json.dumps({"project": str(project), "pastedContents": contents}) + "\n"

    both = ("0123456789abcdef", "fedcba9876543210")
    config.put("history.jsonl", prompt(HERE, *both) + prompt(TWIN, both[1]))
    config.forget()
    assert config.files == {"history.jsonl", f"paste-cache/{both[1]}.txt"}


def test_what_cannot_be_understood_stays_as_it_is(config: Config) -> None:
    config.put("history.jsonl", b'{broken\n[1]\n\xff\xfe\n{"project": 7}\n{"project": "relative"}\n\n"x"')
    config.put(".claude.json", "{broken")
    config.put("backups/.claude.json.backup.1", '{"projects": []}')
    before = tree(config.path)
    assert config.forget().number == 0
    assert tree(config.path) == before


def test_links_and_pipes_in_it_are_never_followed(config: Config, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    (precious / "memory").mkdir(parents=True)
    (precious / f"{ONE}.jsonl").write_text(json.dumps({"cwd": str(HERE)}))
    (precious / "history.jsonl").write_text(json.dumps({"project": str(HERE)}))
    before = tree(precious)
    (config.path / "projects").mkdir()
    (config.path / "projects" / FOLDER).symlink_to(precious)
    (config.path / "history.jsonl").symlink_to(precious / "history.jsonl")
    (config.path / "cache").symlink_to(precious)
    os.mkfifo(config.path / ".claude.json")
    assert config.look().is_empty
    left = config.forget()
    assert (left.number, left.first) == (1, "history.jsonl")
    assert tree(precious) == before
    config.conversation(TWO, HERE, folder=f"{FOLDER}-x")
    (config.path / f"projects/{FOLDER}-x/{ONE}.jsonl").symlink_to(precious / f"{ONE}.jsonl")
    config.forget()
    assert not (config.path / f"projects/{FOLDER}-x").exists()
    assert tree(precious) == before


def test_a_link_in_place_of_the_config_is_an_error(config: Config, tmp_path: Path) -> None:
    config.conversation(ONE, HERE)
    config.path.rename(tmp_path / "away")
    config.path.symlink_to(tmp_path / "away")
    with pytest.raises(OSError, match="directory"):
        config.look()
    with pytest.raises(OSError, match="directory"):
        config.forget()


def test_where_there_is_no_config_there_is_nothing(tmp_path: Path) -> None:
    assert history.look(tmp_path, ("shared", "claude-config"), Whose(HERE)).is_empty


def test_of_a_project_inside_of_which_only_the_id_is_known_nothing_is_forgotten() -> None:
    inner = HERE / "some/inner"
    whose = Whose(HERE, (), frozenset([Project(inner).id]))
    assert not whose(str(inner))
    assert not whose(str(inner / "below"))
    assert whose(str(HERE / "some"))
    assert whose(str(HERE))


@pytest.mark.parametrize("name", ["history.jsonl", ".claude.json"])
def test_what_another_session_is_writing_to_is_told_as_left(
    name: str, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "LONG_LOCK_SECONDS", 0.0)
    config.prompts(HERE)
    config.state(HERE)
    (config.path / f"{name}.lock").mkdir()
    left = config.forget()
    assert (left.number, left.first) == (1, name)
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
