"""Programs are not found where sessions can write: in any known project, whatever way PATH leads there."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from confined_claude import host as facts
from confined_claude.claude.source import KEY, Renewal, Source
from confined_claude.commands import template
from confined_claude.commands.catalogue import COMMANDS
from confined_claude.commands.doctor import machine
from confined_claude.commands.doctor.results import WARNING
from confined_claude.engine import command
from confined_claude.errors import ConfinedError, EngineError
from confined_claude.host import Host, clean_path
from confined_claude.project import Project
from confined_claude.state import projects, written
from confined_claude.state.store import records_of

from ..guarding import put

PROGRAM = "made-up-program"


@pytest.fixture(autouse=True)
def looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What this process looks for is as at a start."""
    monkeypatch.setattr(facts, "_looks", [])
    monkeypatch.setattr(facts, "_written", [])


def plant(directory: Path) -> Path:
    put(directory / PROGRAM, "#!/bin/sh\n").chmod(0o755)
    return directory


@pytest.mark.parametrize("is_known", [False, True])
@pytest.mark.parametrize("way", ["itself", "below", "a link into it", "a link in it", "a link on the way", "dots"])
def test_a_program_of_another_project_is_not_found(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str, is_known: bool
) -> None:
    root, elsewhere = tmp_path / "other", tmp_path / "elsewhere"
    found = plant(elsewhere if way == "a link in it" else root / "bin")
    links = {
        "a link into it": (tmp_path / "link", found),
        "a link in it": (root / "link", elsewhere),
        "a link on the way": (tmp_path / "link", root),
    }
    entry = {"itself": root, "dots": elsewhere / "../other/bin", "a link on the way": tmp_path / "link/bin"}.get(
        way, links.get(way, (found,))[0]
    )
    if way == "itself":
        plant(root)
    if way in links:
        root.mkdir(exist_ok=True)
        links[way][0].symlink_to(links[way][1])
    elsewhere.mkdir(exist_ok=True)
    if is_known:
        projects.remember(records_of(host, Project(root).id), root)
    monkeypatch.setenv("PATH", f"{entry}:/usr/bin")
    monkeypatch.chdir(elsewhere)
    COMMANDS["requests"].body(host)
    assert (shutil.which(PROGRAM) is None) == is_known
    assert "/usr/bin" in os.environ["PATH"]


