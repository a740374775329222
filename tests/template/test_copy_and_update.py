"""The scaffold: copied and updated with plain copier, never --trust, never over what belongs to others."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from helpers import User
from scaffolds import ANSWERS, SCAFFOLD, commit_all, copier, files
from terminals import terminal

THEIRS = "_src_path: gh:someone/something\n_commit: v1\nproject_name: theirs\n"
CONFIG = ".confined-claude/config.toml"


def test_a_copy_has_the_scaffold_and_nothing_else(template: Path, place: Path, person: User) -> None:
    copier(person, "copy", "--defaults", str(template), "made", cwd=place)
    made = files(place / "made")
    assert set(made) == SCAFFOLD
    assert not [name for name, text in made.items() if "{{" in text or "{%" in text]
    assert len(made["tasks.py"].splitlines()) <= 20


def test_the_tasks_are_listed_each_with_a_line_of_help(template: Path, place: Path, person: User) -> None:
    copier(person, "copy", "--defaults", str(template), "made", cwd=place)
    listed = person.run("inv", "--list", cwd=place / "made")
    assert listed.returncode == 0
    for task in ("run", "shell", "review", "trust", "update", "build", "rebuild"):
        assert [line for line in listed.stdout.splitlines() if line.split()[:1] == [task] and len(line.split()) > 3]
    assert not (place / "made/__pycache__").exists()


def test_an_update_equals_a_fresh_copy_and_keeps_the_config(template: Path, place: Path, person: User) -> None:
    old, fresh = place / "old", place / "fresh"
    copier(person, "copy", "--defaults", "--vcs-ref", "v0.0.1", str(template), str(old), cwd=place)
    (old / ".confined-claude/config.toml").write_text('caches = "project"\n')
    assert files(old)["tasks.py"].startswith('"""An older shim')
    commit_all(person, old)
    copier(person, "update", "--defaults", cwd=old)
    copier(person, "copy", "--defaults", str(template), str(fresh), cwd=place)
    updated, expected = files(old), files(fresh)
    assert updated.pop(".confined-claude/config.toml") == 'caches = "project"\n'
    expected.pop(".confined-claude/config.toml")
    assert updated == expected


def test_the_update_task_does_what_copier_does(template: Path, place: Path, person: User) -> None:
    made, expected = place / "made", place / "expected"
    for project in (made, expected):
        copier(person, "copy", "--defaults", "--vcs-ref", "v0.0.1", str(template), str(project), cwd=place)
        commit_all(person, project)
    copier(person, "update", "--defaults", cwd=expected)
    done = person.run("confined-claude", "update", cwd=made)
    assert done.returncode == 0, done.stderr
    updated, by_copier = files(made), files(expected)
    # What copier leaves alone follows as well, as long as it is as it came.
    assert by_copier.pop(CONFIG) == "# older\n"
    assert updated.pop(CONFIG).startswith("#:schema ")
    assert updated == by_copier
    assert updated["tasks.py"].startswith('"""Confined Claude')


def test_the_update_task_names_what_cannot_be_merged(template: Path, place: Path, person: User) -> None:
    project = place / "made"
    copier(person, "copy", "--defaults", "--vcs-ref", "v0.0.1", str(template), str(project), cwd=place)
    tasks = project / "tasks.py"
    tasks.write_text(tasks.read_text().replace("An older shim", "My shim"))
    commit_all(person, project)
    done = person.run("confined-claude", "update", cwd=project)
    assert "<<<<<<<" in tasks.read_text()
    assert done.returncode == 2
    what, cure = done.stderr.splitlines()[-2:]
    assert "conflict with the new version in tasks.py." in what
    assert "confined-claude` works" in cure
    assert person.run("confined-claude", "config", cwd=project).returncode == 0


def test_the_update_task_finds_the_answers_beside_those_of_another_template(
    template: Path, place: Path, person: User
) -> None:
    project = place / "theirs"
    project.mkdir()
    (project / ANSWERS).write_text(THEIRS)
    copier(person, "copy", "--defaults", "--vcs-ref", "v0.0.1", str(template), ".", cwd=project)
    commit_all(person, project)
    done = person.run("confined-claude", "update", cwd=project)
    assert done.returncode == 0, done.stderr
    assert "_commit: v99.0.0" in (project / ".confined-claude/answers.yml").read_text()


