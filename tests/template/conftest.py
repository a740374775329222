"""Someone with the tool installed, who has an identity for git."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import GITCONFIG, User


@pytest.fixture
def person(place: Path, installed: Path) -> User:
    home = place / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(GITCONFIG)
    return User(home, installed)
