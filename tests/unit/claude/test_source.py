"""Commands that print a credential: what they may print, how long they may take, and that they are run again."""

from __future__ import annotations

import base64
import json
import os
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from confined_claude.claude import source as module
from confined_claude.claude.source import AWS, KEY, SECRET, Renewal, Source, checked
from confined_claude.errors import ConfinedError

from ..waiting import has_ended, until

PATH = "/usr/bin:/bin"
CREDENTIALS = {"AccessKeyId": "ASIAMADEUP", "SecretAccessKey": "made-up", "SessionToken": "made-up"}


def source(command: str | tuple[str, ...], form: str = KEY, **environ: str) -> Source:
    return Source("apiKeyHelper" if isinstance(command, str) else command[0], command, form, environ)


def on_path() -> str:
    return PATH


def polled(renewal: Renewal) -> str | None:
    """The next value that is new, within 10 s."""
    deadline = time.monotonic() + 10
    while (value := renewal.poll()) is None and time.monotonic() < deadline:
        time.sleep(0.02)
    return value


def test_a_line_for_the_shell_runs_in_no_project_without_a_terminal_and_with_the_users_variables() -> None:
    line = 'echo "$PWD-$NAME-$(test -t 0 || echo none)"'
    assert Renewal(source(line, NAME="made-up"), on_path).first() == "/-made-up-none"


def test_a_program_is_found_on_the_path_it_is_given(tmp_path: Path) -> None:
    program = tmp_path / "get-key"
    program.write_text("#!/bin/sh\necho sk-$1\n")
    program.chmod(0o755)
    assert Renewal(source(("get-key", "made-up")), lambda: f"{tmp_path}:{PATH}").first() == "sk-made-up"
    with pytest.raises(ConfinedError, match="the get-key command is missing"):
        Renewal(source(("get-key",)), on_path).first()


