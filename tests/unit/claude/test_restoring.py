"""A damaged config is put right before a session, so that the client starts: nothing of it is lost."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confined_claude.claude import credentials, pasted
from confined_claude.claude.restoring import restore
from confined_claude.environment import SIGN_IN
from confined_claude.fs.directory import Location
from confined_claude.fs.lock import remove_locks_of_the_future

from ..conftest import tree
from .test_credentials import STATE, content_of, put

DAMAGED = [b"{", b'{"numStartups": 3, "proj', b"[]", b"7", b"null", b'"x"', b"\xff", b"\0" * 4096]
GOOD = {"numStartups": 3, "projects": {"/p": {}}}


def restored(config: Path) -> list[str]:
    with Location(config).open() as directory:
        return list(restore(directory))


def backup(config: Path, moment: int | str, content: Any) -> bytes:
    return put(config / f"backups/.claude.json.backup.{moment}", content)


def corrupted(config: Path) -> list[bytes]:
    return [path.read_bytes() for path in config.rglob(".claude.json.corrupted.*")]


def test_a_state_that_would_hide_claudes_own_is_renamed(config: Path) -> None:
    """The client (2.1.332) uses .config.json in its place, where there is one."""
    put(config / ".claude.json", GOOD)
    put(config / ".config.json", b"planted")
    (line,) = restored(config)
    (aside,) = config.glob(".config.json.*")
    assert aside.name in line
    assert not (config / ".config.json").exists()
    assert restored(config) == []


def test_only_the_newest_backups_are_looked_at(config: Path) -> None:
    """A session may leave any number of them, each of many megabytes that take no disk."""
    put(config / ".claude.json", b"{")
    backup(config, 1, GOOD)
    for moment in range(2, 12):
        backup(config, moment, b"{")
    assert "There is no backup" in restored(config)[0]
    put(config / ".claude.json", b"{")
    (config / "backups/.claude.json.backup.11").unlink()
    assert "is in its place" in restored(config)[0]


@pytest.mark.parametrize("damaged", [*DAMAGED, b"", b" \n"])
def test_the_newest_good_backup_takes_the_place_of_a_damaged_state(damaged: bytes, config: Path) -> None:
    put(config / ".claude.json", damaged)
    backup(config, 1_000_000_000_000, {"numStartups": 1})
    newest = backup(config, 1_790_000_000_000, GOOD)
    backup(config, 1_800_000_000_000, b'{"numStartups": 4, "pro')
    backup(config, 1_800_000_000_001, b"")
    backup(config, 10**30, {"numStartups": 9})
    backup(config, "x", {"numStartups": 9})
    (config / "backups/.claude.json.backup.1800000000002").symlink_to("/etc/passwd")
    (line,) = restored(config)
    assert (config / ".claude.json").read_bytes() == newest
    assert corrupted(config) == [damaged]
    assert str(config / ".claude.json") in line
    assert time.strftime("backup of %Y-%m-%d %H:%M", time.localtime(1_790_000_000)) in line
    assert restored(config) == []


@pytest.mark.parametrize("damaged", DAMAGED)
def test_without_a_backup_the_client_begins_anew_and_the_damaged_state_is_kept(damaged: bytes, config: Path) -> None:
    put(config / ".claude.json", damaged)
    (line,) = restored(config)
    assert "no backup" in line
    assert not (config / ".claude.json").exists()
    assert corrupted(config) == [damaged]


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/etc"), lambda path: put(path, b"x")])
def test_what_is_no_directory_in_place_of_the_backups_prevents_nothing(make: Any, config: Path) -> None:
    put(config / ".claude.json", b"{")
    make(config / "backups")
    assert len(restored(config)) == 1
    assert not (config / ".claude.json").exists()
    assert corrupted(config) == [b"{"]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_file_in_place_of_the_state_goes_aside(make: Any, config: Path) -> None:
    make(config / ".claude.json")
    newest = backup(config, 1, GOOD)
    assert len(restored(config)) == 1
    assert (config / ".claude.json").read_bytes() == newest


@pytest.mark.parametrize("good", [b"{}", b' {"numStartups": 3}\n', b"", b"[" * 100_000, None])
def test_a_state_that_a_client_can_use_stays(good: bytes | None, config: Path) -> None:
    if good is not None:
        put(config / ".claude.json", good)
    if good:
        backup(config, 1, GOOD)
    before = tree(config)
    assert restored(config) == []
    assert tree(config) == before


def test_a_link_in_place_of_the_state_is_left_to_the_client(config: Path, tmp_path: Path) -> None:
    put(tmp_path / "outside", b"broken")
    (config / ".claude.json").symlink_to(tmp_path / "outside")
    backup(config, 1, GOOD)
    assert restored(config) == []
    assert (config / ".claude.json").is_symlink()


def test_a_state_that_a_client_writes_just_now_is_left_to_it(config: Path) -> None:
    put(config / ".claude.json", b"{")
    lock = config / ".claude.json.lock"
    lock.mkdir()
    assert restored(config) == []
    assert (config / ".claude.json").read_bytes() == b"{"


def test_locks_dated_in_the_future_are_removed_and_others_stay(config: Path) -> None:
    """No client takes them over, as none is ever too old."""
    ahead = [".claude.json.lock", ".storage-write.lock", ".oauth_refresh.lock"]
    for name, seconds in (*((name, 3600) for name in ahead), ("now.lock", 0), ("soon.lock", 5), ("full.lock", 3600)):
        (config / name).mkdir()
        if name == "full.lock":
            put(config / name / "kept", b"kept")
        os.utime(config / name, (time.time() + seconds, time.time() + seconds))
    put(config / "file.lock", b"kept")
    os.utime(config / "file.lock", (time.time() + 3600, time.time() + 3600))
    with Location(config).open() as directory:
        remove_locks_of_the_future(directory)
    assert sorted(os.listdir(config)) == ["file.lock", "full.lock", "now.lock", "soon.lock"]


@given(content=content_of(STATE), backups=st.lists(content_of(STATE), max_size=3))
def test_whatever_the_files_hold_the_state_is_one_or_none_afterwards(
    content: bytes | None, backups: list[bytes | None], tmp_path_factory: pytest.TempPathFactory
) -> None:
    config = tmp_path_factory.mktemp("any")
    if content is not None:
        put(config / ".claude.json", content)
    for number, each in enumerate(backups):
        backup(config, 1 + number, each or b"")
    restored(config)
    state = config / ".claude.json"
    assert not state.exists() or not state.read_bytes().strip() or isinstance(json.loads(state.read_bytes()), dict)
    if content is not None and content.strip():
        assert content in [*corrupted(config), state.read_bytes() if state.exists() else None]


@given(content=st.binary(max_size=200) | content_of(STATE).map(lambda content: content or b""))
def test_whatever_the_hosts_credentials_hold_reading_them_ends_in_a_sign_in_or_a_line(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("any") / ".credentials.json"
    path.write_bytes(content)
    found = credentials.read_host(path)
    assert (found.oauth is None) or not found.problem
    assert "\n" not in found.problem
    if found.problem:
        assert str(path) in found.problem


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("sk-ant-oat01-Fake_0-9", ""),
        ("", ""),
        ('"sk-ant"', "quotes"),
        ("'sk-ant'", "quotes"),
        ("\u201csk-ant\u201d", "quotes"),
        ("sk-ant\n", "line breaks"),
        ("sk-\r\nant", "line breaks"),
        (" sk-ant", "blanks"),
        ("sk-ant\u00a0", "blanks"),
        (' "sk-ant"\n', "line breaks and blanks and quotes"),
    ],
)
def test_what_was_pasted_around_a_token_is_pointed_out_without_showing_it(value: str, said: str) -> None:
    for name in SIGN_IN:
        lines = list(pasted.remarks({name: value, "OTHER": '"x"'}))
        assert [f"{name} has {said} in it" in line for line in lines] == [True] * bool(said)
        assert not any("sk-" in line for line in lines)
