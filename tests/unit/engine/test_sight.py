"""What an engine tells of this machine's files, held against what they are; on real ones: tests/engine."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import time
from pathlib import Path

import pytest

from confined_claude.engine import sight
from confined_claude.errors import EngineError

from .answering import answering

OK = b"HTTP/1.0 200 OK\r\n"
CONTENT = b"nonce"
AT = 1_700_000_000_123_456_789
TOLD = "2023-11-14T22:13:20"


def check(
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    read: bytes = OK + b"\r\nnonce",
    mtime: object = f"{TOLD}.123456789Z",
    container: bytes = OK + b"\r\n{}",
    closer: bool = True,
) -> list[bytes]:
    """Check an engine that answers so, and return what it was asked."""
    monkeypatch.setattr(sight, "_SETTLING_SECONDS", 0)
    project = directory / "project"
    project.mkdir()
    os.utime(project, ns=(AT, AT))
    file = directory / "engine-check"
    file.write_bytes(CONTENT)
    status = base64.b64encode(json.dumps({"name": "directory0", "mtime": mtime}).encode())
    head = OK + b"x-docker-container-path-stat: " + status + b"\r\n\r\n"
    answers = {
        b"POST /images/create": OK + b'\r\n{"status": "image"}',
        b"POST /containers/create": OK + b'\r\n{"Id": "made"}',
        b"HEAD /containers/made/archive?path=%2Fdirectory0 ": head,
        b"GET /containers/made/archive?path=%2Ffiles%2Fengine-check ": read,
        b"GET /containers/made/json": container,
        b"": OK + b"\r\n[]",
    }
    with answering(answers, directory, monkeypatch) as asked:
        sight.check(file, CONTENT, [project], "o" * 12, looks_closer=closer)
    return asked


@pytest.mark.parametrize(
    "mtime",
    [
        *(f"{TOLD}.123456789Z", "2023-11-15T00:13:20.123456789+02:00", f"{TOLD}.1234567Z"),
        *(f"{TOLD}.123456Z", f"{TOLD}.123Z", f"{TOLD}Z"),
    ],
)
def test_a_directory_of_the_same_time_is_the_same(mtime: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A virtual machine may keep less of a time."""
    check(tmp_path, monkeypatch, mtime=mtime)


@pytest.mark.parametrize(("since", "is_same"), [(1000, True), (5_000_000, True), (-1000, False)])
def test_a_directory_that_changes_all_the_time_is_the_same_by_a_time_since_the_question(
    since: int, is_same: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that the engine has made before is older than that."""
    changes = iter((AT - 10**9, AT + 10**7))
    monkeypatch.setattr(sight, "_changed", lambda _directory: next(changes))
    monkeypatch.setattr(time, "clock_gettime_ns", lambda _clock: AT)
    told = f"{TOLD}.{AT % 10**9 + since:09}Z"
    with contextlib.nullcontext() if is_same else pytest.raises(EngineError, match="another machine"):
        check(tmp_path, monkeypatch, mtime=told)


@pytest.mark.parametrize(
    "mtime", [f"{TOLD}.123456788Z", f"{TOLD}.2Z", "2023-11-14T22:13:21Z", "2026-11-29T00:00:00Z", "", "soon", None, 7]
)
def test_one_of_another_time_is_one_that_the_engine_has_made(
    mtime: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EngineError, match=rf"another machine: its {tmp_path}/project is not the one here") as caught:
        check(tmp_path, monkeypatch, mtime=mtime)
    assert "sees other files than you do" in caught.value.hint


def test_an_engine_that_refuses_to_mount_what_it_lacks_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = check(tmp_path, monkeypatch, mtime=f"{TOLD}.2Z", closer=False)
    assert not any(request.startswith(b"HEAD ") for request in asked)


@pytest.mark.parametrize(
    "read", [b"HTTP/1.0 404 No\r\n\r\n" + b'{"message": "Could not find the file"}', OK + b"\r\nnonce"]
)
def test_an_engine_without_the_file_or_with_another_has_the_files_of_another_machine(
    read: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = read.replace(b"nonce", b"other")
    said = rf"another machine: its {tmp_path}/engine-check is not the one here"
    with pytest.raises(EngineError, match=said) as caught:
        check(tmp_path, monkeypatch, read=read)
    assert "sees other files than you do" in caught.value.hint


def test_a_container_that_somebody_has_removed_is_no_such_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = b"HTTP/1.0 404 No\r\n\r\n" + b'{"message": "No such container: made"}'
    with pytest.raises(EngineError, match="could not look at your machine's files: No such container"):
        check(tmp_path, monkeypatch, read=gone, container=gone)
