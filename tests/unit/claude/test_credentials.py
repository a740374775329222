"""Sign-in and settings: copied into the container's Claude config, never out of it, and never half."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confined_claude.claude import onboarding
from confined_claude.claude.config import ClaudeConfig
from confined_claude.claude.copied import Action, Copied, Decision, decide, token_hash
from confined_claude.claude.credentials import HostSignIn
from confined_claude.claude.sign_in import HOW_TO_SIGN_IN, SignIn
from confined_claude.errors import ConfinedError
from confined_claude.fs.lock import lock_directory
from confined_claude.host import Host
from confined_claude.workspace import shared_data

from ..conftest import as_plain_user, full_disk, host_below, mode_of, tree

FAR = 4_102_444_800_000  # 2100-01-01, in milliseconds
TOKEN = "sk-ant-oat01-fake"
OTHER_TOKEN = "sk-ant-oat01-fake-other"
REFRESH = "sk-ant-ort01-fake"
API_KEY = "sk-ant-api03-fake-0123456789abcdefghijklmnopqrst"
SUFFIX = API_KEY[-20:]
VARIABLES = ("ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN")


# What a state says once the first questions are answered; the client's own notice leaves room for a session's.
ANSWERED = {"hasCompletedOnboarding": True, "hasSeenAutoDefaultNotice": True}


class Place:
    """A host's Claude config, and the container's one that is made from it."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.theirs = host.home / ".claude"
        self.location = shared_data(host).at("claude-config")
        self.inside = self.location.path
        self.credentials = self.inside / ".credentials.json"
        self.state = self.inside / ".claude.json"
        self.theirs.mkdir(exist_ok=True)

    def prepare(self, **environ: str) -> SignIn:
        return ClaudeConfig(self.location, self.host._replace(environ=environ)).prepare()

    def error(self, **environ: str) -> ConfinedError:
        with pytest.raises(ConfinedError) as caught:
            self.prepare(**environ)
        assert caught.value.exit_code == 2
        assert caught.value.hint
        return caught.value

    def sign_in(self, content: Any) -> None:
        put(self.theirs / ".credentials.json", content)

    def copy(self) -> Any:
        return json.loads(self.credentials.read_bytes())["claudeAiOauth"]


def put(path: Path, content: Any) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path.read_bytes()


def oauth(token: str = TOKEN, expires: Any = FAR, **more: Any) -> dict[str, Any]:
    login = {
        "accessToken": token,
        "expiresAt": expires,
        "scopes": ["user:inference"],
        "subscriptionType": "max",
        **more,
    }
    return {"claudeAiOauth": login}


@pytest.fixture
def place(host: Host) -> Place:
    return Place(host)


# What is copied


def test_the_copy_has_the_sign_in_and_nothing_that_could_renew_it(place: Place) -> None:
    login = oauth(refreshToken=REFRESH, rateLimitTier="tier", clientId="id", refreshTokenExpiresAt=FAR)
    place.sign_in({**login, "mcpOAuth": {"server": {"accessToken": "mcp-fake"}}, "other": 1})
    assert place.prepare() == SignIn("credentials")
    assert json.loads(place.credentials.read_text()) == {
        "claudeAiOauth": {
            "accessToken": TOKEN,
            "expiresAt": FAR,
            "scopes": ["user:inference"],
            "subscriptionType": "max",
            "rateLimitTier": "tier",
        }
    }
    everything = b"".join(path.read_bytes() for path in place.inside.rglob("*") if path.is_file())
    assert REFRESH.encode() not in everything
    assert b"mcp" not in everything


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_copies_are_private_whatever_the_umask_and_the_hosts_modes(mask: int, place: Place) -> None:
    place.sign_in(oauth())
    (place.theirs / ".credentials.json").chmod(0o644)
    place.host.data.mkdir(parents=True)
    before = os.umask(mask)
    try:
        place.prepare()
    finally:
        os.umask(before)
    assert mode_of(place.credentials) == 0o600
    assert mode_of(place.state) == 0o600
    assert mode_of(place.inside) == 0o700


