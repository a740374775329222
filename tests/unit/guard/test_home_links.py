"""What in a project the user's shell, editor or another program reads under a name in the home directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from confined_claude.guard.guarded_project import GuardedProject
from confined_claude.guard.pins import plan_pins
from confined_claude.host import Host
from confined_claude.project import Project
from confined_claude.settings import Settings
from confined_claude.workspace import Workspace

from ..guarding import put


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    return home


@pytest.fixture
def dots(home: Path) -> Path:
    dots = home / "dots"
    for path in ("bashrc", "nvim/init.lua", "nvim/lua/more.lua", "ssh/config", "unit", "notes"):
        put(dots / path)
    return dots


def guarded(root: Path, home: Path, **settings: tuple[str, ...]) -> GuardedProject:
    host = Host(1000, 1000, home, {}, home / "d", home / "s", home / "c")
    return GuardedProject(Workspace(host, Project(root), Settings(**settings)))


def red(project: GuardedProject, path: str) -> bool:
    rule = project.matcher.rule_of(path.split("/"))
    return rule is not None and rule.red


@pytest.mark.parametrize(
    ("link", "target", "path"),
    [
        (".bashrc", "dots/bashrc", "bashrc"),
        (".zshenv", "{dots}/bashrc", "bashrc"),
        (".tmux.conf", "dots/bashrc", "bashrc"),
        (".config/nvim", "../dots/nvim", "nvim/lua/more.lua"),
        (".vim", "dots/nvim", "nvim/init.lua"),
        (".ssh", "dots/ssh", "ssh/config"),
        (".config", "dots/nvim", "nvim/init.lua"),
        (".config/systemd/user/x.service", "{dots}/unit", "unit"),
        (".config/autostart/x.desktop", "{dots}/unit", "unit"),
        (".claude/settings.json", "{dots}/bashrc", "bashrc"),
        (".claude/skills", "{dots}/nvim", "nvim/lua/more.lua"),
        (".claude/hooks/check.py", "{dots}/unit", "unit"),
    ],
)
def test_it_is_read_only_and_red(home: Path, dots: Path, link: str, target: str, path: str) -> None:
    assert not red(guarded(dots, home), path)  # the control
    (home / link).parent.mkdir(parents=True, exist_ok=True)
    (home / link).symlink_to(target.format(dots=dots))
    project = guarded(dots, home)
    assert red(project, path)
    assert not red(project, "notes")
    pinned = plan_pins(Project(dots), None, project.matcher).read_only
    assert any((dots / path).is_relative_to(place) for place in pinned)
    # The user may open it.
    assert not red(guarded(dots, home, writable=(path,)), path)


def test_links_in_the_config_that_claude_is_led_to_count_too(home: Path, dots: Path) -> None:
    put(home / ".claude-work/agents/one.md")
    (home / ".claude-work/settings.json").symlink_to(dots / "unit")
    environ = {"CLAUDE_CONFIG_DIR": str(home / ".claude-work")}
    host = Host(1000, 1000, home, environ, home / "d", home / "s", home / "c")
    assert red(GuardedProject(Workspace(host, Project(dots), Settings())), "unit")


def test_every_link_on_the_way_counts(home: Path, dots: Path) -> None:
    (dots / "current").symlink_to("nvim")
    (home / ".vim").symlink_to("dots/current")
    assert red(guarded(dots, home), "current")
    assert red(guarded(dots, home), "nvim/init.lua")


def test_links_elsewhere_and_in_circles_are_none_of_it(home: Path, dots: Path) -> None:
    (home / ".bashrc").symlink_to(".bashrc")
    (home / ".zshrc").symlink_to("other")
    (home / "mine").symlink_to("dots/bashrc")
    assert not red(guarded(dots, home), "bashrc")
