"""Locks: held by one process or shared, gone with it; and lock directories as Claude Code has them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from confined_claude.errors import ConfinedError
from confined_claude.fs.directory import Directory, Location
from confined_claude.fs.lock import Lock, is_held, lock_directory, locked

from ..conftest import as_plain_user

# Holds a lock until its input is closed.
HOLDER = """
import fcntl, sys
file = open(sys.argv[1], "a")
fcntl.flock(file, fcntl.LOCK_SH if "shared" in sys.argv else fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Directory]:
    with Location(tmp_path / "directory").make() as opened:
        yield opened


@pytest.fixture
def holder(directory: Directory) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that holds the lock on ``file``."""
    yield from _holder(directory)


@pytest.fixture
def sharer(directory: Directory) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that shares the lock on ``file``."""
    yield from _holder(directory, "shared")


def _holder(directory: Directory, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", HOLDER, str(directory.path / "file"), *words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_one_holds_the_lock(directory: Directory, holder: subprocess.Popen[bytes]) -> None:
    assert is_held(directory, "file")
    with Lock.open(directory, "file") as lock:
        for shared in (False, True):
            started = time.monotonic()
            assert not lock.try_acquire(shared=shared, seconds=0.1)
            assert 0.1 <= time.monotonic() - started < 2
        threading.Timer(0.1, holder.kill).start()
        lock.acquire()
    assert not is_held(directory, "file")


def test_a_lock_that_comes_free_in_time_is_taken(directory: Directory, holder: subprocess.Popen[bytes]) -> None:
    threading.Timer(0.1, holder.kill).start()
    with Lock.make(directory, "file") as lock:
        assert lock.try_acquire(seconds=10)


def test_a_lock_can_be_shared(directory: Directory, sharer: subprocess.Popen[bytes]) -> None:
    assert not is_held(directory, "file")
    with Lock.make(directory, "file") as lock:
        lock.acquire(shared=True)
        assert not lock.try_acquire()


def test_the_file_is_made_private_or_has_to_be_there(directory: Directory) -> None:
    assert not is_held(directory, "new")
    with pytest.raises(FileNotFoundError):
        Lock.open(directory, "new")
    with Lock.make(directory, "new") as lock:
        assert lock.try_acquire()
    assert directory.stat("new").st_mode & 0o777 == 0o600


@pytest.mark.timeout(120)
def test_what_is_no_file_of_our_own_is_refused_or_harmless(tmp_path: Path, directory: Directory) -> None:
    (directory.path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(ConfinedError, match="Cannot use"):
        Lock.make(directory, "link")
    assert not is_held(directory, "link")
    assert not (tmp_path / "target").exists()
    os.mkfifo(directory.path / "fifo")
    assert not is_held(directory, "fifo")


def test_a_directory_can_be_locked_too(directory: Directory) -> None:
    directory.mkdir("inner")
    with Lock.open(directory, "inner") as lock:
        lock.acquire()
        assert is_held(directory, "inner")


def test_a_directory_that_its_last_owner_removed_is_made_again(tmp_path: Path) -> None:
    location = Location(tmp_path, ("records",))
    held, waiting = threading.Event(), threading.Event()

    def remove() -> None:
        with locked(location, "lock"):
            held.set()
            waiting.wait()
            time.sleep(0.1)
            location.path.rename(tmp_path / "gone")

    remover = threading.Thread(target=remove)
    remover.start()
    held.wait()
    waiting.set()
    with locked(location, "lock") as directory:
        directory.write("file", b"x")
        assert is_held(directory, "lock")
    remover.join()
    assert (tmp_path / "records/file").exists()
    assert [path.name for path in (tmp_path / "gone").iterdir()] == ["lock"]


def test_a_directory_that_goes_before_its_lock_can_be_made_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, gone = Location.make, []

    def make_in_vain(location: Location) -> Directory:
        directory = make(location)
        if len(gone) < 3:
            gone.append(directory.path.rmdir())
        return directory

    monkeypatch.setattr(Location, "make", make_in_vain)
    with locked(Location(tmp_path, ("directory",)), "lock") as directory:
        assert directory.names() == ["lock"]
    assert len(gone) == 3


def test_the_lock_goes_when_the_work_fails(tmp_path: Path, directory: Directory) -> None:
    with pytest.raises(ZeroDivisionError), locked(Location(tmp_path, ("directory",)), "lock"):
        raise ZeroDivisionError
    assert not is_held(directory, "lock")


# Lock directories


def touch_ago(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then), follow_symlinks=False)


def test_a_lock_directory_goes_with_the_block(directory: Directory) -> None:
    with lock_directory(directory, "lock") as held:
        assert held
        assert directory.is_directory("lock")
    with pytest.raises(ZeroDivisionError), lock_directory(directory, "lock"):
        raise ZeroDivisionError
    assert directory.names() == []


def test_a_lock_directory_of_another_is_waited_for_and_not_for_ever(directory: Directory) -> None:
    directory.mkdir("lock")
    started = time.monotonic()
    with lock_directory(directory, "lock", 0.3) as held:
        assert not held
    assert 0.25 < time.monotonic() - started < 2
    threading.Timer(0.1, directory.rmdir, ["lock"]).start()
    with lock_directory(directory, "lock") as held:
        assert held
    assert directory.names() == []


@pytest.mark.parametrize("age", [11, -11, -1000, -1e9])
def test_a_stale_lock_directory_is_taken_over_also_one_dated_in_the_future(age: float, directory: Directory) -> None:
    directory.mkdir("lock")
    touch_ago(directory.path / "lock", age)
    started = time.monotonic()
    with lock_directory(directory, "lock") as held:
        assert held
    assert time.monotonic() - started < 2.5
    assert directory.names() == []


@pytest.mark.parametrize("age", [0, 8, -8])
def test_a_lock_directory_touched_lately_is_left_alone(age: float, directory: Directory) -> None:
    directory.mkdir("lock")
    touch_ago(directory.path / "lock", age)
    with lock_directory(directory, "lock", 0.1) as held:
        assert not held
    assert directory.is_directory("lock")


@pytest.mark.parametrize("kind", ["file", "link", "full directory"])
def test_what_is_no_lock_directory_is_never_removed(kind: str, tmp_path: Path, directory: Directory) -> None:
    target, lock = tmp_path / "target", directory.path / "lock"
    target.mkdir()
    if kind == "file":
        lock.write_text("x")
    elif kind == "link":
        lock.symlink_to(target)
    else:
        (lock / "inner").mkdir(parents=True)
    touch_ago(lock, 1000)
    with lock_directory(directory, "lock", 0.1) as held:
        assert not held
    assert directory.exists("lock")
    assert target.is_dir()


def test_a_lock_directory_that_cannot_be_made_is_not_held(plain_folder: Path) -> None:
    def work() -> bool:
        (plain_folder / "locked").mkdir(mode=0o500)
        with Location(plain_folder, ("locked",)).open() as directory, lock_directory(directory, "lock") as held:
            return held

    assert as_plain_user(work) is False


def test_only_one_holds_a_lock_directory_at_a_time(directory: Directory) -> None:
    count = directory.path / "count"
    count.write_text("0")

    def add() -> None:
        for _ in range(5):
            with lock_directory(directory, "lock", 60) as held:
                assert held
                number = int(count.read_text())
                time.sleep(0.001)
                count.write_text(str(number + 1))

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count.read_text() == "20"