def test_the_hosts_files_stay_as_they_are(place: Place) -> None:
    place.sign_in(oauth(refreshToken=REFRESH))
    put(place.theirs / "settings.json", {"model": "x"})
    put(place.theirs / ".claude.json", {"numStartups": 3})
    put(place.host.home / ".claude.json", {"numStartups": 3})
    put(place.theirs / "agents/a.md", b"agent")
    before = tree(place.theirs), (place.host.home / ".claude.json").read_bytes()
    place.prepare()
    put(place.credentials, oauth(OTHER_TOKEN, FAR + 1, refreshToken="inside"))
    place.prepare(ANTHROPIC_API_KEY=API_KEY)
    assert (tree(place.theirs), (place.host.home / ".claude.json").read_bytes()) == before


def test_the_claude_config_named_by_the_host_is_the_one_copied(place: Place, tmp_path: Path) -> None:
    place.sign_in(oauth())
    put(tmp_path / "named/.credentials.json", oauth(OTHER_TOKEN))
    assert place.prepare(CLAUDE_CONFIG_DIR=str(tmp_path / "named")).kind == "credentials"
    assert place.copy()["accessToken"] == OTHER_TOKEN


# Who owns the copy

HOST = "/home/u/.claude/.credentials.json"
OWN = {"accessToken": OTHER_TOKEN, "refreshToken": REFRESH}
COPY = {"accessToken": TOKEN, "expiresAt": FAR}
PLANTED = {"accessToken": OTHER_TOKEN, "expiresAt": 9e12}
HASH = token_hash(COPY)


@pytest.mark.parametrize(
    ("theirs", "mine", "record", "expected", "said"),
    [
        # A sign-in that renews itself is the container's own, whatever the host has; it is named once.
        (COPY, OWN, None, (Action.KEEP, Copied(own="a@b")), "as a@b"),
        (COPY, OWN, Copied(HOST, HASH), (Action.KEEP, Copied(own="a@b")), "as a@b"),
        (COPY, OWN, Copied(own="a@b"), (Action.KEEP, Copied(own="a@b")), ""),
        (COPY, OWN, Copied(own="c@d"), (Action.KEEP, Copied(own="a@b")), "as a@b"),
        (None, OWN, Copied(own="a@b"), (Action.KEEP, Copied(own="a@b")), ""),
        ("broken", OWN, Copied(own="a@b"), (Action.KEEP, Copied(own="a@b")), ""),
        # Everything else follows the host, whatever its dates say.
        (COPY, None, None, (Action.COPY, Copied(HOST, HASH)), ""),
        (COPY, COPY, None, (Action.KEEP, Copied(HOST, HASH)), ""),
        (COPY, COPY, Copied(HOST, HASH), (Action.KEEP, Copied(HOST, HASH)), ""),
        (COPY, PLANTED, None, (Action.COPY, Copied(HOST, HASH)), ""),
        (COPY, PLANTED, Copied(HOST, HASH), (Action.COPY, Copied(HOST, HASH)), ""),
        (COPY, {**COPY, "expiresAt": 9e12}, Copied(HOST, HASH), (Action.COPY, Copied(HOST, HASH)), ""),
        (COPY, {**COPY, "refreshToken": ""}, Copied(HOST, HASH), (Action.KEEP, Copied(HOST, HASH)), ""),
        (COPY, {**PLANTED, "refreshToken": 7}, None, (Action.COPY, Copied(HOST, HASH)), ""),
        ({**COPY, "expiresAt": 1}, COPY, Copied(HOST, HASH), (Action.COPY, Copied(HOST, HASH)), ""),
        ({**COPY, "refreshToken": REFRESH}, COPY, None, (Action.KEEP, Copied(HOST, HASH)), ""),
        (COPY, None, Copied(own="a@b"), (Action.COPY, Copied(HOST, HASH)), "is gone"),
        # So does the end of the host's sign-in. What version 0.1 copied stays for lack of another.
        (None, COPY, Copied(HOST, HASH), (Action.REMOVE, Copied(HOST)), "signed out"),
        (None, PLANTED, Copied(HOST), (Action.REMOVE, Copied(HOST)), "signed out"),
        (None, COPY, None, (Action.KEEP, Copied(token=HASH)), ""),
        (None, COPY, Copied(token=HASH), (Action.KEEP, Copied(token=HASH)), ""),
        (None, PLANTED, Copied(token=HASH), (Action.REMOVE, Copied(HOST)), "signed out"),
        (COPY, PLANTED, Copied(token=HASH), (Action.COPY, Copied(HOST, HASH)), ""),
        (None, None, None, (Action.KEEP, Copied(HOST)), ""),
        (None, None, Copied(HOST, HASH), (Action.KEEP, Copied(HOST)), ""),
        # What cannot be read says nothing about the host's sign-in.
        ("broken", COPY, Copied(HOST, HASH), (Action.KEEP, Copied(HOST, HASH)), "broken"),
        ("broken", None, None, (Action.KEEP, None), "broken"),
    ],
)
def test_what_becomes_of_the_sign_in_in_a_containers_config(
    theirs: Any, mine: Any, record: Copied | None, expected: tuple[Action, Copied | None], said: str
) -> None:
    broken = theirs == "broken"
    host = HostSignIn(HOST, None if broken else theirs, "It is broken." if broken else "")
    decision = decide(host, mine, record, "a@b")
    assert decision == Decision(*expected, decision.notes)
    assert said in " ".join(decision.notes)
    assert bool(said) is bool(decision.notes)


