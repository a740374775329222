"""The user's own setup in a session, with the real client: what it is told, and what of the host's Claude it has."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import User

pytestmark = pytest.mark.timeout(300)


def test_the_agent_knows_where_it_works_unless_that_is_off(user: User, project: Path) -> None:
    asked = f"KNOWS: the project `{project}` (the user's own files)"
    for note, answer in (("on", "KNOWN"), ("off", "UNKNOWN")):
        done = user.run("confined-claude", "--", "-p", asked, cwd=project, CONFINED_CLAUDE_AGENT_NOTE=note)
        assert done.stdout == f"{answer}\n", done.stderr
