"""Folders that a container can write: no link followed, nothing half-written, nothing hangs."""

from __future__ import annotations

import errno
import os
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confined_claude.errors import ConfinedError
from confined_claude.fs import safefs

from ..conftest import PLAIN_ID, as_plain_user, full_disk, tree


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "folder"
    path.mkdir()
    return path


@pytest.fixture
def handle(folder: Path) -> Iterator[int]:
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    yield number
    os.close(number)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def open_files() -> list[str]:
    return sorted(os.listdir("/proc/self/fd"))


# Folders


def test_missing_folders_are_made_private(tmp_path: Path) -> None:
    with safefs.open_folder(tmp_path / "base/more", "one", "two") as handle:
        safefs.write(handle, "file", b"x")
    made = tmp_path / "base/more/one/two"
    assert (made / "file").read_bytes() == b"x"
    assert [mode_of(path) for path in (made, made.parent, made.parent.parent)] == [0o700] * 3


def test_the_mode_of_new_folders_can_be_chosen_and_old_ones_stay(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir(mode=0o750)
    with safefs.open_folder(tmp_path, "old", "new", mode=0o755):
        pass
    assert mode_of(tmp_path / "old") == 0o750
    assert mode_of(tmp_path / "old/new") == 0o755


@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize("leads", ["to a folder", "nowhere", "to itself"])
def test_a_link_at_any_depth_is_refused_and_nothing_is_made_behind_it(depth: int, leads: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    if leads == "to a folder":
        outside.mkdir()
    names = ["one", "two", "three"]
    link = tmp_path.joinpath("base", *names[: depth + 1])
    link.parent.mkdir(parents=True)
    link.symlink_to(link if leads == "to itself" else outside)
    with pytest.raises(ConfinedError, match="is a link") as caught, safefs.open_folder(tmp_path / "base", *names):
        pytest.fail("a link was followed")
    assert str(link) in caught.value.message
    assert caught.value.exit_code == 2
    assert not outside.exists() or not list(outside.iterdir())
    assert link.is_symlink()


def test_the_base_itself_is_trusted(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "base").symlink_to(tmp_path / "real")
    with safefs.open_folder(tmp_path / "base", "inner"):
        pass
    assert (tmp_path / "real/inner").is_dir()


@pytest.mark.timeout(10)
@pytest.mark.parametrize("kind", ["file", "fifo"])
@pytest.mark.parametrize("names", [("one",), ("one", "two")])
def test_what_is_not_a_folder_in_the_way_is_a_clear_error(kind: str, names: tuple[str, ...], folder: Path) -> None:
    if kind == "fifo":
        os.mkfifo(folder / "one")
    else:
        (folder / "one").write_text("")
    with (
        pytest.raises(ConfinedError, match=f"Cannot use {folder}/one: Not a directory"),
        safefs.open_folder(folder, *names),
    ):
        pytest.fail("opened")


def test_a_base_that_is_a_file_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "base").write_text("")
    with pytest.raises(ConfinedError, match="Cannot use"), safefs.open_folder(tmp_path / "base"):
        pytest.fail("opened")


@pytest.mark.parametrize("names", [("new",), ()])
def test_a_folder_that_may_not_be_made_is_a_clear_error(names: tuple[str, ...], plain_folder: Path) -> None:
    def work() -> None:
        locked = plain_folder / "locked"
        locked.mkdir(mode=0o500)
        with safefs.open_folder(locked if names else locked / "base", *names):
            pass

    with pytest.raises(ConfinedError, match="Permission denied") as caught:
        as_plain_user(work)
    assert "permission" in caught.value.hint


def test_a_folder_replaced_by_a_link_afterwards_leads_nowhere(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    with safefs.open_folder(tmp_path / "base", "inner") as handle:
        (tmp_path / "base/inner").rename(tmp_path / "base/moved")
        (tmp_path / "base/inner").symlink_to(secret)
        safefs.write(handle, "file", b"x")
    assert list(secret.iterdir()) == []
    assert (tmp_path / "base/moved/file").read_bytes() == b"x"


def test_no_handle_stays_open(tmp_path: Path) -> None:
    before = open_files()
    with safefs.open_folder(tmp_path / "base", "a", "b") as handle:
        safefs.write(handle, "file", b"x")
        safefs.read(handle, "file")
        os.mkfifo("fifo", dir_fd=handle)
        safefs.read(handle, "fifo")
        (tmp_path / "base/a/b/link").symlink_to(tmp_path)
        with pytest.raises(ConfinedError), safefs.open_folder(tmp_path / "base", "a", "b", "link"):
            pass
        with full_disk(), pytest.raises(OSError):
            safefs.write(handle, "file", b"longer")
    assert open_files() == before


# Reading


def test_read_gives_the_content_of_a_file(folder: Path, handle: int) -> None:
    (folder / "file").write_bytes(b"a\0b\r\n")
    assert safefs.read(handle, "file") == b"a\0b\r\n"


def test_read_of_an_empty_file_is_not_none(folder: Path, handle: int) -> None:
    (folder / "file").touch()
    assert safefs.read(handle, "file") == b""


def test_read_of_nothing_is_none(handle: int) -> None:
    assert safefs.read(handle, "missing") is None


@pytest.mark.parametrize("target", ["secret", "missing", "link", "/dev/zero"])
def test_read_follows_no_link(target: str, folder: Path, handle: int) -> None:
    (folder / "secret").write_text("secret")
    (folder / "link").symlink_to(target)
    assert safefs.read(handle, "link") is None


def test_read_of_a_folder_is_none(folder: Path, handle: int) -> None:
    (folder / "inner").mkdir()
    assert safefs.read(handle, "inner") is None


@pytest.mark.timeout(10)
def test_read_of_a_fifo_is_none_at_once(folder: Path, handle: int) -> None:
    os.mkfifo(folder / "fifo")
    assert safefs.read(handle, "fifo") is None


@pytest.mark.timeout(10)
def test_read_of_a_fifo_with_a_writer_is_none_at_once(folder: Path, handle: int) -> None:
    os.mkfifo(folder / "fifo")
    both_ends = os.open(folder / "fifo", os.O_RDWR)
    os.write(both_ends, b"planted")
    assert safefs.read(handle, "fifo") is None
    os.close(both_ends)


def test_read_stops_at_the_limit(folder: Path, handle: int) -> None:
    (folder / "file").write_bytes(b"x" * 100)
    assert safefs.read(handle, "file", limit=100) == b"x" * 100
    assert safefs.read(handle, "file", limit=99) is None


def test_read_of_a_huge_file_is_none_without_reading_it_all(folder: Path, handle: int) -> None:
    with open(folder / "huge", "wb") as file:
        file.truncate(1 << 40)
    assert safefs.read(handle, "huge") is None


def test_read_of_an_unreadable_file_is_none(plain_folder: Path) -> None:
    def work() -> bytes | None:
        (plain_folder / "file").write_text("x")
        (plain_folder / "file").chmod(0)
        with safefs.open_folder(plain_folder) as handle:
            return safefs.read(handle, "file")

    assert as_plain_user(work) is None


# Writing


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077, 0o177])
@pytest.mark.parametrize("mode", [None, 0o644])
def test_the_mode_of_a_file_does_not_depend_on_the_umask(
    mask: int, mode: int | None, folder: Path, handle: int
) -> None:
    before = os.umask(mask)
    try:
        safefs.write(handle, "file", b"x", *([] if mode is None else [mode]))
    finally:
        os.umask(before)
    assert mode_of(folder / "file") == (mode or 0o600)


