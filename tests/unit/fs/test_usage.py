"""What directories take on disk, whatever a session has made of them."""

from __future__ import annotations

import gc
import os
import socket
import subprocess
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from confined_claude.fs import usage
from confined_claude.fs.directory import Directory, Location
from confined_claude.fs.usage import Size, in_words, measure

from ..conftest import as_plain_user, nothing_stays_open
from ..guarding import put

LONG = 60.0


def size_of(*locations: Location, seconds: float = LONG) -> Size:
    """What ``locations`` take together."""
    return sum(measure({0: locations}, seconds=seconds)[0], Size())


def du(*paths: Path, options: str = "") -> int:
    """What coreutils say of the same."""
    command = ["du", "--summarize", "--total", "--block-size=1", *options.split(), *map(str, paths)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1].split()[0])


@pytest.fixture
def some(tmp_path: Path) -> Path:
    """A directory with some of everything."""
    path = tmp_path / "some"
    put(path / "file", b"x" * 100_000)
    put(path / "inner/again/file", b"x" * 5_000)
    put(path / "empty", b"")
    with open(path / "sparse", "wb") as file:
        file.truncate(1 << 30)
    os.link(path / "file", path / "inner/the same")
    os.mkfifo(path / "fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path / "socket"))
    put(path / "line\nbreak/\udcff", b"x")
    return path


def test_it_is_what_du_says(some: Path) -> None:
    assert size_of(Location(some)) == Size(du(some))
    assert size_of(Location(some.parent, ("some", "inner"))) == Size(du(some / "inner"))


def test_a_file_with_several_names_counts_once_in_a_sum(some: Path) -> None:
    locations = Location(some, ("inner",)), Location(some.parent, ("some",))
    inner, whole = measure({"": locations})[""]
    assert inner == Size(du(some / "inner"))
    assert whole.bytes == du(some) - (some / "file").stat().st_blocks * 512
    assert measure({0: [locations[1]], 1: [locations[0]]}) == {0: (Size(du(some)),), 1: (Size(du(some / "inner")),)}


def test_links_are_not_followed(some: Path, tmp_path: Path) -> None:
    (some / "out").symlink_to(tmp_path / "large")
    put(tmp_path / "large/file", b"x" * 1_000_000)
    assert size_of(Location(some)).bytes == du(some) < 500_000
    assert size_of(Location(tmp_path, ("large",))).bytes > 1_000_000
    assert size_of(Location(tmp_path, ("some", "out"))) == Size(du(some / "out"))
    assert size_of(Location(tmp_path, ("some", "out", "file"))) == Size()


def test_a_file_is_measured_as_well(some: Path) -> None:
    file = some / "inner/one"
    put(file, b"x" * 10_000)
    once = Size(du(file))
    assert once.bytes >= 10_000
    os.link(file, some / "another name")
    assert measure({"": [Location(some, ("inner", "one")), Location(some, ("another name",))]})[""] == (once, Size())


def test_other_file_systems_are_not_entered() -> None:
    path = Path("/dev/shm", f"confined-claude-{uuid.uuid4().hex}")
    path.write_bytes(b"x" * 1_000_000)
    try:
        assert path.stat().st_dev != Path("/dev").stat().st_dev
        assert du(path) >= 1_000_000
        assert size_of(Location(Path("/dev"))).bytes == du(Path("/dev"), options="--one-file-system")
    finally:
        path.unlink()


def test_what_is_missing_takes_nothing(tmp_path: Path) -> None:
    put(tmp_path / "file")
    assert size_of(Location(tmp_path, ("none",))) == Size()
    assert size_of(Location(tmp_path, ("file", "inner"))) == Size()
    assert size_of(Location(tmp_path / "none", ("inner",))) == Size(is_there=False)
    assert size_of(Location(tmp_path / "file")) == Size(is_there=False)
    assert measure({}) == {}
    assert measure({0: ()}) == {0: ()}


def test_what_cannot_be_read_is_counted_and_the_sum_a_lower_bound(plain_folder: Path) -> None:
    def of_directory() -> tuple[Size, int]:
        for name in ("open", "closed/inner", "listed/inner"):
            put(plain_folder / name / "file", b"x" * 5000)
        whole = du(plain_folder)
        (plain_folder / "closed").chmod(0)
        (plain_folder / "listed").chmod(0o400)
        return size_of(Location(plain_folder)), whole

    size, whole = as_plain_user(of_directory)
    assert size.unreadable == 2
    assert 5000 < size.bytes < whole
    assert in_words(size).startswith("at least ")
    closed = as_plain_user(lambda: size_of(Location(plain_folder, ("closed", "inner"))))
    assert closed == Size(unreadable=1)


@pytest.mark.parametrize(("depth", "unreadable"), [(60, 0), (500, 1)])
def test_what_is_too_deep_makes_the_sum_a_lower_bound(
    depth: int, unreadable: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "tree" / Path(*"d" * depth) / "file", b"x" * 100_000)
    gc.collect()  # what others have left is not closed meanwhile
    before = len(os.listdir("/proc/self/fd"))
    most = 0
    listed = Directory.entries

    def counting(self: Directory) -> object:
        nonlocal most
        most = max(most, len(os.listdir("/proc/self/fd")))
        return listed(self)

    monkeypatch.setattr(Directory, "entries", counting)
    with nothing_stays_open():
        size = size_of(Location(tmp_path, ("tree",)))
    assert size.unreadable == unreadable
    assert (size.bytes == du(tmp_path / "tree")) is not unreadable
    assert most <= before + 70


def test_what_goes_meanwhile_takes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "tree/inner/file")
    put(tmp_path / "tree/mark")
    child = Directory.child

    def vanishing(self: Directory, name: str, *names: str) -> Directory:
        if name == "inner":
            (tmp_path / "tree/inner").rename(tmp_path / "gone")
            (tmp_path / "tree/inner").symlink_to("/usr")
        return child(self, name, *names)

    monkeypatch.setattr(Directory, "child", vanishing)
    size = size_of(Location(tmp_path, ("tree",)))
    assert size.is_whole
    assert size.bytes == du(tmp_path / "tree/mark") + (tmp_path / "tree").stat().st_blocks * 512


