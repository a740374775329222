"""Which command talks to the engine: the docker command, and podman where the engine is Podman's."""

from __future__ import annotations

from pathlib import Path

import pytest

from confined_claude.engine import api, command
from confined_claude.errors import EngineError

# As Debian's and Fedora's package podman-docker has it.
PODMAN_DOCKER = (
    '#!/bin/sh\n[ -e /etc/containers/nodocker ] || \\\necho "Emulate Docker CLI using podman." >&2\nexec {} "$@"\n'
)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def put(file: Path, content: str | bytes = b"\x7fELF") -> Path:
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    file.chmod(0o755)
    return file


def test_docker_is_what_talks_to_a_docker_engine(programs: Path) -> None:
    docker = put(programs / "docker")
    put(programs / "podman")
    assert command.words(podman=False) == [str(docker)]


@pytest.mark.parametrize("content", ['#!/bin/sh\nexec /usr/lib/docker/docker "$@"\n', b"\x7fELF exec podman"])
def test_another_program_of_that_name_is_docker_as_well(content: str | bytes, programs: Path) -> None:
    docker = put(programs / "docker", content)
    assert command.program() == str(docker)


@pytest.mark.parametrize("kind", ["/usr/bin/podman", "podman", "link"])
def test_a_docker_command_that_is_podman_is_not_used_for_a_docker_engine(kind: str, programs: Path) -> None:
    if kind == "link":
        (programs / "docker").symlink_to(put(programs / "podman"))
    else:
        put(programs / "docker", PODMAN_DOCKER.format(kind))
    with pytest.raises(EngineError, match=r"is Podman's, but the engine in use is Docker's") as caught:
        command.words(podman=False)
    assert "apt-get install docker-cli" in caught.value.hint
    assert "podman.socket" in caught.value.hint


def test_podman_is_told_which_engine_is_meant(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///run/user/7/podman/podman.sock")
    put(programs / "docker")
    with pytest.raises(EngineError, match="The podman command is missing"):
        command.words(podman=True)
    podman = put(programs / "podman")
    assert command.words(podman=True) == [str(podman), "--url", "unix:///run/user/7/podman/podman.sock"]
    monkeypatch.delenv("DOCKER_HOST")
    monkeypatch.setenv("DOCKER_CONFIG", str(programs))
    assert command.words(podman=True)[2] == "unix:///var/run/docker.sock"


@pytest.mark.parametrize("address", ["ssh://core@127.0.0.1:41000/run/podman.sock", "tcp://localhost:2376"])
def test_another_address_is_dockers_own_command_to_reach_and_no_other_is_tried(
    address: str, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", address)
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    scheme = address.partition(":")[0]
    begin = f"The engine's address begins with {scheme}://. Only Docker's own docker command reaches it, and "
    put(programs / "podman")
    with pytest.raises(EngineError) as caught:
        api.ask("GET", "/x")
    assert caught.value.message == begin + "that is missing."
    assert "podman.socket" in caught.value.hint
    docker = put(programs / "docker", PODMAN_DOCKER.format("podman"))
    with pytest.raises(EngineError) as caught:
        api.ask("GET", "/x")
    assert caught.value.message == begin + f"{docker} is Podman."


@pytest.mark.parametrize(
    ("address", "variable", "place"),
    [
        ("tcp://localhost:2375", "", ("localhost", 2375)),
        ("http://[::1]:2375/", "", ("::1", 2375)),
        ("tcp://localhost:2375", "DOCKER_TLS_VERIFY", None),
        ("tcp://localhost:2375", "DOCKER_TLS", None),
        ("https://localhost:2375", "", None),
        ("tcp://localhost:2375/below", "", None),
        ("tcp://localhost", "", None),
        ("ssh://localhost:22", "", None),
    ],
)
def test_only_a_port_without_certificates_is_connected_to_as_it_is(
    address: str, variable: str, place: tuple[str, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", address)
    if variable:
        monkeypatch.setenv(variable, "1")
    assert command.plain_place(address) == place
    monkeypatch.delenv("DOCKER_HOST")  # then it is of a context, which may have some
    assert command.plain_place(address) is None


@pytest.mark.parametrize(("address", "kept"), [("unix:///x.sock", False), ("", False), ("tcp://localhost:2376", True)])
def test_the_docker_command_is_told_of_tls_only_where_there_can_be_any(
    address: str, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a socket it would end without certificates, for which the engine there never asks."""
    monkeypatch.setenv("DOCKER_HOST", address)
    for name in ("DOCKER_TLS_VERIFY", "DOCKER_TLS", "DOCKER_CERT_PATH"):
        monkeypatch.setenv(name, "1")
    assert {"DOCKER_TLS_VERIFY", "DOCKER_TLS"}.isdisjoint(command.environment()) == (not kept)
    assert command.environment()["DOCKER_HOST"] == address
