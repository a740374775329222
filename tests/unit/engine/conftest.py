"""A program in place of the docker command."""

from __future__ import annotations

from pathlib import Path

import pytest

from confined_claude.engine import command

RECORD = 'printf "%s\\n" "$*" >>"$here/calls"'


class Program:
    """The program, which does what a test says, and what it was called with."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / "engine"

    def does(self, script: str) -> None:
        self.path.write_text(f"#!/bin/sh\nhere='{self.directory}'\n{RECORD}\n{script}\n")
        self.path.chmod(0o755)

    def calls(self) -> list[str]:
        record = self.directory / "calls"
        return record.read_text().splitlines() if record.exists() else []


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    made = Program(tmp_path)
    made.does("")
    monkeypatch.setattr(command, "program", lambda: str(made.path))
    return made