def test_a_project_that_becomes_known_later_counts_from_then_on(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{plant(tmp_path / 'other/bin')}:relative:/usr/bin")
    monkeypatch.chdir(tmp_path)
    COMMANDS["requests"].body(host)
    assert shutil.which(PROGRAM)
    projects.remember(records_of(host, Project(tmp_path / "other").id), tmp_path / "other")
    clean_path()
    assert os.environ["PATH"] == "/usr/bin"


def test_what_is_mounted_moved_and_shared_counts_and_the_home_directory_does_not(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounted, moved = plant(tmp_path / "mounted/bin"), plant(tmp_path / "moved/bin")
    records_of(host, Project(tmp_path / "mounted").id).make().close()
    put(tmp_path / "moved/.confined-claude/.gitignore")
    put(host.home / ".confined-claude/.gitignore")
    own = plant(host.home / "bin")
    monkeypatch.setenv("PATH", f"{mounted}:{moved}:{host.data / 'shared'}:{own}")
    COMMANDS["requests"].body(host)
    assert os.environ["PATH"] == str(own)


@pytest.mark.parametrize("is_known", [False, True])
@pytest.mark.parametrize("target", ["dotfiles/bin/{}", "link"])
@pytest.mark.parametrize("name", facts.PROGRAMS)
def test_a_program_that_is_a_link_into_another_project_is_not_found(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, target: str, *, is_known: bool
) -> None:
    root, entry = tmp_path / "dotfiles", tmp_path / "bin"
    put(root / "bin" / name, "#!/bin/sh\n").chmod(0o755)
    (tmp_path / "link").symlink_to(root / "bin" / name)
    entry.mkdir()
    (entry / name).symlink_to(f"../{target.format(name)}")
    if is_known:
        projects.remember(records_of(host, Project(root).id), root)
    monkeypatch.setenv("PATH", f"{entry}:{tmp_path / 'empty'}")
    COMMANDS["requests"].body(host)
    assert (shutil.which(name) is None) == is_known


def test_a_link_by_a_name_that_this_tool_does_not_start_keeps_no_other_program_away(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, entry = tmp_path / "dotfiles", plant(tmp_path / "bin")
    projects.remember(records_of(host, Project(root).id), root)
    (entry / "other").symlink_to(put(root / "other"))
    (entry / "git").symlink_to("/usr/bin/git")
    monkeypatch.setenv("PATH", str(entry))
    COMMANDS["requests"].body(host)
    assert shutil.which(PROGRAM)


@pytest.mark.parametrize("is_known", [False, True])
def test_what_is_missing_names_where_one_is_that_is_not_used(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_known: bool
) -> None:
    root = tmp_path / "other"
    for name in ("docker", "podman", "git", "get-key"):
        put(root / "bin" / name, "#!/bin/sh\n").chmod(0o755)
    if is_known:
        projects.remember(records_of(host, Project(root).id), root)
    monkeypatch.setenv("PATH", f"{root / 'bin'}:{tmp_path}")
    host = host._replace(environ={"PATH": os.environ["PATH"]})
    COMMANDS["requests"].body(host)
    why = f"missing: the one in {root / 'bin'}, on PATH, is not used, as sessions can write it"
    assert [(result.status, str(root / "bin") in result.what) for result in machine.left_out_of_path()] == (
        [(WARNING, True)] if is_known else []
    )
    assert (why in machine.docker_command(host).what, why in machine.git_command(host).what) == (is_known, is_known)
    if is_known:
        for start in (command.program, lambda: command.words(podman=True), lambda: command.forward(0)):
            with pytest.raises(EngineError, match=re.escape(why)):
                start()
        source = Source("made-up", ("get-key",), KEY, {})
        with pytest.raises(ConfinedError, match=re.escape(why)):
            Renewal(source, lambda: os.environ["PATH"]).first()
        with pytest.raises(ConfinedError, match=f"git is {re.escape(why)}"), template.explained():
            pass
        shutil.rmtree(root / "bin")
        with pytest.raises(EngineError, match="The docker command is missing\\."):
            command.program()


def test_git_is_asked_where_nothing_is_left_of_path(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = plant(tmp_path / "other")
    projects.remember(records_of(host, Project(entry).id), entry)
    put(host.home / ".gitconfig", "[user]\nname = Made Up\n")
    monkeypatch.setenv("PATH", str(entry))
    host = host._replace(environ={"PATH": str(entry)})
    COMMANDS["requests"].body(host)
    assert ("user.name", "Made Up") in [(key, value) for key, value, _ in host.git_config]


@pytest.mark.parametrize("known", ["Other", "System32", "\u00c4"])
def test_only_what_has_the_name_of_a_project_is_looked_up_by_another_spelling(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: str
) -> None:
    """As on a drive that finds a directory by any spelling of its name, and takes long for it."""
    listed = list[str]()
    monkeypatch.setattr(written, "as_listed", lambda path: (listed.append(path.name), path.with_name(known))[1])
    entry = tmp_path / known.swapcase()
    for name in (known, known.swapcase(), "Windows", "wINDOWS", "123"):
        (tmp_path / name).mkdir()
    projects.remember(records_of(host, Project(tmp_path / known).id), tmp_path / known)
    monkeypatch.setenv("PATH", f"{tmp_path / 'Windows'}:{entry}:{tmp_path / '123'}")
    COMMANDS["requests"].body(host)
    assert os.environ["PATH"] == f"{tmp_path / 'Windows'}:{tmp_path / '123'}"
    assert listed == [entry.name]


def test_a_path_of_which_nothing_is_left_does_not_become_the_current_directory(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path / 'other'}:.:")
    monkeypatch.chdir(plant(tmp_path / "other"))
    projects.remember(records_of(host, Project(tmp_path / "other").id), tmp_path / "other")
    COMMANDS["requests"].body(host)
    assert os.environ["PATH"] == os.defpath
