"""Which engines are known to have this machine's files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from confined_claude.engine import sight as engine_sight
from confined_claude.errors import ConfinedError, EngineError
from confined_claude.host import Host
from confined_claude.state import sight

from ..conftest import full_disk

ADDRESS = "tcp://127.0.0.1:2375"
INFO = {"ID": "A", "Name": "here", "DockerRootDir": "/var/lib/docker"}
PODMAN = {"Components": [{"Name": "Podman Engine", "Version": "5.4.2"}]}


class Tried:
    """Engines that are tried, and find the file that they are to find, or not."""

    def __init__(self) -> None:
        self.times = 0
        self.looked_at: list[Path] = []
        self.has_files = True

    def check(self, file: Path, content: bytes, directories: Sequence[Path], owner: str, *, looks_closer: bool) -> None:
        self.times += 1
        assert file.read_bytes() == content
        assert len(owner) == 12
        self.looked_at += [*directories] if looks_closer else []
        if not self.has_files:
            raise EngineError("It has others.")


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Tried:
    made = Tried()
    monkeypatch.setattr(engine_sight, "check", made.check)
    return made


def times(
    engine: Tried, host: Host, *engines: tuple[str, dict[str, Any]], version: dict[str, Any] | None = None
) -> int:
    """How often these engines are tried."""
    before = engine.times
    for address, info in engines:
        sight.check(host, address, info, version or {})
    return engine.times - before


def test_an_engine_is_tried_once(engine: Tried, host: Host) -> None:
    assert times(engine, host, *[(ADDRESS, INFO)] * 3) == 1
    sight.check(host, ADDRESS, INFO, {}, is_recorded=False)
    assert engine.times == 2


@pytest.mark.parametrize("part", [{"ID": "B"}, {"Name": "there"}, {"DockerRootDir": "/other"}])
def test_another_engine_at_the_same_address_is_tried(engine: Tried, host: Host, part: dict[str, str]) -> None:
    other = (ADDRESS, {**INFO, **part})
    assert times(engine, host, (ADDRESS, INFO), other, (ADDRESS, INFO), other) == 2


def test_an_engine_at_another_address_is_tried(engine: Tried, host: Host) -> None:
    """A copy of a virtual machine has the same id."""
    assert times(engine, host, (ADDRESS, INFO), ("unix:///x.sock", INFO)) == 2


def test_podman_has_another_id_each_time(engine: Tried, host: Host) -> None:
    other = {**INFO, "ID": "B"}
    assert times(engine, host, (ADDRESS, INFO), (ADDRESS, other), version=PODMAN) == 1


def test_podman_is_tried_with_each_directory_as_it_makes_those_that_it_lacks(engine: Tried, host: Host) -> None:
    one, two = Path("/one"), Path("/two")
    for places in ((one,), (one,), (one, two), (two, one), ()):
        sight.check(host, ADDRESS, INFO, PODMAN, places)
    assert engine.looked_at == [one, one, two]
    # The control: Docker refuses to mount what it lacks.
    for places in ((one,), (two,)):
        sight.check(host, ADDRESS, INFO, {}, places)
    assert (engine.looked_at, engine.times) == ([one, one, two], 3)


def test_an_engine_with_other_files_is_tried_again(engine: Tried, host: Host) -> None:
    engine.has_files = False
    for _ in range(2):
        with pytest.raises(EngineError):
            times(engine, host, (ADDRESS, INFO))
    engine.has_files = True
    assert times(engine, host, (ADDRESS, INFO)) == 1
    assert engine.times == 3


def test_no_more_is_kept_than_somebody_uses(engine: Tried, host: Host) -> None:
    assert times(engine, host, *[(ADDRESS, {**INFO, "ID": str(number)}) for number in range(300)]) == 300
    assert (host.state / "engines.json").stat().st_size < 6000
    assert times(engine, host, (ADDRESS, {**INFO, "ID": "299"}), (ADDRESS, {**INFO, "ID": "0"})) == 1


@pytest.mark.parametrize("content", ["", "{", "7", "[7]", '{"a": 1}'])
def test_a_damaged_record_counts_as_none(engine: Tried, host: Host, content: str) -> None:
    times(engine, host, (ADDRESS, INFO))
    (host.state / "engines.json").write_text(content)
    assert times(engine, host, (ADDRESS, INFO), (ADDRESS, INFO)) == 1


def test_an_engine_that_cannot_be_tried_is_an_error(engine: Tried, host: Host) -> None:
    with full_disk(), pytest.raises(ConfinedError, match="Cannot write"):
        times(engine, host, (ADDRESS, INFO))
    assert engine.times == 0
