"""The known projects are remembered, and what is damaged is put aside."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from confined_claude.errors import ConfinedError
from confined_claude.host import Host
from confined_claude.project import Project
from confined_claude.state import projects as known
from confined_claude.state import store
from confined_claude.state.store import records_of, state_of

from ..guarding import put


def record(project: Project, host: Host) -> Path:
    return host.state / "projects" / project.id / "project.json"


def remember(project: Project, host: Host) -> None:
    known.remember(records_of(host, project.id), project.root)


def test_what_was_used_last_comes_first(host: Host, tmp_path: Path) -> None:
    assert known.projects(state_of(host)) == []
    projects = [Project(tmp_path / name) for name in ("one", "two", "three")]
    for age, project in enumerate(projects):
        remember(project, host)
        os.utime(record(project, host), (1000 - age, 1000 - age))
    projects[0].root.mkdir()
    assert [(found.root, found.last_used, found.exists) for found in known.projects(state_of(host))] == [
        (projects[0].root, 1000, True),
        (projects[1].root, 999, False),
        (projects[2].root, 998, False),
    ]
    remember(projects[2], host)
    assert known.projects(state_of(host))[0].root == projects[2].root


@pytest.mark.parametrize("name", ["a\nb", "grüße", 'quo"te', "-x", "[bold]"])
def test_any_name(name: str, host: Host, tmp_path: Path) -> None:
    project = Project(tmp_path / name)
    remember(project, host)
    remember(project, host)
    (found,) = known.projects(state_of(host))
    assert (found.id, found.root) == (project.id, project.root)
    assert known.find(project.id, state_of(host)) == found
    assert known.find(str(project.root), state_of(host)) == found


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"version": 1, "root": "/a\\u0000b"}',
        '{"version": 1, "root": "/a\\ud800"}',
        '{"version": 1, "root": "x"}',
        '{"version":1,"root":7}',
    ],
)
def test_a_damaged_record_is_renamed_and_reported(
    content: str, host: Host, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = Project(tmp_path)
    remember(project, host)
    record(project, host).write_text(content)
    (found,) = known.projects(state_of(host))
    assert (found.id, found.root, found.exists) == (project.id, None, False)
    remember(project, host)
    (aside,) = record(project, host).parent.glob("project.json.*")
    assert aside.read_text() == content
    assert str(aside) in capsys.readouterr().err
    assert json.loads(record(project, host).read_text())["root"] == str(tmp_path)


def test_a_link_in_place_of_the_record_is_not_followed(host: Host, tmp_path: Path) -> None:
    project = Project(tmp_path)
    target = tmp_path / "target"
    target.write_text("precious")
    record(project, host).parent.mkdir(parents=True)
    record(project, host).symlink_to(target)
    remember(project, host)
    assert target.read_text() == "precious"
    assert not record(project, host).is_symlink()


def test_a_directory_that_became_a_link_is_found_as_what_it_was(host: Host, tmp_path: Path) -> None:
    old, new = Project(tmp_path / "old"), Project(tmp_path / "new")
    for project in (old, new):
        remember(project, host)
    new.root.mkdir()
    old.root.symlink_to(new.root)
    assert known.find(str(old.root), state_of(host)).id == old.id
    (tmp_path / "other").symlink_to(new.root)
    assert known.find(str(tmp_path / "other"), state_of(host)).id == new.id


def test_from_a_directory_that_is_gone_a_project_is_found_by_its_id(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = Project(tmp_path / "project")
    remember(project, host)
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert known.find(project.id, state_of(host)).root == project.root
    with pytest.raises(ConfinedError, match="no known project"):
        known.find("x", state_of(host))


@pytest.mark.parametrize("names", [[], ["lock"]])
def test_a_directory_without_any_record_is_no_project(names: list[str], host: Host, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    remember(Project(tmp_path / "real"), host)
    directory = host.state / "projects/nothing-00000000"
    directory.mkdir()
    for name in names:
        (directory / name).touch()
    assert [found.root for found in known.projects(state_of(host))] == [tmp_path / "real"]
    (directory / "findings.json").touch()  # the control: a project whose record is lost
    lost = [found.id for found in known.projects(state_of(host)) if found.root is None]
    assert lost == ["nothing-00000000"]


def test_what_is_no_known_project_is_an_error(host: Host) -> None:
    with pytest.raises(ConfinedError, match="no known project 'x'"):
        known.find("x", state_of(host))


def test_a_record_of_an_older_version_is_known_and_brought_up_to_date(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = Project(tmp_path / "project")
    remember(project, host)
    monkeypatch.setattr(store, "VERSION", store.VERSION + 1)
    assert [found.root for found in known.projects(state_of(host))] == [project.root]
    remember(project, host)
    content = json.loads(record(project, host).read_text())
    assert content == {"version": store.VERSION, "root": str(project.root), "identity": None}
    assert list(record(project, host).parent.iterdir()) == [record(project, host)]


# Projects that were moved


@pytest.fixture
def here(host: Host, tmp_path: Path) -> Project:
    """A project that was used, at its first place."""
    project = Project(tmp_path / "first")
    put(project.scaffold / ".gitignore")
    remember(project, host)
    return project


def moved_from(root: Path, host: Host) -> Path | None:
    return known.moved_from(state_of(host), Project(root))


def test_a_project_that_was_renamed_is_recognized_until_it_is_known(here: Project, host: Host, tmp_path: Path) -> None:
    assert moved_from(here.root, host) is None
    new = here.root.rename(tmp_path / "second")
    assert moved_from(new, host) == here.root
    remember(Project(new), host)
    assert moved_from(new, host) is None


def test_another_project_is_never_taken_for_one_that_is_gone(here: Project, host: Host, tmp_path: Path) -> None:
    other = put(tmp_path / "other/.confined-claude/.gitignore").parent.parent
    copy = Path(shutil.copytree(here.root, tmp_path / "copy"))
    shutil.rmtree(here.root)
    again = put(tmp_path / "again/.confined-claude/.gitignore").parent.parent  # most likely with the same inodes
    for root in (other, copy, again, tmp_path):
        assert moved_from(root, host) is None


def test_as_long_as_the_old_path_exists_nothing_was_moved(here: Project, host: Host, tmp_path: Path) -> None:
    new = here.root.rename(tmp_path / "second")
    here.root.symlink_to(new)
    assert moved_from(new, host) is None


def test_a_record_without_an_identity_recognizes_nothing(here: Project, host: Host, tmp_path: Path) -> None:
    record(here, host).write_text(json.dumps({"version": 1, "root": str(here.root)}))
    assert moved_from(here.root.rename(tmp_path / "second"), host) is None
