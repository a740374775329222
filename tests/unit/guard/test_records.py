"""What is kept of sessions outlives them, whatever is in it, and nobody else changes it."""

from __future__ import annotations

import fcntl
import os
import signal
import stat
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confined_claude.errors import ConfinedError
from confined_claude.guard.findings import Finding
from confined_claude.guard.records import Before, Record, Records, locked
from confined_claude.guard.snapshot import Kind, Snapshot
from confined_claude.host import Host
from confined_claude.project import Project

from ..conftest import full_disk

ODD = os.fsdecode(b"\xff\n\x1b[31m") + "ü'\"\\"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    path = tmp_path / "project"
    path.mkdir()
    return Project(path)


@pytest.fixture
def kept(project: Project, host: Host) -> Iterator[Records]:
    with locked(project, host) as records:
        yield records


def place(project: Project, host: Host) -> Path:
    return host.state / "projects" / project.id


def some_record() -> Record:
    return Record({"tasks.py": (1, 2), ODD: (3, 4)}, opened=[ODD], git_folders=[".git"])


def some_before() -> Before:
    snapshot = Snapshot()
    snapshot.add(ODD, Kind.FILE, bytes(range(256)))
    snapshot.add("large", Kind.FILE, b"x" * (65 << 10))
    snapshot.add("tool", Kind.SETID, b"0o4755")
    return Before(ODD, 12.5, snapshot)


def on_record(kept: Records) -> list[tuple[str, Record, bool]]:
    """The sessions on record; JSON has made lists of pairs."""
    sessions = list(kept.sessions())
    for _, record, _ in sessions:
        record.kept = {path: (identity[0], identity[1]) for path, identity in record.kept.items()}
    return sessions


# Sessions


def test_a_session_on_record_is_alive_until_its_handle_is_closed(kept: Records) -> None:
    handle = kept.begin("ab", some_record())
    assert on_record(kept) == [("ab", some_record(), True)]
    assert kept.before("ab") is None
    kept.keep_before("ab", some_before())
    assert kept.before("ab") == some_before()
    os.close(handle)
    assert on_record(kept) == [("ab", some_record(), False)]
    assert kept.before("ab") == some_before()
    kept.end("ab")
    kept.end("ab")
    assert on_record(kept) == []
    assert kept.before("ab") is None


def test_of_two_looks_the_last_counts(kept: Records) -> None:
    for before in (replace(some_before(), session="first and longer" * 100), some_before()):
        kept.keep_before("ab", before)
        assert kept.before("ab") == before


def test_an_empty_record_and_an_empty_project_are_no_nothing(kept: Records) -> None:
    os.close(kept.begin("ab", Record()))
    kept.keep_before("ab", Before("", 0.0, Snapshot()))
    assert on_record(kept) == [("ab", Record(), False)]
    assert kept.before("ab") == Before("", 0.0, Snapshot())


def test_the_record_of_a_killed_process_stays_and_is_dead(project: Project, host: Host) -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with locked(project, host) as records:
                records.begin("ab", some_record())
                records.keep_before("ab", some_before())
            os.write(writing, b"x")
            time.sleep(60)
        finally:
            os._exit(0)
    os.close(writing)
    try:
        assert os.read(reading, 1) == b"x"
        with locked(project, host) as records:
            assert [alive for _, _, alive in records.sessions()] == [True]
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reading)
    with locked(project, host) as records:
        assert on_record(records) == [("ab", some_record(), False)]
        assert records.before("ab") == some_before()


@pytest.mark.parametrize("name", ["ab.session", "ab.before"])
@pytest.mark.parametrize("keep", [1, -1])
def test_a_damaged_record_is_told(name: str, keep: int, kept: Records, project: Project, host: Host) -> None:
    os.close(kept.begin("ab", some_record()))
    kept.keep_before("ab", some_before())
    file = place(project, host) / name
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(ConfinedError, match="is damaged"):
        _ = (on_record(kept), kept.before("ab"))


# The rest


