"""What ``clean`` and ``clean-global`` delete and keep: confirmed, refused, interrupted, with links in the way."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from confined_claude.claude import history, tokens
from confined_claude.commands import clean, template
from confined_claude.commands.clean import Options
from confined_claude.commands.clean.project import ProjectCleanup
from confined_claude.errors import ENGINE, USAGE, ConfinedError
from confined_claude.guard import records
from confined_claude.guard.findings import Finding
from confined_claude.guard.records import Record
from confined_claude.guard.snapshot import Kind
from confined_claude.host import Host
from confined_claude.project import IGNORED, Project
from confined_claude.state import locks, profiles, projects
from confined_claude.state.store import records_of, state_of

from ..conftest import as_plain_user, tree
from ..guarding import put

SURE = Options(sure=True)
ALL = Options(everything=True, sure=True)


class Terminal(io.StringIO):
    """A terminal with what someone has typed."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def host(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A host without an engine."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return host._replace(environ={"DOCKER_HOST": f"unix://{tmp_path}/none.sock"})


@pytest.fixture
def here(tmp_path: Path, host: Host, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project without a scaffold, in which there were sessions."""
    root = tmp_path / "project"
    put(root / "src/main.py")
    monkeypatch.chdir(root)
    used(Project(root), host)
    put(root / ".confined-claude/.gitignore", IGNORED.decode())
    return Project(root)


def history_of(project: Project, host: Host) -> Path:
    return host.data / "shared/claude-config/projects" / history.directory_name(project.root)


def used(project: Project, host: Host) -> None:
    """Leave what sessions leave."""
    put(project.scaffold / "venvs/main/bin/python")
    put(project.scaffold / "local-bin/.lib/x")
    put(host.data / "projects" / project.id / "pip-cache/x")
    put(history_of(project, host) / "x.jsonl", json.dumps({"cwd": str(project.root)}))
    put(host.data / "shared/pip-cache/x")
    projects.remember(records_of(host, project.id), project.root)


def answer(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal("".join(f"{word}\n" for word in words)))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)


def refused(work: Callable[[], None], code: int = USAGE) -> ConfinedError:
    with pytest.raises(ConfinedError) as caught:
        work()
    assert caught.value.exit_code == code
    assert caught.value.hint
    assert "\n" not in caught.value.message + caught.value.hint
    return caught.value


def everything_of(project: Project, host: Host) -> list[Path]:
    places = (
        project.scaffold,
        host.data / "projects" / project.id,
        host.state / "projects" / project.id,
        history_of(project, host),
    )
    return [place for place in places if place.exists()]


def leftovers(folder: Path) -> list[Path]:
    return list(folder.rglob(".removed-*"))


# What is deleted


def test_without_a_scaffold_the_directory_is_deleted(
    here: Project, host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tree(host.home)
    clean.clean(host, None, SURE)
    assert [path.name for path in here.root.iterdir()] == ["src"]
    after = tree(host.home)
    assert {path for path in before if before[path][3] != after[path][3]} == set()
    out = capsys.readouterr().out
    assert ".confined-claude/" in out
    assert "Deleted " in out


@pytest.mark.parametrize(
    ("files", "left"),
    [
        ({".gitignore": "*\n"}, None),  # as an earlier version made it
        ({".gitignore": "venvs\n"}, [".gitignore"]),
        ({"notes.txt": "mine"}, [".gitignore", "notes.txt"]),
        ({".gitignore": "/venvs/\n", "config.toml": ""}, [".gitignore", "config.toml"]),
    ],
)
def test_of_a_directory_with_files_of_the_users_own_only_what_sessions_made(
    files: dict[str, str], left: list[str] | None, here: Project, host: Host
) -> None:
    for name, content in files.items():
        put(here.scaffold / name, content)
    clean.clean(host, None, SURE)
    assert (sorted(path.name for path in here.scaffold.iterdir()) if here.scaffold.exists() else None) == left


def test_from_a_directory_below(here: Project, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here.root / "src")
    clean.clean(host, None, SURE)
    assert not here.scaffold.exists()


def test_with_all_nothing_is_left_of_this_project_alone(here: Project, host: Host, tmp_path: Path) -> None:
    other = Project(put(tmp_path / "other/x").parent)
    used(other, host)
    theirs = tree(other.root)
    clean.clean(host, None, ALL)
    assert everything_of(here, host) == []
    assert [found.root for found in projects.projects(state_of(host))] == [other.root]
    assert len(everything_of(other, host)) == 4
    assert tree(other.root) == theirs
    assert leftovers(tmp_path) == []


def test_nothing_to_clean(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(put(tmp_path / "new/x").parent)
    before = tree(tmp_path)
    for options in (ALL, Options(), Options(dry_run=True)):  # here is no terminal
        clean.clean(host, None, options)
        assert capsys.readouterr().out == "There is nothing to clean.\n"
    assert tree(tmp_path) == before


def test_a_project_without_records_has_none_afterwards(here: Project, host: Host) -> None:
    shutil.rmtree(host.state)
    clean.clean(host, None, SURE)
    assert not here.scaffold.exists()
    assert projects.projects(state_of(host)) == []
    assert leftovers(host.home) == []


def test_a_known_project_elsewhere(here: Project, host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    clean.clean(host, "/".join((str(tmp_path), "x", "..", "project")), SURE)
    assert not here.scaffold.exists()
    refused(lambda: clean.clean(host, str(tmp_path / "unknown"), SURE))


@pytest.mark.parametrize("by_id", [True, False])
def test_what_is_remembered_about_a_project_that_is_gone_can_be_deleted(
    by_id: bool, here: Project, host: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir("/")
    shutil.rmtree(here.root)
    word = here.id if by_id else str(here.root)
    clean.clean(host, word, SURE)
    assert "is gone. `clean --all` deletes" in capsys.readouterr().err
    assert len(everything_of(here, host)) == 3
    clean.clean(host, word, ALL)
    assert everything_of(here, host) == []
    assert not here.root.exists()


def test_damaged_records_can_be_deleted(here: Project, host: Host) -> None:
    put(host.state / "projects" / here.id / "project.json", "{broken")
    put(host.state / "projects" / here.id / "findings.json", "{broken")
    clean.clean(host, here.id, ALL)
    assert projects.projects(state_of(host)) == []
    assert here.scaffold.exists()  # the record does not say where it is


# Questions


def test_a_dry_run_lists_everything_and_changes_nothing(
    here: Project, host: Host, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(host.state / "projects" / here.id / "lock")
    put(host.state / "logs/build-1.log")
    before = tree(tmp_path)
    clean.clean(host, None, Options(everything=True, dry_run=True))
    out = capsys.readouterr().out
    for words in (".confined-claude/", "1 conversation, 0 prompts", f"projects/{here.id}/, its own data", "findings"):
        assert words in out
    clean.clean_global(host, Options(everything=True, dry_run=True))
    out = capsys.readouterr().out
    for words in ("shared/pip-cache/", "/logs/", "shared/claude-config/"):
        assert words in out
    assert tree(tmp_path) == before


@pytest.mark.parametrize("everything", [False, True])
def test_without_a_terminal_it_must_not_have_to_ask(
    everything: bool, here: Project, host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\ny\n"))
    before = tree(tmp_path)
    options = Options(everything=everything)
    for work in (lambda: clean.clean(host, None, options), lambda: clean.clean_global(host, options)):
        assert "--yes" in refused(work).hint
    assert tree(tmp_path) == before
    assert here.scaffold.exists()


@pytest.mark.parametrize("words", [("n",), ("",), ("x", "y"), ()])
def test_any_answer_but_yes_deletes_nothing(
    words: tuple[str, ...],
    here: Project,
    host: Host,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = tree(here.root)
    answer(monkeypatch, *words)
    clean.clean(host, None, Options(everything=True))
    assert capsys.readouterr().out.rstrip().endswith("Nothing was deleted.")
    assert tree(here.root) == before
    assert len(everything_of(here, host)) == 4


def test_the_second_question_is_about_the_memory_alone(
    here: Project, host: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(monkeypatch, "yes", "n")
    clean.clean(host, None, Options(everything=True))
    assert "The rest is kept." in capsys.readouterr().out
    assert not here.scaffold.exists()
    assert len(everything_of(here, host)) == 3
    answer(monkeypatch, "Y")
    clean.clean(host, None, Options(everything=True))
    assert everything_of(here, host) == []


def test_what_is_lost_with_the_records_is_said_first(
    here: Project, host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    finding = Finding("Makefile", Kind.FILE, True, "make", "changed", b"", b"x", "", "0" * 64)
    with records.locked(records_of(host, here.id)) as kept:
        kept.save_findings([finding])
        kept.begin("ab", Record()).close()
        kept.mark_unscanned("ab")
        kept.save_copies({"1": {"refs/heads/main": "1" * 40}})
    put(host.data / "projects" / here.id / "git/1/HEAD", "ref: refs/heads/main\n")
    for name, commit in (("main", "1"), ("mine", "2")):
        put(host.data / "projects" / here.id / f"git/1/refs/heads/{name}", commit * 40)
    clean.clean(host, None, Options(everything=True, dry_run=True))
    out = capsys.readouterr().out
    assert "1 finding, 1 session not scanned yet" in out
    assert "This also discards commits that were never fetched, on mine." in out
    assert f"To fetch them first: cd {here.root} && confined-claude fetch" in out


def test_names_cannot_steer_the_terminal(host: Host, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = Project(tmp_path / "a\x1b[2Jb\nc")
    used(project, host)
    clean.clean(host, str(project.root), Options(everything=True, dry_run=True))
    assert "\x1b" not in capsys.readouterr().out


# Who uses it


def test_a_project_in_use_is_refused(here: Project, host: Host) -> None:
    with records.locked(records_of(host, here.id)) as kept:
        owner = kept.begin("ab", Record())
    before = tree(here.root)
    for options in (SURE, ALL):
        refused(lambda options=options: clean.clean(host, None, options), ENGINE)  # type: ignore[misc]
    assert tree(here.root) == before
    owner.close()


def test_without_an_engine_a_session_on_record_may_still_run(here: Project, host: Host) -> None:
    with records.locked(records_of(host, here.id)) as kept:
        kept.begin("ab", Record()).close()
    error = refused(lambda: clean.clean(host, None, SURE), ENGINE)
    assert "may still run" in error.message
    assert here.scaffold.exists()
    with records.locked(records_of(host, here.id)) as kept:
        kept.end("ab")
    clean.clean(host, None, SURE)
    assert not here.scaffold.exists()


def test_records_that_are_deleted_during_the_wait_for_them_are_made_again(here: Project, host: Host) -> None:
    inside, seen = threading.Event(), []

    def wait_and_keep() -> None:
        inside.set()
        with records.locked(records_of(host, here.id)) as kept:
            kept.save_accepted({"x": "y"})
            seen.append(os.listdir(host.state / "projects" / here.id))

    with records.locked(records_of(host, here.id)):
        thread = threading.Thread(target=wait_and_keep)
        thread.start()
        inside.wait()
        time.sleep(0.05)
        (host.state / "projects" / here.id).rename(host.state / ".removed-000000000000")
    thread.join()
    assert sorted(seen[0]) == ["accepted.json", "lock"]
    with records.locked(records_of(host, here.id)) as kept:
        assert kept.accepted() == {"x": "y"}


def test_what_a_profile_remembers_of_the_project_goes_as_well(here: Project, host: Host, tmp_path: Path) -> None:
    other = Project(put(tmp_path / "other/x").parent)
    held = {}
    for project in (here, other):
        used(project, host)
        name = history.directory_name(project.root)
        held[project] = put(
            host.data / "profiles/work/claude-config/projects" / name / "x.jsonl",
            json.dumps({"cwd": str(project.root)}),
        )
    clean.clean(host, None, SURE)
    assert held[here].exists()
    clean.clean(host, None, ALL)
    assert (held[here].exists(), held[other].exists()) == (False, True)
    assert leftovers(tmp_path) == []


# What all projects share


def test_the_caches_and_logs_of_all_projects(here: Project, host: Host) -> None:
    put(host.state / "logs/build-1.log")
    put(host.data / "shared/npm-cache/x")
    clean.clean_global(host, SURE)
    assert [path.name for path in (host.data / "shared").iterdir()] == ["claude-config"]
    assert not (host.state / "logs").exists()
    assert len(everything_of(here, host)) == 4
    clean.clean_global(host, ALL)
    assert list((host.data / "shared").iterdir()) == []
    assert leftovers(host.home) == []
    assert len(everything_of(here, host)) == 3


def test_the_template_of_scaffolds_goes_until_it_is_needed_again(
    host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    host = host._replace(data=tmp_path / "elsewhere")
    clean.clean_global(host, SURE)
    assert capsys.readouterr().out == "There is nothing to clean.\n"
    template.place(host)
    clean.clean_global(host, Options(dry_run=True))
    assert f"{host.template}, which `init` and `update` put there" in capsys.readouterr().out
    assert host.template.exists()
    clean.clean_global(host, SURE)
    assert list(host.template.parent.iterdir()) == []


def test_all_profiles_go_with_the_record_of_them(here: Project, host: Host) -> None:
    put(host.data / "profiles/work/claude-config/settings.json")
    profiles.remember(host, profiles.find(host, "work"))
    clean.clean_global(host, SURE)
    assert [each.name for each in profiles.known(host)] == ["default", "work"]
    clean.clean_global(host, ALL)
    assert [each.name for each in profiles.known(host)] == ["default"]
    assert not (host.data / "profiles").exists()
    assert leftovers(host.home) == []


def test_a_token_goes_with_the_config_that_it_signs_in(here: Project, host: Host) -> None:
    shared, own = (host.data / path / "claude-config" for path in ("shared", f"projects/{here.id}"))
    for config in (shared, own):
        put(config / "settings.json")
        tokens.store_token(host, config, "made-up")
    clean.clean(host, None, SURE)
    clean.clean_global(host, SURE)
    assert (tokens.stored(host, own), tokens.stored(host, shared)) == ("made-up", "made-up")
    clean.clean(host, None, ALL)
    assert (tokens.stored(host, own), tokens.stored(host, shared)) == ("", "made-up")
    clean.clean_global(host, ALL)
    assert not tokens.path(host).exists()


def test_the_second_question_about_what_is_shared(here: Project, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, "y", "n")
    clean.clean_global(host, Options(everything=True))
    assert [path.name for path in (host.data / "shared").iterdir()] == ["claude-config"]
    assert len(everything_of(here, host)) == 4


def test_shared_data_is_in_use_by_any_session(here: Project, host: Host) -> None:
    before = tree(host.data)
    with locks.in_use(state_of(host)), locks.in_use(state_of(host)):
        refused(lambda: clean.clean_global(host, ALL), ENGINE)
    with records.locked(records_of(host, here.id)) as kept:
        kept.begin("ab", Record()).close()
    refused(lambda: clean.clean_global(host, ALL), ENGINE)
    assert tree(host.data) == before


# Links, leftovers, and what cannot be deleted


@pytest.mark.parametrize("name", ["", "venvs", "local-bin"])
def test_a_link_in_the_way_is_refused(name: str, here: Project, host: Host, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    put(precious / "venvs/x")
    before = tree(precious)
    place = here.scaffold / name
    shutil.rmtree(place)
    place.symlink_to(precious)
    assert "is a link" in refused(lambda: clean.clean(host, None, ALL)).message
    assert tree(precious) == before
    assert place.is_symlink()


def test_a_link_put_in_place_after_the_plan_was_made_is_not_followed(here: Project, host: Host, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    put(precious / "x")
    before = tree(precious)
    cleanup = ProjectCleanup.of(host, None)
    shutil.rmtree(here.scaffold / "venvs")
    (here.scaffold / "venvs").symlink_to(precious)
    cleanup.delete(memory=False)
    assert tree(precious) == before
    here.scaffold.symlink_to(precious)
    refused(lambda: cleanup.delete(memory=True) and None)
    assert tree(precious) == before


def test_a_project_whose_directory_became_a_link_is_gone(
    here: Project, host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    here.root.rename(tmp_path / "moved")
    here.root.symlink_to(tmp_path / "moved")
    before = tree(tmp_path / "moved")
    clean.clean(host, here.id, ALL)
    assert tree(tmp_path / "moved") == before
    assert projects.projects(state_of(host)) == []


def test_what_an_interrupted_clean_left_is_deleted_by_the_next(
    here: Project, host: Host, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = ".removed-0123456789ab"
    places = [here.scaffold, host.data, host.data / "shared", host.state]
    for place in places:
        put(place / name / "x/y")
    kept = put(here.scaffold / ".removed-of-mine/x")
    clean.clean(host, None, SURE)
    assert capsys.readouterr().out.count("left by an interrupted clean") == len(places)
    assert [path for path in leftovers(tmp_path) if path != kept.parent] == []
    assert kept.exists()


def test_a_history_that_could_not_be_deleted_is_deleted_by_the_next_clean(
    here: Project, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "LONGER_THAN_STALE_SECONDS", 0.0)
    config = host.data / "shared/claude-config"
    put(config / "history.jsonl", json.dumps({"display": "x", "project": str(here.root)}) + "\n")
    (config / "history.jsonl.lock").mkdir()
    assert "history.jsonl" in refused(lambda: clean.clean(host, here.id, ALL)).message
    assert [found.root for found in projects.projects(state_of(host))] == [here.root]
    (config / "history.jsonl.lock").rmdir()
    clean.clean(host, here.id, ALL)
    assert projects.projects(state_of(host)) == []
    assert (config / "history.jsonl").read_text() == ""


def test_what_a_config_without_a_sign_in_has_of_a_project_goes_too(
    host: Host, here: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = host.data / "shared/claude-config-lent/history.jsonl"
    put(prompts, "".join(json.dumps({"display": "x", "project": str(root)}) + "\n" for root in (here.root, "/other")))
    clean.clean(host, here.id, Options(everything=True, dry_run=True))
    shown = capsys.readouterr().out
    assert ("1 conversation, 0 prompts" in shown, "0 conversations, 1 prompt" in shown) == (True, True)
    clean.clean(host, here.id, ALL)
    assert [json.loads(line)["project"] for line in prompts.read_text().splitlines()] == ["/other"]
    clean.clean_global(host, ALL)
    assert not prompts.parent.exists()


def test_images_that_cannot_be_listed_are_reported(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    clean.clean_global(host, Options(dry_run=True))
    assert "images are left out" in capsys.readouterr().err


def test_a_start_during_a_clean_says_what_it_waits_for(
    host: Host, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "_PATIENCE_SECONDS", 0.0)
    with locks.held_alone(state_of(host)) as alone:
        assert alone
        thread = threading.Thread(
            target=lambda: contextlib.ExitStack().enter_context(locks.in_use(state_of(host))), daemon=True
        )
        thread.start()
        deadline = time.monotonic() + 30
        while "Shared data is being cleaned" not in (said := capsys.readouterr().err):
            assert time.monotonic() < deadline, said
            time.sleep(0.01)
    thread.join(30)


@pytest.mark.root
def test_what_cannot_be_deleted_is_an_error_with_its_path(plain_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(12345, 12345, plain_folder, {}, plain_folder / "d", plain_folder / "s", plain_folder / "c")
    root = plain_folder / "p"

    def work() -> None:
        put(root / ".confined-claude/venvs/x")
        projects.remember(records_of(host, Project(root).id), root)

    as_plain_user(work)
    put(root / ".confined-claude/venvs/theirs/x")
    monkeypatch.setenv("PATH", "")
    error = as_plain_user(lambda: refused(lambda: clean.clean(host, str(root), SURE)).message)
    (left,) = (root / ".confined-claude").rglob("x")
    assert error == f"Not everything could be deleted: {left}: Permission denied."
