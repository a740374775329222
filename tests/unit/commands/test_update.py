"""What ``update`` reads of a project, before copier does anything."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from confined_claude.commands.update import update
from confined_claude.errors import ConfinedError
from confined_claude.host import Host


@pytest.fixture
def answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of the answers file in an empty project, which is the current directory."""
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    return project / ".copier-answers.yml"


def test_a_pipe_or_an_endless_file_in_place_of_the_answers_is_named(answers: Path, host: Host) -> None:
    os.mkfifo(answers)
    with pytest.raises(ConfinedError, match="not a regular file"):
        update(host)
    answers.unlink()
    answers.symlink_to("/dev/zero")
    with pytest.raises(ConfinedError, match="not a regular file"):
        update(host)
    # The control: a file of another template is read, and is none of this one.
    answers.unlink()
    answers.write_text("_commit: v1\n")
    with pytest.raises(ConfinedError, match="no scaffold that copier made"):
        update(host)