findings = st.builds(
    Finding,
    path=st.text(),
    kind=st.sampled_from([Kind.FILE, "setid"]),
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
def test_findings_come_back_as_they_were(found: list[Finding], project: Project, host: Host) -> None:
    with locked(project, host) as kept:
        kept.keep_findings(found)
    with locked(project, host) as kept:
        assert kept.findings() == found


def test_everything_else_comes_back_as_it_was(project: Project, host: Host) -> None:
    with locked(project, host) as kept:
        assert (kept.findings(), kept.accepted(), kept.copies(), kept.made()) == ([], {}, {}, [])
        kept.keep_accepted({ODD: "0"})
        kept.keep_copies({"1": {ODD: "0"}})
        kept.keep_made([project.root / ODD])
    with locked(project, host) as kept:
        assert (kept.accepted(), kept.copies()) == ({ODD: "0"}, {"1": {ODD: "0"}})
        assert kept.made() == [project.root / ODD]
        kept.keep_accepted({})
        kept.keep_copies({})
        kept.keep_made([])
        kept.keep_findings([])
        assert (kept.findings(), kept.accepted(), kept.copies(), kept.made()) == ([], {}, {}, [])
    assert os.listdir(place(project, host)) == ["lock"]


@pytest.mark.parametrize("content", [b"{", b"\xff", b"\0" * 9, b"[" * 10])
def test_damaged_findings_are_told_with_a_way_out(content: bytes, kept: Records, project: Project, host: Host) -> None:
    file = place(project, host) / "findings.json"
    file.write_bytes(content)
    with pytest.raises(ConfinedError) as caught:
        kept.findings()
    assert caught.value.message == f"{file} is damaged, or from a newer version."
    assert "remove that file" in caught.value.hint


def test_what_is_taken_out_of_the_project_is_kept_aside(kept: Records, project: Project, host: Host) -> None:
    path = kept.put_aside("hook.1", b"\xff")
    assert path == place(project, host) / "removed/hook.1"
    assert path.read_bytes() == b"\xff"


def test_all_of_it_is_private(project: Project, host: Host) -> None:
    with locked(project, host) as kept:
        os.close(kept.begin("ab", some_record()))
        kept.keep_before("ab", some_before())
        kept.keep_made([Path("/x")])
        kept.put_aside("x", b"")
    kinds = {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in (host.state, *host.state.rglob("*"))}
    assert kinds == {0}


def test_a_full_disk_is_a_clear_error_and_keeps_what_was(kept: Records) -> None:
    kept.keep_made([Path("/x")])
    kept.keep_before("ab", some_before())
    later = replace(some_before(), since=99.0)
    for write in (lambda: kept.keep_made([Path("/y")]), lambda: kept.keep_before("ab", later)):
        with full_disk(), pytest.raises(ConfinedError, match="Cannot write"):
            write()
    with full_disk(), pytest.raises(ConfinedError, match="Cannot write"):
        kept.begin("ab", some_record())
    assert kept.made() == [Path("/x")]
    assert kept.before("ab") == some_before()
    assert on_record(kept) == []


def test_a_link_in_place_of_the_records_is_refused(project: Project, host: Host, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    host.state.parent.mkdir(parents=True)
    host.state.symlink_to(tmp_path / "outside")
    with pytest.raises(ConfinedError, match="is a link"), locked(project, host):
        pytest.fail("followed")
    assert list((tmp_path / "outside").iterdir()) == []


@pytest.mark.parametrize("kind", ["link", "folder"])
def test_what_is_no_file_in_place_of_the_lock_is_refused(kind: str, project: Project, host: Host) -> None:
    with locked(project, host):
        pass
    lock = place(project, host) / "lock"
    lock.unlink()
    lock.mkdir() if kind == "folder" else lock.symlink_to("/dev/null")
    with pytest.raises(ConfinedError, match="Cannot use"), locked(project, host):
        pytest.fail("used")


def test_the_lock_is_held_to_the_end_of_the_block_and_however_it_ends(project: Project, host: Host) -> None:
    def is_free() -> bool:
        with open(place(project, host) / "lock", "rb+") as other:
            try:
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return True

    with pytest.raises(ZeroDivisionError), locked(project, host):
        assert not is_free()
        raise ZeroDivisionError
    assert is_free()
