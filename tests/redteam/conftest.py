"""The user whose projects are attacked: no root where that can be, whose sessions could do more than others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from attacks import SECRET, Field
from helpers import User
from probes import Service, service

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
def user(plain_user: User) -> User:
    (plain_user.home / ".gitconfig").write_text(GITCONFIG)
    return plain_user


@pytest.fixture(scope="session")
def listener(ground: Path) -> Iterator[Service]:
    """A service of this machine's on all its addresses."""
    with service(ground) as made:
        yield made


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


@pytest.fixture
def private(field: Field) -> Field:
    """A project with something private beside it."""
    field.prepare(f"echo {SECRET} >OUTSIDE/key")
    return field