@pytest.mark.parametrize(("scaffold", "word"), [(False, "no scaffold"), (True, "git")])
def test_an_update_that_cannot_be_made_says_so(
    template: Path, place: Path, person: User, scaffold: bool, word: str
) -> None:
    project = place / "made"
    project.mkdir()
    if scaffold:
        copier(person, "copy", "--defaults", str(template), ".", cwd=project)
    done = person.run("confined-claude", "update", cwd=project)
    assert done.returncode == 2
    assert word in done.stderr
    assert len(done.stderr.splitlines()) == 2


def test_what_copier_refuses_is_explained_with_the_way_out(place: Path, template: Path, person: User) -> None:
    project, moved = place / "made", place / "moved"
    shutil.copytree(template, moved)
    git = ["git", "-C", str(moved), "-c", "user.name=Test", "-c", "user.email=test@example.invalid"]
    for tag in ("v0.0.1", "v99.0.0"):
        assert person.run(*git, "tag", "--delete", tag, cwd=place).returncode == 0
    head = person.run(*git, "rev-parse", "HEAD", cwd=place).stdout.strip()
    copier(person, "copy", "--defaults", "--vcs-ref", f"{head}~1", str(moved), str(project), cwd=place)

    def refused() -> str:
        done = person.run("confined-claude", "update", cwd=project)
        assert (done.returncode, done.stdout) == (2, "")
        assert len(done.stderr.splitlines()) == 2, done.stderr
        return done.stderr

    assert "Commit the scaffold first: git init && git add --all && git commit\n" in refused()
    assert person.run("git", "init", "--quiet", cwd=project).returncode == 0
    assert "Commit the scaffold first, with all else" in refused()
    commit_all(person, project)
    # Of a template without tags what is committed is taken, and nothing is said about it.
    shim = (moved / "template/tasks.py").read_text()
    (moved / "template/tasks.py").write_text("dirty\n")
    done = person.run("confined-claude", "update", cwd=project)
    assert (done.returncode, done.stdout, done.stderr) == (0, "The scaffold is up to date.\n", "")
    assert files(project)["tasks.py"] == shim
    commit_all(person, project)
    assert person.run(*git, "checkout", "--quiet", "--force", "HEAD~1", cwd=place).returncode == 0
    assert "scaffold is newer than its template" in refused()
    moved.rename(place / "elsewhere")
    assert "no longer where the scaffold came from" in refused()
    answers = project / ANSWERS
    answers.write_text(re.sub("_commit: .*", "_commit: 0123456789", answers.read_text()).replace("moved", "elsewhere"))
    commit_all(person, project)
    assert "no longer has the version" in refused()


def test_an_update_of_a_copy_without_a_version_says_what_to_do(template: Path, place: Path, person: User) -> None:
    """As copier makes one from a clone of another user's, of which git tells nothing."""
    project = place / "made"
    project.mkdir()
    plain = place / "plain"
    shutil.copytree(template, plain, ignore=shutil.ignore_patterns(".git"))
    copier(person, "copy", "--defaults", str(plain), ".", cwd=project)
    commit_all(person, project)
    done = person.run("confined-claude", "update", cwd=project)
    assert done.returncode == 2
    assert "version" in done.stderr
    assert len(done.stderr.splitlines()) == 2
    copier(person, "copy", "--defaults", "--overwrite", str(template), ".", cwd=project)
    commit_all(person, project)
    assert person.run("confined-claude", "update", cwd=project).returncode == 0


def test_a_directory_of_a_larger_repository_is_a_project_of_its_own(template: Path, place: Path, person: User) -> None:
    whole, part = place / "whole", place / "whole/services/part"
    part.mkdir(parents=True)
    (whole / "tasks.py").write_text("theirs\n")
    copier(person, "copy", "--defaults", "--vcs-ref", "v0.0.1", str(template), ".", cwd=part)
    commit_all(person, whole)
    done = person.run("confined-claude", "update", cwd=part)
    assert (done.returncode, done.stdout) == (0, "The scaffold is up to date.\n"), done.stderr
    copier(person, "copy", "--defaults", str(template), str(place / "fresh"), cwd=place)
    assert files(part) == files(place / "fresh")
    assert set(files(whole)) == {"tasks.py", *(f"services/part/{name}" for name in SCAFFOLD)}


