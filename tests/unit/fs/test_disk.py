"""What folders take on disk, whatever a session has made of them."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from confined_claude.fs import disk
from confined_claude.fs.disk import Size, in_words, measured
from confined_claude.fs.safefs import Place

from ..conftest import as_plain_user
from ..guarding import put

LONG = 60.0


def size_of(*places: Place, seconds: float = LONG) -> Size:
    """What ``places`` take together."""
    return sum(measured({0: places}, seconds=seconds)[0], Size())


def du(*paths: Path, options: str = "") -> int:
    """What coreutils say of the same."""
    command = ["du", "--summarize", "--total", "--block-size=1", *options.split(), *map(str, paths)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1].split()[0])


def handles() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture
def some(tmp_path: Path) -> Path:
    """A folder with some of everything."""
    folder = tmp_path / "some"
    put(folder / "file", b"x" * 100_000)
    put(folder / "inner/again/file", b"x" * 5_000)
    put(folder / "empty", b"")
    with open(folder / "sparse", "wb") as file:
        file.truncate(1 << 30)
    os.link(folder / "file", folder / "inner/the same")
    os.mkfifo(folder / "fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "socket"))
    put(folder / "line\nbreak/\udcff", b"x")
    return folder


def test_it_is_what_du_says(some: Path) -> None:
    assert size_of(Place(some)) == Size(du(some))
    assert size_of(Place(some.parent, ("some", "inner"))) == Size(du(some / "inner"))


def test_a_file_with_several_names_counts_once_in_a_sum(some: Path) -> None:
    places = Place(some, ("inner",)), Place(some.parent, ("some",))
    inner, whole = measured({"": places})[""]
    assert inner == Size(du(some / "inner"))
    assert whole.bytes == du(some) - (some / "file").stat().st_blocks * 512
    assert measured({0: [places[1]], 1: [places[0]]}) == {0: (Size(du(some)),), 1: (Size(du(some / "inner")),)}


def test_links_are_not_followed(some: Path, tmp_path: Path) -> None:
    (some / "out").symlink_to(tmp_path / "large")
    put(tmp_path / "large/file", b"x" * 1_000_000)
    assert size_of(Place(some)).bytes == du(some) < 500_000
    assert size_of(Place(tmp_path, ("large",))).bytes > 1_000_000
    assert size_of(Place(tmp_path, ("some", "out"))) == Size()
    assert size_of(Place(tmp_path, ("some", "out", "file"))) == Size()


def test_other_file_systems_are_not_entered() -> None:
    path = Path("/dev/shm", f"confined-claude-{uuid.uuid4().hex}")
    path.write_bytes(b"x" * 1_000_000)
    try:
        one, all_of_them = du(Path("/dev"), options="--one-file-system"), du(Path("/dev"))
        assert size_of(Place(Path("/dev"))).bytes == one <= all_of_them - 1_000_000
    finally:
        path.unlink()


def test_what_is_missing_takes_nothing(tmp_path: Path) -> None:
    put(tmp_path / "file")
    assert size_of(Place(tmp_path, ("none",))) == Size()
    assert size_of(Place(tmp_path, ("file",))) == Size()
    assert size_of(Place(tmp_path / "none", ("inner",))) == Size(is_there=False)
    assert measured({}) == {}
    assert measured({0: ()}) == {0: ()}


def test_what_cannot_be_read_is_counted_and_the_sum_a_lower_bound(plain_folder: Path) -> None:
    def of_folder() -> tuple[Size, int]:
        put(plain_folder / "open/file", b"x" * 5000)
        put(plain_folder / "closed/inner/file", b"x" * 5000)
        put(plain_folder / "listed/inner/file", b"x" * 5000)
        whole = du(plain_folder)
        (plain_folder / "closed").chmod(0)
        (plain_folder / "listed").chmod(0o400)
        return size_of(Place(plain_folder)), whole

    size, whole = as_plain_user(of_folder)
    assert size.unreadable == 2
    assert 5000 < size.bytes < whole
    assert in_words(size).startswith("at least ")
    closed = as_plain_user(lambda: size_of(Place(plain_folder, ("closed", "inner"))))
    assert closed == Size(unreadable=1)


DEPTH = 10_000


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """A tree that is deeper than Python's stack, and than any path may be long; with a file at the bottom."""
    folder = tmp_path / "deep"
    folder.mkdir()
    handle = os.open(folder, os.O_RDONLY)
    for number in range(DEPTH):
        if not number % 1000:
            os.mkdir("beside", dir_fd=handle)
        os.mkdir("d", dir_fd=handle)
        inner = os.open("d", os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = inner
    with open("file", "wb", opener=lambda name, flags: os.open(name, flags, dir_fd=handle)) as file:
        file.write(b"x" * 100_000)
    os.close(handle)
    yield folder
    subprocess.run(["rm", "-rf", folder], check=True)  # Python's own would not get to the bottom


def test_ten_thousand_folders_deep(deep: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = handles()
    resource.setrlimit(resource.RLIMIT_NOFILE, (before + 60, hard))
    try:
        size = size_of(Place(deep), seconds=LONG)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert size == Size(du(deep))
    assert handles() == before


def test_what_goes_meanwhile_takes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "tree/inner/file")
    put(tmp_path / "tree/mark")
    opened = os.open

    def vanishing(path: Any, *arguments: Any, **named: Any) -> int:
        if path == "inner":
            (tmp_path / "tree/inner").rename(tmp_path / "gone")
            (tmp_path / "tree/inner").symlink_to("/usr")
        return opened(path, *arguments, **named)

    monkeypatch.setattr(os, "open", vanishing)
    size = size_of(Place(tmp_path, ("tree",)))
    assert size.is_whole
    assert size.bytes == du(tmp_path / "tree/mark") + (tmp_path / "tree").stat().st_blocks * 512


def test_a_folder_moved_away_on_the_way_back_leads_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"d{number}" for number in range(50)]
    for first in ("a", "b"):
        put(tmp_path.joinpath("tree", first, *names, "bottom"))
    put(tmp_path / "elsewhere/large", b"x" * 1_000_000)
    listed = os.scandir

    def moving(handle: int) -> Any:
        if "bottom" in os.listdir(handle) and not (tmp_path / "elsewhere/moved").exists():
            first = str(Path(f"/proc/self/fd/{handle}").readlink()).split("/tree/")[1][0]
            (tmp_path / "tree" / first).rename(tmp_path / "elsewhere/moved")
        return listed(handle)

    monkeypatch.setattr(os, "scandir", moving)
    before = handles()
    size = size_of(Place(tmp_path, ("tree",)))
    tree = (tmp_path / "tree").stat().st_blocks * 512
    assert size == Size(tree + du(tmp_path / "elsewhere/moved"), unreadable=1)
    assert handles() == before