def test_write_tightens_the_mode_of_what_was_there(folder: Path, handle: int) -> None:
    (folder / "file").write_text("old")
    (folder / "file").chmod(0o666)
    safefs.write(handle, "file", b"new")
    assert (folder / "file").read_bytes() == b"new"
    assert mode_of(folder / "file") == 0o600


@given(content=st.binary(max_size=100))
def test_what_is_written_is_read_back(content: bytes, tmp_path: Path) -> None:
    with safefs.open_folder(tmp_path / "folder") as handle:
        safefs.write(handle, ".odd name\n", content)
        assert safefs.read(handle, ".odd name\n") == content
        assert os.listdir(handle) == [".odd name\n"]


@pytest.mark.parametrize("target", ["../outside", "/dev/null", "missing"])
def test_write_replaces_a_link_and_leaves_its_target(target: str, tmp_path: Path, folder: Path, handle: int) -> None:
    (tmp_path / "outside").write_text("mine")
    (folder / "file").symlink_to(target)
    safefs.write(handle, "file", b"new")
    assert not (folder / "file").is_symlink()
    assert (folder / "file").read_bytes() == b"new"
    assert (tmp_path / "outside").read_text() == "mine"
    assert not (folder / "missing").exists()


def test_write_leaves_another_name_of_the_same_file_as_it_was(tmp_path: Path, folder: Path, handle: int) -> None:
    (tmp_path / "outside").write_text("mine")
    (folder / "file").hardlink_to(tmp_path / "outside")
    safefs.write(handle, "file", b"new")
    assert (tmp_path / "outside").read_text() == "mine"


