"""The account that a Claude config names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from confined_claude.claude import account, onboarding
from confined_claude.fs.directory import Location
from confined_claude.host import Host

from ..guarding import put

ONE = {"accountUuid": "1", "organizationUuid": "o1", "emailAddress": "one@example.invalid", "organizationName": "One"}
TWO = {"accountUuid": "2", "organizationUuid": "o2", "emailAddress": "two@example.invalid"}


def name(directory: Path, state: Any) -> None:
    put(directory / ".claude.json", json.dumps(state))


def sign_in(config: Path, **oauth: str) -> None:
    put(config / ".credentials.json", json.dumps({"claudeAiOauth": {"accessToken": "t", **oauth}}))


def follow(config: Path, host: Host) -> Any:
    with Location(config).open() as directory:
        account.follow(directory, host)
    return json.loads((config / ".claude.json").read_text())


def test_a_copied_sign_in_is_the_hosts_account_and_another_the_configs_own(config: Path, host: Host) -> None:
    assert account.signed_in_as(Location(config), host) == ""
    name(host.home, {"oauthAccount": ONE})
    name(config, {"oauthAccount": TWO})
    sign_in(config)
    assert account.signed_in_as(Location(config), host) == "one@example.invalid"
    sign_in(config, refreshToken="r")
    assert account.signed_in_as(Location(config), host) == "two@example.invalid"


def test_on_a_change_of_account_what_is_of_one_account_follows(config: Path, host: Host) -> None:
    name(host.home, {"oauthAccount": TWO, "numStartups": 99})
    name(config, {"oauthAccount": ONE, "modelAccessCache": ["m"], "firstWeek": {}, "numStartups": 3, "projects": {}})
    assert follow(config, host) == {"oauthAccount": TWO, "numStartups": 3, "projects": {}}


def test_for_the_same_account_nothing_is_written(config: Path, host: Host) -> None:
    name(host.home, {"oauthAccount": {**ONE, "organizationName": "New"}})
    name(config, {"oauthAccount": ONE, "modelAccessCache": ["m"]})
    before = (config / ".claude.json").stat()
    assert follow(config, host) == {"oauthAccount": ONE, "modelAccessCache": ["m"]}
    assert (config / ".claude.json").stat() == before


@pytest.mark.parametrize("state", [None, [], {}, {"oauthAccount": "x"}, {"oauthAccount": {"emailAddress": 7}}])
def test_without_an_account_to_follow_all_stays(config: Path, host: Host, state: Any) -> None:
    name(host.home, state)
    name(config, {"oauthAccount": ONE})
    assert account.address_in(state) == ""
    if not isinstance(state, dict) or not isinstance(state.get("oauthAccount"), dict):
        assert follow(config, host) == {"oauthAccount": ONE}


def test_an_address_does_not_steer_the_terminal() -> None:
    assert account.address_in({"oauthAccount": {"emailAddress": "a\x1b[2J@x"}}) == "a\\x1b[2J@x"


def test_notices_that_were_seen_on_the_host_are_seen_the_first_time(config: Path) -> None:
    theirs = {"hasSeenOne": True, "hasSeenTwo": False, "hasSeenThree": "x", "userID": "me", "oauthAccount": ONE}
    with Location(config).open() as directory:
        for state in (theirs, {"hasSeenLater": True}, None):
            onboarding.skip(directory, "", lambda state=state: state)
            content = json.loads((config / ".claude.json").read_text())
            assert content == {"hasSeenOne": True, "hasSeenAutoDefaultNotice": True, "hasCompletedOnboarding": True}