def untagged(template: Path, place: Path, person: User) -> Path:
    """A clone as people get it, at a commit that is no release."""
    clone = Path(shutil.copytree(template, place / "confined-claude"))
    assert person.run("git", "tag", "--delete", "v0.0.1", "v99.0.0", cwd=clone).returncode == 0
    return clone


def test_the_readmes_copy_says_nothing_of_tags_and_made_up_versions(template: Path, place: Path, person: User) -> None:
    clone, project = untagged(template, place, person), place / "my-project"
    (line,) = re.findall(r"^    (copier copy .*?) *(?:#.*)?$", (clone / "README.md").read_text(), re.MULTILINE)
    (at_the_guide,) = re.findall(
        r"^    (copier copy .*)$", (clone / "docs/guides/scaffold.md").read_text(), re.MULTILINE
    )
    assert at_the_guide == line
    said = copier(person, *line.split()[1:], "--defaults", cwd=clone).stderr
    assert "Start Claude Code, confined, in the project's directory:  inv run\n" in said
    assert set(files(project)) == SCAFFOLD
    commit_all(person, project)
    said += copier(person, "update", "--defaults", cwd=project).stderr
    done = person.run("confined-claude", "update", cwd=project)
    assert (done.returncode, done.stdout, done.stderr) == (0, "The scaffold is up to date.\n", "")
    assert "tags" not in said
    assert "0.0.0" not in said
    # Whoever has the tool's own template has it named, as it is at the same place for everyone.
    assert f"_src_path: {clone}/confined_claude/template.bundle\n" in files(project)[ANSWERS]
    assert person.run("confined-claude", "init", "other", cwd=place).returncode == 0
    copier(person, *line.split()[1:3], str(place / "shared"), "--defaults", cwd=clone)
    assert "_src_path: ~/.local/share/confined-claude/template.bundle\n" in files(place / "shared")[ANSWERS]


def test_a_newcomer_with_plain_copier_answers_five_questions_and_agrees_once(
    template: Path, place: Path, person: User
) -> None:
    clone, project = untagged(template, place, person), place / "my-project"
    with terminal(person, clone, "copier", "copy", "confined_claude/template.bundle", str(project)) as shown:
        for question, answer in (
            ("Add tasks.py", "\r"),
            ("act without asking", "y"),
            ("What may sessions reach", "\r"),
            ("Which Debian packages", "Bad\r"),
        ):
            shown.wait_for(question)
            shown.send(answer)
        shown.wait_for("Bad is not the name of a Debian package")
        shown.send("\x7f\x7f\x7fjq\r")
        shown.wait_for("Also write a devcontainer.json")
        shown.send("\r")
        assert shown.wait_for_end() == 0
        said = " ".join(shown.everything.split())
    assert "`confined-claude trust` asks you once to agree." in said
    assert "confined, in the project's directory: confined-claude trust && inv run" in said
    refused = person.run("inv", "run", "--dry-run", cwd=project)
    assert (refused.returncode, "confined-claude trust" in refused.stderr) == (4, True)
    with terminal(person, project, "sh", "-c", "confined-claude trust && inv run --dry-run >/dev/null") as shown:
        shown.wait_for("Allow this?")
        shown.send("y\r")
        assert shown.wait_for_end() == 0
        assert shown.everything.count("?") == 1


def test_a_pretended_copy_makes_nothing(template: Path, place: Path, person: User) -> None:
    copier(person, "copy", "--defaults", "--pretend", str(template), "made", cwd=place)
    assert not (place / "made").exists()


def test_answers_given_as_data_are_in_the_config_alone(template: Path, place: Path, person: User) -> None:
    given = ("--data", "confined_claude_packages=graphviz", "--data", "confined_claude_network=none")
    copier(person, "copy", "--defaults", *given, str(template), "made", cwd=place)
    made = files(place / "made")
    assert {'network = "none"', 'packages = ["graphviz"]'} <= {
        line.split("  ")[0] for line in made[CONFIG].splitlines()
    }
    assert "graphviz" not in made[ANSWERS]
    # Allowed is what someone has seen: here nobody was asked.
    assert person.run("confined-claude", "trust", cwd=place / "made").returncode == 4


