"""What a session's client is told: by the variables that the entrypoint makes files of."""

from __future__ import annotations

import json

from confined_claude.claude.managed import MEMORY_VARIABLE, SETTINGS_VARIABLE, variables


def test_announcements_are_one_text_as_the_client_shows_one_of_several() -> None:
    (text,) = json.loads(variables(["One `x`.", "Two."], "")[SETTINGS_VARIABLE])["companyAnnouncements"]
    assert text == "confined-claude: One `x`.\nconfined-claude: Two."


def test_no_announcement_steers_the_terminal() -> None:
    (text,) = json.loads(variables(["a\x1b[31m\nb é"], "")[SETTINGS_VARIABLE])["companyAnnouncements"]
    assert text == "confined-claude: a\\x1b[31m\\nb é"


def test_what_is_not_said_makes_no_variable() -> None:
    assert variables([], "") == {}
    assert variables([], "# Here\n") == {MEMORY_VARIABLE: "# Here\n"}