def test_what_the_user_runs_to_sign_in_to_a_cloud_is_named_where_that_failed() -> None:
    failing = Source("aws", ("false",), AWS, {}, "aws sso login --profile work --key ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    with pytest.raises(ConfinedError) as caught:
        Renewal(failing, on_path).first()
    assert caught.value.hint == "Run `aws sso login --profile work --key …`, as your settings say, then start again."


def test_it_is_run_again_after_its_time_to_live_and_only_a_new_value_counts(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("first")
    renewal = Renewal(source(f"echo x >>{tmp_path}/runs; cat {key}", CLAUDE_CODE_API_KEY_HELPER_TTL_MS="1"), on_path)
    assert renewal.first() == "first"
    deadline = time.monotonic() + 30
    while len((tmp_path / "runs").read_text()) < 4 and time.monotonic() < deadline:  # run again, with the same value
        assert renewal.poll() is None
        time.sleep(0.02)
    key.write_text("second")
    assert polled(renewal) == "second"


def test_a_failure_in_between_is_named_and_the_next_run_counts(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("first")
    renewal = Renewal(source(f"cat {key}", CLAUDE_CODE_API_KEY_HELPER_TTL_MS="1"), on_path)
    renewal.first()
    key.rename(tmp_path / "gone")
    deadline = time.monotonic() + 10
    while not renewal.failure and time.monotonic() < deadline:
        assert renewal.poll() is None
        time.sleep(0.02)
    assert "No such file" in renewal.failure
    key.write_text("second")
    assert polled(renewal) == "second"
    assert renewal.failure == ""


@pytest.mark.parametrize(("text", "seconds"), [("", 300), ("60000", 60), ("1", 1), ("-5", 1), ("soon", 300)])
def test_the_time_to_live_is_claude_codes(text: str, seconds: float) -> None:
    assert source("x", CLAUDE_CODE_API_KEY_HELPER_TTL_MS=text).ttl == seconds


def jwt(**claims: object) -> str:
    """A token that says of itself what ``claims`` are."""
    return f"e30.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.sig"


@pytest.mark.parametrize(
    ("form", "end", "seconds"),
    [
        (SECRET, "made-up-token", 900),
        (KEY, "made-up-token", 300),
        (SECRET, "a.b.c", 900),
        (SECRET, jwt(sub="x"), 900),
        (SECRET, jwt(exp="soon"), 900),
        (SECRET, jwt(exp=10**400), 900),
        (SECRET, jwt(exp=float("nan")), 900),
        (SECRET, 86400, 900),
        (SECRET, 360, 300),
        (KEY, 260, 200),
        (SECRET, -5, 30),
    ],
)
def test_a_value_that_is_there_has_its_time_and_no_more_than_it_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, form: str, end: str | int, seconds: float
) -> None:
    value = end if isinstance(end, str) else jwt(exp=time.time() + end)
    run = source(f"echo x >>{tmp_path}/runs; echo newer-token", form)
    renewal, start = Renewal(run, on_path, value), time.monotonic()
    monkeypatch.setattr("confined_claude.claude.source.time.monotonic", lambda: start + seconds - 20)
    assert renewal.poll() is None
    time.sleep(0.05)
    assert not (tmp_path / "runs").exists()
    monkeypatch.setattr("confined_claude.claude.source.time.monotonic", lambda: start + seconds + 20)
    for _ in range(500):
        if (found := renewal.poll()) is not None:
            break
        time.sleep(0.01)
    assert found == "newer-token"


def test_what_the_command_of_a_secret_says_of_a_failure_is_not_shown() -> None:
    for form, is_shown in ((SECRET, False), (KEY, True)):
        with pytest.raises(ConfinedError) as caught:
            Renewal(source("echo s3cret >&2; exit 3", form), on_path).first()
        assert ("s3cret" in str(caught.value)) is is_shown


def test_what_does_not_end_is_ended_with_all_that_it_has_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "SECONDS", 3)
    with pytest.raises(ConfinedError, match="has not ended after"):
        Renewal(source(f"sleep 60 & echo $! >{tmp_path}/pid; wait"), on_path).first()
    pid = int((tmp_path / "pid").read_text())
    until(lambda: has_ended(pid))


@pytest.mark.parametrize("stream", ["1", "2"])
def test_what_prints_without_end_takes_no_memory_for_it(stream: str, tmp_path: Path) -> None:
    tracemalloc.start()
    line = f"head -c 64000000 /dev/zero >&{stream}; touch {tmp_path}/end; [ {stream} = 1 ] || echo sk-made-up"
    try:
        if stream == "1":
            with pytest.raises(ConfinedError, match=r"it printed more than 65536 bytes\."):
                Renewal(source(line), on_path).first()
            assert not (tmp_path / "end").exists()
        else:
            assert Renewal(source(line), on_path).first() == "sk-made-up"
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("how", ["says more and hangs", "closes what it prints to and hangs"])
def test_its_time_is_the_same_whatever_it_prints(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS", 0.5)
    line = "exec sleep 60 >&- 2>&-" if "closes" in how else "while :; do echo x >&2; done"
    since = time.monotonic()
    with pytest.raises(ConfinedError, match="has not ended after"):
        Renewal(source(line), on_path).first()
    assert time.monotonic() - since < 10


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("true", "printed nothing"),
        ("echo a b", "one key and nothing else"),
        ("printf 'a\\nb'", "one key and nothing else"),
        ("printf 'k\\303\\251y'", "one key and nothing else"),
        ("head -c 20000 /dev/zero | tr '\\0' x", "one key and nothing else"),
        ("echo secret-in-output; echo 'please log in' >&2; exit 3", "please log in"),
        ("echo 'no: Bearer sk-ant-secret-in-output-0123456789' >&2; exit 3", "no: Bearer …"),
        ("exit 3", "ended with 3"),
        ("/nonexistent/helper", "not found"),
    ],
)
def test_what_is_no_key_is_refused_in_words_without_what_was_printed(line: str, reason: str) -> None:
    with pytest.raises(ConfinedError, match=reason) as caught:
        Renewal(source(line), on_path).first()
    assert "secret-in-output" not in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize("wrap", [lambda value: value, lambda value: {"Credentials": value}])
def test_aws_credentials_in_both_forms_are_those_of_a_process(wrap: Callable[[Any], Any]) -> None:
    printed = json.dumps(wrap({**CREDENTIALS, "Expiration": "2100-01-01T00:00:00Z", "More": 1})).encode()
    wanted = {"Version": 1, **CREDENTIALS, "Expiration": "2100-01-01T00:00:00Z"}
    assert json.loads(checked(source("x", AWS), printed)) == wanted


@pytest.mark.parametrize("value", [{**CREDENTIALS, "SessionToken": ""}, {**CREDENTIALS, "SessionToken": None}])
def test_long_lived_aws_keys_of_a_profile_get_into_no_session(value: Any) -> None:
    with pytest.raises(ConfinedError, match="long-lived AWS key"):
        checked(source("x", AWS), json.dumps(value).encode())


@pytest.mark.parametrize("printed", [b"", b"{", b"[]", b"{}", b'{"AccessKeyId": 1, "SecretAccessKey": "x"}'])
def test_what_are_no_aws_credentials_is_refused(printed: bytes) -> None:
    with pytest.raises(ConfinedError, match="AWS credentials as JSON"):
        checked(source("x", AWS), printed)


def test_nothing_of_it_shows_in_its_representation() -> None:
    assert "made-up" not in repr(source("x", NAME="made-up"))
    assert os.environ.get("NAME") is None
