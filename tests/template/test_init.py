"""``confined-claude init`` and ``update``: the template that comes with the tool, wherever that was installed from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from helpers import REPOSITORY, SYSTEM_PATH, User
from scaffolds import ANSWERS, SCAFFOLD, commit_all, copier, files
from terminals import terminal
from upgrade.unpacked import PROJECTS, ROOT, unpacked

SOURCE = "~/.local/share/confined-claude/template.bundle"
CONFIG = ".confined-claude/config.toml"


def confined(person: User, *words: str, cwd: Path, code: int = 0, **extra: str) -> str:
    """What it prints, errors included."""
    done = person.run("confined-claude", *words, cwd=cwd, **extra)
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def init(person: User, project: Path) -> dict[str, str]:
    """The files of a project that ``init`` has made, and that is committed."""
    confined(person, "init", str(project), cwd=project.parent)
    commit_all(person, project)
    return files(project)


@pytest.mark.parametrize("made_before", [False, True])
def test_init_makes_what_copier_makes_and_both_update_it_without_noise(
    place: Path, person: User, made_before: bool
) -> None:
    project = place / "my project"
    if made_before:
        project.mkdir()
    assert f"The scaffold is in {project}." in confined(
        person, "init", "my project", cwd=place, XDG_DATA_HOME="/nowhere"
    )
    made = files(project)
    assert set(made) == SCAFFOLD
    assert f"_src_path: {SOURCE}\n" in made[ANSWERS]
    commit_all(person, project)
    assert confined(person, "init", cwd=project) == (
        f"{project} has the scaffold. `confined-claude update` brings it up to date.\n"
    )
    assert confined(person, "update", cwd=project, XDG_DATA_HOME="/nowhere") == "The scaffold is up to date.\n"
    assert "No git tags" not in copier(person, "update", "--defaults", cwd=project).stderr
    assert files(project) == made
    assert "trust" not in confined(person, "config", cwd=project)


@pytest.mark.parametrize("version", ["v0.1.0", "newest"])
def test_an_update_equals_what_init_makes(place: Path, person: User, version: str) -> None:
    fresh = init(person, place / "fresh")
    versions = () if version == "newest" else ("--vcs-ref", version)
    copier(person, "copy", "--defaults", *versions, SOURCE, "old", cwd=place)
    assert (files(place / "old") == fresh) == (version == "newest")
    commit_all(person, place / "old")
    (person.home / SOURCE.removeprefix("~/")).write_text("not from here")
    assert confined(person, "update", cwd=place / "old") == "The scaffold is up to date.\n"
    assert files(place / "old") == fresh


def test_what_someone_has_edited_stays(place: Path, person: User) -> None:
    init(person, place / "fresh")
    project = place / "old"
    copier(person, "copy", "--defaults", "--vcs-ref", "v0.1.0", SOURCE, str(project), cwd=place)
    mine = files(project)[CONFIG].replace("# pids = 1000", "pids = 1000")
    (project / CONFIG).write_text(mine)
    with (project / ".confined-claude/Dockerfile").open("a") as dockerfile:
        dockerfile.write("# mine\n")
    commit_all(person, project)
    confined(person, "update", cwd=project)
    assert files(project)[CONFIG] == mine
    assert files(project)[".confined-claude/Dockerfile"].endswith("\n# mine\n")


def test_a_project_that_version_0_1_made_follows_its_template(place: Path, person: User) -> None:
    fresh = init(person, place / "fresh")
    with unpacked():
        template, project = ROOT / "template", PROJECTS / "app"
        shutil.rmtree(template / "template")
        shutil.copytree(REPOSITORY / "template", template / "template")
        shutil.copy(REPOSITORY / "copier.yml", template)
        person.git(template, "add", "--all")
        person.git(template, "commit", "--quiet", "--message", "today's")
        person.git(template, "tag", "v0.2.0")
        before = files(project)
        commit_all(person, project)
        assert confined(person, "update", cwd=project) == "The scaffold is up to date.\n"
        updated = files(project)
        assert {name: text for name, text in updated.items() if before.get(name) != text}.keys() <= SCAFFOLD
        assert {name: updated[name] for name in SCAFFOLD - {ANSWERS}} == {
            name: fresh[name] for name in SCAFFOLD - {ANSWERS}
        }
        assert f"_commit: v0.2.0\n_src_path: {template}\n" in updated[ANSWERS]


def test_a_scaffold_of_a_newer_version_says_what_to_do(place: Path, person: User) -> None:
    made = init(person, place / "made")
    newer = "\n".join("_commit: v99.0.0" if line.startswith("_commit") else line for line in made[ANSWERS].splitlines())
    (place / "made" / ANSWERS).write_text(newer)
    commit_all(person, place / "made")
    told = confined(person, "update", cwd=place / "made", code=2)
    assert "of version v99.0.0, which this installation does not know.\nBring Confined Claude up to date" in told


def test_the_answers_of_a_terminal_are_in_the_config_and_need_no_trust(place: Path, person: User) -> None:
    with terminal(person, place, "confined-claude", "init", "made") as shown:
        for question, answer in (
            ("Add tasks.py", "\r"),
            ("act without asking", "y"),
            ("What may sessions reach", "\x1b[B\r"),
            ("Which Debian packages", "graphviz Bad\r"),
        ):
            shown.wait_for(question)
            shown.send(answer)
        shown.wait_for("Bad is not the name of a Debian package")
        shown.send("\x7f\x7f\x7fhello\r")
        assert shown.wait_for_end() == 0
        assert "The scaffold is in" in shown.screen
        assert "devcontainer" not in shown.everything  # it could not have this network
    project = place / "made"
    lines = files(project)[CONFIG].splitlines()
    settings = [line.split("#")[0].strip() for line in lines if line and not line.startswith("#")]
    assert settings == ['yolo = "on"', 'network = "allowlist"', 'packages = ["graphviz", "hello"]']
    assert "confined_claude_yolo" not in files(project)[ANSWERS]
    assert "nothing that needs your trust" in confined(person, "trust", cwd=project)
    planned = confined(person, "run", "--dry-run", cwd=project)
    assert "--dangerously-skip-permissions" in planned
    # What comes later, and what is another's, waits.
    with (project / CONFIG).open("a") as config:
        config.write("host_ports = [5432]\n")
    assert "host_ports" in confined(person, "trust", cwd=project, code=4)


def test_editors_get_their_file_where_that_is_an_answer(place: Path, person: User) -> None:
    with terminal(person, place, "confined-claude", "init", "made") as shown:
        for question, answer in (
            ("Add tasks.py", "\r"),
            ("act without asking", "\r"),
            ("What may sessions reach", "\x1b[B\x1b[B\r"),
            ("Which Debian packages", "\r"),
            ("Also write a devcontainer.json", "y"),
        ):
            shown.wait_for(question)
            shown.send(answer)
        shown.wait_for("Wrote ")
        assert shown.wait_for_end() == 0
    written = json.loads((place / "made/.devcontainer/devcontainer.json").read_text())
    assert (written["workspaceFolder"], "none" in written["runArgs"]) == (str(place / "made"), True)
    assert "devcontainer" not in files(place / "made")[ANSWERS]


def test_a_config_that_was_there_is_not_allowed_by_init(place: Path, person: User) -> None:
    project = place / "clone"
    (project / ".confined-claude").mkdir(parents=True)
    (project / CONFIG).write_text('packages = ["graphviz"]\n')
    with terminal(person, project, "confined-claude", "init") as shown:
        shown.wait_for("Add tasks.py")
        shown.send("\r")
        assert shown.wait_for_end() == 0
        assert "The scaffold is in" in shown.screen
        assert "Which Debian packages" not in shown.everything
    assert files(project)[CONFIG] == 'packages = ["graphviz"]\n'
    assert "graphviz" in confined(person, "trust", cwd=project, code=4)


def test_ctrl_c_at_a_question_ends_it(place: Path, person: User) -> None:
    (place / "mine").mkdir()
    for project in (place / "new/made", place / "mine"):
        with terminal(person, place, "confined-claude", "init", str(project)) as shown:
            shown.wait_for("Add tasks.py")
            shown.send("\x03")
            assert shown.wait_for_end() == 130
        assert "Traceback" not in shown.everything
    assert not (place / "new").exists()
    assert list((place / "mine").iterdir()) == []


def test_the_lines_for_tasks_of_ones_own_are_told(place: Path, person: User) -> None:
    project = place / "mine"
    project.mkdir()
    (project / "tasks.py").write_text("from invoke import task\n\n@task\ndef hello(c):\n    pass\n")
    told = confined(person, "init", cwd=project)
    with (project / "tasks.py").open("a") as tasks:
        tasks.writelines(f"{line.strip()}\n" for line in told.splitlines() if line.startswith("    "))
    assert "claude.run" in person.run("inv", "--list", cwd=project).stdout


@pytest.mark.parametrize("name", ["tasks.py", ANSWERS, ".confined-claude", CONFIG])
def test_links_where_copier_would_write_are_refused(place: Path, person: User, name: str) -> None:
    link = place / "clone" / name
    link.parent.mkdir(parents=True)
    link.symlink_to(place / "outside")
    assert f"{link} is a link" in confined(person, "init", "clone", cwd=place, code=2)
    assert not (place / "outside").exists()


def test_no_git_and_a_clone_of_the_tool_are_refused(place: Path, person: User, template: Path) -> None:
    (place / "bin").mkdir()
    for name in ("confined-claude", "python3"):
        (place / "bin" / name).symlink_to(shutil.which(name, path=f"{person.bin}:{SYSTEM_PATH}") or "")
    assert "git is missing" in confined(person, "init", "made", cwd=place, code=2, PATH=str(place / "bin"))
    assert not (place / "made").exists()
    assert "the clone of Confined Claude" in confined(person, "init", "made", cwd=template / "tests", code=2)
    assert not (template / "tests/made").exists()


@pytest.mark.parametrize("damaged", ["", "- a\n", "confined_claude_shim: [\n"])
def test_answers_that_copier_cannot_read_are_named(place: Path, person: User, damaged: str) -> None:
    project = place / "project"
    init(person, project)
    (project / ANSWERS).write_text(damaged)
    commit_all(person, project)
    command = "update" if "shim" in damaged else "init"
    says = f"confined-claude: {project / ANSWERS} is damaged: it has no answers to copier.\n"
    assert confined(person, command, cwd=project, code=2).startswith(says)
    person.git(project, "reset", "--quiet", "--hard", "HEAD^")
    assert confined(person, "update", cwd=project) == "The scaffold is up to date.\n"


@pytest.mark.mount
@pytest.mark.parametrize("bytes_free", range(0, 20_000, 4096))
def test_a_full_disk_leaves_no_half_scaffold(place: Path, person: User, full_disk: Path, bytes_free: int) -> None:
    (full_disk / "mine").write_text("mine")
    (full_disk / "filler").write_bytes(b"x" * (64 * 1024 - 4096 - bytes_free))
    told = confined(person, "init", cwd=full_disk, code=2)
    assert {path.name for path in full_disk.iterdir()} == {"mine", "filler"}
    assert told == (
        "confined-claude: Cannot write the scaffold: No space left on device.\n"
        "Make room, or see to the permissions, and start again.\n"
    )
    (full_disk / "filler").unlink()
    assert "The scaffold is in" in confined(person, "init", cwd=full_disk)
    assert set(files(full_disk)) == SCAFFOLD | {"mine"}