def test_the_record_is_out_of_sessions_reach_and_has_no_token(place: Place) -> None:
    place.sign_in(oauth(refreshToken=REFRESH))
    place.prepare()
    content = (place.host.state / "sign-ins.json").read_text()
    assert json.loads(content)["configs"] == {
        str(place.inside): {
            "source": str(place.theirs / ".credentials.json"),
            "token": token_hash(COPY),
            "own": None,
        }
    }
    assert "sk-ant" not in content
    assert place.host.state not in (place.inside, *place.inside.parents)


def test_each_config_has_a_record_of_its_own_until_it_is_gone(place: Place) -> None:
    place.sign_in(oauth())
    place.prepare()
    others = shared_data(place.host).at("other")
    ClaudeConfig(others, place.host).prepare()
    record = place.host.state / "sign-ins.json"
    assert set(json.loads(record.read_bytes())["configs"]) == {str(place.inside), str(others.path)}
    shutil.rmtree(place.inside)
    place.sign_in(oauth(OTHER_TOKEN))
    ClaudeConfig(others, place.host).prepare()
    assert set(json.loads(record.read_bytes())["configs"]) == {str(others.path)}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"7", b'{"configs": 7}', b'{"version": 1, "configs": {}}'])
def test_a_damaged_record_counts_as_none(content: bytes, place: Place) -> None:
    put(place.host.state / "sign-ins.json", content)
    place.sign_in(oauth())
    assert place.prepare() == SignIn("credentials")
    assert str(place.inside) in json.loads((place.host.state / "sign-ins.json").read_bytes())["configs"]


def test_a_record_of_a_newer_version_is_refused(place: Place) -> None:
    newer = put(place.host.state / "sign-ins.json", {"version": 99, "configs": "other"})
    place.sign_in(oauth())
    assert "newer version" in place.error().message
    assert (place.host.state / "sign-ins.json").read_bytes() == newer
    assert not place.credentials.exists()


def test_an_own_sign_in_gives_way_when_the_user_says_so(place: Place) -> None:
    put(place.credentials, {**oauth(OTHER_TOKEN, refreshToken=REFRESH), "mcpOAuth": {"server": 1}})
    place.sign_in(oauth())
    place.prepare()
    assert place.copy()["accessToken"] == OTHER_TOKEN
    assert ClaudeConfig(place.location, place.host).return_to_host() == SignIn("credentials")
    assert json.loads(place.credentials.read_bytes()) == {**oauth(), "mcpOAuth": {"server": 1}}
    assert place.prepare() == SignIn("credentials")


@pytest.mark.parametrize("content", [None, b"{", {"claudeAiOauth": {"accessToken": ""}}])
def test_an_own_sign_in_stays_where_the_host_has_none(content: Any, place: Place) -> None:
    own = put(place.credentials, oauth(OTHER_TOKEN, refreshToken=REFRESH))
    if content is not None:
        place.sign_in(content)
    with pytest.raises(ConfinedError, match="broken" if content == b"{" else "not signed in"):
        ClaudeConfig(place.location, place.host).return_to_host()
    assert place.credentials.read_bytes() == own


@pytest.mark.parametrize("ours", [FAR + 1, FAR, FAR - 1, 1])
def test_an_own_login_inside_stays_to_the_byte_and_is_named_once(ours: int, place: Place) -> None:
    place.sign_in(oauth(expires=FAR))
    put(place.state, {"oauthAccount": {"emailAddress": "me\n@example.invalid"}})
    own = put(place.credentials, oauth(OTHER_TOKEN, ours, refreshToken=REFRESH))
    assert "as me\\n@example.invalid," in place.prepare().notes[0]
    assert place.credentials.read_bytes() == own
    assert place.prepare() == SignIn("credentials")
    assert place.credentials.read_bytes() == own


