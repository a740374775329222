"""Answers about images that are not as the API has them; what real ones say is in tests/engine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from confined_claude.engine.images import Images
from confined_claude.errors import EngineError

from .answering import answering, forwarding

FETCHED = b'{"status": "Pulling from base"}\r\n{"status": "Status: Downloaded newer image"}\r\n'


@pytest.mark.parametrize("content", [b"", b"null", b"{", b"[{}]", b'"x"', b"7"])
def test_an_answer_that_makes_no_sense_is_an_error(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = Images()
    with answering(b"HTTP/1.0 200 OK\r\n\r\n" + content, tmp_path, monkeypatch) as asked:
        for ask in (images.tool_images, lambda: images.image("x"), lambda: images.layers_beside(())):
            with pytest.raises(EngineError, match="cannot be understood"):
                ask()
    assert len(asked) >= 3


@pytest.mark.parametrize("prefix", ["", "localhost/"])
def test_an_image_has_the_same_names_in_every_engine(
    prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Podman has what was built here under the name of a registry that is none; a real registry's name stays."""
    tags = [f"{prefix}confined-claude:latest", f"{prefix}confined-claude:abc", "localhost:5000/confined-claude:x"]
    found = {"Id": "sha256:7", "RepoTags": tags, "RootFS": {"Layers": ["sha256:8"]}, "Config": {}}
    answers = {"containers/json": [], "/history": [{"Size": 9}], "": found}
    ok = b"HTTP/1.0 200 OK\r\n\r\n"
    with answering(
        {part.encode(): ok + json.dumps(said).encode() for part, said in answers.items()}, tmp_path, monkeypatch
    ):
        image = Images().image("confined-claude:latest")
    assert image is not None
    assert image.names == ("confined-claude:abc", "localhost:5000/confined-claude:x", "confined-claude:latest")
    assert (image.size, image.is_used) == (9, False)


def test_an_image_that_is_removed_meanwhile_has_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(b'HTTP/1.0 404 Not Found\r\n\r\n{"message": "No such image"}', tmp_path, monkeypatch) as asked:
        assert Images().file_in_image("sha256:7", "/x") is None
    assert len(asked) == 1


def test_why_an_image_cannot_be_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = b'HTTP/1.0 500 No\r\n\r\n{"message": "the disk is full"}'
    with answering(full, tmp_path, monkeypatch), pytest.raises(EngineError, match="look into an image: the disk is"):
        Images().file_in_image("sha256:7", "/x")


def test_of_images_that_are_not_wanted_no_more_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each would take two requests, and somebody else's are as many as they like."""
    listed = [
        {"Id": digit, "RepoTags": tags} for digit, tags in (("1", ["a:b"]), ("2", None), ("3", ["localhost/c:d"]))
    ]
    found = {"Id": "3", "RepoTags": ["c:d"], "RootFS": {"Layers": []}, "Config": {}}
    answers = {"containers/json": [], "images/json": listed, "/history": [{"Size": 9}], "": found}
    ok = b"HTTP/1.0 200 OK\r\n\r\n"
    with answering(
        {part.encode(): ok + json.dumps(said).encode() for part, said in answers.items()}, tmp_path, monkeypatch
    ) as asked:
        (image,) = Images().tool_images(lambda _id, names: "c:d" in names)
    assert image.id == "3"
    assert [b"/images/3/" in request for request in asked] == [False, False, True, True]


def test_what_the_engine_refuses_to_remove_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(b'HTTP/1.0 409 Conflict\r\n\r\n{"message": "in use"}', tmp_path, monkeypatch) as asked:
        Images().remove_image("confined-claude:x", force=True)
        with pytest.raises(EngineError, match="could not tag the image: in use"):
            Images().tag("confined-claude:x", "confined-claude:latest")
    assert b"DELETE /images/confined-claude:x?force=1 " in asked[0]
    assert b"/images/confined-claude:x/tag?repo=confined-claude&tag=latest " in asked[1]


def test_an_image_is_fetched_through_the_docker_command_where_the_engine_is_behind_ssh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user's ssh and certificates are that command's; the SDK would need packages of its own for either."""
    home = tmp_path / "home/.docker"
    home.mkdir(parents=True)
    (home / "config.json").write_text('{"auths": {"registry.example": {"auth": "YTpi"}}}')
    forwarding(tmp_path, monkeypatch)
    with answering(b"HTTP/1.0 200 OK\r\n\r\n" + FETCHED, tmp_path, monkeypatch) as asked:
        monkeypatch.setenv("DOCKER_HOST", "ssh://localhost")
        Images().pull("registry.example/base:1")
    assert asked[0].startswith(b"POST /images/create?fromImage=registry.example%2Fbase&tag=1 HTTP/1.0\r\n")
    assert b"\r\nX-Registry-Auth: " in asked[0]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.0 404 No\r\n\r\n" + b'{"message": "no such host"}', r"could not pull base:1: no such host\."),
        (b"HTTP/1.0 200 OK\r\n\r\n" + FETCHED + b'{"error": "the disk is full"}\r\n', "Cannot pull base:1: the disk"),
    ],
)
def test_why_an_image_cannot_be_fetched(
    answer: bytes, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(answer, tmp_path, monkeypatch), pytest.raises(EngineError, match=said):
        Images().pull("base:1")