@pytest.fixture
def released() -> Iterator[threading.Event]:
    """What hangs until the end of the test, and whose threads end with it."""
    before = set(threading.enumerate())
    event = threading.Event()
    yield event
    event.set()
    for thread in set(threading.enumerate()) - before:
        thread.join()


def test_one_that_hangs_does_not_hold_the_others(
    tmp_path: Path, released: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = Directory.child
    hanging, working = range(3), range(3, 8)
    clock = SimpleNamespace(now=0.0)
    reported: list[tuple[int, int]] = []

    def hang(self: Directory, name: str, *names: str) -> Directory:
        if name == "hangs":
            released.wait(LONG)
        return child(self, name, *names)

    def waiting(done: int, total: int) -> None:
        reported.append((done, total))
        if done == len(working):
            clock.now += LONG

    monkeypatch.setattr(Directory, "child", hang)
    monkeypatch.setattr(usage, "time", SimpleNamespace(monotonic=lambda: clock.now))
    wanted = {}
    for number in (*hanging, *working):
        put(tmp_path / str(number) / "file", b"x" * 5000)
        put(tmp_path / str(number) / ("hangs" if number in hanging else "works") / "file", b"x" * 5000)
        wanted[number] = [Location(tmp_path, (str(number),))]
    found = measure(wanted, seconds=LONG, waiting=waiting)
    assert all(found[number][0].is_cut_off and found[number][0].bytes >= 5000 for number in hanging)
    assert all(found[number][0] == Size(du(tmp_path / str(number))) for number in working)
    assert in_words(found[0][0]).startswith("more than ")
    assert reported[-1] == (5, 8)


def test_without_time_nothing_is_known(some: Path) -> None:
    assert size_of(Location(some), seconds=0).is_cut_off


def test_a_large_directory_is_left_as_soon_as_the_time_is_up(tmp_path: Path) -> None:
    for number in range(1500):
        (tmp_path / str(number)).write_bytes(b"x")
    tree = usage._Tree(Location(tmp_path), set(), deadline=0.0)
    with pytest.raises(usage._Stopped):
        tree.add_up()
    assert tree.size.is_cut_off
    assert 0 < tree.size.bytes < du(tmp_path)


def test_sums() -> None:
    assert Size(1, 2) + Size(3, is_cut_off=True) + Size(is_there=False) == Size(4, 2, True, False)
    assert Size(5).is_whole
    assert not Size(5, 1).is_whole
    assert not Size(5, is_cut_off=True).is_whole


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (Size(), "0 bytes"),
        (Size(4096), "4.1 kB"),
        (Size(1_234_567_890), "1.2 GB"),
        (Size(2_000_000, unreadable=1), "at least 2.0 MB"),
        (Size(2_000_000, unreadable=1, is_cut_off=True), "more than 2.0 MB"),
    ],
)
def test_in_words(size: Size, words: str) -> None:
    assert in_words(size) == words
