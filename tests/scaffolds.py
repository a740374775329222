"""Scaffolds that copier makes: what they consist of, and how a test makes one."""

from __future__ import annotations

import subprocess
from pathlib import Path

from helpers import User

ANSWERS = ".copier-answers.yml"
SCAFFOLD = {
    "tasks.py",
    ".confined-claude/config.toml",
    ".confined-claude/config.schema.json",
    ".confined-claude/Dockerfile",
    ANSWERS,
}


def files(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file() and ".git" not in path.relative_to(folder).parts
    }


def copier(person: User, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    done = person.run("copier", *words, cwd=cwd)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "Warning" not in done.stderr
    return done


def commit_all(person: User, project: Path) -> None:
    for words in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "all"]):
        person.git(project, *words)