def test_the_same_sign_in_is_not_written_again(place: Place) -> None:
    place.sign_in(oauth())
    place.prepare()
    before = tree(place.inside)
    place.prepare()
    assert tree(place.inside) == before


@pytest.mark.parametrize(
    "copy",
    [
        b"",
        b"{",
        b"[]",
        b"[1]",
        b"null",
        b"7",
        b'"x"',
        b'{"claudeAiOauth": {"accessToken": ""}}',
        b'{"claudeAiOauth": 7}',
    ],
)
def test_a_copy_that_is_no_sign_in_is_replaced(copy: bytes, place: Place) -> None:
    place.sign_in(oauth(expires=1))
    put(place.credentials, copy)
    place.prepare()
    assert place.copy()["accessToken"] == TOKEN


@pytest.mark.parametrize("content", [{"claudeAiOauth": {"accessToken": "", "refreshToken": ""}}, {}, b"", None])
def test_a_host_that_signed_out_signs_the_container_out(content: Any, place: Place) -> None:
    place.sign_in(oauth())
    place.prepare()
    put(place.credentials, {**oauth(), "mcpOAuth": {"server": 1}})
    (place.theirs / ".credentials.json").unlink() if content is None else place.sign_in(content)
    sign_in = place.prepare()
    assert (sign_in.kind, sign_in.notes[1:]) == ("", ("Not signed in to Claude.", HOW_TO_SIGN_IN))
    assert "signed out on your machine" in sign_in.notes[0]
    assert json.loads(place.credentials.read_bytes()) == {"mcpOAuth": {"server": 1}}
    assert place.prepare().notes == sign_in.notes[1:]


def test_credentials_with_nothing_else_go_with_the_hosts(place: Place) -> None:
    place.sign_in(oauth())
    place.prepare()
    (place.theirs / ".credentials.json").unlink()
    place.prepare()
    assert not place.credentials.exists()


def test_what_a_session_signed_in_to_by_itself_survives_a_newer_token(place: Place) -> None:
    put(place.credentials, {**oauth(expires=FAR - 1), "mcpOAuth": {"server": {"accessToken": "mcp-fake"}}})
    place.sign_in(oauth(OTHER_TOKEN))
    place.prepare()
    assert place.copy()["accessToken"] == OTHER_TOKEN
    assert json.loads(place.credentials.read_bytes())["mcpOAuth"] == {"server": {"accessToken": "mcp-fake"}}


# What a container leaves in place of the files


@pytest.mark.parametrize("target", ["outside", "missing"])
def test_a_link_in_place_of_the_copy_is_replaced_and_its_target_untouched(
    target: str, place: Place, tmp_path: Path
) -> None:
    (tmp_path / "outside").write_text('{"mine": true}')
    place.sign_in(oauth())
    place.inside.mkdir(parents=True)
    place.credentials.symlink_to(tmp_path / target)
    place.prepare()
    assert stat.S_ISREG(place.credentials.lstat().st_mode)
    assert mode_of(place.credentials) == 0o600
    assert (tmp_path / "outside").read_text() == '{"mine": true}'
    assert not (tmp_path / "missing").exists()
    assert "mine" not in place.credentials.read_text()


