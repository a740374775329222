"""Where the sign-in is lent, what someone signs in with inside is removed, and nothing else is touched."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from confined_claude.claude import signing_out
from confined_claude.claude.signing_out import kept_signed_out, remove_sign_in
from confined_claude.fs.directory import Location

from ..conftest import tree
from .test_credentials import put

OAUTH = {"claudeAiOauth": {"accessToken": "s3cret", "refreshToken": "s3cret"}}
MCP = {"mcpOAuth": {"server": {"refreshToken": "works once"}}}
KEY = {"primaryApiKey": "s3cret", "numStartups": 1}
GOOD = {"numStartups": 3}


def removed(config: Path) -> bool:
    with Location(config).open() as directory:
        lines = list(remove_sign_in(directory))
    return any(line.startswith("A sign-in made inside a session") for line in lines)


def removed_unread(config: Path) -> bool:
    """Whether only old backups are removed, in other words."""
    with Location(config).open() as directory:
        lines = list(remove_sign_in(directory))
    assert all(line.startswith("Old backups in ") for line in lines)
    return bool(lines)


def content(path: Path) -> Any:
    return json.loads(path.read_text())


def test_without_a_sign_in_nothing_is_written(config: Path) -> None:
    for name, each in ((".credentials.json", MCP), (".claude.json", GOOD), ("backups/.claude.json.backup.1", GOOD)):
        put(config / name, each)
    put(config / ".claude.json.corrupted.1", b"\n")
    before = tree(config)
    assert not removed(config)
    assert tree(config) == before
    put(config / ".credentials.json", {**MCP, **OAUTH})
    assert removed(config), "the control"
    assert (config / ".credentials.json").read_text() == json.dumps(MCP), "as the client writes it"


@pytest.mark.parametrize(("name", "lock"), [(".credentials.json", ".storage-write.lock"), (".claude.json", None)])
def test_what_a_running_client_writes_under_its_lock_is_kept(config: Path, name: str, lock: str | None) -> None:
    secret, kept = (OAUTH, MCP) if lock else (KEY, GOOD)
    held = config / (lock or ".claude.json.lock")
    put(config / name, {**secret, "old": 1})
    held.mkdir()

    def write() -> None:
        time.sleep(0.5)
        put(config / name, {**secret, **kept})
        held.rmdir()

    client = threading.Thread(target=write)
    client.start()
    assert removed(config)
    client.join()
    assert content(config / name) == kept
    assert not held.exists()


def test_a_session_that_never_gives_the_locks_away_keeps_no_sign_in(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signing_out, "_PATIENCE_SECONDS", 0.1)
    for name, secret in ((".credentials.json", OAUTH), (".claude.json", KEY)):
        put(config / name, secret)
    for name in (".storage-write.lock", ".claude.json.lock"):
        (config / name).mkdir()
    assert removed(config)
    assert "s3cret" not in str(tree(config))
    assert not (config / ".credentials.json").exists()


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("backups/.claude.json.backup.1", KEY),
        ("backups/.claude.json.corrupted.1", b'{"primaryApiKey": "s3cret", "numSt'),
        ("backups/x", b'{"primary\\u0041piKey": "s3cret"}'),
        (".claude.json.corrupted.1", b'{"primaryApiKey": "s3cret", "numSt'),
        (".config.json.1", KEY),
        (".config.json", KEY),
        (".credentials.json.1", b" " * (1 << 20) + json.dumps(OAUTH).encode()),
        (".credentials.json", b'{"claudeAiOauth": {"accessToken": "s3cret'),
    ],
)
def test_no_copy_has_it_and_directories_in_between_do_not_matter(config: Path, name: str, secret: Any) -> None:
    put(config / ".claude.json", GOOD)
    put(config / "backups/.claude.json.backup.2", GOOD)
    for directory in ("backups/zz", "backups/a", ".credentials.json.2", ".claude.json.lock"):
        (config / directory).mkdir()
    before = {path: path.is_file() and content(path) for path in config.rglob("*")}
    put(config / name, secret)
    assert removed(config)
    assert not (config / name).exists()
    assert {path: path.is_file() and content(path) for path in config.rglob("*")} == before, "good backups stay"
    assert not removed(config)


def test_no_more_copies_are_read_than_claude_keeps(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signing_out, "_MOST_COPIES", 3)
    for moment in range(1, 6):
        put(config / f"backups/.claude.json.backup.{moment}", GOOD)
    assert removed_unread(config)
    assert sorted(path.name[-1] for path in (config / "backups").iterdir()) == ["3", "4", "5"]


NESTED = b'{"x": ' + b"[" * 3000 + b"]" * 3000 + b', "%b": {"accessToken": "s3cret"}}'
LARGE = {**GOOD, "x": "x" * (20 << 20)}


@pytest.mark.parametrize(
    ("name", "secret", "plain"),
    [
        # What a client reads and Python does not, and the same without a sign-in.
        (".credentials.json", b'{"x": "\xff", "\\u0063laudeAiOauth": {"accessToken": "s3cret"}}', MCP),
        (".credentials.json.1", b'{"x": "\xff", "\\u0063laudeAiOauth": {"accessToken": "s3cret"}}', MCP),
        (".credentials.json", NESTED.replace(b"%b", b"claudeAiOauth"), MCP),
        (".credentials.json", NESTED.replace(b"%b", b"\\u0063laudeAiOauth"), MCP),
        ("backups/x", NESTED.replace(b"%b", b"\\u0070rimaryApiKey"), GOOD),
        (".claude.json", b'{"x": "\xff", "primaryApiKey": "s3cret"}', GOOD),
        (".claude.json", b'{"x": "\xff", "\\u0070rimaryApiKey": "s3cret"}', b" \n"),
        (".claude.json", json.dumps({**KEY, "x": "x" * (64 << 20)}).encode(), LARGE),
        (".claude.json", NESTED.replace(b"%b", b"primaryApiKey"), b""),
        (".claude.json", b'"primaryApiKey"', GOOD),
    ],
)
def test_what_nobody_can_read_goes_as_a_whole(config: Path, name: str, secret: bytes, plain: Any) -> None:
    put(config / name, plain)
    before = tree(config)
    assert not removed(config), "the control"
    assert tree(config) == before
    put(config / name, secret)
    assert removed(config)
    assert not (config / name).exists()
    assert not removed(config)


def test_a_state_that_can_just_be_read_and_not_be_written_is_removed(config: Path) -> None:
    for depth in range(100, 3000, 50):
        put(config / ".claude.json", {**KEY, "x": 0})
        text = (config / ".claude.json").read_text().replace("0", "[" * depth + "]" * depth)
        put(config / ".claude.json", text.encode())
        assert removed(config)
        if not (config / ".claude.json").exists():
            break
        assert "s3cret" not in (config / ".claude.json").read_text()
    assert depth > 500


def test_a_large_state_loses_its_key_alone(config: Path) -> None:
    put(config / ".claude.json", {**LARGE, "primaryApiKey": "s3cret"})
    assert removed(config)
    assert content(config / ".claude.json") == LARGE


@pytest.mark.parametrize("place", ["backups/.claude.json.backup.{}", ".claude.json.{}"])
def test_of_copies_no_more_is_read_than_a_few_megabytes_in_all(
    config: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = list[int]()
    parse = signing_out.parse_json
    monkeypatch.setattr(signing_out, "parse_json", lambda text: (read.append(len(text or b"")), parse(text))[1])
    for moment in range(1, 10):
        put(config / place.format(moment), {"x": "x" * (3 << 20)})
    put(config / place.format(0), GOOD)
    assert removed_unread(config)
    assert sum(read) <= 8 << 20
    kept = {path.name[-1] for path in config.rglob("*") if path.is_file()}
    assert kept == {"9", "8", "0"}, "the newest, and what is small enough for the rest"
    assert not removed_unread(config)
    (config / place.format(7)).symlink_to("elsewhere")
    assert removed(config), "a link is not a backup"


def test_the_last_of_the_sessions_with_a_config_removes_it_at_its_end(config: Path, tmp_path: Path) -> None:
    state, told = Location(tmp_path / "state"), list[str]()
    credentials, other = config / ".credentials.json", tmp_path / "other"
    with contextlib.ExitStack() as first, contextlib.ExitStack() as elsewhere:
        elsewhere.enter_context(kept_signed_out(Location(other), state, told.append))
        first.enter_context(kept_signed_out(Location(config), state, told.append))
        with kept_signed_out(Location(config), state, told.append):
            put(credentials, OAUTH)
        assert content(credentials) == OAUTH, "the other one may have made it"
        assert told == []
        first.close()
        assert not credentials.exists(), "those with another config do not count"
        assert ["is removed from" in line for line in told] == [True]
    with pytest.raises(KeyboardInterrupt), kept_signed_out(Location(config), state, told.append):
        put(credentials, OAUTH)
        raise KeyboardInterrupt
    assert not credentials.exists()
    config.chmod(0)
    config.rmdir()
    with kept_signed_out(Location(config), state, told.append):
        pass
    assert len(told) == 2
