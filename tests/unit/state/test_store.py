"""A link in place of ``<state>`` is refused by all that keep something there, and nothing is made behind it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from confined_claude.engine import containers
from confined_claude.errors import ConfinedError
from confined_claude.guard import records
from confined_claude.host import Host
from confined_claude.image import build as image
from confined_claude.image.inventory import Inventory
from confined_claude.image.recipe import Recipe
from confined_claude.project import Project
from confined_claude.settings.files import ProjectFiles
from confined_claude.state import facts, trust
from confined_claude.state import locks as shared
from confined_claude.state import projects as known
from confined_claude.state.store import records_of, state_of

from ..conftest import tree


def _enter(context: contextlib.AbstractContextManager[Any]) -> None:
    with context:
        pass


ENGINE: Any = type("Engine", (), {"file_in_image": lambda *_: b'{"version": "1"}'})()
RECIPE = Recipe("Building.", {})
FILES = ProjectFiles(Path("anywhere"))
USES: dict[str, Callable[[Host, Project], object]] = {
    "known projects": lambda host, project: known.remember(records_of(host, project.id), project.root),
    "shared data": lambda host, _: _enter(shared.in_use(state_of(host))),
    "clean": lambda host, _: _enter(shared.held_alone(state_of(host))),
    "records": lambda host, project: _enter(records.locked(records_of(host, project.id))),
    "images": lambda host, _: Inventory(ENGINE, host).note_built("sha256:1"),
    "build lock": lambda host, _: _enter(image._build_lock(host, RECIPE)),
    "build log": lambda host, _: image._open_log(host)[1].close(),
    "trust": lambda host, project: trust.allow(records_of(host, project.id), FILES, trust.digest_of(FILES)),
}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "project").mkdir()
    return Project(tmp_path / "project")


@pytest.mark.parametrize("use", USES.values(), ids=list(USES))
def test_a_link_is_refused(use: Callable[[Host, Project], object], host: Host, project: Project) -> None:
    elsewhere = host.home / "precious"
    elsewhere.mkdir()
    host.state.parent.mkdir(parents=True)
    host.state.symlink_to(elsewhere)
    before = tree(elsewhere)
    with pytest.raises(ConfinedError, match="is a link"):
        use(host, project)
    assert tree(elsewhere) == before
    # The control: without the link it is made.
    host.state.unlink()
    use(host, project)
    assert host.state.is_dir()


def test_a_cache_is_not_written_behind_a_link(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = host.home / "precious"
    elsewhere.mkdir()
    host.state.parent.mkdir(parents=True)
    host.state.symlink_to(elsewhere)
    assert Inventory(ENGINE, host).claude_version("id") == "1"
    for name in ("info", "version"):
        monkeypatch.setattr(containers, name, dict)
    facts.current_facts(state_of(host), "unix:///none")
    assert tree(elsewhere) == {}