@pytest.mark.parametrize("target", ["outside", "missing"])
def test_a_link_in_place_of_the_state_is_left_alone_and_not_followed(target: str, place: Place, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text('{"mine": true}')
    place.sign_in(oauth())
    place.inside.mkdir(parents=True)
    place.state.symlink_to(tmp_path / target)
    assert place.prepare() == SignIn("credentials")
    assert place.state.readlink() == tmp_path / target
    assert (tmp_path / "outside").read_text() == '{"mine": true}'
    assert not (tmp_path / "missing").exists()


def test_a_link_to_the_hosts_own_credentials_does_not_bring_the_refresh_token_inside(place: Place) -> None:
    place.sign_in(oauth(refreshToken=REFRESH))
    place.inside.mkdir(parents=True)
    place.credentials.symlink_to(place.theirs / ".credentials.json")
    place.prepare()
    assert "refreshToken" not in place.copy()
    assert not place.credentials.is_symlink()


@pytest.mark.timeout(120)
def test_a_fifo_does_not_hang_the_start(place: Place) -> None:
    place.sign_in(oauth())
    place.inside.mkdir(parents=True)
    for path in (place.credentials, place.state):
        os.mkfifo(path)
    assert place.prepare().kind == "credentials"
    assert place.credentials.is_file()
    assert place.state.is_file()


@pytest.mark.parametrize("signed_in", [True, False])
def test_a_directory_in_place_of_the_copy_is_renamed(signed_in: bool, place: Place) -> None:
    if signed_in:
        place.sign_in(oauth())
    put(place.credentials / "inner", b"kept")
    sign_in = place.prepare()
    assert str(place.credentials) in sign_in.notes[0]
    assert place.credentials.exists() is signed_in
    (aside,) = place.inside.glob(".credentials.json.*")
    assert aside.name in sign_in.notes[0]
    assert (aside / "inner").read_bytes() == b"kept"


def test_a_link_in_place_of_the_whole_config_is_refused(place: Place, tmp_path: Path) -> None:
    place.sign_in(oauth())
    outside = tmp_path / "outside"
    outside.mkdir()
    place.inside.parent.mkdir(parents=True)
    for target in (outside, tmp_path / "missing"):
        place.inside.symlink_to(target)
        error = place.error()
        assert "is a link" in error.message
        assert str(place.inside) in error.message
        place.inside.unlink()
    assert list(outside.iterdir()) == []


def test_a_file_in_place_of_the_whole_config_is_a_clear_error_and_stays(place: Place) -> None:
    place.sign_in(oauth())
    put(place.inside, b"kept")
    assert str(place.inside) in place.error().message
    assert place.inside.read_bytes() == b"kept"
    assert os.listdir(place.inside.parent) == [place.inside.name]


@pytest.mark.parametrize("where", ["host", "container"])
def test_an_absurd_expiry_is_no_traceback(where: str, place: Place) -> None:
    place.sign_in(oauth(expires=10**400 if where == "host" else FAR))
    if where == "container":
        put(place.credentials, oauth(expires=10**400))
    assert place.prepare().kind == "credentials"


# Broken, empty, unreadable, missing


UNREADABLE = (b"{", b"\xff\xfe", b"not json", b'{"claudeAiOauth": {"accessToken": "x"', b"[" * 100_000)


@pytest.mark.parametrize("content", UNREADABLE)
def test_broken_credentials_say_what_to_do_and_a_session_starts(content: bytes, place: Place) -> None:
    place.sign_in(content)
    sign_in = place.prepare()
    assert sign_in.kind == ""
    assert str(place.theirs / ".credentials.json") in sign_in.notes[0]
    assert "broken" in sign_in.notes[0] or "not UTF-8" in sign_in.notes[0]
    assert "sign in again" in sign_in.notes[1]
    assert not place.credentials.exists()


@pytest.mark.parametrize("variable", VARIABLES)
def test_broken_credentials_are_only_a_note_with_another_sign_in(variable: str, place: Place) -> None:
    place.sign_in(b"{")
    sign_in = place.prepare(**{variable: API_KEY})
    assert sign_in.kind == variable
    assert "broken" in sign_in.notes[0]
    assert not place.credentials.exists()


def test_broken_credentials_are_only_a_note_with_a_copy_of_older_ones(place: Place) -> None:
    kept = put(place.credentials, oauth())
    place.sign_in(b"{")
    sign_in = place.prepare()
    assert sign_in.kind == "credentials"
    assert "broken" in sign_in.notes[0]
    assert place.credentials.read_bytes() == kept


def huge(path: Path) -> None:
    with open(path, "wb") as file:
        file.truncate(200 << 20)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, huge, device])
def test_what_is_no_file_in_place_of_the_hosts_credentials(make: Callable[[Path], None], place: Place) -> None:
    make(place.theirs / ".credentials.json")
    for environ, kind in (({}, ""), ({"ANTHROPIC_API_KEY": API_KEY}, "ANTHROPIC_API_KEY")):
        sign_in = place.prepare(**environ)
        assert sign_in.kind == kind
        assert f"Cannot read {place.theirs / '.credentials.json'}" in sign_in.notes[0]


