"""The copied sign-in follows the host's while sessions run: one session writes, and no /login inside is lost."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from confined_claude.claude import credentials, expiry, following
from confined_claude.claude.config import ClaudeConfig
from confined_claude.claude.copied import Action, Copied, Decision, decide_during, token_hash
from confined_claude.claude.credentials import HostSignIn
from confined_claude.claude.following import Watch
from confined_claude.claude.sign_in import Chosen
from confined_claude.fs.directory import Directory
from confined_claude.host import Host

from ..conftest import full_disk, tree
from .test_credentials import FAR, HOST, OTHER_TOKEN, REFRESH, TOKEN, Place, oauth, put

NEW = {"accessToken": OTHER_TOKEN, "expiresAt": FAR}
OLD = {"accessToken": TOKEN, "expiresAt": FAR}
PLANTED = {"accessToken": "sk-ant-oat01-planted", "expiresAt": 9e12}
OWN = {"accessToken": "sk-ant-oat01-own", "refreshToken": REFRESH}
COPIED_OLD, COPIED_NEW = Copied(HOST, token_hash(OLD)), Copied(HOST, token_hash(NEW))


@pytest.mark.parametrize(
    ("theirs", "mine", "record", "action", "recorded"),
    [
        (NEW, OLD, COPIED_OLD, Action.COPY, COPIED_NEW),
        (NEW, None, Copied(HOST), Action.COPY, COPIED_NEW),  # signed out before, and in again
        (NEW, None, None, Action.COPY, COPIED_NEW),
        (NEW, NEW, COPIED_NEW, Action.KEEP, COPIED_NEW),
        (NEW, NEW, COPIED_OLD, Action.KEEP, COPIED_NEW),  # whoever wrote it did not come to record it
        # What the container has of its own is left to the next start.
        (NEW, OWN, COPIED_OLD, Action.KEEP, COPIED_OLD),
        (NEW, OWN, None, Action.KEEP, None),
        (NEW, PLANTED, COPIED_OLD, Action.KEEP, COPIED_OLD),
        (NEW, PLANTED, None, Action.KEEP, None),
        (NEW, None, COPIED_OLD, Action.KEEP, COPIED_OLD),  # /logout inside
        # The host signed out, or its file cannot be read.
        (None, OLD, COPIED_OLD, Action.REMOVE, Copied(HOST)),
        (None, OWN, COPIED_OLD, Action.KEEP, COPIED_OLD),
        (None, PLANTED, COPIED_OLD, Action.KEEP, COPIED_OLD),
        ("broken", OLD, COPIED_OLD, Action.KEEP, COPIED_OLD),
    ],
)
def test_only_what_was_copied_is_replaced(
    theirs: Any, mine: Any, record: Copied | None, action: Action, recorded: Copied | None
) -> None:
    host = HostSignIn(HOST, None if theirs == "broken" else theirs, "broken" if theirs == "broken" else "")
    decision = decide_during(host, mine, record, removes=True)
    assert decision == Decision(action, recorded, decision.notes)
    if theirs is None:
        assert decide_during(host, mine, record, removes=False) == Decision(Action.KEEP, record)


class Running(Place):
    """A host with a session that runs, and what its user was told since it started."""

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self.told: list[str] = []

    def start(self) -> Watch:
        config = ClaudeConfig(self.location, self.host)
        config.prepare()
        return config.watch(self.told.append)

    def renew(self, content: Any) -> None:
        """Replace the host's credentials as its client does."""
        put(self.theirs / "new", content)
        (self.theirs / "new").rename(self.theirs / ".credentials.json")


@pytest.fixture
def place(host: Host) -> Running:
    return Running(host)


def test_a_renewed_sign_in_arrives_without_its_refresh_token_and_nothing_is_said(place: Running) -> None:
    place.sign_in(oauth(refreshToken=REFRESH))
    watch = place.start()
    put(place.credentials, {**oauth(), "mcpOAuth": {"server": 1}})
    before = place.credentials.stat().st_ino
    watch.look()
    assert place.credentials.stat().st_ino == before
    place.renew(oauth(OTHER_TOKEN, refreshToken=REFRESH))
    watch.look()
    assert json.loads(place.credentials.read_bytes()) == {**oauth(OTHER_TOKEN), "mcpOAuth": {"server": 1}}
    assert place.credentials.stat().st_ino != before  # by a rename
    assert place.told == []
    assert not list(place.inside.glob("*.lock"))


def test_the_hosts_files_stay_as_they_are(place: Running) -> None:
    place.sign_in(oauth(refreshToken=REFRESH))
    watch = place.start()
    place.renew(oauth(OTHER_TOKEN, refreshToken=REFRESH))
    before = tree(place.theirs)
    watch.look()
    assert place.copy()["accessToken"] == OTHER_TOKEN
    assert tree(place.theirs) == before


