"""Where each setting comes from, and how it is printed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confined_claude.commands import config
from confined_claude.host import Host
from confined_claude.project import Project
from confined_claude.settings import SPECS, Settings
from confined_claude.settings.files import ProjectFiles
from confined_claude.settings.resolution import Resolved, resolve
from confined_claude.state import trust
from confined_claude.state.store import records_of

from ..guarding import put

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def resolved(host: Host, project: str = "", user: str = "", **flags: str) -> Resolved:
    host.config.mkdir(parents=True, exist_ok=True)
    host.user_config_file.write_text(user)
    return resolve(host.user_config_file, ProjectFiles(Path("/p"), project), host.environ, flags)


def test_without_any_file_all_is_default(host: Host) -> None:
    found = resolved(host)
    assert found == Resolved(Settings(), {})
    assert all(line.endswith("# default") for line in config.lines(found))
    assert len(list(config.lines(found))) == len(SPECS)


def test_the_account_is_named(
    host: Host, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (root := tmp_path / "app").mkdir()
    monkeypatch.chdir(root)
    put(host.home / ".claude-work/.claude.json", json.dumps({"oauthAccount": {"emailAddress": "me@work.invalid"}}))
    put(host.home / ".claude-work/.credentials.json", json.dumps({"claudeAiOauth": {"accessToken": "t"}}))
    config.config(host._replace(environ={"CONFINED_CLAUDE_PROFILE": "work"}), as_json=False)
    source = host.home / ".claude-work"
    expected = f"# The profile is work: me@work.invalid; it copies from {source}."
    assert capsys.readouterr().out.splitlines()[-1] == expected
    config.config(host, as_json=False)
    assert capsys.readouterr().out.splitlines()[-1].startswith("# The profile for host is default: not signed in; ")
    config.config(host._replace(environ={"CONFINED_CLAUDE_PROFILE": "work"}), as_json=True)
    assert json.loads(capsys.readouterr().out)["profile"] == {
        "name": "work",
        "copies_from": str(source),
        "sign_in": "credentials",
        "is_lent": False,
        "account": "me@work.invalid",
        "is_current": True,
    }


def test_each_value_names_where_it_comes_from(host: Host) -> None:
    environ = {"CONFINED_CLAUDE_NETWORK": "open", "CONFINED_CLAUDE_GIT": "open"}
    found = resolved(
        host._replace(environ=environ),
        project='sudo = "off"\nmemory = "4g"\nprotect = ["b"]',
        user='network = "none"\nmemory = "8g"\nprotect = ["a"]\nallow = ["x.y"]',
        git="isolated",
    )
    file, theirs = str(host.user_config_file), "/p/config.toml"
    assert found.sources == {
        "network": ("CONFINED_CLAUDE_NETWORK",),
        "memory": (file, theirs),
        "protect": (file, theirs),
        "allow": (file,),
        "sudo": (theirs,),
        "git": ("--git",),
    }
    assert found.settings.protect == ("a", "b")
    printed = {line.split(" = ")[0]: line for line in config.lines(found)}
    assert printed["network"].split("#") == [printed["network"].split("#")[0], " CONFINED_CLAUDE_NETWORK"]
    assert f"# {file} and {theirs}" in printed["memory"]


def test_what_a_project_does_not_get_is_reported(host: Host) -> None:
    found = resolved(host, project='network = "allowlist"\nsudo = "apt"', user='network = "none"\nsudo = "off"')
    assert found.not_taken == ("network", "sudo")
    assert found.sources["network"] == (str(host.user_config_file),)
    assert sum("does not apply" in line for line in config.lines(found)) == 2


def test_the_lines_are_a_config_file(host: Host) -> None:
    found = resolved(host, user='protect = ["a b", \'q"\\b\']\nhost_ports = [80]')
    values = tomllib.loads("\n".join(config.lines(found)))
    assert values == config.values(found)
    assert values["protect"] == ["a b", 'q"\\b']


@given(
    paths=st.lists(st.text("ab\"\\'# \t\x1b\x7f\u202eé\U0001f600", min_size=1)),
    cpus=st.sampled_from(["2", "1.5", "50%"]),
)
def test_what_is_printed_is_taken_back(paths: list[str], cpus: str, host: Host) -> None:
    protect = tuple(path for path in paths if SPECS["protect"].allows(path))
    limits = {"pids": ("100", "4096"), "memory": ("75%", "4g"), "cpus": ("100%", cpus)}
    found = Resolved(Settings(network="docker:mine", ports=("80",))._replace(protect=protect, **limits), {})
    assert resolved(host, user="\n".join(config.lines(found))).settings == found.settings


def test_one_line_names_what_is_open_beyond_the_defaults(host: Host) -> None:
    found = resolved(host, user='network = "none"\nprotect = ["a"]\nclaude_version = "2.1.0"', project='sudo = "off"')
    assert not any("Open beyond" in line for line in config.lines(found))
    found = resolved(host, user='network = "open"\nports = [80, 81]\nplugin_scripts = "on"\nprotect = ["a"]')
    opened = "# Open beyond the defaults: plugin_scripts = on; network = open; ports = 80, 81."
    assert opened in config.lines(found)


def test_for_programs_it_is_one_object(host: Host) -> None:
    found = json.loads(json.dumps(config.in_json(resolved(host, user='sudo = "off"'))))
    assert found["version"] == 1
    assert found["settings"]["sudo"] == {"value": "off", "sources": [str(host.user_config_file)]}
    assert found["settings"]["pids"] == {"value": ["4096"], "sources": []}
    assert set(found["settings"]) == set(SPECS)


def test_a_project_that_waits_for_trust_is_reported_and_not_in_force(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = Project(tmp_path / "project")
    project.scaffold.mkdir(parents=True)
    (project.scaffold / "config.toml").write_text('network = "open"\n')
    monkeypatch.chdir(project.root)
    found, notes = config.resolve_here(host)
    assert found.settings.network == "internet"
    assert "network = 'open'" in notes[0]
    found = ProjectFiles.read(project.scaffold)
    trust.allow(records_of(host, project.id), found, trust.digest_of(found))
    found, notes = config.resolve_here(host)
    assert (found.settings.network, notes) == ("open", [])
    assert found.sources["network"] == (str(project.scaffold / "config.toml"),)


def test_the_command_works_where_no_project_can_be(tmp_path: Path) -> None:
    script = "from confined_claude.cli import main; main()"
    words = [sys.executable, "-c", script, "config", "--json"]
    done = subprocess.run(words, cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["settings"]["network"]["value"] == "internet"
    assert "cannot be a project" in done.stderr