@pytest.mark.parametrize("variable", ["", *VARIABLES])
def test_credentials_that_may_not_be_read(variable: str, plain_folder: Path) -> None:
    def work() -> SignIn:
        place = Place(host_below(plain_folder))
        place.sign_in(oauth())
        (place.theirs / ".credentials.json").chmod(0)
        return place.prepare(**({variable: API_KEY} if variable else {}))

    sign_in = as_plain_user(work)
    assert sign_in.kind == variable
    assert "Permission denied" in sign_in.notes[0]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b" \n\t",
        {},
        [],
        7,
        {"claudeAiOauth": None},
        {"claudeAiOauth": {}},
        {"claudeAiOauth": [TOKEN]},
        {"claudeAiOauth": {"accessToken": ""}},
        {"claudeAiOauth": {"accessToken": None, "refreshToken": REFRESH}},
        {"claudeAiOauth": {"accessToken": 7}},
        {"mcpOAuth": {"server": {"accessToken": "mcp-fake"}}},
        None,
    ],
)
def test_a_missing_sign_in_says_how_to_sign_in_and_goes_on(content: Any, place: Place) -> None:
    if content is not None:
        place.sign_in(content)
    assert place.prepare() == SignIn("", ("Not signed in to Claude.", HOW_TO_SIGN_IN))
    assert place.inside.is_dir()
    assert not place.credentials.exists()
    assert not place.state.exists()
    assert all(name in HOW_TO_SIGN_IN for name in ("claude", "CLAUDE_CODE_OAUTH_TOKEN", "ANTHROPIC_API_KEY", "/login"))


def test_a_host_without_claude_is_not_signed_in(place: Place) -> None:
    place.theirs.rmdir()
    assert place.prepare().kind == ""
    assert not place.theirs.exists()


# Variables


@pytest.mark.parametrize("variable", VARIABLES)
def test_a_variable_signs_in_without_a_note(variable: str, place: Place) -> None:
    assert place.prepare(**{variable: API_KEY}) == SignIn(variable)
    assert not place.credentials.exists()


def test_variables_count_in_the_order_of_claude_code(place: Place) -> None:
    place.sign_in(oauth())
    environ = dict.fromkeys(VARIABLES, API_KEY)
    for variable in VARIABLES:
        assert place.prepare(**environ).kind == variable
        environ[variable] = ""
    assert place.prepare(**environ).kind == "credentials"


def test_the_hosts_credentials_are_not_copied_where_a_variable_signs_in_and_the_start_says_what_is_billed(
    place: Place,
) -> None:
    place.sign_in(oauth())
    sign_in = place.prepare(CLAUDE_CODE_OAUTH_TOKEN=OTHER_TOKEN)
    assert not place.credentials.exists()
    assert sign_in.remarks == (
        "Signed in by CLAUDE_CODE_OAUTH_TOKEN, which is billed; the sign-in to your Claude account is not used.",
    )
    # They are once it does not; a copy that other sessions may be using stays.
    place.prepare()
    place.prepare(CLAUDE_CODE_OAUTH_TOKEN=OTHER_TOKEN)
    assert place.copy()["accessToken"] == TOKEN


# Expired


@pytest.mark.parametrize(
    ("expires", "more", "environ", "noted"),
    [
        (1, {}, {}, True),
        (lambda: time.time() * 1000 - 1000, {}, {}, True),
        (lambda: time.time() * 1000 + 90_000_000, {}, {}, False),
        (0, {}, {}, False),
        (None, {}, {}, False),
        ("soon", {}, {}, False),
        (1, {}, {"ANTHROPIC_API_KEY": API_KEY}, False),
        (1, {"refreshToken": REFRESH}, {}, False),
        (1, {"refreshToken": ""}, {}, True),
    ],
)
def test_an_expired_copy_has_a_note(
    expires: Any, more: Mapping[str, str], environ: Mapping[str, str], noted: bool, place: Place
) -> None:
    put(place.credentials, oauth(expires=expires() if callable(expires) else expires, **more))
    place.prepare(**environ)
    sign_in = place.prepare(**environ)
    assert bool(sign_in.notes) is noted
    if noted:
        assert "expired" in sign_in.notes[0]
        assert "in `claude` on your machine" in sign_in.notes[1]
        assert sign_in.kind == "credentials"


def test_an_expired_sign_in_of_the_host_is_noted_though_it_could_renew_it(place: Place) -> None:
    place.sign_in(oauth(expires=1, refreshToken=REFRESH))
    assert "expired" in place.prepare().notes[0]


# A full disk


def test_a_full_disk_on_a_later_launch_leaves_the_old_copy(place: Place) -> None:
    place.sign_in(oauth())
    place.prepare()
    before = tree(place.inside)
    place.sign_in(oauth(OTHER_TOKEN, FAR + 1))
    with full_disk():
        assert str(place.inside) in place.error().message
    assert tree(place.inside) == before


