"""Which profile a session uses, and which Claude config of the host that copies from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from confined_claude.errors import ConfinedError
from confined_claude.host import Host
from confined_claude.project import Project
from confined_claude.settings import Settings
from confined_claude.state import profiles
from confined_claude.state.profiles import Profile
from confined_claude.workspace import Workspace, profile_data


@pytest.fixture
def home(host: Host) -> Path:
    (host.home / ".claude").mkdir()
    return host.home


def named(host: Host, directory: Path | str) -> Host:
    return host._replace(environ={"CLAUDE_CONFIG_DIR": str(directory)})


def use(host: Host, wanted: str = "host") -> Profile:
    """The profile of a start, which remembers it."""
    profile = profiles.find(host, wanted)
    profiles.remember(host, profile)
    return profile


def test_without_a_variable_it_is_the_default_one_and_nothing_is_recorded(host: Host, home: Path) -> None:
    for wanted in ("host", "default"):
        assert use(host, wanted) == Profile("default", home / ".claude")
    for spelled in (home / ".claude/", f"/{home}/.claude"):
        assert use(named(host, spelled)) == Profile("default", home / ".claude")
    assert not host.state.exists()


def test_it_follows_claude_config_dir_and_is_the_same_each_time(host: Host, home: Path) -> None:
    for directory, name in ((home / ".claude-work", "work"), (home / "etc/Claude Config", "claude-config-")):
        first = use(named(host, directory))
        assert first.is_new
        assert first.source == directory
        assert first.name.startswith(name)
        assert use(named(host, f"{directory}/")) == first._replace(is_new=False)
        assert use(host, first.name) == first._replace(is_new=False)
    assert use(host) == Profile("default", home / ".claude")
    assert [each.name for each in profiles.known(host)] == ["default", first.name, "work"]


def test_a_link_to_a_config_is_that_config(host: Host, home: Path) -> None:
    (home / "elsewhere").symlink_to(home / ".claude")
    assert use(named(host, home / "elsewhere")).name == "default"


def test_a_new_name_takes_what_the_variable_names_or_the_directory_of_that_name(host: Host, home: Path) -> None:
    assert use(host, "work") == Profile("work", home / ".claude-work", is_new=True)
    assert use(named(host, home / "x"), "play") == Profile("play", home / "x", is_new=True)
    # From then on that is so, whatever the variable says.
    assert use(named(host, home / "y"), "play") == Profile("play", home / "x")
    assert use(named(host, home / "x")) == Profile("play", home / "x")
    assert use(named(host, home / ".claude-work"), "default") == Profile("default", home / ".claude")


def test_a_name_that_is_taken_gets_no_second_config(host: Host, home: Path) -> None:
    use(named(host, home / "x"), "work")
    other = use(named(host, home / ".claude-work"))
    assert other.name != "work"
    assert other.source == home / ".claude-work"


def test_where_there_is_no_dot_claude_the_named_config_is_the_default_one(host: Host) -> None:
    """As for users of version 0.1 whose only account is there: they keep their history."""
    only = host.home / ".config/claude"
    assert use(named(host, only)) == Profile("default", only, is_new=True)
    (host.home / ".claude").mkdir()
    assert use(named(host, only)) == Profile("default", only)
    assert use(host).name not in ("default", "host")


def test_two_first_uses_of_a_name_do_not_mix_accounts(host: Host, home: Path) -> None:
    one, other = (profiles.find(named(host, home / name), "work") for name in "ab")
    profiles.remember(host, one)
    with pytest.raises(ConfinedError, match="copies from"):
        profiles.remember(host, other)


def test_records_that_are_broken_or_newer(host: Host, home: Path) -> None:
    host.state.mkdir(parents=True)
    for entries in ([], {"../x": "/x"}, {"work": "x"}, {"work": 1}, {"work": "/a\0b"}):
        (host.state / "profiles.json").write_text(json.dumps({"version": 1, "profiles": entries}))
        assert profiles.known(host) == [Profile("default", home / ".claude")]
    (host.state / "profiles.json").write_text('{"version": 99}')
    with pytest.raises(ConfinedError, match="newer version"):
        profiles.find(host, "work")


def test_a_profile_sees_the_host_with_its_own_config(host: Host, home: Path) -> None:
    work = named(host, home / ".claude-work")
    assert use(host, "work").bind(host).environ == work.environ
    assert use(host, "work").bind(work) is work
    assert use(work, "default").bind(work).environ == {}
    assert host.claude_state == home / ".claude.json"
    assert work.claude_state == home / ".claude-work/.claude.json"


def test_each_profile_has_a_config_of_its_own(host: Host, home: Path, tmp_path: Path) -> None:
    project = tmp_path / "app"
    project.mkdir()

    def config(profile: str, scope: str = "shared") -> Path:
        settings = Settings(profile=profile, claude_config=scope)
        return Workspace(host, Project(project), settings).in_profile().claude_config.path.relative_to(host.data)

    id = Project(project).id
    assert str(config("default")) == "shared/claude-config"
    assert str(config("work")) == "profiles/work/claude-config"
    assert str(config("default", "project")) == f"projects/{id}/claude-config"
    assert str(config("work", "project")) == f"projects/{id}/profiles/work/claude-config"
    for name in ("work", ".removed-1", "NOT"):
        (host.data / "profiles" / name).mkdir(parents=True)
    assert [name for name, _ in profile_data(host)] == ["work"]


def test_no_config_in_the_project_is_copied_from(host: Host, home: Path, tmp_path: Path) -> None:
    project = tmp_path / "app"
    (project / "c").mkdir(parents=True)
    use(named(host, project / "c"), "work")
    with pytest.raises(ConfinedError, match="cannot be a project"):
        Workspace(host, Project(project), Settings(profile="work")).in_profile()
