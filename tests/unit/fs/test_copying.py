"""A directory is copied as it is, whatever a container puts there meanwhile."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from confined_claude.fs.copying import copy_tree
from confined_claude.fs.directory import Location

from ..conftest import full_disk


def copied(source: Path, place: Path) -> Path:
    with Location(source).open() as directory, Location(place).open() as target:
        copy_tree(directory, target, "copy")
    return place / "copy"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    (source / "a/b").mkdir(parents=True)
    (source / "a/b/data").write_bytes(bytes(range(256)) * 10_000)
    (source / "a/tool").write_text("x")
    (source / "a/tool").chmod(0o755)
    os.utime(source / "a/tool", (1, 1))
    (source / "a").chmod(0o750)
    return source


def test_contents_modes_and_times_are_those_of_the_original(source: Path, tmp_path: Path) -> None:
    copy = copied(source, tmp_path)
    assert (copy / "a/b/data").read_bytes() == (source / "a/b/data").read_bytes()
    for name in ("", "a", "a/b", "a/b/data", "a/tool"):
        new, old = (copy / name).stat(), (source / name).stat()
        assert (new.st_mode, new.st_mtime_ns) == (old.st_mode, old.st_mtime_ns), name


@pytest.mark.mount
def test_a_copy_shares_blocks_where_the_file_system_can_and_is_still_its_own(tmp_path: Path) -> None:
    """On XFS; elsewhere the content is copied."""
    disk, place = tmp_path / "disk", tmp_path / "mounted"
    with disk.open("wb") as file:
        file.truncate(400 << 20)
    subprocess.run(["mkfs.xfs", "-q", disk], check=True)
    place.mkdir()
    subprocess.run(["mount", "-o", "loop", disk, place], check=True)
    try:
        (place / "source").mkdir()
        (place / "source/large").write_bytes(os.urandom(1 << 20) * 200)
        os.sync()
        before = os.statvfs(place).f_bavail
        copy = copied(place / "source", place)
        os.sync()
        assert os.statvfs(place).f_bavail > before - 1000
        with (copy / "large").open("r+b") as file:
            file.write(b"changed")
        assert (place / "source/large").read_bytes()[:7] != b"changed"
        assert (copy / "large").read_bytes()[7:] == (place / "source/large").read_bytes()[7:]
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.mark.timeout(120)
def test_links_are_copied_as_links_and_what_is_no_file_is_left_out(source: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("secret")
    (source / "file").symlink_to(secret / "key")
    (source / "directory").symlink_to(secret)
    os.mkfifo(source / "fifo")
    copy = copied(source, tmp_path)
    assert [(copy / name).readlink() for name in ("file", "directory")] == [secret / "key", secret]
    assert not (copy / "fifo").exists()


@pytest.mark.parametrize("name", ["a/b/data", "a/b"])
def test_what_becomes_a_link_meanwhile_is_not_followed(
    name: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that runs beside the copy would have the host read a file for it."""
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "data").write_text("secret")
    changed = source / name
    scandir = os.scandir

    def swapped(directory: int) -> object:
        listing = scandir(directory)
        entries = list(listing)
        if any(entry.name == changed.name for entry in entries) and not changed.is_symlink():
            changed.rename(tmp_path / "away")
            changed.symlink_to(secret / "data" if name.endswith("data") else secret)
        return _Listing(entries)

    monkeypatch.setattr(os, "scandir", swapped)
    with pytest.raises(OSError):
        copied(source, tmp_path)
    monkeypatch.undo()
    assert b"secret" not in b"".join(path.read_bytes() for path in (tmp_path / "copy").rglob("*") if path.is_file())


class _Listing(list[os.DirEntry[str]]):
    def __enter__(self) -> _Listing:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def test_a_tree_without_end_and_a_full_disk_are_errors(source: Path, tmp_path: Path) -> None:
    with full_disk(100), pytest.raises(OSError):
        copied(source, tmp_path)
    deep = tmp_path / "deep" / "/".join("d" * 200)
    deep.mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    with pytest.raises(OSError, match="nested too deep"):
        copied(tmp_path / "deep", tmp_path / "empty")
    assert stat.S_ISDIR((tmp_path / "empty/copy").stat().st_mode)
