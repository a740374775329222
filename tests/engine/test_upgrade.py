"""What version 0.1 left on a machine goes on with this code and a real engine. See tests/upgrade."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import REPOSITORY, Api, User
from terminals import terminal
from upgrade.unpacked import DATA, HOME, PROJECTS, ROOT, TOKEN, records, unpacked

# They all have the same place.
pytestmark = pytest.mark.xdist_group("upgrade")


@pytest.fixture
def user(installed: Path, api: Api) -> Iterator[User]:
    """The user of version 0.1, with today's commands; signed in by nothing but the copy that 0.1 made."""
    with unpacked():
        yield User(HOME, installed, variables=api.variables)


def run(user: User, project: str, *words: str, code: int = 0, **extra: str) -> subprocess.CompletedProcess[str]:
    done = user.run("confined-claude", *words, cwd=PROJECTS / project, **extra)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def session(user: User, project: str, *command: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    return run(user, project, "shell", "--", *command, code=code)


@pytest.mark.parametrize(("project", "path"), [("app", ".envrc"), ("kinds", "and 4 more"), ("deep", "d/d/")])
def test_red_findings_block_a_start_until_they_are_reviewed(user: User, project: str, path: str) -> None:
    assert path in session(user, project, "true", code=4).stderr
    run(user, project, "review", "--accept")
    assert session(user, project, "true").stderr == ""
    assert [found for found in records(project).iterdir() if found.suffix in (".unseen", ".before")] == []


def test_a_conversation_goes_on_signed_in_by_the_copy(user: User, api: Api) -> None:
    run(user, "app", "review", "--accept")
    answered = run(user, "app", "run", "--", "-p", "--continue", "the third question")
    assert (answered.stdout, answered.stderr) == ("FAKE ANSWER: the third question AFTER 2 MESSAGES\n", "")
    assert api.headers("the third question")["authorization"] == f"Bearer {TOKEN}"
    answered = run(user, "isolated", "run", "--", "-p", "--continue", "the second question")
    assert answered.stdout == "FAKE ANSWER: the second question AFTER 1 MESSAGES\n"
    assert "Commits wait in a copy of the repository, on topic: `confined-claude fetch`" in answered.stderr


def test_a_session_that_was_cut_off_is_looked_through_at_the_next_start(user: User) -> None:
    blocked = session(user, "cut", "true", code=4)
    assert ".vscode/tasks.json" in blocked.stderr
    assert ".envrc" not in blocked.stderr  # which was accepted while it ran
    assert {path.name for path in records("cut").iterdir()} == {
        *("lock", "project.json", "findings.json", "egress"),
        "made-tips.json",  # as nobody knows which commits that session made
    }
    assert [path.suffix for path in (records("cut") / "egress").iterdir()] == [".blocked"]
    assert not (PROJECTS / "cut/.git/commondir").exists()
    run(user, "cut", "review", "--restore", ".vscode/tasks.json")
    assert "AFTER 1 MESSAGES" in run(user, "cut", "run", "--", "-p", "--continue", "and?").stdout


def test_trust_remains_in_force_until_something_changes(user: User) -> None:
    assert session(user, "trusted", "true").stderr == ""
    with (PROJECTS / "trusted/.confined-claude/config.toml").open("a") as config:
        config.write("ports = [8000]\n")
    assert "confined-claude trust" in session(user, "trusted", "true", code=4).stderr


def test_work_goes_on_in_the_copy_of_a_repository(user: User) -> None:
    log = session(user, "isolated", "git", "log", "-1", "--format=%s %D").stdout
    assert log == "made inside HEAD -> topic\n"
    assert [path.name for path in DATA.glob("projects/isolated-*/git/*")] == ["1"]


def test_status_and_doctor_find_nothing_broken(user: User) -> None:
    found = json.loads(run(user, "half", "status", "--json").stdout)
    assert (found["problems"], found["sessions"]) == ([], [])
    doctor = user.run("confined-claude", "doctor", "--json", cwd=PROJECTS / "trusted")
    wrong = {line["name"]: line for line in json.loads(doctor.stdout)["checks"] if line["status"] != "ok"}
    # What is open in other projects is told; the machine's engine, user and image may be as they like.
    assert set(wrong) - {"versions", "users", "limits", "image"} == {"review", "sessions"}, wrong
    assert str(PROJECTS / "kinds") in wrong["review"]["what"]


def test_a_clean_that_was_killed_is_finished(user: User) -> None:
    run(user, "half", "clean", "--yes")
    assert not (PROJECTS / "half/.confined-claude").exists()


def test_the_scaffold_is_brought_up_to_date(user: User) -> None:
    """By a template that has today's files as its next version."""
    project, template = PROJECTS / "trusted", ROOT / "template"
    shutil.copytree(REPOSITORY / "template", template / "template", dirs_exist_ok=True)
    shutil.copy(REPOSITORY / "copier.yml", template)
    for words in (["add", "--all"], ["commit", "--quiet", "--allow-empty", "-m", "later"], ["tag", "v99.0.0"]):
        user.git(template, *words)
    for words in (["add", "--all"], ["commit", "--quiet", "-m", "trusted"]):
        user.git(project, *words)
    config = (project / ".confined-claude/config.toml").read_text()
    run(user, "trusted", "update")
    assert "_commit: v99.0.0" in (project / ".copier-answers.yml").read_text()
    assert (project / "tasks.py").read_text() == (REPOSITORY / "template/tasks.py").read_text()
    assert (project / ".confined-claude/config.toml").read_text() == config
    assert user.run("inv", "shell", "--", "true", cwd=project).returncode == 0


def test_a_start_among_records_of_newer_code_is_refused_and_they_stay(user: User) -> None:
    record = records("trusted") / "project.json"
    record.write_text('{"version": 2, "place": "elsewhere"}')
    before = sorted(path.name for path in records("trusted").iterdir())
    what, hint = session(user, "trusted", "true", code=2).stderr.splitlines()
    assert "is from a newer version" in what
    assert "install.sh" in hint
    assert record.read_text() == '{"version": 2, "place": "elsewhere"}'
    assert sorted(path.name for path in records("trusted").iterdir()) == before


def test_a_project_in_a_subdirectory_of_a_repository_is_still_found_with_here(user: User) -> None:
    cut = PROJECTS / "cut"
    shutil.rmtree(cut / ".git")
    user.git(PROJECTS, "init", "--quiet")
    assert f"{cut}/.vscode/tasks.json" in session(user, "cut", "true", code=4).stderr
    run(user, "cut", "review", "--here", "--accept")
    venvs = cut / ".confined-claude/venvs"
    (venvs / "mine").mkdir()
    with terminal(user, cut, "confined-claude", "shell", "--", "ls", "/home/claude/venvs") as opened:
        assert opened.wait_for_end() == 0
        assert "`--here` goes on with the environments" in " ".join(opened.everything.split())
    assert run(user, "cut", "shell", "--here", "--", "ls", "/home/claude/venvs").stdout == "mine\n"
    answered = run(user, "cut", "run", "--here", "--", "-p", "--continue", "the next question")
    assert "AFTER 1 MESSAGES" in answered.stdout
