"""What a session's client is told: by the variables that the entrypoint makes files of."""

from __future__ import annotations

import json

from confined_claude.claude.managed import MEMORY_VARIABLE, SETTINGS_VARIABLE, notice, variables


def test_announcements_are_one_text_as_the_client_shows_one_of_several() -> None:
    (text,) = json.loads(variables(["One `x`.", "Two."], "")[SETTINGS_VARIABLE])["companyAnnouncements"]
    assert text == "confined-claude: One `x`.\nconfined-claude: Two."


def test_no_announcement_steers_the_terminal() -> None:
    (text,) = json.loads(variables(["a\x1b[31m\nb é"], "")[SETTINGS_VARIABLE])["companyAnnouncements"]
    assert text == "confined-claude: a\\x1b[31m\\nb é"


def test_what_is_not_said_makes_no_variable() -> None:
    assert variables([], "") == {}
    assert variables([], "# Here\n") == {MEMORY_VARIABLE: "# Here\n"}


def test_a_notice_has_the_last_line_first_and_is_never_too_long_for_the_client() -> None:
    found = json.loads(notice(["the first", "the\nsecond"]))
    (tip,) = found["spinnerTipsOverride"]["tips"]
    assert tip["text"] == "the\\nsecond the first"
    (tip,) = json.loads(notice(["x" * 300, "y" * 300]))["spinnerTipsOverride"]["tips"]
    assert (len(tip["text"]), tip["text"][0]) == (500, "y")
