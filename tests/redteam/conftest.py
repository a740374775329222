"""The user whose projects are attacked: no root where that can be, whose sessions could do more than others."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from attacks import Ground
from helpers import User

GITCONFIG = """
[user]
name = Test
email = test@example.invalid
[init]
defaultBranch = main
[protocol "file"]
allow = always
"""


@pytest.fixture
def user(make_user: Callable[..., User]) -> User:
    user = make_user(12345, 12345) if os.geteuid() == 0 else make_user()
    (user.home / ".gitconfig").write_text(GITCONFIG)
    return user


@pytest.fixture
def ground(user: User, place: Path) -> Ground:
    """An empty project."""
    folders = (user.folder(place / "ground" / name) for name in ("project", "outside"))
    ground = Ground(user, *folders)
    user.own(place / "ground")
    return ground


@pytest.fixture
def repository(ground: Ground) -> Ground:
    """A project with a git repository."""
    ground.prepare(
        "git init -q && echo x > file && git add file && git commit -qm first && git commit -qm second --allow-empty"
    )
    return ground