@pytest.mark.timeout(10)
def test_write_replaces_a_fifo(folder: Path, handle: int) -> None:
    os.mkfifo(folder / "file")
    safefs.write(handle, "file", b"new")
    assert (folder / "file").read_bytes() == b"new"


def test_write_over_a_folder_fails_and_changes_nothing(folder: Path, handle: int) -> None:
    (folder / "file").mkdir()
    (folder / "file/inner").write_text("kept")
    before = tree(folder)
    with pytest.raises(OSError):
        safefs.write(handle, "file", b"new")
    assert tree(folder) == before


@pytest.mark.parametrize("after", [0, 10, 9999])
@pytest.mark.parametrize("old", [None, b"old"])
def test_a_full_disk_leaves_everything_as_it_was(after: int, old: bytes | None, folder: Path, handle: int) -> None:
    if old is not None:
        (folder / "file").write_bytes(old)
    before = tree(folder)
    with full_disk(after), pytest.raises(OSError):
        safefs.write(handle, "file", b"x" * 10000)
    assert tree(folder) == before


@pytest.mark.parametrize(
    "failure", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt(), SystemExit(143)]
)
def test_a_failure_at_the_last_moment_leaves_everything_as_it_was(
    failure: BaseException, folder: Path, handle: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_handle: int) -> None:
        raise failure

    (folder / "file").write_bytes(b"old")
    before = tree(folder)
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(type(failure)):
        safefs.write(handle, "file", b"new")
    assert tree(folder) == before


def test_a_reader_never_sees_half_a_file(folder: Path, handle: int) -> None:
    contents = [bytes([letter]) * 100_000 for letter in b"ab"]
    (folder / "file").write_bytes(contents[0])
    seen: set[bytes] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            seen.add((folder / "file").read_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    for number in range(50):
        safefs.write(handle, "file", contents[number % 2])
    done.set()
    watcher.join()
    assert seen <= set(contents)


# The lock


@pytest.fixture
def short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safefs, "_LOCK_SECONDS", 0.1)


def touch_ago(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then), follow_symlinks=False)


def test_a_held_lock_is_a_folder_that_goes_with_it(folder: Path, handle: int) -> None:
    with safefs.folder_lock(handle, "lock") as held:
        assert held
        assert (folder / "lock").is_dir()
    assert not (folder / "lock").exists()


def test_the_lock_goes_also_when_the_work_fails(folder: Path, handle: int) -> None:
    with pytest.raises(ZeroDivisionError), safefs.folder_lock(handle, "lock"):
        raise ZeroDivisionError
    assert not (folder / "lock").exists()


