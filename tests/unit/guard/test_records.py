"""What is on record of sessions outlives them, whatever is in it, and nobody else changes it."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confined_claude.errors import ConfinedError
from confined_claude.fs.directory import Location
from confined_claude.guard.findings import Finding
from confined_claude.guard.records import Before, ReadOnlyRecords, Record, Records, locked, locked_if_exist
from confined_claude.guard.snapshot import Kind, Snapshot
from confined_claude.host import Host
from confined_claude.project import Project
from confined_claude.state.store import records_of

from ..conftest import full_disk, tree

ODD = os.fsdecode(b"\xff\n\x1b[31m") + "ü'\"\\"
RECORD = Record(
    {"tasks.py": (1, 2), ODD: (3, 4)}, writable=(ODD,), git_directories=(".git",), hidden=(ODD,), seen=(ODD,)
)


@pytest.fixture
def location(host: Host) -> Location:
    return records_of(host, Project(Path("/p/my-app")).id)


@pytest.fixture
def records(location: Location) -> Iterator[Records]:
    with locked(location) as records:
        yield records


def some_before() -> Before:
    snapshot = Snapshot()
    snapshot.add(ODD, Kind.FILE, bytes(range(256)))
    snapshot.add("large", Kind.FILE, b"x" * (65 << 10))
    snapshot.add("tool", Kind.SETID, b"0o4755")
    return Before(ODD, 12.5, snapshot, ("/bin", ODD))


# Sessions


def test_a_session_on_record_has_an_owner_until_its_lock_is_closed(records: Records) -> None:
    with records.begin("ab", RECORD):
        assert records.sessions() == [("ab", RECORD, True)]
        assert records.before("ab") is None
        for before in (some_before()._replace(session="first and longer" * 100), some_before()):
            records.save_before("ab", before)
            assert records.before("ab") == before
    assert records.sessions() == [("ab", RECORD, False)]
    assert records.before("ab") == some_before()
    records.end("ab")
    records.end("ab")
    assert (records.sessions(), records.before("ab")) == ([], None)


def test_what_could_not_be_scanned_stays_until_it_is_ended(records: Records) -> None:
    records.begin("ab", RECORD).close()
    records.save_before("ab", some_before())
    for _ in range(2):
        records.mark_unscanned("ab")
        assert (records.sessions(), records.unscanned()) == ([], [("ab", RECORD)])
        assert records.before("ab") == some_before()
    records.end("ab")
    assert records.unscanned() == []


def test_an_empty_record_and_an_empty_project_are_on_record_too(records: Records) -> None:
    records.begin("ab", Record()).close()
    records.save_before("ab", Before("", 0.0, Snapshot()))
    assert records.sessions() == [("ab", Record(), False)]
    assert records.before("ab") == Before("", 0.0, Snapshot())


# The rest


findings = st.builds(
    lambda **fields: Finding(**fields),  # noqa: PLW0108 - of the class itself hypothesis fills in every field
    path=st.text(),
    kind=st.sampled_from(Kind),
    red=st.booleans(),
    runs=st.text(),
    why=st.text(st.characters() | st.just("\udcff")),
    before=st.none() | st.binary(),
    after=st.none() | st.binary(),
    digest_before=st.text(),
    digest_after=st.text(),
    session=st.text(),
    since=st.floats(0, 1e10),
)


@given(found=st.lists(findings, max_size=3))
def test_findings_come_back_as_they_were(found: list[Finding], location: Location) -> None:
    with locked(location) as records:
        records.save_findings(found)
    with locked(location) as records:
        assert records.findings() == found


def test_everything_else_comes_back_as_it_was(location: Location) -> None:
    with locked(location) as records:
        assert (records.findings(), records.accepted(), records.copies(), records.made()) == ([], {}, {}, [])
        records.save_accepted({ODD: "0"})
        records.save_copies({"1": {ODD: "0"}})
        records.save_made([Path("/p") / ODD])
    with locked(location) as records:
        assert (records.accepted(), records.copies()) == ({ODD: "0"}, {"1": {ODD: "0"}})
        assert records.made() == [Path("/p") / ODD]
        records.save_accepted({})
        records.save_copies({})
        records.save_made([])
        records.save_findings([])
    assert os.listdir(location.path) == ["lock"]


READS: dict[str, Callable[[ReadOnlyRecords], object]] = {
    "k.session": ReadOnlyRecords.sessions,
    "k.unseen": ReadOnlyRecords.unscanned,
    "k.before": lambda records: records.before("k"),
    "findings.json": ReadOnlyRecords.findings,
    "made.json": ReadOnlyRecords.made,
    "accepted.json": ReadOnlyRecords.accepted,
    "copies.json": ReadOnlyRecords.copies,
}
DAMAGED = [b"", b"{", b"\xff", b"\0" * 9, b"[" * 10, b"[1, 2", b'{"new": {"version": 9}}', b"[[]]", b"7", b'[{"x": 1}]']


@pytest.mark.parametrize("content", DAMAGED)
@pytest.mark.parametrize("name", READS)
def test_a_record_that_is_damaged_or_newer_is_reported_with_a_way_out_and_stays(
    name: str, content: bytes, records: Records, location: Location
) -> None:
    file = location.path / name
    file.write_bytes(content)
    with pytest.raises(ConfinedError) as caught:
        READS[name](records)
    assert caught.value.message == f"{file} is damaged, or from a newer version."
    assert "remove that file" in caught.value.hint
    assert file.read_bytes() == content


def test_what_is_removed_from_the_project_stays_on_record(records: Records, location: Location) -> None:
    path = records.save_removed("hook.1", b"\xff")
    assert path == location.path / "removed/hook.1"
    assert path.read_bytes() == b"\xff"


def test_all_of_it_is_private(location: Location, host: Host) -> None:
    with locked(location) as records:
        records.begin("ab", RECORD).close()
        records.save_before("ab", some_before())
        records.save_made([Path("/x")])
        records.save_removed("x", b"")
    modes = {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in (host.state, *host.state.rglob("*"))}
    assert modes == {0}


def test_a_full_disk_is_a_clear_error_and_keeps_what_was(records: Records) -> None:
    records.save_made([Path("/x")])
    records.save_before("ab", some_before())
    later = some_before()._replace(since=99.0)
    writes: list[Callable[[], object]] = [
        lambda: records.save_made([Path("/y")]),
        lambda: records.save_before("ab", later),
        lambda: records.begin("ab", RECORD),
    ]
    for write in writes:
        with full_disk(), pytest.raises(ConfinedError, match="Cannot write"):
            write()
    assert records.made() == [Path("/x")]
    assert records.before("ab") == some_before()
    assert records.sessions() == []


# The lock


@pytest.mark.parametrize("kind", ["link", "folder"])
def test_what_is_no_file_in_place_of_the_lock_is_refused(kind: str, location: Location) -> None:
    with locked(location):
        pass
    lock = location.path / "lock"
    lock.unlink()
    lock.mkdir() if kind == "folder" else lock.symlink_to("/dev/null")
    with pytest.raises(ConfinedError, match="Cannot use"), locked(location):
        pytest.fail("used")


def is_free(location: Location) -> bool:
    with open(location.path / "lock", "rb+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def test_the_lock_is_held_to_the_end_of_the_block_and_however_it_ends(location: Location) -> None:
    with pytest.raises(ZeroDivisionError), locked(location):
        assert not is_free(location)
        raise ZeroDivisionError
    assert is_free(location)


def test_for_reading_the_lock_is_held_as_well_and_nothing_is_made(location: Location, host: Host) -> None:
    with locked_if_exist(location) as records:
        assert records is None
    assert not host.state.exists()
    with locked(location) as writer:
        writer.save_made([Path("/x")])
    before = tree(host.state)
    with locked_if_exist(location) as records:
        assert records is not None
        assert records.made() == [Path("/x")]
        assert not is_free(location)
    assert is_free(location)
    assert tree(host.state) == before
