"""Failures in words: what happened, what to do, and the exit code that belongs to it."""

from __future__ import annotations

import hashlib
import json
import os
import socket
from pathlib import Path

import pytest
from invoke import Exit

from confined_claude.engine import Engine
from confined_claude.errors import ConfinedError, EngineError
from confined_claude.tasks import _reported

from .conftest import as_plain_user, asks_for_the_engine


def test_a_failure_has_a_message_a_hint_and_a_code() -> None:
    error = ConfinedError("It broke.", "Mend it.")
    assert (error.message, error.hint, error.exit_code) == ("It broke.", "Mend it.", 2)
    assert str(error) == "It broke.\nMend it."
    assert str(ConfinedError("It broke.")) == "It broke."


def test_a_failure_of_the_engine_has_its_own_code() -> None:
    error = EngineError("No engine.", "Get one.")
    assert isinstance(error, ConfinedError)
    assert error.exit_code == 3


def test_a_task_ends_with_message_and_code_instead_of_a_traceback() -> None:
    for error in (ConfinedError("It broke.", "Mend it."), EngineError("No engine.")):
        with pytest.raises(Exit) as caught, _reported():
            raise error
        assert caught.value.message == f"confined-claude: {error}"
        assert caught.value.code == error.exit_code


def test_a_failure_of_the_system_is_told_with_the_file_it_is_about(tmp_path: Path) -> None:
    with pytest.raises(Exit) as caught, _reported():
        (tmp_path / "missing").read_text()
    assert caught.value.message == f"confined-claude: No such file or directory: {tmp_path}/missing"
    assert caught.value.code == 2


def test_a_mistake_of_the_program_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError), _reported():
        raise ZeroDivisionError


# The engine that is not there


def refused(environ: dict[str, str]) -> EngineError:
    with pytest.raises(EngineError) as caught:
        Engine.connect(environ)
    assert caught.value.exit_code == 3
    assert caught.value.hint
    return caught.value


def docker_command(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A docker command on PATH, as on a machine whose engine is stopped."""
    command = folder / "docker"
    command.write_text("#!/bin/sh\nexit 1\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


@asks_for_the_engine
def test_no_engine_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    error = refused({"DOCKER_HOST": f"unix://{tmp_path}/none.sock"})
    assert "no Docker engine" in error.message
    assert "apt-get install docker.io" in error.hint
    assert "install.sh --with-engine" in error.hint


@asks_for_the_engine
def test_an_engine_that_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docker_command(tmp_path, monkeypatch)
    error = refused({"DOCKER_HOST": f"unix://{tmp_path}/none.sock"})
    assert "does not answer" in error.message
    assert "systemctl start docker" in error.hint


@asks_for_the_engine
def test_an_engine_that_hangs_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docker_command(tmp_path, monkeypatch)
    address = tmp_path / "e.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(address))
        server.listen()
        server.shutdown(socket.SHUT_RDWR)
        assert "does not answer" in refused({"DOCKER_HOST": f"unix://{address}"}).message


@asks_for_the_engine
def test_no_permission_on_the_engines_socket(plain_folder: Path) -> None:
    address = plain_folder / "e.sock"

    def work() -> None:
        os.environ["USER"] = "ann"
        Engine.connect({"DOCKER_HOST": f"unix://{address}"})

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(address))
        server.listen()
        address.chmod(0)
        with pytest.raises(EngineError, match="no permission on its socket") as caught:
            as_plain_user(work)
    assert "usermod -aG docker ann" in caught.value.hint
    assert "log out and in" in caught.value.hint


@asks_for_the_engine
def test_an_unknown_context() -> None:
    error = refused({"DOCKER_CONTEXT": "nosuch"})
    assert "no docker context called nosuch" in error.message
    assert "DOCKER_CONTEXT" in error.hint


@asks_for_the_engine
def test_an_engine_on_another_machine() -> None:
    error = refused({"DOCKER_HOST": "ssh://me@example.invalid"})
    assert "another machine" in error.message
    assert "DOCKER_HOST" in error.hint


@asks_for_the_engine
@pytest.mark.parametrize("address", ["nonsense", "http://[", "tcp://localhost:1"])
def test_an_address_that_is_none_is_told(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docker_command(tmp_path, monkeypatch)
    assert "does not answer" in refused({"DOCKER_HOST": address}).message


def context(home: Path, meta: str) -> None:
    """A docker context called ``away``."""
    folder = home / ".docker/contexts/meta" / hashlib.sha256(b"away").hexdigest()
    folder.mkdir(parents=True)
    (folder / "meta.json").write_text(meta)


def engine_at(address: str) -> str:
    return json.dumps({"Name": "away", "Metadata": {}, "Endpoints": {"docker": {"Host": address}}})


@asks_for_the_engine
def test_a_context_whose_engine_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docker_command(tmp_path, monkeypatch)
    context(tmp_path / "home", engine_at(f"unix://{tmp_path}/none.sock"))
    (tmp_path / "home/.docker/config.json").write_text("{}")
    assert "does not answer" in refused({"DOCKER_CONTEXT": "away"}).message


@asks_for_the_engine
@pytest.mark.xfail(reason="BUG engine.py:64: a context with an ssh address is told as an engine that does not answer")
def test_a_context_on_another_machine(tmp_path: Path) -> None:
    context(tmp_path / "home", engine_at("ssh://me@example.invalid"))
    (tmp_path / "home/.docker/config.json").write_text("{}")
    assert "another machine" in refused({"DOCKER_CONTEXT": "away"}).message


@pytest.mark.xfail(
    reason="BUG engine.py:53: the SDK finds no context where there is no config.json, which docker itself needs not"
)
@asks_for_the_engine
def test_a_context_is_known_without_a_config_file(tmp_path: Path) -> None:
    context(tmp_path / "home", engine_at(f"unix://{tmp_path}/none.sock"))
    assert "no docker context" not in refused({"DOCKER_CONTEXT": "away"}).message


@asks_for_the_engine
@pytest.mark.xfail(raises=Exception, reason="BUG engine.py:53: a damaged context ends in a traceback")
def test_a_damaged_context_is_told(tmp_path: Path) -> None:
    context(tmp_path / "home", "{")
    (tmp_path / "home/.docker/config.json").write_text("{}")
    refused({"DOCKER_CONTEXT": "away"})