def test_as_long_as_nothing_changes_a_look_is_one_question(place: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    place.sign_in(oauth())
    watch = place.start()
    watch.look()
    monkeypatch.setattr(following.Follower, "follow_on", None)
    watch.look()
    place.renew(oauth(OTHER_TOKEN))
    with pytest.raises(TypeError):  # the control
        watch.look()


@pytest.mark.parametrize("mine", [OWN, PLANTED])
def test_a_login_inside_is_not_overwritten(mine: dict[str, Any], place: Running) -> None:
    place.sign_in(oauth())
    watch = place.start()
    own = put(place.credentials, {"claudeAiOauth": mine})
    place.renew(oauth(OTHER_TOKEN))
    watch.look()
    watch.look()
    assert place.credentials.read_bytes() == own


def test_a_login_at_the_very_moment_is_not_overwritten(place: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client holds its lock while it writes; what was decided before counts no more."""
    place.sign_in(oauth())
    watch = place.start()
    judge = following.Follower._judge
    own: list[bytes] = []

    def login(self: Any, config: Directory, *arguments: Any) -> Any:
        judged = judge(self, config, *arguments)
        if not own:
            own.append(put(place.credentials, {"claudeAiOauth": OWN}))
        return judged

    monkeypatch.setattr(following.Follower, "_judge", login)
    place.renew(oauth(OTHER_TOKEN))
    watch.look()
    assert place.credentials.read_bytes() == own[0]


def test_while_the_client_writes_nothing_is_written(place: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    place.sign_in(oauth())
    watch = place.start()
    place.renew(oauth(OTHER_TOKEN))
    lock = place.inside / ".storage-write.lock"
    lock.mkdir()
    waited = []

    def claudes_lock(config: Directory, seconds: float) -> AbstractContextManager[bool]:
        waited.append(seconds)
        return credentials.claudes_lock(config, seconds)

    monkeypatch.setattr(following, "claudes_lock", claudes_lock)
    watch.look()
    assert waited == [0.0]
    assert place.copy()["accessToken"] == TOKEN
    watch.close()
    assert "another session writes" in place.told.pop()
    lock.rmdir()
    watch.look()
    assert place.copy()["accessToken"] == OTHER_TOKEN
    watch.close()
    assert place.told == []


def test_a_start_does_not_wait_for_ever_for_the_clients_lock(place: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "_START_SECONDS", 0.1)
    place.sign_in(oauth())
    place.start()
    (place.inside / ".storage-write.lock").mkdir()
    place.renew(oauth(OTHER_TOKEN))
    place.start()
    assert place.copy()["accessToken"] == OTHER_TOKEN


def test_of_many_sessions_exactly_one_writes(place: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    place.sign_in(oauth())
    watches = [place.start() for _ in range(16)]
    written: list[str] = []
    write = Directory.write

    def counted(self: Directory, name: str, content: bytes, mode: int = 0o600) -> None:
        written.append(name)
        write(self, name, content, mode)

    monkeypatch.setattr(Directory, "write", counted)
    place.renew(oauth(OTHER_TOKEN))

    def look(watch: Watch) -> None:
        while watch._seen != watch._follower.identity():
            watch.look()

    threads = [threading.Thread(target=look, args=(watch,)) for watch in watches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(written) == [".credentials.json", "sign-ins.json"]
    assert place.copy()["accessToken"] == OTHER_TOKEN


def remove(path: Path) -> None:
    path.unlink()


def log_out(path: Path) -> None:
    put(path, {"claudeAiOauth": {"accessToken": "", "refreshToken": "", "expiresAt": 0}})


@pytest.mark.parametrize("sign_out", [remove, log_out])
def test_the_end_of_the_hosts_sign_in_arrives_and_is_said_to_every_session(
    sign_out: Callable[[Path], None], place: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.sign_in(oauth())
    watches = [place.start(), place.start()]
    sign_out(place.theirs / ".credentials.json")
    for watch in watches:
        watch.look()
    assert place.copy()["accessToken"] == TOKEN  # it may be for a moment only
    monkeypatch.setattr(following, "_SIGNED_OUT_SECONDS", 0.0)
    for watch in watches:
        watch.look()
    assert not place.credentials.exists()
    assert place.told == ["Claude was signed out on your machine, and so was this session."] * 2
    place.renew(oauth(OTHER_TOKEN))
    for watch in watches:
        watch.look()
    assert place.copy()["accessToken"] == OTHER_TOKEN
    assert len(place.told) == 2


def test_who_signs_in_anew_is_not_signed_out_in_between(place: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "_SIGNED_OUT_SECONDS", 0.2)
    place.sign_in(oauth())
    watch = place.start()
    (place.theirs / ".credentials.json").unlink()
    watch.look()
    place.renew(oauth(OTHER_TOKEN))
    watch.look()
    assert place.copy()["accessToken"] == OTHER_TOKEN
    time.sleep(0.3)
    (place.theirs / ".credentials.json").unlink()
    watch.look()
    assert place.copy()["accessToken"] == OTHER_TOKEN
    assert place.told == []


def test_a_file_that_cannot_be_read_changes_nothing(place: Running) -> None:
    place.sign_in(oauth())
    watch = place.start()
    (place.theirs / ".credentials.json").write_bytes(b'{"claudeAiOauth": {"acc')
    watch.look()
    assert place.copy()["accessToken"] == TOKEN
    place.renew(oauth(OTHER_TOKEN))
    watch.look()
    assert place.copy()["accessToken"] == OTHER_TOKEN
    assert place.told == []


def test_a_full_disk_ends_nothing_and_is_said_at_the_end_unless_it_passes(place: Running) -> None:
    place.sign_in(oauth())
    watch = place.start()
    place.renew(oauth(OTHER_TOKEN))
    with full_disk():
        watch.look()
    assert place.copy()["accessToken"] == TOKEN
    watch.close()
    assert f"Cannot write to {place.inside}" in place.told.pop()
    watch.look()
    assert place.copy()["accessToken"] == OTHER_TOKEN
    watch.close()
    assert place.told == []


# Another account

ONE = {"accountUuid": "1", "emailAddress": "one@example.invalid"}
TWO = {"accountUuid": "2", "emailAddress": "two@example.invalid"}


def account_of(place: Running) -> Any:
    return json.loads(place.state.read_bytes())["oauthAccount"]


def test_with_another_accounts_sign_in_a_start_takes_its_account(place: Running) -> None:
    put(place.host.home / ".claude.json", {"oauthAccount": ONE})
    put(place.state, {"oauthAccount": ONE})
    place.sign_in(oauth())
    place.start()
    put(place.host.home / ".claude.json", {"oauthAccount": TWO})
    put(place.credentials, {"claudeAiOauth": OWN})
    place.start()
    assert account_of(place) == ONE
    ClaudeConfig(place.location, place.host).return_to_host()
    assert account_of(place) == TWO


def test_another_account_arrives_in_running_sessions_and_each_says_so(place: Running) -> None:
    """The client writes the account's name after its credentials."""
    put(place.host.home / ".claude.json", {"oauthAccount": ONE})
    put(place.state, {"oauthAccount": ONE})
    place.sign_in(oauth())
    watches = [place.start(), place.start()]
    for watch in watches:
        watch.look()
    place.renew(oauth(OTHER_TOKEN))
    for watch in watches:
        watch.look()
    assert (place.copy()["accessToken"], account_of(place), place.told) == (OTHER_TOKEN, ONE, [])
    put(place.host.home / ".claude.json", {"oauthAccount": TWO})
    for watch in watches:
        watch.look()
    assert account_of(place) == TWO
    assert len(place.told) == 2
    assert all("two@example.invalid instead of one@example.invalid" in line for line in place.told)


def test_another_account_is_told_also_after_a_state_that_cannot_be_read_for_a_moment(place: Running) -> None:
    put(place.host.home / ".claude.json", {"oauthAccount": ONE})
    put(place.state, {"oauthAccount": ONE})
    place.sign_in(oauth())
    watch = place.start()
    watch.look()
    whole = place.state.read_bytes()
    place.renew(oauth(OTHER_TOKEN))
    place.state.write_bytes(whole[:-3])
    watch.look()
    assert place.told == []
    place.state.write_bytes(whole)
    put(place.host.home / ".claude.json", {"oauthAccount": TWO})
    watch.look()
    watch.look()
    assert [line.partition("session: ")[2] for line in place.told] == [
        "two@example.invalid instead of one@example.invalid."
    ]


# The end of what nothing renews

NOW = 1_800_000_000.0


def at(seconds: float, **more: Any) -> dict[str, Any]:
    return {"accessToken": TOKEN, "expiresAt": (NOW + seconds) * 1000, **more}


@pytest.mark.parametrize(
    ("is_renewable", "is_running", "left", "said"),
    [
        (True, False, 61 * 60, ""),
        (True, False, 59 * 60, "Have `claude` run on your machine then"),
        (True, False, -1, "Run `claude` on your machine"),
        (False, False, 25 * 3600, ""),
        (False, False, 23 * 3600, "Use /login in `claude` on your machine"),
        (False, False, -1, "Use /login in `claude` on your machine"),
        (True, True, 16 * 60, ""),
        (True, True, 14 * 60, "Have `claude` run on your machine then"),
        (False, True, 16 * 60, ""),
        (False, True, 14 * 60, "Use /login in `claude` on your machine"),
    ],
)
def test_the_end_of_a_sign_in_is_said_in_time_with_what_to_do(
    is_renewable: bool, is_running: bool, left: float, said: str
) -> None:
    host = HostSignIn(HOST, at(left, **({"refreshToken": REFRESH} if is_renewable else {})))
    lines = expiry.remarks(host, at(left), NOW, is_running=is_running)
    assert said in " ".join(lines)
    assert bool(said) is bool(lines)
    if said and left > 0:
        assert time.strftime("%H:%M", time.localtime(NOW + left)) in lines[0]


@pytest.mark.parametrize("mine", [at(-1, refreshToken=REFRESH), {"accessToken": TOKEN}, {**OLD, "expiresAt": 10**400}])
def test_nothing_is_said_of_what_renews_itself_or_has_no_end(mine: dict[str, Any]) -> None:
    assert expiry.remarks(HostSignIn(HOST), mine, NOW) == ()


def test_the_end_is_said_once_while_a_session_runs_and_again_only_of_the_next_one(place: Running) -> None:
    def soon(token: str, seconds: float) -> dict[str, Any]:
        return oauth(token, int((time.time() + seconds) * 1000), refreshToken=REFRESH)

    place.sign_in(soon(TOKEN, 905))
    watch = place.start()
    watch.look()
    assert place.told == []
    place.renew(soon(OTHER_TOKEN, 600))
    watch.look()
    watch.look()
    (line,) = place.told
    assert "ends at" in line
    place.renew(soon("third", 3600))
    watch.look()
    assert "was renewed" in place.told[1]
    place.renew(soon("fourth", 600))
    watch.look()
    assert len(place.told) == 3


def test_what_the_start_has_said_is_not_said_again(place: Running) -> None:
    place.sign_in(oauth(expires=int((time.time() + 600) * 1000), refreshToken=REFRESH))
    config = ClaudeConfig(place.location, place.host)
    assert "ends at" in config.prepare().notes[0]
    watch = config.watch(place.told.append)
    watch.look()
    assert place.told == []


# Lent


def test_what_is_lent_follows_the_host_and_its_config_has_none(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "_SIGNED_OUT_SECONDS", 0.0)
    place, lent = Running(host), list[str]()
    place.renew(oauth())
    put(place.inside / ".credentials.json", {"claudeAiOauth": OWN, "mcpOAuth": {"kept": 1}})
    put(place.inside / ".claude.json", {"primaryApiKey": "sk-ant-api03-own", "numStartups": 1})
    put(place.inside / "backups/.claude.json.backup.1", {"primaryApiKey": "sk-ant-api03-own"})
    config = ClaudeConfig(place.location, place.host, Chosen("", {}, is_lent=True, placeholder="mine"), lent.append)
    sign_in = config.prepare()
    assert sign_in.kind == "credentials"
    assert "removed from" in sign_in.notes[0]
    place.renew(oauth(expires=1000))
    assert config.prepare().notes == (
        expiry.EXPIRED,
        "Use /login in `claude` on your machine: running sessions use the new one.",
    )
    place.renew(oauth())
    config.prepare()
    watch = config.watch(place.told.append)
    assert watch is not None
    watch.look()
    assert lent[-1] == TOKEN
    place.renew(oauth(OTHER_TOKEN))
    watch.look()
    assert lent[-1] == OTHER_TOKEN
    place.renew(b"broken")
    watch.look()
    assert lent[-1] == OTHER_TOKEN, "what cannot be read changes nothing"
    place.renew({})
    watch.look()
    watch.look()
    assert lent[-1] == ""
    assert place.told == ["Claude was signed out on your machine, and so was this session."]
    everything = "".join(path.read_text() for path in place.inside.rglob("*") if path.is_file())
    assert "sk-ant" not in everything
    assert json.loads((place.inside / ".credentials.json").read_text()) == {"mcpOAuth": {"kept": 1}}
    assert "removed from" not in str(ClaudeConfig(place.location, place.host, Chosen("", {}, is_lent=True)).prepare())


def test_where_nobody_is_signed_in_a_lent_session_says_how(host: Host) -> None:
    place = Running(host)
    sign_in = ClaudeConfig(place.location, place.host, Chosen("", {}, is_lent=True)).prepare()
    assert (sign_in.kind, sign_in.notes[0]) == ("", "Not signed in to Claude.")
    assert "removed when no lent session runs" in sign_in.notes[1]
