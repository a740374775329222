"""SECURITY.md's comparison says what is so.

With CONFINED_CLAUDE_WRITE_COMPARISON=1 it is written anew.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from attacks import Field
from comparison import ATTACKS, USES, Tried, between, put, table
from helpers import REPOSITORY, User
from probes import outside, service

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("network")]

SECURITY = REPOSITORY / "SECURITY.md"


def test_the_comparison_is_what_happens(user: User, place: Path) -> None:
    def ground(name: str) -> Field:
        folders = [user.folder(place / name / kind) for kind in ("project", "outside")]
        user.own(place / name)
        return Field(user, *folders)

    user.sign_in(token="sk-ant-oat01-made-up")
    with service(place) as listener, outside(place) as internet:
        found = []
        for number, row in enumerate((*ATTACKS, *USES)):
            works = []
            for confined in (False, True):
                tried = Tried(ground(f"{number}-{confined}"), confined, listener, internet)
                works.append(row.works(tried))
                # Each kind starts with the same HOME.
                (tried.claude / "settings.json").unlink(missing_ok=True)
            found.append((row, *works))
    if os.environ.get("CONFINED_CLAUDE_WRITE_COMPARISON"):
        put(SECURITY, table(found))
    assert table(found) == between(SECURITY)
    assert [row.what for row, plainly, confined in found if row in ATTACKS and confined] == []
    assert [row.what for row, plainly, confined in found if not plainly] == []  # the control
    assert all(confined for row, _, confined in found if row in USES)
