"""What the engine is asked about containers, and how its answers and refusals are understood."""

from __future__ import annotations

import contextlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from confined_claude.engine import api, containers, inside
from confined_claude.engine.mount import FileInside
from confined_claude.errors import EngineError

from ..fake_engine import FakeEngine, docker
from .answering import answering

__all__ = ["docker"]
MADE = """echo '{"Id": "an-id"}'"""
SAYS_TAKEN = """{ echo 'Conflict. The container name "/x" is already in use by container "y".' >&2; exit 9; }"""
TAKEN = f"case $1 in name-3) {MADE} ;; *) {SAYS_TAKEN} ;; esac"
NAMES = """echo '[{"Names": ["/name"]}, {"Names": ["/other/link", "/name-2"]}]'"""


def make(directory: Path) -> Path:
    directory.mkdir()
    return directory


def arguments(name: str) -> list[str]:
    return ["--name", name, "an:image"]


# The engine


def test_an_engine_that_is_out_of_reach_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "docker").write_text("#!/bin/sh\n")
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    for ask in (containers.info, containers.version, lambda: containers.containers({})):
        with pytest.raises(EngineError, match="The Docker engine does not answer") as caught:
            ask()
        assert "systemctl start docker" in caught.value.hint


@pytest.mark.parametrize("answer", ["", "null", "{", "[" * 100_000])
def test_an_answer_that_makes_no_sense_is_an_error(answer: str, docker: FakeEngine) -> None:
    (docker.directory / "answer").write_text(answer)
    for ask in (containers.info, containers.version, lambda: containers.containers({})):
        for verb in ("info", "version", "ps"):
            docker.does("cat ./answer", verb)
        with pytest.raises(EngineError, match="cannot be understood"):
            ask()


def test_podman_is_asked_for_the_controllers_of_its_user_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = b'HTTP/1.0 200 OK\r\n\r\n{"Rootless": true, "host": {"cgroupControllers": ["memory"]}}'
    with answering(both, tmp_path, monkeypatch) as asked:
        assert containers.info()[containers.CONTROLLERS] == ["memory"]
        assert [request.split()[1] for request in asked] == [b"/info", b"/v4.0.0/libpod/info"]
    with answering(both.replace(b"Rootless", b"Other"), make(tmp_path / "docker"), monkeypatch) as asked:
        assert containers.CONTROLLERS not in containers.info()
        assert len(asked) == 1


@pytest.mark.parametrize(
    ("version", "is_too_old"),
    [
        ({"Version": "19.03.15", "ApiVersion": "1.40"}, True),
        ({"Version": "20.10.24", "ApiVersion": "1.41"}, False),
        ({"Version": "4.3.1", "ApiVersion": "1.41", "Components": [{"Name": "Podman Engine"}]}, True),
        ({"Version": "4.9.3", "ApiVersion": "1.41", "Components": [{"Name": "Podman Engine"}]}, False),
        ({"Version": "10.0.0-dev", "ApiVersion": "1.99", "Components": [{"Name": "Podman Engine"}]}, False),
        ({}, False),
    ],
)
def test_an_engine_that_is_too_old_is_refused(version: dict[str, Any], is_too_old: bool) -> None:
    with pytest.raises(EngineError, match="too old") if is_too_old else contextlib.nullcontext():
        containers.refuse_too_old(version)


def test_a_name_that_is_taken_is_one_in_podmans_words_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reason = 'creating container storage: the container name "x" is already in use by 4476ee. You have to remove that'
    answer = b'HTTP/1.0 500 Oh\r\n\r\n{"message": %s}' % json.dumps(reason).encode()
    # It goes on with a list of names, which this engine refuses.
    with answering(answer, tmp_path, monkeypatch), pytest.raises(EngineError, match="list its containers"):
        containers.create("x", arguments, [])


def test_an_engine_that_hangs_is_given_up(docker: FakeEngine) -> None:
    docker.does("exec sleep 2", "info")
    with pytest.raises(EngineError, match="did not answer within 1 s"):
        containers.info(1)


def test_an_answer_comes_as_it_is(docker: FakeEngine) -> None:
    docker.does("""echo '{"NCPU": 4}'""", "info")
    assert containers.info() == {"NCPU": 4}


# Creating


def test_a_name_that_is_taken_is_followed_by_the_next_free_one(docker: FakeEngine) -> None:
    docker.does(TAKEN, "create")
    docker.does(NAMES, "ps")
    assert containers.create("name", arguments, []) == ("an-id", "name-3")
    assert containers.free_name("name") == "name-3"
    assert containers.free_name("another") == "another"


def test_one_whose_name_is_its_own_replaces_what_has_it(docker: FakeEngine) -> None:
    """The engine has made it when nobody waited any more."""
    docker.does(f"if [ -e removed ]; then {MADE}; else {SAYS_TAKEN}; fi", "create")
    docker.does("touch removed", "rm")
    assert containers.create_anew("name", arguments("name")) == "an-id"
    assert docker.calls() == ["create name", "rm name", "create name"]


