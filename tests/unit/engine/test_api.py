"""Requests to the engine, and what it answers: by a socket, or by way of the docker command."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confined_claude.engine import api
from confined_claude.errors import EngineError

from .answering import answering, forwarding

HEAD = b"HTTP/1.0 200 OK\r\nApi-Version: 1.41\r\n\r\n"


def test_a_request_is_one_of_http_1_0_and_its_answer_ends_with_the_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(HEAD + b'{"a": 1}', tmp_path, monkeypatch) as asked:
        answer = api.ask("POST", "/x", {"name": "a b/é", "keys": os.fsdecode(b"\xff,\xfe")}, {"b": 2})
        assert (answer.status, answer.json(), answer.is_refusal) == (200, {"a": 1}, False)
        head, _, body = asked[0].partition(b"\r\n\r\n")
        assert head.startswith(b"POST /x?name=a%20b%2F%C3%A9&keys=%FF%2C%FE HTTP/1.0\r\nHost: docker\r\n")
        assert b"\r\nContent-Length: 8" in head
        assert json.loads(body) == {"b": 2}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b'HTTP/1.1 500 Oh\r\nA: b\r\n\r\n{"message":"no space left on device"}', "no space left on device"),
        (b"HTTP/1.0 404 Not Found\r\n\r\nplain text", "it answered with 404"),
        (b"HTTP/1.0 400 Bad\r\n\r\n[]", "it answered with 400"),
    ],
)
def test_a_refusal_is_an_error_with_its_reason(
    answer: bytes, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(answer, tmp_path, monkeypatch), pytest.raises(EngineError, match=f"could not do it: {reason}"):
        api.ask("GET", "/x").checked("do it")


@pytest.mark.parametrize("says_length", [True, False])
def test_an_answer_that_is_whole_counts_though_the_engine_has_not_read_all_of_the_request(
    says_length: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = b'{"message":"no space left on device"}'
    length = b"Content-Length: %d\r\n" % len(content) if says_length else b""
    answer = b"HTTP/1.0 500 Oh\r\n" + length + b"\r\n" + content
    with answering(answer, tmp_path, monkeypatch):
        if says_length:
            assert api.ask("PUT", "/x", body=bytes(100_000)).refusal() == "no space left on device"
            return
        with pytest.raises(EngineError, match="connection to the engine broke"):
            api.ask("PUT", "/x", body=bytes(100_000))


@pytest.mark.parametrize(
    "answer", [b"", b"\r\n\r\n", b"HTTP/1.0 200 OK\r\n", b"220 smtp\r\n\r\n", b"HTTP/1.0 2000 OK\r\n\r\n"]
)
def test_what_is_no_answer_is_an_engine_that_does_not_answer(
    answer: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(answer, tmp_path, monkeypatch), pytest.raises(EngineError):
        api.ask("GET", "/x")


@given(st.binary(max_size=200), st.integers(100, 599), st.binary(max_size=50))
def test_any_bytes_are_an_answer_or_none(noise: bytes, status: int, content: bytes) -> None:
    found, _, rest = api.parse_head(noise)
    assert found is None or (100 <= found <= 599 and noise.endswith(rest))
    headers = noise.replace(b"\r\n\r\n", b"")
    head = b"HTTP/1.1 %d %s" % (status, headers.strip(b"\r\n"))
    assert api.parse_head(head + b"\r\n\r\n" + content)[::2] == (status, content)
    lengths = b"\r\nContent-Length: %d" % len(content)
    assert api.parse_head(b"HTTP/1.1 %d OK" % status + lengths + b"\r\n\r\n" + content) == (
        status,
        len(content),
        content,
    )


@given(st.text(st.characters(blacklist_categories=["Cs"])))
def test_whatever_a_value_has_stays_in_its_place(value: str) -> None:
    from urllib.parse import unquote

    assert unquote(quoted := api.percent(value)) == value
    assert not set(quoted) & set(" &?#\r\n/=+")


@pytest.mark.parametrize("is_there", [True, False])
def test_an_address_that_is_no_unix_socket_is_reached_by_the_docker_command(
    is_there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forwarding(tmp_path, monkeypatch)
    with answering(HEAD + b"[1]", tmp_path, monkeypatch) if is_there else contextlib.nullcontext():
        monkeypatch.setenv("DOCKER_HOST", "ssh://localhost")
        if is_there:
            assert api.ask("GET", "/x").json() == [1]
            return
        with pytest.raises(EngineError, match="does not answer"):
            api.ask("GET", "/x")


def test_a_port_of_this_machine_needs_no_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as server:
        asked: list[bytes] = []

        def answer() -> None:
            client, _ = server.accept()
            with client:
                asked.append(client.recv(1 << 16))
                client.sendall(HEAD + b"[1]")

        thread = threading.Thread(target=answer)
        thread.start()
        monkeypatch.setenv("DOCKER_HOST", f"tcp://localhost:{server.getsockname()[1]}")
        assert api.ask("GET", "/x").json() == [1]
        thread.join()
        assert asked[0].startswith(b"GET /x HTTP/1.0\r\n")
    with pytest.raises(EngineError, match="The engine in use does not answer"):
        api.ask("GET", "/x")
