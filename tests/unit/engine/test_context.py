"""Where the engine is, and what is said if it is missing, out of reach or on another machine."""

from __future__ import annotations

import hashlib
import json
import os
import socket
from pathlib import Path

import pytest

from confined_claude.egress.ports import refuse_engines
from confined_claude.engine import command, containers
from confined_claude.engine.context import (
    DEFAULT_ADDRESS,
    address_in_use,
    configuration_fault,
    context_name,
    port_of,
    program_name,
    with_proxies,
)
from confined_claude.errors import ConfinedError, EngineError

from ..conftest import as_plain_user


def refused(environ: dict[str, str]) -> EngineError:
    """What is said when the engine that ``environ`` chooses is asked."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(EngineError) as caught:
        patch.delenv("DOCKER_HOST")
        for name, value in environ.items():
            patch.setenv(name, value)
        containers.version()
    assert caught.value.exit_code == 3
    assert caught.value.hint
    return caught.value


def docker_command(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A docker command on PATH, as on a machine whose engine is stopped."""
    command = directory / "docker"
    command.write_text("#!/bin/sh\nexit 1\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(directory))


def test_no_engine_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    error = refused({"DOCKER_HOST": f"unix://{tmp_path}/none.sock"})
    assert "no Docker engine" in error.message
    assert "apt-get install docker.io" in error.hint
    assert "install.sh --with-engine" in error.hint


def test_an_engine_that_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docker_command(tmp_path, monkeypatch)
    error = refused({"DOCKER_HOST": f"unix://{tmp_path}/none.sock"})
    assert "does not answer" in error.message
    assert "systemctl start docker" in error.hint


def test_an_engine_that_hangs_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docker_command(tmp_path, monkeypatch)
    address = tmp_path / "e.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(address))
        server.listen()
        server.shutdown(socket.SHUT_RDWR)
        assert "does not answer" in refused({"DOCKER_HOST": f"unix://{address}"}).message


def test_no_permission_on_the_engines_socket(plain_folder: Path) -> None:
    address = plain_folder / "e.sock"

    def work() -> None:
        os.environ |= {"USER": "ann", "DOCKER_HOST": f"unix://{address}"}
        containers.version()

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(address))
        server.listen()
        address.chmod(0)
        with pytest.raises(EngineError, match="You have no permission to use the Docker engine") as caught:
            as_plain_user(work)
    assert "usermod -aG docker ann" in caught.value.hint
    assert "log out and in" in caught.value.hint


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("unix:///var/run/docker.sock", "docker"),
        ("unix:///run/user/1000/podman/podman.sock", "podman"),
        ("unix:///run/podman-machine-default-api.sock", "podman"),
        ("unix:///home/podman/docker.sock", "docker"),
        ("ssh://core@127.0.0.1:41000/run/user/1000/podman/podman.sock", "podman"),
        ("tcp://127.0.0.1:2375", "docker"),
    ],
)
def test_people_are_told_the_name_of_the_engines_own_command(address: str, name: str) -> None:
    assert program_name({"DOCKER_HOST": address}) == name


def test_the_link_of_podman_docker_leads_to_podman(tmp_path: Path) -> None:
    (tmp_path / "docker.sock").symlink_to("podman.sock")
    assert program_name({"DOCKER_HOST": f"unix://{tmp_path}/docker.sock"}) == "podman"


def test_an_unknown_context() -> None:
    error = refused({"DOCKER_CONTEXT": "nosuch"})
    assert "no docker context called nosuch" in error.message
    assert "DOCKER_CONTEXT" in error.hint


@pytest.mark.parametrize("address", ["ssh://localhost", "ssh://me@127.0.0.1", "ssh://[::1]"])
def test_an_address_of_this_machine_is_accepted(address: str) -> None:
    assert address_in_use({"DOCKER_HOST": address}) == address


@pytest.mark.parametrize(
    ("given", "address"),
    [
        *(("localhost:4444", "tcp://localhost:4444"), ("127.0.0.1", "tcp://127.0.0.1")),
        *((" unix:///x.sock\n", "unix:///x.sock"), ("\ttcp://[::1]:1 ", "tcp://[::1]:1")),
        *(("unix://", DEFAULT_ADDRESS), ("  ", DEFAULT_ADDRESS)),
    ],
)
def test_an_address_is_what_the_docker_command_takes_it_for(given: str, address: str) -> None:
    """Blanks alone are an address as well: no context counts then."""
    assert address_in_use({"DOCKER_HOST": given, "DOCKER_CONTEXT": "nosuch"}) == address