def test_one_that_hangs_does_not_hold_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    opened = os.open
    hanging, working = range(3), range(3, 8)
    clock = SimpleNamespace(now=0.0)
    told: list[tuple[int, int]] = []

    def hang(path: Any, *arguments: Any, **named: Any) -> int:
        if path == "hangs":
            released.wait(LONG)
        return opened(path, *arguments, **named)

    def waiting(done: int, total: int) -> None:
        told.append((done, total))
        if done == len(working):
            clock.now += LONG

    monkeypatch.setattr(os, "open", hang)
    monkeypatch.setattr(disk, "time", SimpleNamespace(monotonic=lambda: clock.now))
    wanted = {}
    for number in (*hanging, *working):
        put(tmp_path / str(number) / "file", b"x" * 5000)
        put(tmp_path / str(number) / ("hangs" if number in hanging else "works") / "file", b"x" * 5000)
        wanted[number] = [Place(tmp_path, (str(number),))]
    before = set(threading.enumerate())
    try:
        found = measured(wanted, seconds=LONG, waiting=waiting)
    finally:
        released.set()
        for thread in set(threading.enumerate()) - before:
            thread.join()
    assert all(found[number][0].is_cut_off and found[number][0].bytes >= 5000 for number in hanging)
    assert all(found[number][0] == Size(du(tmp_path / str(number))) for number in working)
    assert in_words(found[0][0]).startswith("more than ")
    assert told[-1] == (5, 8)


def test_without_time_nothing_is_known(some: Path) -> None:
    assert size_of(Place(some), seconds=0).is_cut_off


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
