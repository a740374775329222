"""Ports of this machine for what sessions serve: which are chosen, and who has the others. By real sockets."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from helpers import free_port

from confined_claude.egress import ports
from confined_claude.egress.ports import Published, Reservation


@pytest.fixture(autouse=True)
def listed(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The engine's containers, each as its API lists it."""
    found: list[dict[str, Any]] = []

    def containers(wanted: dict[str, str]) -> list[dict[str, Any]]:
        return [each for each in found if wanted.items() <= each["Labels"].items()]

    monkeypatch.setattr(ports.containers, "containers", containers)
    return found


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_free_port_is_where_it_is_wanted() -> None:
    one, other = free_port(), free_port()
    with Reservation() as reservation:
        assert reservation.choose([str(one), f"{other}:80"]) == (Published(one, one, one), Published(80, other, other))


def test_for_one_that_is_taken_the_next_free_one_is_chosen_and_its_holder_named(taken: int) -> None:
    with Reservation() as reservation:
        (found,) = reservation.choose([f"{taken}:80"])
    assert (found.session, found.wanted) == (80, taken)
    assert taken < found.host <= taken + 50 or taken > 65000
    assert found.holder == f"{_comm()} (process {os.getpid()})"


def _comm() -> str:
    with open("/proc/self/comm") as file:
        return file.read().strip()


def test_sessions_that_start_at_once_never_choose_the_same_and_each_port_is_free_again_afterwards() -> None:
    port = free_port()
    with Reservation() as one:
        first, second = one.choose([str(port), str(port)])
        with Reservation() as another:
            (third,) = another.choose([str(port)])
            assert len({first.host, second.host, third.host}) == 3
            assert first.host == port
    with Reservation() as again:
        assert again.choose([str(port)]) == (Published(port, port, port),)


def test_nobody_takes_the_port_that_another_entry_names(taken: int) -> None:
    with Reservation() as reservation:
        moved, own = reservation.choose([str(taken), str(taken + 1)])
    assert moved.host != own.host


def test_with_nothing_free_nearby_there_is_another(monkeypatch: pytest.MonkeyPatch, taken: int) -> None:
    monkeypatch.setattr(ports, "_NEAR", 0)
    with Reservation() as reservation:
        (found,) = reservation.choose([str(taken)])
    assert found.host not in (0, taken)


def test_a_port_that_this_user_may_not_bind_is_left_to_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_address: Any) -> socket.socket:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(ports.socket, "create_server", refuse)
    with Reservation() as reservation:
        assert reservation.choose(["80"]) == (Published(80, 80, 80),)


def test_an_mcp_server_of_this_machine_that_nothing_relays_is_named() -> None:
    urls = {
        "here": "http://localhost:3000/mcp",
        "bare": "http://127.0.0.1:80",
        "relayed": "http://[::1]:4000/",
        "there": "https://mcp.example.com:3000/",
        "odd": "http://localhost:port/",
    }
    servers: dict[str, Any] = {name: {"type": "http", "url": url} for name, url in urls.items()}
    servers["program"] = {"command": "x"}
    lines = list(ports.out_of_reach(json.dumps({"mcpServers": servers}), [4000]))
    assert [line.split()[3] for line in lines] == ["here", "bare"]
    assert lines[0].endswith("which this session does not reach: for that, set `host_ports = [3000]`.")
    assert list(ports.out_of_reach("", [])) == []


def test_the_session_or_container_that_has_a_port_is_named(listed: list[dict[str, Any]]) -> None:
    listed.append({"Names": ["/db"], "Labels": {}, "Ports": [{"PrivatePort": 5432, "PublicPort": 5433}]})
    labels = {"confined-claude": "session", "confined-claude.ports": "8001:8000,5433:1"}
    assert ports.holder_of(5433) == "the container db"
    listed.append({"Names": ["/confined-claude-x"], "Labels": labels, "Ports": []})
    assert ports.holder_of(5433) == ports.holder_of(8001) == "the session confined-claude-x"
    assert ports.holder_of(8000) == "another program"
