"""What `exec` does before it joins a session."""

from __future__ import annotations

import threading

import pytest

from confined_claude.commands import execute
from confined_claude.errors import ConfinedError
from confined_claude.host import Host


@pytest.mark.parametrize(("address", "is_early"), [("unix:///x", True), ("tcp://127.0.0.1:1", False)])
def test_only_an_engine_that_is_reached_without_a_program_is_asked_before_the_project_is_known(
    address: str, is_early: bool, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The docker command could be one that a session has put into the project."""
    monkeypatch.setenv("DOCKER_HOST", address)
    asked, knew = threading.Event(), []

    def sessions(_host: Host) -> list[object]:
        asked.set()
        return []

    def project_for(_host: Host, _wanted: str | None) -> None:
        knew.append(asked.wait(10 if is_early else 0.1))

    monkeypatch.setattr(execute.listing, "sessions", sessions)
    monkeypatch.setattr(execute.listing, "project_for", project_for)
    with pytest.raises(ConfinedError, match="No session runs"):
        execute.execute(host, (), None)
    assert knew == [is_early]
    assert asked.is_set()