def test_another_templates_answers_stay(template: Path, place: Path, person: User) -> None:
    project = place / "theirs"
    project.mkdir()
    (project / ANSWERS).write_text(THEIRS)
    copier(person, "copy", "--defaults", "--vcs-ref", "v0.0.1", str(template), ".", cwd=project)
    assert (project / ANSWERS).read_text() == THEIRS
    commit_all(person, project)
    copier(person, "update", "--defaults", "--answers-file", ".confined-claude/answers.yml", cwd=project)
    assert (project / ANSWERS).read_text() == THEIRS
    assert "_commit: v99.0.0" in (project / ".confined-claude/answers.yml").read_text()
    assert not (project / "tasks.py").read_text().startswith('"""An older shim')


@pytest.mark.parametrize("name", ["beside/../made", "link", "a[b]c", "*", "a?"])
@pytest.mark.parametrize("is_theirs", [False, True])
def test_a_folder_is_itself_by_whatever_path_and_name(
    template: Path, place: Path, person: User, name: str, is_theirs: bool
) -> None:
    for folder in ("beside", "made", "a[b]c", "*", "a?"):
        (place / folder).mkdir()
    for folder in ("abc", "ab"):  # what the names would be as patterns
        (place / folder).mkdir()
        (place / folder / ANSWERS).write_text(THEIRS)
        (place / folder / "tasks.py").write_text("mine\n")
    (place / "link").symlink_to(place / "made")
    if is_theirs:
        (place / name / ANSWERS).write_text(THEIRS)
        (place / name / "tasks.py").write_text("mine\n")
    copier(person, "copy", "--defaults", str(template), name, cwd=place)
    copier(person, "copy", "--defaults", str(template), str(place / name), cwd=place)
    made = files(place / name)
    assert set(made) == {*SCAFFOLD, *([".confined-claude/answers.yml"] if is_theirs else [])}
    if is_theirs:
        assert (made[ANSWERS], made["tasks.py"]) == (THEIRS, "mine\n")


def test_an_answer_given_as_data_does_not_make_anothers_answers_ours(template: Path, place: Path, person: User) -> None:
    given = ("--defaults", "--overwrite", "--data", "confined_claude_shim=false")
    theirs, ours = place / "theirs", place / "ours"
    theirs.mkdir()
    (theirs / ANSWERS).write_text(THEIRS)
    copier(person, "copy", *given, str(template), "theirs", cwd=place)
    assert (theirs / ANSWERS).read_text() == THEIRS
    assert "shim: false" in (theirs / ".confined-claude/answers.yml").read_text()
    copier(person, "copy", "--defaults", str(template), "ours", cwd=place)
    copier(person, "copy", *given, str(template), "ours", cwd=place)
    assert "shim: false" in (ours / ANSWERS).read_text()
    assert not (ours / ".confined-claude/answers.yml").exists()


@pytest.mark.parametrize("collection", ["", "from invoke import Collection\nns = Collection(hello)\n"])
@pytest.mark.parametrize("name", ["tasks.py", "tasks/__init__.py"])
def test_tasks_of_the_projects_own_stay_and_the_lines_to_add_work(
    template: Path, place: Path, person: User, name: str, collection: str
) -> None:
    project = place / "mine"
    (project / name).parent.mkdir(parents=True)
    mine = f'from invoke import task\n\n@task\ndef hello(c):\n    """Greet"""\n    print("hi")\n\n{collection}'
    (project / name).write_text(mine)
    done = copier(person, "copy", "--defaults", "--vcs-ref", "v0.0.1", str(template), ".", cwd=project)
    commit_all(person, project)
    copier(person, "update", "--defaults", cwd=project)
    assert (project / name).read_text() == mine
    assert [path.name for path in project.glob("tasks.py")] == (["tasks.py"] if name == "tasks.py" else [])
    lines = re.findall("^    (.*)$", done.stderr, re.MULTILINE)
    assert len(lines) == 3
    (project / name).write_text("\n".join((mine, *lines, "")))
    listed = person.run("inv", "--list", cwd=project)
    assert re.search("^  hello +Greet", listed.stdout, re.MULTILINE), listed.stderr
    assert "claude.run" in listed.stdout


@pytest.mark.parametrize("name", ["clone", "a[b]"])
def test_a_relative_source_is_kept_as_a_path_that_works_from_anywhere(
    template: Path, place: Path, person: User, name: str
) -> None:
    (place / "from").mkdir()
    shutil.copytree(template, place / name)
    copier(person, "copy", "--defaults", "--vcs-ref", "v0.0.1", f"../{name}", str(place / "made"), cwd=place / "from")
    assert f"_src_path: {place / name}\n" in (place / "made" / ANSWERS).read_text()
    commit_all(person, place / "made")
    copier(person, "update", "--defaults", cwd=place / "made")