def test_a_lock_of_another_is_waited_for_and_not_for_ever(
    folder: Path, handle: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(safefs, "_LOCK_SECONDS", 0.3)
    (folder / "lock").mkdir()
    started = time.monotonic()
    with safefs.folder_lock(handle, "lock") as held:
        assert not held
    assert 0.25 < time.monotonic() - started < 2
    assert (folder / "lock").is_dir()


def test_a_lock_that_comes_free_is_taken(folder: Path, handle: int) -> None:
    (folder / "lock").mkdir()
    freeing = threading.Timer(0.1, (folder / "lock").rmdir)
    freeing.start()
    with safefs.folder_lock(handle, "lock") as held:
        assert held
    freeing.join()
    assert not (folder / "lock").exists()


def test_a_stale_lock_is_taken_over(folder: Path, handle: int) -> None:
    (folder / "lock").mkdir()
    touch_ago(folder / "lock", 11)
    started = time.monotonic()
    with safefs.folder_lock(handle, "lock") as held:
        assert held
    assert time.monotonic() - started < 1
    assert not (folder / "lock").exists()


@pytest.mark.parametrize("age", [0, 8, -1000])
def test_a_lock_touched_lately_is_left_alone(age: float, folder: Path, handle: int, short_wait: None) -> None:
    (folder / "lock").mkdir()
    touch_ago(folder / "lock", age)
    with safefs.folder_lock(handle, "lock") as held:
        assert not held
    assert (folder / "lock").is_dir()


@pytest.mark.parametrize("kind", ["file", "link", "full folder"])
def test_what_is_no_lock_is_never_removed(
    kind: str, tmp_path: Path, folder: Path, handle: int, short_wait: None
) -> None:
    target = tmp_path / "target"
    target.mkdir()
    if kind == "file":
        (folder / "lock").write_text("x")
    elif kind == "link":
        (folder / "lock").symlink_to(target)
    else:
        (folder / "lock/inner").mkdir(parents=True)
    touch_ago(folder / "lock", 1000)
    with safefs.folder_lock(handle, "lock") as held:
        assert not held
    assert os.path.lexists(folder / "lock")
    assert target.is_dir()


def test_a_lock_that_cannot_be_made_is_not_held(plain_folder: Path) -> None:
    def work() -> bool:
        (plain_folder / "locked").mkdir(mode=0o500)
        with safefs.open_folder(plain_folder, "locked") as handle, safefs.folder_lock(handle, "lock") as held:
            return held

    assert as_plain_user(work) is False


def test_only_one_holds_the_lock_at_a_time(folder: Path, handle: int) -> None:
    (folder / "count").write_text("0")

    def count() -> None:
        for _ in range(5):
            with safefs.folder_lock(handle, "lock") as held:
                assert held
                number = int((folder / "count").read_text())
                time.sleep(0.001)
                (folder / "count").write_text(str(number + 1))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (folder / "count").read_text() == "20"


# Errors in words


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "disk space"),
        (errno.EDQUOT, "quota"),
        (errno.EACCES, "permission"),
        (errno.EROFS, "file system"),
        (errno.EIO, "Check what is there"),
    ],
)
def test_each_failure_has_a_cure(number: int, words: str) -> None:
    error = safefs.cannot("write to", Path("/some/place"), OSError(number, os.strerror(number)))
    assert error.message == f"Cannot write to /some/place: {os.strerror(number)}."
    assert words in error.hint
    assert error.exit_code == 2


def test_a_failure_without_a_number_has_its_text() -> None:
    assert safefs.cannot("use", Path("/x"), OSError("odd")).message == "Cannot use /x: odd."


def test_a_folder_that_may_not_be_written_is_set_aside_too(plain_folder: Path) -> None:
    (plain_folder / "closed/inner").mkdir(parents=True)
    for path in (plain_folder / "closed", plain_folder / "closed/inner"):
        if os.geteuid() == 0:
            os.chown(path, PLAIN_ID, PLAIN_ID)
    (plain_folder / "closed").chmod(0)

    def work() -> list[str]:
        with safefs.opened(plain_folder) as folder:
            with safefs.aside(folder) as aside:
                safefs.set_aside(folder, "closed", aside)
            for name in safefs.are_aside(folder):
                assert safefs.remove_aside(folder, name) == safefs.Left()
            return os.listdir(folder)

    assert as_plain_user(work) == []
