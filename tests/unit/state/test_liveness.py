"""A session has an owner as long as the process that started or joined it lives, however many ask for that."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from confined_claude.fs.directory import Location
from confined_claude.guard.records import Record, locked
from confined_claude.host import Host
from confined_claude.project import Project
from confined_claude.state import liveness, store
from confined_claude.state.store import records_of

OWNER = """
import sys, time
from pathlib import Path
from confined_claude.fs.directory import Location
from confined_claude.guard.records import Record, locked
with locked(Location(Path(sys.argv[1]))) as records:
    owner = records.begin("k", Record())
print("begun", flush=True)
time.sleep(60)
"""


@pytest.fixture
def here(host: Host) -> Location:
    return records_of(host, Project(Path("/p/my-app")).id)


def keys_without_owner(host: Host) -> list[str]:
    return list(liveness.keys_without_owner(store.state_of(host)))


def test_an_owner_is_known_as_long_as_it_lives_and_can_be_followed_by_one(here: Location, host: Host) -> None:
    assert not liveness.has_owner(here, "k")
    assert keys_without_owner(host) == []
    here.make().close()
    with subprocess.Popen([sys.executable, "-c", OWNER, here.path], stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"begun\n"
        assert liveness.has_owner(here, "k")
        assert keys_without_owner(host) == []
        with locked(here) as records:
            assert records.take_over("k") is None
        owner.kill()
    assert not liveness.has_owner(here, "k")
    assert keys_without_owner(host) == ["k"]
    with locked(here) as records:
        assert records.take_over("other") is None
        successor = records.take_over("k")
    assert successor is not None
    with successor:
        assert liveness.has_owner(here, "k")
    assert not liveness.has_owner(here, "k")


def test_a_process_that_asks_is_not_taken_for_the_owner(here: Location, host: Host) -> None:
    with locked(here) as records:
        records.begin("k", Record()).close()
        with here.open() as directory, liveness.own(directory, "k"):
            assert records.session_keys() == [("k", True)]
        assert records.session_keys() == [("k", False)]
        successor = records.take_over("k")
    assert successor is not None
    successor.close()
