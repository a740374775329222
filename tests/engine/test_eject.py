"""``eject``: the project is as it was before the tool came, and nobody's work is gone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers import GITCONFIG, REPOSITORY, User
from scaffolds import SCAFFOLD, commit_all, files
from terminals import terminal

CONFIG = ".confined-claude/config.toml"


def confined(user: User, *words: str, cwd: Path, code: int = 0) -> str:
    """What it prints, errors included."""
    done = user.run("confined-claude", *words, cwd=cwd)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def scaffolded(user: User, project: Path) -> Path:
    """A project in git with a file of its own and the scaffold."""
    (user.home / ".gitconfig").write_text(GITCONFIG)
    (project / "own").write_text("mine")
    commit_all(user, project)
    confined(user, "init", cwd=project)
    return project


def known(user: User, project: Path) -> list[str]:
    found = json.loads(confined(user, "status", "--json", cwd=project))["projects"]
    return [each["path"] for each in found]


def test_nothing_of_the_tool_is_left(user: User, scaffolded: Path) -> None:
    confined(user, "shell", "--", "sh", "-c", "mkvenv x && touch ~/.local/bin/y", cwd=scaffolded)
    assert known(user, scaffolded) == [str(scaffolded)]
    before = set(scaffolded.rglob("*"))
    assert "venvs/" in confined(user, "eject", "--dry-run", cwd=scaffolded)
    assert "no terminal to ask" in confined(user, "eject", cwd=scaffolded, code=2)
    assert set(scaffolded.rglob("*")) == before
    confined(user, "eject", "--yes", cwd=scaffolded)
    assert user.git(scaffolded, "status", "--porcelain", "--ignored") == ""
    assert {path.name for path in scaffolded.iterdir()} == {".git", "own"}
    assert known(user, scaffolded) == []
    again = confined(user, "eject", "--yes", cwd=scaffolded)
    assert again == f"{scaffolded} has no scaffold, and nothing is kept of it.\n"
    projects = user.home / ".local/share/confined-claude/projects"
    assert not projects.exists() or list(projects.iterdir()) == []
    state = user.home / ".local/state/confined-claude"
    kept = {path.relative_to(state): path.read_text() for path in state.rglob("*") if path.is_file()}
    assert kept
    assert not [path for path, text in kept.items() if scaffolded.name in str(path) or str(scaffolded) in text]


def test_what_was_answered_is_no_edit(user: User, project: Path) -> None:
    answers = {"network": "none", "packages": "jq tree", "yolo": "true"}
    words = [word for name, value in answers.items() for word in ("--data", f"confined_claude_{name}={value}")]
    bundle = REPOSITORY / "confined_claude/template.bundle"
    done = user.run("copier", "copy", "--defaults", *words, str(bundle), ".", cwd=project)
    assert done.returncode == 0, done.stderr
    assert 'packages = ["jq", "tree"]' in (project / CONFIG).read_text()
    confined(user, "eject", "--yes", cwd=project)
    assert files(project) == {}


def test_what_was_edited_stays_until_someone_agrees(user: User, scaffolded: Path) -> None:
    (scaffolded / CONFIG).write_text('network = "none"\n')
    (scaffolded / ".confined-claude/notes").write_text("somebody's")
    assert f"Kept, as they have been edited: {CONFIG}." in confined(user, "eject", "--yes", cwd=scaffolded)
    kept = {"own", CONFIG, ".confined-claude/notes"}
    assert set(files(scaffolded)) == kept
    (scaffolded / CONFIG).rename(scaffolded / "config")
    confined(user, "init", cwd=scaffolded)
    (scaffolded / "config").rename(scaffolded / CONFIG)
    with terminal(user, scaffolded, "confined-claude", "eject") as shown:
        shown.wait_for(f"{CONFIG} has been edited. Remove it too?")
        shown.send("y\n")
        shown.wait_for("Delete this?")
        shown.send("y\n")
        assert shown.wait_for_end() == 0
    assert set(files(scaffolded)) == kept - {CONFIG}


def test_commits_that_nobody_fetched_keep_all_as_it_is(user: User, scaffolded: Path) -> None:
    commit = ("git", "commit", "--quiet", "--allow-empty", "--message", "x")
    confined(user, "shell", "--git", "isolated", "--", *commit, cwd=scaffolded)
    before = files(scaffolded)
    assert "Commits were never fetched, on " in confined(user, "eject", "--yes", cwd=scaffolded, code=4)
    assert files(scaffolded) == before
    confined(user, "fetch", cwd=scaffolded)
    confined(user, "eject", "--yes", cwd=scaffolded)
    assert set(files(scaffolded)).isdisjoint(SCAFFOLD)


def test_tasks_of_ones_own_stay(user: User, project: Path) -> None:
    (project / "tasks.py").write_text("import confined_claude.tasks\n")
    confined(user, "init", cwd=project)
    confined(user, "export", "devcontainer", cwd=project)
    told = confined(user, "eject", "--yes", cwd=project)
    assert "Remove the lines with confined_claude from tasks.py" in told
    assert "Kept, as an editor may use it: .devcontainer/devcontainer.json" in told
    assert set(files(project)) == {"tasks.py", ".devcontainer/devcontainer.json"}
    assert files(project)["tasks.py"] == "import confined_claude.tasks\n"
