"""What version 0.1 left on a machine is opened by this code; no engine is needed for that. See tests/upgrade."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from upgrade.unpacked import HOME, PROJECTS, ROOT, records, unpacked

from .conftest import tree

COMMAND = Path(sys.executable).with_name("confined-claude")
ENVIRON = {"HOME": str(HOME), "PATH": "/usr/bin:/bin", "DOCKER_HOST": f"unix://{ROOT}/none.sock"}


@pytest.fixture(autouse=True)
def machine() -> Iterator[None]:
    with unpacked():
        yield


def run(project: str, *words: str, code: int = 0) -> str:
    """What a command of today's prints in a project of 0.1's, first what is wrong."""
    environ = {**ENVIRON, "COLUMNS": "300"}
    done = subprocess.run(
        [COMMAND, *words], cwd=PROJECTS / project, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr + done.stdout


def findings(review: str) -> set[tuple[str, str]]:
    return set(re.findall(r"^  (red|yellow) +(.*)$", review, re.MULTILINE))


def test_settings_are_in_force() -> None:
    found = json.loads(run("isolated", "config", "--json"))["settings"]
    in_force = {name: setting["value"] for name, setting in found.items()}
    assert in_force["git"] == "isolated"
    assert in_force["claude_config"] == in_force["caches"] == "project"
    assert in_force["memory"] == ["50%"]
    assert in_force["protect"] == ["deploy/*.sh"]


def test_open_findings_are_listed_restored_and_accepted() -> None:
    listed = run("app", "review", code=4)
    assert findings(listed) == {("red", ".envrc"), ("yellow", "Makefile")}
    assert "+export X=1" in listed
    assert r"-\techo first" in listed
    run("app", "review", "--restore", "Makefile", code=4)
    assert findings(run("app", "review", code=4)) == {("red", ".envrc")}
    assert (PROJECTS / "app/Makefile").read_text() == "all:\n\techo first\n"
    run("app", "review", "--restore", ".envrc")
    assert not (PROJECTS / "app/.envrc").exists()
    run("kinds", "review", "--accept")
    assert findings(run("kinds", "review")) == set()


def test_a_finding_of_each_kind_is_still_one() -> None:
    red = {".envrc", ".git/index: linked", "out", "pointer/.git", "setid", "sub/.git/config", "sub/.git/link"}
    yellow = {"Makefile", "node_modules", "pipe", "sub/.git"}
    expected = {("red", path) for path in red} | {("yellow", path) for path in yellow}
    assert findings(run("kinds", "review", code=4)) == expected
    ((colour, path),) = findings(run("deep", "review", code=4))
    assert (colour, set(path)) == ("red", {"d", "/"})


def test_trust_remains_and_a_change_is_shown_against_what_was_allowed_last() -> None:
    for project in ("trusted", "image"):
        assert "nothing that needs your trust" in run(project, "trust")
    config = PROJECTS / "trusted/.confined-claude/config.toml"
    config.write_text(config.read_text().removesuffix("[5432]\n") + "[5433]\n")
    asked = run("trusted", "trust", code=4)
    assert re.findall(r"^ +([-+].*)$", asked, re.MULTILINE) == ["-host_ports = [5432]", "+host_ports = [5433]"]
    dockerfile = PROJECTS / "image/.confined-claude/Dockerfile"
    dockerfile.write_text(dockerfile.read_text().replace("MADE_UP=1", "MADE_UP=2"))
    asked = run("image", "trust", code=4)
    assert re.findall(r"^ +([-+].*)$", asked, re.MULTILINE) == ["-ENV MADE_UP=1", "+ENV MADE_UP=2"]


def test_commits_of_a_copy_are_named_with_the_command_that_fetches_them() -> None:
    (words,) = re.findall(r"^ +cd (.*) && confined-claude (.*)$", run("isolated", "review"), re.MULTILINE)
    assert words == (str(PROJECTS / "isolated"), "fetch")
    assert "Fetched confined/topic." in run("isolated", "fetch")
    log = ["git", "-C", PROJECTS / "isolated", "log", "-1", "--format=%s", "confined/topic"]
    assert subprocess.run(log, check=True, env=ENVIRON, capture_output=True).stdout == b"made inside\n"


def test_what_was_refused_is_told() -> None:
    told = run("refused", "blocked")
    assert 'allow = ["refused.example.invalid", "refused.example.invalid:8080"]' in told
    assert "cut.example.invalid:443" in run("cut", "blocked")


def test_status_and_clean_find_everything_and_nothing_broken() -> None:
    found = json.loads(run("half", "status", "--json", code=3))  # as there is no engine
    assert [problem["about"] for problem in found["problems"]] == ["engine"]
    counted = {Path(known["path"]).name: known["findings"] for known in found["projects"]}
    assert set(counted) == {path.name for path in PROJECTS.iterdir()}
    assert (counted["app"]["red"], counted["app"]["yellow"]) == (1, 1)
    assert (counted["kinds"]["red"], counted["kinds"]["yellow"]) == (7, 4)
    assert [name for name, counts in counted.items() if counts["sessions_to_look_through"]] == ["cut", "deep"]
    assert " .confined-claude/\n" in run("half", "clean", "--dry-run")
    assert "This also discards commits that were never fetched, on topic" in run(
        "isolated", "clean", "--all", "--dry-run"
    )
    assert "1 conversation, " in run("app", "clean", "--all", "--dry-run")


def test_the_scaffold_finds_its_tasks() -> None:
    listed = subprocess.run(
        [COMMAND.with_name("inv"), "--list"],
        cwd=PROJECTS / "app", env=ENVIRON, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert {"run", "shell", "review", "update"} <= set(listed.stdout.split())


# Records of newer code, as this code meets them when someone goes back to it.


def refused(project: str, *words: str, file: str) -> str:
    """What a command says instead, in two lines; the records are as they were."""
    before = tree(records(project))
    what, hint = run(project, *words, code=2).splitlines()
    assert tree(records(project)) == before
    assert str(records(project) / file) in what
    return f"{what} {hint}"


def test_a_project_that_newer_code_has_used_is_refused_and_stays() -> None:
    (records("app") / "project.json").write_text('{"version": 2, "place": "elsewhere"}')
    for words in ("review", "review --accept", "clean --all --yes", "update"):
        told = refused("app", *words.split(), file="project.json")
        assert "is from a newer version" in told
        assert "install.sh" in told
    for project, status in (("app", "problem"), ("trusted", "warning")):
        checks = json.loads(run(project, "doctor", "--json", code=1))["checks"]
        (line,) = [line for line in checks if line["name"] == "records"]
        assert (line["status"], "is from a newer version" in line["what"]) == (status, True)
    found = json.loads(run("half", "status", "--json", code=3))
    (problem,) = [problem for problem in found["problems"] if problem["about"] != "engine"]
    assert "is from a newer version" in problem["message"]


@pytest.mark.parametrize(
    ("project", "file", "record"),
    [
        ("app", "findings.json", [{"path": ".envrc", "colour": "red"}]),
        ("app", "findings.json", {"version": 2, "findings": []}),
        ("isolated", "copies.json", {"1": {"HEAD": ["a digest"]}}),
        ("isolated", "copies.json", {"version": 2, "copies": {}}),
        ("cut", "accepted.json", {".envrc": ["a digest"]}),
        ("cut", "accepted.json", {"version": 2, "accepted": {}}),
        ("cut", "0123456789abcdef.session", {"kept": {}, "attached": []}),
        ("cut", "0123456789abcdef.session", {"version": 2, "kept": {}}),
        ("cut", "*.before", {"session": "x", "since": 1.0, "items": {}, "attached": []}),
        ("deep", "*.unseen", {"version": 2, "kept": {}}),
    ],
)
def test_a_record_that_this_code_does_not_know_is_refused_and_stays(project: str, file: str, record: object) -> None:
    (path,) = list(records(project).glob(file)) or [records(project) / file]
    path.write_text(json.dumps(record))
    assert "newer version" in refused(project, "review", file=path.name)