def test_an_inv_without_the_package_says_what_to_do(template: Path, place: Path, person: User) -> None:
    copier(person, "copy", "--defaults", str(template), "made", cwd=place)
    code = "import sys; sys.modules['confined_claude'] = None; import runpy; runpy.run_path('tasks.py')"
    done = person.run(str(person.bin.parent / "share/confined-claude/venv/bin/python"), "-c", code, cwd=place / "made")
    assert done.returncode == 1
    assert "install.sh" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["rich.py", "docker/__init__.py", "confined_claude.py", "tomllib.py"])
def test_modules_planted_beside_the_shim_are_not_imported(template: Path, place: Path, person: User, name: str) -> None:
    copier(person, "copy", "--defaults", str(template), "made", cwd=place)
    planted = place / "made" / name
    planted.parent.mkdir(exist_ok=True)
    planted.write_text(f"open({str(place / 'canary')!r}, 'w')\n")
    done = person.run("inv", "build", cwd=place / "made")
    assert done.returncode == 0, done.stderr
    assert not (place / "canary").exists()


PLANTED = {
    "invoke.py": "open({canary!r}, 'w')\n",
    "invoke.yaml": "run:\n  shell: ./planted\n",
    "invoke.yml": "run:\n  shell: ./planted\n",
    "invoke.json": '{{"run": {{"shell": "./planted"}}}}',
}


def plant(folder: Path, name: str, canary: Path) -> None:
    (folder / name).write_text(PLANTED[name].format(canary=str(canary)))
    (folder / "planted").write_text(f"#!/bin/sh\ntouch {canary}\n")
    (folder / "planted").chmod(0o755)


@pytest.mark.parametrize("name", PLANTED)
def test_the_shim_refuses_what_invoke_would_obey(template: Path, place: Path, person: User, name: str) -> None:
    copier(person, "copy", "--defaults", str(template), "made", cwd=place)
    plant(place / "made", name, place / "canary")
    done = person.run("inv", "build", cwd=place / "made")
    assert done.returncode == 4
    assert name in done.stderr
    assert len(done.stderr.splitlines()) == 2
    assert not (place / "canary").exists()
    assert person.run("confined-claude", "build", cwd=place / "made").returncode == 0
    assert not (place / "canary").exists()


@pytest.mark.parametrize("path", [".", ":/x", "lib"])
def test_the_shim_refuses_a_python_path_into_the_project(template: Path, place: Path, person: User, path: str) -> None:
    copier(person, "copy", "--defaults", str(template), "made", cwd=place)
    for folder in (place / "made", place / "made/lib"):
        folder.mkdir(exist_ok=True)
        (folder / "platformdirs.py").write_text(f"open({str(place / 'canary')!r}, 'w')\n")
    done = person.run("inv", "build", cwd=place / "made", PYTHONPATH=path)
    assert done.returncode == 4
    assert "PYTHONPATH" in done.stderr
    assert len(done.stderr.splitlines()) == 2
    assert person.run("confined-claude", "build", cwd=place / "made", PYTHONPATH=path).returncode == 0
    assert not (place / "canary").exists()
    assert person.run("inv", "build", cwd=place / "made", PYTHONPATH="/x").returncode == 0
    (place / "made/tasks.py").write_text("import platformdirs\n")
    person.run("inv", "--list", cwd=place / "made", PYTHONPATH=path)  # the control
    assert (place / "canary").exists()


@pytest.mark.parametrize("name", PLANTED)
def test_control_invoke_obeys_what_is_planted(place: Path, person: User, name: str) -> None:
    (place / "tasks.py").write_text("from invoke import task\n@task\ndef hello(c):\n    c.run('true')\n")
    plant(place, name, place / "canary")
    person.run("inv", "hello", cwd=place)
    assert (place / "canary").exists()


def test_control_a_plain_tasks_file_imports_what_is_planted_beside_it(place: Path, person: User) -> None:
    (place / "tasks.py").write_text("import rich\nfrom invoke import task\n@task\ndef hello(c):\n    pass\n")
    (place / "rich.py").write_text(f"open({str(place / 'canary')!r}, 'w')\n")
    person.run("inv", "--list", cwd=place)
    assert (place / "canary").exists()