def test_one_whose_name_stays_taken_is_given_up(docker: FakeEngine) -> None:
    docker.does(SAYS_TAKEN, "create")
    with pytest.raises(EngineError, match=r"could not create the container: .*already in use"):
        containers.create_anew("name", arguments("name"))
    assert docker.calls() == ["create name", "rm name", "create name"]


def test_what_else_the_engine_refuses_removes_nothing(docker: FakeEngine) -> None:
    docker.does("echo 'No such image' >&2; exit 4", "create")
    with pytest.raises(EngineError, match="No such image"):
        containers.create_anew("name", arguments("name"))
    assert docker.calls() == ["create name"]


@pytest.mark.parametrize(
    ("reason", "hint"),
    [
        ("no such image", "engine's own log"),
        ("write /x: no space left on device", "Free some disk space"),
        ("network abc not found", "docker network ls"),
    ],
)
def test_the_engines_own_reason_comes_with_a_hint(reason: str, hint: str, docker: FakeEngine) -> None:
    docker.does(f"echo '{reason}' >&2; exit 1", "create")
    with pytest.raises(EngineError, match=f"could not create the container: .*{reason}\\.") as caught:
        containers.create("name", arguments, [])
    assert hint in caught.value.hint


def test_private_files_are_put_in_for_whom_they_are(docker: FakeEngine) -> None:
    docker.does(MADE, "create")
    files = [FileInside("run/x", b"export A=1\n", 0o600), FileInside("home/d/", b"", 0o755, 1, 2)]
    containers.create("name", arguments, files)
    assert docker.calls()[1] == "cp an-id"
    with tarfile.open(fileobj=io.BytesIO((docker.directory / "cp.body").read_bytes())) as archive:
        member, directory = archive.getmembers()
        file = archive.extractfile(member)
        assert (member.name, member.mode, member.uid, member.gid) == ("run/x", 0o600, 0, 0)
        assert directory.isdir()
        assert (directory.name, directory.mode, directory.uid, directory.gid) == ("home/d", 0o755, 1, 2)
        assert file is not None
        assert file.read() == b"export A=1\n"


def test_a_container_that_cannot_get_its_files_is_removed(docker: FakeEngine) -> None:
    docker.does(MADE, "create")
    docker.does("exit 1", "cp")
    with pytest.raises(EngineError, match="could not prepare the container"):
        containers.create("name", arguments, [FileInside("run/x", b"", 0o600)])
    assert docker.calls()[-1] == "rm an-id"


# Ending


def test_containers_that_are_gone_already_are_removed(docker: FakeEngine) -> None:
    docker.does("exit 4", "rm")
    containers.remove("a", "b")
    assert sorted(docker.calls()) == ["rm a", "rm b"]
    containers.remove()
    assert len(docker.calls()) == 2


def test_a_removal_that_is_under_way_is_waited_for(docker: FakeEngine) -> None:
    docker.does("mkdir once 2>/dev/null && { echo removal of container a is already in progress >&2; exit 9; }", "rm")
    (docker.directory / "rm").write_text((docker.directory / "rm").read_text() + "\nexit 4")
    containers.remove("a")
    assert docker.calls() == ["rm a"] * 2


def test_a_container_may_end_by_itself_first(docker: FakeEngine) -> None:
    containers.remove("a", "b", gracefully=True)
    assert [call for call in docker.calls() if call.endswith("a")] == ["stop a", "rm a"]
    assert [call for call in docker.calls() if call.endswith("b")] == ["stop b", "rm b"]


@pytest.mark.parametrize("names", [("a",), ("b", "a")])
def test_what_the_engine_does_not_remove_is_an_error(
    names: tuple[str, ...], docker: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(containers, "_STOP_SECONDS", 0)
    docker.does("[ $1 = b ] || { echo device or resource busy >&2; exit 1; }", "rm")
    with pytest.raises(EngineError, match=r"could not remove a: .*busy"):
        containers.remove(*names)


# Commands in a container


def test_a_command_that_went_with_its_container_was_killed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with answering(b"HTTP/1.0 404 Not Found\r\n\r\n{}", tmp_path, monkeypatch):
        assert inside.exit_code_of_command("id") == 137


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ('{"Running": true, "ExitCode": 0}', None),
        ('{"ExitCode": null}', None),
        ('{"Running": false, "ExitCode": 3}', 3),
    ],
)
def test_a_command_has_an_exit_code_once_it_has_ended(
    answer: str, code: int | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with answering(b"HTTP/1.0 200 OK\r\n\r\n" + answer.encode(), tmp_path, monkeypatch):
        assert inside.exit_code_of_command("id") == code


def test_what_a_command_of_the_tools_prints_is_bounded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What runs in a session may print without end in its place."""
    with answering(b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 100_000, tmp_path, monkeypatch):
        with api.begin("POST", "/exec/id/start") as answer:
            assert answer.head(1000, 5) == b"x" * 1000
        with api.begin("POST", "/exec/id/start") as answer:
            assert answer.head(1 << 20, 5) == b"x" * 100_000
        with api.begin("POST", "/exec/id/start") as answer:
            assert answer.head(1 << 20, 0) == b""