@pytest.mark.parametrize(
    "address",
    [
        *("ssh://me@example.invalid", "tcp://192.0.2.1:1", "https://example.invalid:1", "http://[", "tcp://"),
        *("192.0.2.1:1", " tcp://192.0.2.1:1", "example.invalid", "unix:/run/docker.sock"),
    ],
)
def test_an_engine_on_another_machine(address: str) -> None:
    error = refused({"DOCKER_HOST": address})
    assert "another machine" in error.message
    assert "DOCKER_HOST" in error.hint


def test_a_path_is_no_address_of_an_engine() -> None:
    error = refused({"DOCKER_HOST": "/var/run/docker.sock"})
    assert error.message == "The engine's address is a path: /var/run/docker.sock."
    assert error.hint == "Set DOCKER_HOST=unix:///var/run/docker.sock, or unset it."


@pytest.mark.parametrize("address", ["nonsense://x", "tcp://localhost:1", "http://127.0.0.1:1"])
def test_an_address_that_is_none_is_reported(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docker_command(tmp_path, monkeypatch)
    monkeypatch.setattr(command, "_which", lambda _name: "/bin/false")
    assert "does not answer" in refused({"DOCKER_HOST": address}).message


def context(home: Path, meta: str, config: str | None = "{}") -> None:
    """A docker context called ``away``, and docker's own config file."""
    directory = home / ".docker/contexts/meta" / hashlib.sha256(b"away").hexdigest()
    directory.mkdir(parents=True)
    (directory / "meta.json").write_text(meta)
    if config is not None:
        (home / ".docker/config.json").write_text(config)


def engine_at(address: str) -> str:
    return json.dumps({"Name": "away", "Metadata": {}, "Endpoints": {"docker": {"Host": address}}})


CURRENT = '{"currentContext": "away"}'
CHOSEN = [
    ({"DOCKER_CONTEXT": "away"}, "{}"),
    ({}, CURRENT),
    ({"DOCKER_CONTEXT": "away"}, '{"currentContext": "other"}'),
]


@pytest.mark.parametrize(("environ", "config"), CHOSEN)
def test_a_context_whose_engine_is_gone(
    environ: dict[str, str], config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker_command(tmp_path, monkeypatch)
    context(tmp_path / "home", engine_at(f"unix://{tmp_path}/none.sock"), config)
    assert "does not answer" in refused(environ).message


@pytest.mark.parametrize(("environ", "config"), CHOSEN)
@pytest.mark.parametrize("address", ["ssh://me@example.invalid", "tcp://192.0.2.1:1"])
def test_a_context_on_another_machine(environ: dict[str, str], config: str, address: str, tmp_path: Path) -> None:
    context(tmp_path / "home", engine_at(address), config)
    assert "another machine" in refused(environ).message


def test_a_path_of_a_context_is_no_address_of_an_engine(tmp_path: Path) -> None:
    context(tmp_path / "home", engine_at("/run/x.sock"), CURRENT)
    error = refused({})
    assert error.message == "The engine's address is a path: /run/x.sock."
    assert error.hint == "Set DOCKER_HOST=unix:///run/x.sock, or choose another context with `docker context use`."


DAMAGED = ["", "{", "[]", "7", "{}", '{"Endpoints": {}}', '{"Endpoints": {"docker": 7}}', "[" * 100_000]


@pytest.mark.parametrize(("environ", "config"), CHOSEN)
@pytest.mark.parametrize("meta", DAMAGED)
def test_a_damaged_context_is_reported(meta: str, environ: dict[str, str], config: str, tmp_path: Path) -> None:
    context(tmp_path / "home", meta, config)
    assert "away" in refused(environ).message


def test_contexts_are_read_from_the_directory_that_docker_uses(tmp_path: Path) -> None:
    context(tmp_path / "home", engine_at("ssh://me@example.invalid"))
    (tmp_path / "home/.docker").rename(tmp_path / "elsewhere")
    environ = {"DOCKER_CONTEXT": "away"}
    assert "another machine" in refused({**environ, "DOCKER_CONFIG": str(tmp_path / "elsewhere")}).message
    assert "no docker context called away" in refused(environ).message


def test_a_current_context_that_is_gone_is_reported_and_no_other_engine_taken(tmp_path: Path) -> None:
    context(tmp_path / "home", engine_at(f"unix://{tmp_path}/none.sock"), '{"currentContext": "nosuch"}')
    assert "no docker context called nosuch" in refused({}).message


def test_the_address_of_an_engine_wins_over_every_context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docker_command(tmp_path, monkeypatch)
    context(tmp_path / "home", engine_at("ssh://me@example.invalid"), CURRENT)
    environ = {"DOCKER_HOST": f"unix://{tmp_path}/none.sock", "DOCKER_CONTEXT": "nosuch"}
    assert "does not answer" in refused(environ).message


def test_a_context_is_known_without_a_config_file(tmp_path: Path) -> None:
    context(tmp_path / "home", engine_at(f"unix://{tmp_path}/none.sock"), None)
    assert "no docker context" not in refused({"DOCKER_CONTEXT": "away"}).message


@pytest.mark.parametrize("content", ["", "{", "[]", "7", '{"currentContext": ""}', "[" * 100_000])
def test_a_broken_configuration_counts_as_empty_as_it_does_for_the_docker_command(content: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(content)
    environ = {"DOCKER_CONFIG": str(tmp_path)}
    assert (context_name(environ), address_in_use(environ)) == ("default", DEFAULT_ADDRESS)
    assert with_proxies(environ) == environ


@pytest.mark.timeout(120)
def test_a_configuration_that_cannot_be_read_has_a_reason(tmp_path: Path) -> None:
    environ = {"DOCKER_CONFIG": str(tmp_path)}
    file = tmp_path / "config.json"
    assert configuration_fault(environ) == ""
    file.write_text("{}")
    assert configuration_fault(environ) == ""
    file.write_text("{")
    assert configuration_fault(environ) == f"{file} is damaged."
    file.unlink()
    os.mkfifo(file)
    assert f"Cannot read {file}" in configuration_fault(environ)
    assert address_in_use(environ) == DEFAULT_ADDRESS


@pytest.mark.parametrize("key", ["default", "unix:///var/run/docker.sock"])
def test_the_proxies_of_the_docker_command_fill_in_for_variables(key: str, tmp_path: Path) -> None:
    mine = {
        "httpProxy": "http://p:1",
        "httpsProxy": "http://p:2",
        "noProxy": "x",
        "allProxy": "",
        "ftpProxy": "http://f",
    }
    others = {"default": {"httpProxy": "http://other"}, "tcp://elsewhere": {"httpsProxy": "http://other"}}
    (tmp_path / "config.json").write_text(json.dumps({"proxies": {**others, key: mine}}))
    environ = {"DOCKER_CONFIG": str(tmp_path), "HTTPS_PROXY": "http://own", "no_proxy": ""}
    found = {name: value for name, value in with_proxies(environ).items() if name != "DOCKER_CONFIG"}
    # A variable of either case is the user's own word on that kind.
    assert found == {
        **{"HTTPS_PROXY": "http://own", "no_proxy": "x", "NO_PROXY": "x"},
        **{"http_proxy": "http://p:1", "HTTP_PROXY": "http://p:1"},
    }


@pytest.mark.parametrize(
    "proxies", [7, [], {"default": 7}, {"default": {"httpProxy": ""}}, {"tcp://x": {"httpProxy": "y"}}]
)
def test_proxies_that_make_no_sense_or_are_another_engines_do_not_count(proxies: object, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"proxies": proxies}))
    environ = {"DOCKER_CONFIG": str(tmp_path)}
    assert with_proxies(environ) == environ


@pytest.mark.parametrize(
    ("address", "port"),
    [
        *(("tcp://127.0.0.1:4000", 4000), ("tcp://127.0.0.1:4000/", 4000), ("http://[::1]:4000/v1?x", 4000)),
        *(("tcp://127.0.0.1", 0), ("tcp://127.0.0.1:x", 0), ("tcp://[::1", 0), ("unix:///var/run/docker.sock:4000", 0)),
    ],
)
def test_the_port_of_an_engine_is_found_whatever_follows_it(address: str, port: int) -> None:
    assert port_of(address) == port


def test_no_session_reaches_the_port_of_an_engine_whose_address_has_no_scheme() -> None:
    with pytest.raises(ConfinedError, match="cannot reach port 4444"):
        refuse_engines([4444], port_of(address_in_use({"DOCKER_HOST": "localhost:4444"})))
