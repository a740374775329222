"""The user whose projects are attacked: no root where that can be, whose sessions could do more than others."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from attacks import Field
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
def field(user: User, place: Path) -> Field:
    """An empty project."""
    folders = (user.folder(place / "ground" / name) for name in ("project", "outside"))
    field = Field(user, *folders)
    user.own(place / "ground")
    return field


@pytest.fixture
def repository(field: Field) -> Field:
    """A project with a git repository."""
    field.prepare(
        "git init -q && echo x > file && git add file && git commit -qm first && git commit -qm second --allow-empty"
    )
    return field
