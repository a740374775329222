"""What the tests of several parts of Claude's config share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A Claude config with nothing in it."""
    (tmp_path / "config").mkdir()
    return tmp_path / "config"