def test_a_full_disk_says_what_to_do(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    place.sign_in(oauth())
    place.inside.mkdir(parents=True)
    monkeypatch.setattr(os, "fsync", fail)
    error = place.error()
    assert "No space left" in error.message
    assert "disk space" in error.hint
    assert list(place.inside.iterdir()) == []


def test_a_full_disk_while_answering_the_first_questions_leaves_the_old_state(place: Place) -> None:
    old = put(place.state, {"numStartups": 3})
    with full_disk():
        place.error(ANTHROPIC_API_KEY=API_KEY)
    assert place.state.read_bytes() == old
    assert os.listdir(place.inside) == [".claude.json"]


def test_a_data_directory_that_may_not_be_written_is_a_clear_error(plain_folder: Path) -> None:
    def work() -> None:
        place = Place(host_below(plain_folder))
        place.host.data.mkdir(parents=True, mode=0o500)
        place.prepare()

    with pytest.raises(ConfinedError, match="Permission denied"):
        as_plain_user(work)


# The first screen


def test_the_first_questions_are_answered(place: Place) -> None:
    place.sign_in(oauth())
    place.prepare()
    assert json.loads(place.state.read_text()) == ANSWERED


@pytest.mark.parametrize("old", [b"", b" \n", b"{}"])
def test_an_empty_state_is_filled(old: bytes, place: Place) -> None:
    put(place.state, old)
    place.prepare(CLAUDE_CODE_OAUTH_TOKEN=TOKEN)
    assert json.loads(place.state.read_text()) == ANSWERED


def test_everything_else_in_the_state_stays(place: Place) -> None:
    old = {
        "numStartups": 3,
        "projects": {"/p": {"allowedTools": ["Bash"]}},
        "odd": "\ud800 ü",
        "hasCompletedOnboarding": False,
    }
    put(place.state, old)
    place.sign_in(oauth())
    place.prepare()
    assert json.loads(place.state.read_text()) == {**old, **ANSWERED}


def test_a_state_with_the_answers_is_not_touched(place: Place) -> None:
    put(place.state, b'{ "hasCompletedOnboarding" :true}\n')
    place.sign_in(oauth())
    place.prepare()
    before = tree(place.inside)
    place.prepare()
    assert tree(place.inside) == before
    assert place.state.read_bytes() == b'{ "hasCompletedOnboarding" :true}\n'


@pytest.mark.parametrize("depth", [100, 900, 960, 970, 980, 990, 2000, 5000])
def test_a_deeply_nested_state_is_no_traceback(depth: int, place: Place) -> None:
    put(place.state, b'{"a": ' + b"[" * depth + b"]" * depth + b"}")
    place.sign_in(oauth())
    assert place.prepare() == SignIn("credentials")


def test_a_huge_state_is_not_lost(place: Place) -> None:
    put(place.state, {"projects": {"/p": "x" * (17 << 20)}})
    place.prepare(CLAUDE_CODE_OAUTH_TOKEN=TOKEN)
    assert "projects" in json.loads(place.state.read_bytes())


def test_an_api_key_is_approved_by_its_last_characters(place: Place) -> None:
    place.prepare(ANTHROPIC_API_KEY=API_KEY)
    state = json.loads(place.state.read_text())
    assert state == {
        **ANSWERED,
        "customApiKeyResponses": {"approved": [SUFFIX], "rejected": []},
    }
    assert API_KEY not in place.state.read_text()


def test_an_api_key_that_was_rejected_once_is_approved_and_other_answers_stay(place: Place) -> None:
    answers = {"approved": ["first"], "rejected": ["second", SUFFIX, "third"], "more": 1}
    put(place.state, {"hasCompletedOnboarding": True, "customApiKeyResponses": answers, "numStartups": 3})
    place.prepare(ANTHROPIC_API_KEY=API_KEY)
    assert json.loads(place.state.read_text()) == {
        "hasCompletedOnboarding": True,
        "customApiKeyResponses": {"approved": ["first", SUFFIX], "rejected": ["second", "third"], "more": 1},
        "numStartups": 3,
    }


def test_an_approved_api_key_is_not_approved_twice(place: Place) -> None:
    place.prepare(ANTHROPIC_API_KEY=API_KEY)
    before = tree(place.inside)
    place.prepare(ANTHROPIC_API_KEY=API_KEY)
    assert tree(place.inside) == before


@pytest.mark.parametrize(
    "answers",
    [
        None,
        7,
        [],
        {"approved": None},
        {"approved": {}, "rejected": "x"},
        {"rejected": [1, None]},
        {"rejected": 7},
        {"approved": "abc"},
        {"approved": {"a": 1}},
    ],
)
def test_answers_of_an_odd_shape_are_put_right(answers: Any, place: Place) -> None:
    put(place.state, {"customApiKeyResponses": answers})
    place.prepare(ANTHROPIC_API_KEY=API_KEY)
    assert json.loads(place.state.read_text())["customApiKeyResponses"]["approved"] == [SUFFIX]


def test_a_short_api_key_is_approved_as_a_whole(place: Place) -> None:
    place.prepare(ANTHROPIC_API_KEY="sk-fake")
    assert json.loads(place.state.read_text())["customApiKeyResponses"]["approved"] == ["sk-fake"]


def test_a_state_that_claude_is_writing_is_left_alone(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onboarding, "lock_directory", partial(lock_directory, seconds=0.1))
    old = put(place.state, {"numStartups": 3})
    (place.inside / ".claude.json.lock").mkdir()
    assert place.prepare(ANTHROPIC_API_KEY=API_KEY).kind == "ANTHROPIC_API_KEY"
    assert place.state.read_bytes() == old
    assert (place.inside / ".claude.json.lock").is_dir()


def test_a_state_with_the_answers_is_not_waited_for(place: Place) -> None:
    place.prepare(ANTHROPIC_API_KEY=API_KEY)
    (place.inside / ".claude.json.lock").mkdir()
    started = time.monotonic()
    place.prepare(ANTHROPIC_API_KEY=API_KEY)
    assert time.monotonic() - started < 2.5


def test_a_lock_left_by_a_killed_session_is_no_hindrance(place: Place) -> None:
    put(place.state, {"numStartups": 3})
    lock = place.inside / ".claude.json.lock"
    lock.mkdir()
    os.utime(lock, (time.time() - 60, time.time() - 60))
    place.prepare(ANTHROPIC_API_KEY=API_KEY)
    assert json.loads(place.state.read_text())["hasCompletedOnboarding"] is True
    assert os.listdir(place.inside) == [".claude.json"]


# Anything at all

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
CREDENTIALS = st.fixed_dictionaries(
    {},
    optional={
        "claudeAiOauth": JSON
        | st.fixed_dictionaries(
            {"accessToken": st.text(min_size=1) | JSON},
            optional={"expiresAt": JSON, "refreshToken": JSON, "scopes": JSON, "rateLimitTier": JSON},
        ),
        "mcpOAuth": JSON,
    },
)
STATE = st.fixed_dictionaries(
    {},
    optional={
        "hasCompletedOnboarding": JSON,
        "customApiKeyResponses": JSON | st.fixed_dictionaries({}, optional={"approved": JSON, "rejected": JSON}),
        "projects": JSON,
    },
)


def content_of(value: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes | None]:
    return st.none() | st.binary(max_size=40) | (JSON | value).map(lambda parsed: json.dumps(parsed).encode())


@given(
    theirs=content_of(CREDENTIALS),
    mine=content_of(CREDENTIALS),
    state=content_of(STATE),
    environ=st.sampled_from([{}, *({name: API_KEY} for name in VARIABLES)]),
)
def test_whatever_the_files_hold_the_result_is_a_sign_in_or_a_clear_error(
    theirs: bytes | None,
    mine: bytes | None,
    state: bytes | None,
    environ: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    place = Place(host_below(tmp_path_factory.mktemp("any")))
    for path, content in (
        (place.theirs / ".credentials.json", theirs),
        (place.credentials, mine),
        (place.state, state),
    ):
        if content is not None:
            put(path, content)
    before = tree(place.inside)
    try:
        sign_in = place.prepare(**environ)
    except ConfinedError as error:
        assert error.message
        assert error.hint
        assert tree(place.inside) == before
        return
    assert sign_in.kind in ("", "credentials", *VARIABLES)
    assert set(os.listdir(place.inside)) <= {".credentials.json", ".claude.json", "backups"}
    if place.credentials.exists() and place.credentials.read_bytes() != mine:
        assert "refreshToken" not in place.copy()
    assert (place.theirs / ".credentials.json").exists() is (theirs is not None)
