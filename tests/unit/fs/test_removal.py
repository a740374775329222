"""Deletion: all of a tree goes, and nothing that it leads to, whatever a session has made of it."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from confined_claude.fs.directory import Directory, Location
from confined_claude.fs.removal import Leftover, discard, empty_trash, remove_tree, trash_in

from ..conftest import PLAIN_ID, as_plain_user, tree
from ..guarding import put


def removed(path: Path, name: str) -> Leftover:
    with Location(path).open() as directory:
        return remove_tree(directory, name)


@pytest.fixture
def precious(tmp_path: Path) -> Iterator[Path]:
    """Something outside that must stay as it is."""
    path = put(tmp_path / "precious/x").parent
    for name in "abcd":
        put(path / name).chmod(0o444)
    before = tree(path)
    yield path
    assert tree(path) == before


def test_a_tree_of_every_kind_goes_and_what_it_leads_to_stays(tmp_path: Path, precious: Path) -> None:
    top = tmp_path / "top"
    put(top / "a/file").chmod(0)
    (top / "a/link").symlink_to(precious)
    (top / "up").symlink_to("../..")
    (top / "dangling").symlink_to("nowhere")
    os.mkfifo(top / "pipe")
    for name in (b"\xff\xfe\n\x1b/\x80", b"-rf", b"*", b" ", b"a\nb/-x"):
        put(Path(os.fsdecode(bytes(top) + b"/" + name)))
    assert removed(tmp_path, "top") == Leftover()
    assert not top.exists()
    (tmp_path / "link").symlink_to(precious)
    put(tmp_path / "file")
    assert removed(tmp_path, "link") == removed(tmp_path, "file") == removed(tmp_path, "missing") == Leftover()
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


def test_another_name_of_a_file_stays_as_it_is(tmp_path: Path) -> None:
    precious = put(tmp_path / "precious/x", b"mine")
    precious.chmod(0o444)
    put(tmp_path / "top/x")
    (tmp_path / "top/hard").hardlink_to(precious)
    assert removed(tmp_path, "top") == Leftover()
    assert (precious.read_bytes(), precious.stat().st_mode & 0o777) == (b"mine", 0o444)


def test_directories_that_permit_nothing_go_too(plain_folder: Path) -> None:
    def work() -> Leftover:
        top = plain_folder / "top"
        for mode in (0, 0o100, 0o300, 0o400, 0o500, 0o600):
            put(top / f"{mode:o}/x/y")
            (top / f"{mode:o}/x").chmod(mode)
            (top / f"{mode:o}").chmod(mode)
        top.chmod(0)
        return removed(plain_folder, "top")

    assert as_plain_user(work) == Leftover()
    assert list(plain_folder.iterdir()) == []


@pytest.mark.root
def test_what_may_not_be_deleted_is_reported_and_all_else_goes(plain_folder: Path) -> None:
    for name in ("theirs/x", "theirs/z", "mine/x", "mine/y/z"):
        put(plain_folder / "top" / name)
    for path in ("top", "top/mine", "top/mine/y"):
        os.chown(plain_folder / path, PLAIN_ID, PLAIN_ID)
    left = as_plain_user(lambda: removed(plain_folder, "top"))
    assert (left.number, left.reason) == (2, "Permission denied")
    assert Path(left.first).parent == plain_folder / "top/theirs"
    assert sorted(tree(plain_folder)) == ["top", "top/theirs", "top/theirs/x", "top/theirs/z"]


@pytest.mark.mount
@pytest.mark.parametrize("kind", ["of the same file system", "of another file system"])
def test_what_is_mounted_stays_with_everything_in_it(kind: str, tmp_path: Path, precious: Path) -> None:
    put(tmp_path / "top/a/mounted/hidden")
    put(tmp_path / "top/b/x")
    place = tmp_path / "top/a/mounted"
    if kind == "of the same file system":
        command = ["mount", "--bind", precious, place]
    else:
        command = ["mount", "-t", "tmpfs", "none", place]
    subprocess.run(command, check=True)
    try:
        if kind == "of another file system":
            put(place / "kept")
        left = removed(tmp_path, "top")
        assert kind == "of the same file system" or (place / "kept").exists()
    finally:
        subprocess.run(["umount", place], check=True)
    assert left == Leftover(1, str(place), "something is mounted there")
    assert sorted(tree(tmp_path / "top")) == ["a", "a/mounted", "a/mounted/hidden"]


DEPTH = 3000


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/dev/fd"))) + 41, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def dig(path: Path, depth: int, mode: int) -> None:
    """Make directories in each other, deeper than any path may be long, and a file at the bottom."""
    path.mkdir()
    directories = [Location(path).open()]
    for _ in range(depth):
        directories.append(directories[-1].make("d"))
        if len(directories) > 2:
            directories.pop(0).close()
            os.fchmod(directories[0].fileno(), mode)
    directories[-1].write("file", b"x")
    for directory in directories:
        directory.close()


def test_a_tree_of_any_depth_goes_with_few_file_descriptors(plain_folder: Path, few_descriptors: None) -> None:
    def work() -> Leftover:
        dig(plain_folder / "top", DEPTH, 0)
        return removed(plain_folder, "top")

    assert as_plain_user(work) == Leftover()
    assert list(plain_folder.iterdir()) == []


@pytest.mark.root
def test_what_is_left_of_a_deep_tree_is_where_it_is_said_to_be(plain_folder: Path) -> None:
    theirs = put(plain_folder / "top" / Path(*"d" * 40) / "theirs/x").parent
    for path in theirs.parents:
        if path.is_relative_to(plain_folder / "top"):
            os.chown(path, PLAIN_ID, PLAIN_ID)
    left = as_plain_user(lambda: removed(plain_folder, "top"))
    assert left.number == 1
    assert Path(left.first).is_file()
    assert [path.name for path in plain_folder.rglob("*") if not path.is_dir()] == ["x"]
    os.chown(Path(left.first).parent, PLAIN_ID, PLAIN_ID)

    def empty() -> Leftover:
        with Location(plain_folder).open() as directory:
            return empty_trash(directory)

    assert as_plain_user(empty) == Leftover()
    assert list(plain_folder.iterdir()) == []


# What others do meanwhile


@pytest.mark.parametrize("mode", [0o700, 0])
def test_a_directory_that_becomes_a_link_just_before_it_is_opened(
    mode: int, plain_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work() -> None:
        precious = put(plain_folder / "precious/x").parent
        precious.chmod(0o500)
        put(plain_folder / "top/d/x")
        (plain_folder / "top/d").chmod(mode)
        child = Directory.child

        def swap(self: Directory, name: str, *names: str) -> Directory:
            if name == "d" and not mode:  # it has no permission, and is a link when it is to get some
                with pytest.raises(PermissionError):
                    child(self, name, *names)
            if name == "d" and not self.is_link("d"):
                self.rename("d", "e")
                (self.path / "d").symlink_to(precious)
                if not mode:
                    raise PermissionError
            return child(self, name, *names)

        monkeypatch.setattr(Directory, "child", swap)
        removed(plain_folder, "top")
        assert [path.name for path in precious.iterdir()] == ["x"]
        assert precious.stat().st_mode & 0o777 == 0o500
        assert not (plain_folder / "top/d").is_symlink()

    as_plain_user(work)


def test_a_directory_in_which_something_appears_again_and_again_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "top/x/y")
    unlink = Directory.unlink

    def unlink_and_add(self: Directory, name: str) -> None:
        unlink(self, name)
        self.write(f"{name}1", b"")

    monkeypatch.setattr(Directory, "unlink", unlink_and_add)
    left = removed(tmp_path, "top")
    assert (left.number, left.first) == (1, str(tmp_path / "top/x"))


def test_a_directory_that_is_moved_away_meanwhile_leads_nowhere_else(
    tmp_path: Path, precious: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "top" / Path(*"d" * 40) / "x")
    put(tmp_path / "elsewhere/d/x")
    entries = Directory.entries

    def move_and_list(self: Directory) -> Any:
        if (tmp_path / "top/d/d/d/d/d/d").exists() and not self.exists("top"):
            (tmp_path / "top/d/d/d").rename(tmp_path / "elsewhere/moved")
            (tmp_path / "top/d/d/d").symlink_to(precious)
        return entries(self)

    monkeypatch.setattr(Directory, "entries", move_and_list)
    removed(tmp_path, "top")
    assert (tmp_path / "elsewhere/d/x").exists()
    assert (tmp_path / "elsewhere").is_dir()


# The trash


def test_what_is_discarded_is_out_of_use_at_once_and_deleted_later(tmp_path: Path) -> None:
    put(tmp_path / "here/venvs/x")
    put(tmp_path / "here/file")
    kept = put(tmp_path / "here/.removed-of-mine/x")
    with Location(tmp_path, ("here",)).open() as here, Location(tmp_path).open() as trash:
        assert discard(here, "missing") == discard(here, "file") == Leftover()
        for into in (None, trash):
            put(tmp_path / "here/venvs/x")
            assert discard(here, "venvs", into) == Leftover()
            (name,) = trash_in(into or here)
            assert ((into or here).path / name / "x").exists()
            assert not (tmp_path / "here/venvs").exists()
        assert empty_trash(here) == empty_trash(trash) == Leftover()
        assert trash_in(here) == trash_in(trash) == []
        assert here.names() == [kept.parent.name]


def test_a_link_is_discarded_itself(tmp_path: Path, precious: Path) -> None:
    (tmp_path / "link").symlink_to(precious)
    with Location(tmp_path).open() as directory:
        assert discard(directory, "link") == Leftover()
        assert directory.names() == ["precious"]


def test_a_directory_that_may_not_be_written_is_discarded_too(plain_folder: Path) -> None:
    def work() -> list[str]:
        put(plain_folder / "closed/inner/x")
        (plain_folder / "trash").mkdir()
        (plain_folder / "closed").chmod(0)
        with Location(plain_folder).open() as directory, directory.child("trash") as trash:
            assert discard(directory, "closed", trash) == Leftover()
            assert len(trash_in(trash)) == 1
            assert empty_trash(trash) == Leftover()
            return [*directory.names(), *trash.names()]

    assert as_plain_user(work) == ["trash"]


@pytest.mark.mount
def test_what_cannot_be_moved_to_another_file_system_is_deleted_at_once(tmp_path: Path) -> None:
    put(tmp_path / "project/venvs/x")
    (tmp_path / "trash").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", tmp_path / "trash"], check=True)
    try:
        with Location(tmp_path / "project").open() as directory, Location(tmp_path / "trash").open() as trash:
            assert discard(directory, "venvs", trash) == Leftover()
            assert directory.names() == trash.names() == []
    finally:
        subprocess.run(["umount", tmp_path / "trash"], check=True)


def test_leftovers_add_up() -> None:
    one, two = Leftover(1, "a", "x"), Leftover(2, "b", "y")
    assert Leftover() + one + two == Leftover(3, "a", "x")
    long = Leftover.of(Path("/" + "d/" * 1000), OSError(5, "Input/output error"))
    assert len(long.first) == 201
    assert long.reason == "Input/output error"
