"""Directories that a container can write: no link is followed, no file is half written, nothing blocks."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confined_claude.errors import ConfinedError
from confined_claude.fs.directory import Directory, Location, read_config

from ..conftest import as_plain_user, full_disk, mode_of, nothing_stays_open, tree


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "directory"
    path.mkdir()
    return path


@pytest.fixture
def directory(path: Path) -> Iterator[Directory]:
    with Location(path).open() as opened:
        yield opened


# Locations


def test_missing_directories_are_made_private(tmp_path: Path) -> None:
    with Location(tmp_path / "base/more", ("one", "two")).make() as directory:
        directory.write("file", b"x")
    made = tmp_path / "base/more/one/two"
    assert (made / "file").read_bytes() == b"x"
    assert [mode_of(path) for path in (made, made.parent, made.parent.parent)] == [0o700] * 3


def test_the_mode_of_new_directories_can_be_chosen_and_old_ones_stay(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir(mode=0o750)
    with Location(tmp_path, ("old", "new")).make(0o755):
        pass
    assert mode_of(tmp_path / "old") == 0o750
    assert mode_of(tmp_path / "old/new") == 0o755


@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize("leads", ["to a directory", "nowhere", "to itself"])
def test_a_link_at_any_depth_is_refused_and_nothing_is_made_behind_it(depth: int, leads: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    if leads == "to a directory":
        outside.mkdir()
    names = ("one", "two", "three")
    link = tmp_path.joinpath("base", *names[: depth + 1])
    link.parent.mkdir(parents=True)
    link.symlink_to(link if leads == "to itself" else outside)
    location = Location(tmp_path / "base", names)
    with pytest.raises(ConfinedError, match="is a link") as caught:
        location.make()
    assert str(link) in caught.value.message
    assert caught.value.exit_code == 2
    with pytest.raises(OSError):
        location.open()
    with pytest.raises(OSError), Location(tmp_path / "base").open() as base:
        base.child(*names)
    assert not outside.exists() or not list(outside.iterdir())
    assert link.is_symlink()


def test_the_base_itself_is_trusted(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "base").symlink_to(tmp_path / "real")
    with Location(tmp_path / "base", ("inner",)).make():
        pass
    with Location(tmp_path / "base").at("inner").open() as directory:
        directory.write("file", b"x")
    assert (tmp_path / "real/inner/file").is_file()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", ["file", "fifo"])
@pytest.mark.parametrize("names", [("one",), ("one", "two")])
def test_what_is_no_directory_is_a_clear_error(kind: str, names: tuple[str, ...], path: Path) -> None:
    if kind == "fifo":
        os.mkfifo(path / "one")
    else:
        (path / "one").write_text("")
    with pytest.raises(ConfinedError, match=f"Cannot use {path}/one: Not a directory"):
        Location(path, names).make()
    with pytest.raises(NotADirectoryError):
        Location(path, names).open()
    with (
        pytest.raises(ConfinedError, match=f"Cannot use {path}/one.*: Not a directory"),
        Location(path, names).open_if_exists(),
    ):
        pass


def test_a_base_that_is_a_file_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "base").write_text("")
    with pytest.raises(ConfinedError, match="Cannot use"):
        Location(tmp_path / "base").make()


@pytest.mark.parametrize("names", [("new",), ()])
def test_a_directory_that_may_not_be_made_is_a_clear_error(names: tuple[str, ...], plain_folder: Path) -> None:
    def work() -> None:
        locked = plain_folder / "locked"
        locked.mkdir(mode=0o500)
        Location(locked if names else locked / "base", names).make()

    with pytest.raises(ConfinedError, match="Permission denied") as caught:
        as_plain_user(work)
    assert "permission" in caught.value.hint


def test_what_is_missing_can_be_asked_for(tmp_path: Path, path: Path, directory: Directory) -> None:
    (path / "inner/more").mkdir(parents=True)
    (path / "link").symlink_to("inner")
    with Location(path, ("none",)).open_if_exists() as opened:
        assert opened is None
    with pytest.raises(ConfinedError, match="is a link"), Location(path, ("link",)).open_if_exists():
        pass
    for names, there in [(("none",), False), (("link", "more"), False), (("inner", "more"), True)]:
        with directory.child_or_none(*names) as opened:
            assert (opened is not None) is there


def test_links_in_a_directory_can_be_refused(tmp_path: Path, path: Path) -> None:
    (path / "file").touch()
    Location(path).refuse_links()
    Location(path, ("missing",)).refuse_links()
    (path / "link").symlink_to("file")
    with pytest.raises(ConfinedError, match=f"{path}/link is a link"):
        Location(path).refuse_links()
    (tmp_path / "other").symlink_to(path)
    with pytest.raises(ConfinedError, match="other is a link"):
        Location(tmp_path, ("other",)).refuse_links()


def test_a_directory_replaced_by_a_link_afterwards_leads_nowhere(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    with Location(tmp_path / "base", ("inner",)).make() as directory:
        (tmp_path / "base/inner").rename(tmp_path / "base/moved")
        (tmp_path / "base/inner").symlink_to(secret)
        directory.write("file", b"x")
        directory.mkdir("more")
    assert list(secret.iterdir()) == []
    assert (tmp_path / "base/moved/file").read_bytes() == b"x"


def test_no_file_descriptor_stays_open(tmp_path: Path) -> None:
    with nothing_stays_open(), Location(tmp_path / "base", ("a", "b")).make() as directory:
        directory.write("file", b"x")
        directory.read("file")
        directory.overwrite("file", b"y")
        directory.change_mode("file", off=0o6000)
        os.mkfifo("fifo", dir_fd=directory.fileno())
        directory.read("fifo")
        directory.overwrite("fifo", b"y")
        list(directory.head("file", 10))
        with directory.make("c") as made, made.make("d"):
            pass
        with directory.child("c", "d"), directory.entries() as entries:
            list(entries)
        (tmp_path / "base/a/b/link").symlink_to(tmp_path)
        for location in (
            Location(tmp_path / "base", ("a", "b", "link")),
            Location(tmp_path / "base", ("a", "b", "file")),
        ):
            with pytest.raises(ConfinedError):
                location.make()
            with pytest.raises(OSError):
                location.open()
        with full_disk(), pytest.raises(OSError):
            directory.write("file", b"longer")


# What there is


def test_what_there_is(path: Path, directory: Directory) -> None:
    (path / "file").write_bytes(b"four")
    (path / "inner").mkdir()
    (path / "dangling").symlink_to("nowhere")
    assert sorted(directory.names()) == ["dangling", "file", "inner"]
    with directory.entries() as entries:
        assert {entry.name for entry in entries if entry.is_dir(follow_symlinks=False)} == {"inner"}
    kinds = [(directory.is_file(name), directory.is_directory(name), directory.is_link(name)) for name in
             ("file", "inner", "dangling", "missing")]  # fmt: skip
    assert kinds == [(True, False, False), (False, True, False), (False, False, True), (False, False, False)]
    assert [directory.exists(name) for name in ("file", "dangling", "missing")] == [True, True, False]
    assert directory.stat("file").st_size == 4
    assert stat.S_ISLNK(directory.stat("dangling").st_mode)
    assert directory.stat().st_ino == path.stat().st_ino
    assert directory.readlink("dangling") == "nowhere"
    with directory.child("inner") as inner:
        assert (directory.path, inner.path) == (path, path / "inner")


def test_changes(tmp_path: Path, path: Path, directory: Directory) -> None:
    (tmp_path / "other").mkdir()
    (path / "link").symlink_to("nowhere")
    os.utime(path / "link", (0, 0), follow_symlinks=False)
    directory.touch("link")
    assert directory.stat("link").st_mtime > 1
    directory.rename("link", "new")
    with Location(tmp_path / "other").open() as other:
        directory.rename("new", "newer", into=other)
        assert other.names() == ["newer"]
        other.unlink("newer")
    directory.mkdir("inner")
    directory.rmdir("inner")
    assert directory.names() == []


# Reading


@pytest.mark.parametrize("content", [b"a\0b\r\n", b""])
def test_read_returns_the_content_of_a_file(content: bytes, path: Path, directory: Directory) -> None:
    (path / "file").write_bytes(content)
    assert directory.read("file") == content
    assert b"".join(directory.head("file", 10)) == content


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "kind",
    [
        "missing",
        "directory",
        "fifo",
        "a fifo with a writer",
        "link",
        "a link to nowhere",
        "a link to itself",
        "a device",
    ],
)
def test_what_is_no_regular_file_is_never_read(kind: str, path: Path, directory: Directory) -> None:
    (path / "secret").write_text("secret")
    both_ends = -1
    if kind == "directory":
        (path / "it").mkdir()
    elif "fifo" in kind:
        os.mkfifo(path / "it")
        if "writer" in kind:
            both_ends = os.open(path / "it", os.O_RDWR)
            os.write(both_ends, b"planted\n")
    elif kind != "missing":
        (path / "it").symlink_to(
            {"link": "secret", "a link to itself": "it", "a device": "/dev/zero"}.get(kind, "none")
        )
    assert directory.read("it") is None
    assert list(directory.head("it", 100)) == []
    if both_ends >= 0:
        os.close(both_ends)


def test_reading_stops_at_the_limit(path: Path, directory: Directory) -> None:
    (path / "file").write_bytes(b"x" * 100)
    assert directory.read("file", limit=100) == b"x" * 100
    assert directory.read("file", limit=99) is None
    (path / "lines").write_bytes(b"one\ntwo\nthree\n")
    assert list(directory.head("lines", 10)) == [b"one\n", b"two\n", b"th"]
    os.truncate(path / "file", 1 << 40)
    assert directory.read("file") is None


def test_an_unreadable_file_is_none(plain_folder: Path) -> None:
    def work() -> bytes | None:
        (plain_folder / "file").write_text("x")
        (plain_folder / "file").chmod(0)
        with Location(plain_folder).open() as directory:
            return directory.read("file")

    assert as_plain_user(work) is None


# Writing


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077, 0o177])
@pytest.mark.parametrize("mode", [None, 0o644])
def test_the_mode_of_a_file_does_not_depend_on_the_umask(
    mask: int, mode: int | None, path: Path, directory: Directory
) -> None:
    before = os.umask(mask)
    try:
        directory.write("file", b"x", *([] if mode is None else [mode]))
    finally:
        os.umask(before)
    assert mode_of(path / "file") == (mode or 0o600)


@given(content=st.binary(max_size=100))
def test_what_is_written_is_read_back(content: bytes, tmp_path: Path) -> None:
    with Location(tmp_path / "directory").make() as directory:
        directory.write(".odd name\n", content)
        assert directory.read(".odd name\n") == content
        assert directory.names() == [".odd name\n"]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("how", ["write", "overwrite"])
@pytest.mark.parametrize("what", ["../outside", "/dev/null", "missing", "fifo", "nothing", "a file with a wider mode"])
def test_what_is_in_the_way_is_replaced(how: str, what: str, tmp_path: Path, path: Path, directory: Directory) -> None:
    (tmp_path / "outside").write_text("mine")
    if what == "fifo":
        os.mkfifo(path / "file")
        both_ends = os.open(path / "file", os.O_RDWR)
    elif what.startswith("a file"):
        (path / "file").write_text("older, and longer")
        (path / "file").chmod(0o666)
    elif what != "nothing":
        (path / "file").symlink_to(what)
    getattr(directory, how)("file", b"new")
    assert stat.S_ISREG((path / "file").lstat().st_mode)
    assert (path / "file").read_bytes() == b"new"
    assert mode_of(path / "file") == (0o666 if how == "overwrite" and what.startswith("a file") else 0o600)
    assert (tmp_path / "outside").read_text() == "mine"
    assert directory.names() == ["file"]
    if what == "fifo":
        os.close(both_ends)


def test_write_leaves_another_name_of_the_file_alone_and_overwrite_does_not(
    tmp_path: Path, path: Path, directory: Directory
) -> None:
    (tmp_path / "outside").write_text("mine")
    (path / "file").hardlink_to(tmp_path / "outside")
    directory.overwrite("file", b"restored")
    assert (tmp_path / "outside").read_text() == "restored"
    directory.write("file", b"new")
    assert (tmp_path / "outside").read_text() == "restored"


def test_write_over_a_directory_fails_and_changes_nothing(path: Path, directory: Directory) -> None:
    (path / "file").mkdir()
    (path / "file/inner").write_text("kept")
    before = tree(path)
    for write in (directory.write, directory.overwrite):
        with pytest.raises(OSError):
            write("file", b"new")
    assert tree(path) == before


@pytest.mark.parametrize("after", [0, 10, 9999])
@pytest.mark.parametrize("old", [None, b"old"])
def test_a_full_disk_leaves_everything_as_it_was(
    after: int, old: bytes | None, path: Path, directory: Directory
) -> None:
    if old is not None:
        (path / "file").write_bytes(old)
    before = tree(path)
    with full_disk(after), pytest.raises(OSError):
        directory.write("file", b"x" * 10000)
    assert tree(path) == before


@pytest.mark.parametrize(
    "failure", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt(), SystemExit(143)]
)
def test_a_failure_at_the_last_moment_leaves_everything_as_it_was(
    failure: BaseException, path: Path, directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_fd: int) -> None:
        raise failure

    (path / "file").write_bytes(b"old")
    before = tree(path)
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(type(failure)):
        directory.write("file", b"new")
    assert tree(path) == before


def test_a_reader_never_sees_half_a_file(path: Path, directory: Directory) -> None:
    contents = [bytes([letter]) * 100_000 for letter in b"ab"]
    (path / "file").write_bytes(contents[0])
    seen: set[bytes] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            seen.add((path / "file").read_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    for number in range(50):
        directory.write("file", contents[number % 2])
    done.set()
    watcher.join()
    assert seen <= set(contents)


def test_a_file_is_created_once(path: Path, directory: Directory) -> None:
    with directory.create("log") as log:
        log.write("\udcff\n")
        assert (path / "log").read_bytes() == b"?\n"
    (path / "link").symlink_to("nowhere")
    for name in ("log", "link"):
        with pytest.raises(FileExistsError):
            directory.create(name)


def test_the_bits_to_run_as_the_owner_can_be_cleared(path: Path, directory: Directory) -> None:
    (path / "file").touch()
    (path / "file").chmod(0o6755)
    (path / "link").symlink_to("file")
    with pytest.raises(OSError):
        directory.change_mode("link", off=0o6000)
    assert mode_of(path / "file") == 0o6755
    directory.change_mode("file", off=0o6000)
    assert mode_of(path / "file") == 0o755


# Text that a person wrote


def test_a_config_file_is_text_of_a_sensible_size(tmp_path: Path) -> None:
    assert read_config(tmp_path / "none") is None
    (tmp_path / "file").write_text("ä")
    (tmp_path / "link").symlink_to("file")
    assert read_config(tmp_path / "link") == "ä"
    for content, words in ((b"\xff", "not UTF-8"), (b"x" * 11, "larger than 10 bytes")):
        (tmp_path / "file").write_bytes(content)
        with pytest.raises(ConfinedError, match=words):
            read_config(tmp_path / "file", 10)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ConfinedError, match="not a regular file"):
        read_config(tmp_path / "fifo")
    with pytest.raises(ConfinedError, match="Not a directory"):
        read_config(tmp_path / "file/inner")
