"""A project with something of everything that the guard knows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ..guarding import git_directory, put


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with something of everything."""
    path = tmp_path / "project"
    git_directory(path / ".git")
    put(path / "src/main.py")
    put(path / "Makefile", "all:\n")
    put(path / "package.json", json.dumps({"name": "x", "scripts": {"test": "true"}, "dependencies": {"a": "1"}}))
    put(path / ".claude/settings.local.json", json.dumps({"permissions": {"allow": ["Bash(ls)"]}}))
    return path
