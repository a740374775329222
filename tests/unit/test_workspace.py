"""The current project with its settings and locations, bound once."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from confined_claude.errors import ConfinedError, ReviewNeeded
from confined_claude.host import Host
from confined_claude.project import Project
from confined_claude.settings import Settings
from confined_claude.state.current import current_project
from confined_claude.state.store import records_of
from confined_claude.workspace import Workspace


@pytest.fixture
def project(tmp_path: Path) -> Project:
    root = tmp_path / "project"
    (root / ".confined-claude").mkdir(parents=True)
    return Project(root)


def configure(project: Project, text: str) -> None:
    (project.scaffold / "config.toml").write_text(text)


def test_the_current_directory_decides_which_project(
    project: Project, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(project, 'network = "none"\n')
    inner = project.root / "src"
    inner.mkdir()
    monkeypatch.chdir(inner)
    workspace = Workspace.current(host, {"sudo": "off", "git": None})
    assert workspace.project == project
    assert (workspace.settings.network, workspace.settings.sudo, workspace.settings.git) == ("none", "off", "guarded")


def test_programs_of_the_project_and_of_known_projects_around_it_are_not_run(
    project: Project, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(project.scaffold)  # with it the project counts as one that was moved
    inner = project.root / "inner"
    (inner / ".git").mkdir(parents=True)
    (inner / ".git/HEAD").write_text("ref: refs/heads/main\n")
    monkeypatch.chdir(inner)
    places = [str(place / "bin") for place in (inner, project.root, project.root.parent)]
    monkeypatch.setenv("PATH", os.pathsep.join(places))
    assert current_project(host).root == inner
    assert os.environ["PATH"].split(os.pathsep) == places[1:]
    records_of(host, project.id).make().close()
    current_project(host)
    assert os.environ["PATH"].split(os.pathsep) == places[2:]


def test_a_current_directory_that_is_gone_is_reported(
    tmp_path: Path, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(ConfinedError, match="current directory is gone"):
        current_project(host)


@pytest.mark.parametrize("text", ['network = "open"\n', "nonsense"])
def test_a_review_does_not_depend_on_the_settings(project: Project, host: Host, text: str) -> None:
    configure(project, text)
    with pytest.raises(ConfinedError):
        Workspace.load(host, project)
    assert Workspace.load_leniently(host, project).settings == Settings()


def test_settings_can_be_read_again(project: Project, host: Host) -> None:
    before = Workspace.load(host, project, {"sudo": "off"})
    configure(project, 'network = "none"\n')
    after = before.reloaded()
    assert (before.settings.network, after.settings.network, after.settings.sudo) == ("internet", "none", "off")
    configure(project, 'network = "open"\n')
    with pytest.raises(ReviewNeeded):
        before.reloaded()


def test_locations_follow_the_settings(project: Project, host: Host) -> None:
    shared = Workspace(host, project)
    own = Workspace(host, project, Settings(claude_config="project", caches="project"))
    assert shared.claude_config.path == host.data / "shared/claude-config"
    assert shared.downloads.path == host.data / "shared/downloads"
    assert own.claude_config.path == host.data / "projects" / project.id / "claude-config"
    assert own.downloads.path == host.data / "projects" / project.id / "downloads"
    assert own.state.path == host.state / "projects" / project.id
    assert own.scaffold.path == project.root / ".confined-claude"


def test_what_is_mounted_to_be_written_is_written(host: Host, tmp_path: Path) -> None:
    settings = Settings(mounts=("/data", "~/notes:rw", "../beside:/inside:rw", "/more:ro"))
    workspace = Workspace(host, Project(tmp_path / "app"), settings)
    assert workspace.written == (tmp_path / "app", host.home / "notes", tmp_path / "beside")
    assert Workspace(host, Project(tmp_path / "app"), Settings()).written == (tmp_path / "app",)
