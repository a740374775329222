"""The submodules in a git index: never fewer than git itself finds in it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from confined_claude.guard.gitindex import gitlinks

from ..guarding import commit, git, made_repository, put, run_git

SHA = {20: "1" * 40, 32: "1" * 64}


@pytest.fixture(params=[20, 32])
def hash_size(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def repository(hash_size: int, tmp_path: Path) -> Path:
    path = tmp_path / "repository"
    run_git(tmp_path, "init", "--quiet", f"--object-format={'sha1' if hash_size == 20 else 'sha256'}", str(path))
    return path


PLAIN = ["a", "a.b/c", "dir/file", "dir/file2", "long/" + "n" * 300, "symlink", "z/ümlaut"]
LINKS = ["a.b/module", "b", "dir/sub/module", "long/" + "x" * 4095, "z/module\nline", "zz"]


def update_index(repository: Path, plain: list[str], links: list[str], *options: str) -> bytes:
    """The index after real git has put entries into it."""
    size = 20 if (repository / ".git/config").read_text().find("sha256") < 0 else 32
    entries = [f"100644 {SHA[size]} 0\t{path}" for path in plain] + [f"160000 {SHA[size]} 0\t{path}" for path in links]
    subprocess.run(
        ["git", *options, "update-index", "-z", "--index-info"],
        cwd=repository,
        env={"PATH": os.environ["PATH"], "HOME": str(repository.parent), "GIT_CONFIG_NOSYSTEM": "1"},
        input="\0".join([*entries, ""]).encode(),
        check=True,
    )
    return (repository / ".git/index").read_bytes()


@pytest.mark.parametrize("version", [2, 3, 4])
def test_gitlinks_are_those_that_git_lists(version: int, repository: Path, hash_size: int, tmp_path: Path) -> None:
    update_index(repository, PLAIN, LINKS)
    if version == 3:  # git writes it only where an entry needs the flags that it adds
        run_git(tmp_path, "update-index", "--skip-worktree", "dir/file", "b", directory=repository)
    else:
        run_git(tmp_path, "update-index", "--index-version", str(version), directory=repository)
    index = (repository / ".git/index").read_bytes()
    assert index[7] == version
    assert gitlinks(index, hash_size) == LINKS


def test_a_gitlink_of_cacheinfo_is_found(tmp_path: Path) -> None:
    run_git(tmp_path, "init", "--quiet")
    run_git(tmp_path, "update-index", "--add", "--cacheinfo", f"160000,{SHA[20]},some/module")
    assert gitlinks((tmp_path / ".git/index").read_bytes()) == ["some/module"]


@pytest.mark.parametrize("version", ["2", "4"])
def test_an_index_without_gitlinks_has_none(version: str, repository: Path, hash_size: int, tmp_path: Path) -> None:
    update_index(repository, PLAIN, [])
    run_git(tmp_path, "update-index", "--index-version", version, directory=repository)
    assert gitlinks((repository / ".git/index").read_bytes(), hash_size) == []


@settings(max_examples=15)
@given(
    paths=st.lists(
        st.tuples(st.from_regex(r"[a-c]{1,3}(/[a-z\x80-\xff]{1,9}){0,2}", fullmatch=True), st.booleans()),
        min_size=1,
        max_size=12,
    ),
    version=st.sampled_from(["2", "4"]),
)
def test_gitlinks_in_any_index_are_those_that_git_lists(
    paths: list[tuple[str, bool]], version: str, tmp_path: Path
) -> None:
    run_git(tmp_path, "init", "--quiet")
    (tmp_path / ".git/index").unlink(missing_ok=True)
    index = update_index(tmp_path, [p for p, link in paths if not link], [p for p, link in paths if link])
    run_git(tmp_path, "update-index", "--index-version", version)
    index = (tmp_path / ".git/index").read_bytes()
    stages = run_git(tmp_path, "ls-files", "--stage", "-z").decode().split("\0")[:-1]
    assert gitlinks(index) == [line.partition("\t")[2] for line in stages if line.startswith("160000")]


def test_a_split_index_and_the_one_it_shares_are_read_each(repository: Path, hash_size: int, tmp_path: Path) -> None:
    update_index(repository, PLAIN, LINKS)
    run_git(tmp_path, "update-index", "--split-index", directory=repository)
    index = update_index(repository, [], ["new/module"])
    shared = next((repository / ".git").glob("sharedindex.*")).read_bytes()
    assert gitlinks(index, hash_size) == ["new/module"]
    assert gitlinks(shared, hash_size) == LINKS


@pytest.mark.parametrize("version", ["2", "4"])
def test_an_index_with_a_table_for_threads_is_read(version: str, tmp_path: Path) -> None:
    run_git(tmp_path, "init", "--quiet")
    many = [f"file{number:03}" for number in range(200)]
    run_git(tmp_path, "config", "index.version", version)
    index = update_index(tmp_path, many, LINKS, "-c", "index.threads=4")
    assert b"IEOT" in index
    assert b"EOIE" in index
    assert index[7] == int(version)
    assert gitlinks(index) == LINKS
    # An entry that a thread would read at another place, and extensions at another place.
    for name, at in ((b"IEOT", 12), (b"EOIE", 8)):
        place = index.rindex(name) + at
        moved = index[:place] + bytes([*index[place : place + 3], index[place + 3] ^ 8]) + index[place + 4 :]
        with pytest.raises(ValueError, match="not where it says"):
            gitlinks(moved)


def made_index(*entries: tuple[int, bytes], extensions: bytes = b"") -> bytes:
    """An index of version 2 as a stranger may make it, with a correct checksum."""
    parts = [b"DIRC" + struct.pack(">II", 2, len(entries))]
    for mode, path in entries:
        flags = min(len(path), 0xFFF)
        entry = bytes(24) + struct.pack(">I", mode) + bytes(12) + b"\x11" * 20 + struct.pack(">H", flags) + path
        parts.append(entry + bytes(8 - len(entry) % 8))
    content = b"".join(parts) + extensions
    return content + hashlib.sha1(content).digest()


@pytest.mark.parametrize("mode", [0o160000, 0o160644, 0o360000, 0xFFFFEFFF])
def test_all_that_git_takes_for_a_gitlink_is_one(mode: int, tmp_path: Path) -> None:
    run_git(tmp_path, "init", "--quiet", "home")
    index = made_index((0o100644, b"a"), (mode, b"sub"))
    assert gitlinks(index) == ["sub"]
    # Real git looks for work in such a submodule: it runs what the configuration there says.
    repository, sub = tmp_path / "home", tmp_path / "home/sub"
    run_git(tmp_path, "init", "--quiet", str(sub))
    run_git(tmp_path, "commit", "--quiet", "--allow-empty", "-m", "x", directory=sub)
    run_git(tmp_path, "config", "core.fsmonitor", f"touch {tmp_path}/ran;false", directory=sub)
    (repository / ".git/index").write_bytes(index)
    run_git(tmp_path, "status", directory=repository)
    assert (tmp_path / "ran").exists()


def test_the_bits_of_a_gitlink_elsewhere_make_none() -> None:
    assert gitlinks(made_index((0o100644, b"x\0\0\xe0\0" + b"y" * 5))) == []


@pytest.mark.parametrize("mode", [0o040000, 0, 0o020000, 0o060000, 0o140000])
def test_directories_of_a_sparse_index_and_unknown_modes_are_refused(mode: int) -> None:
    with pytest.raises(ValueError, match="sparse"):
        gitlinks(made_index((0o100644, b"a"), (mode, b"d/")))


def test_a_sparse_index_of_git_is_refused(tmp_path: Path) -> None:
    root = made_repository(tmp_path / "project")
    for name in ("other", "third"):
        put(root / name / "file")
    commit(root)
    git(root, "sparse-checkout", "set", "--cone", "--sparse-index", "other")
    with pytest.raises(ValueError, match="sparse"):
        gitlinks((root / ".git/index").read_bytes())


GOOD = made_index((0o100644, b"a"), (0o160000, b"module"), extensions=b"TREE" + struct.pack(">I", 3) + b"abc")


def test_the_made_index_is_good() -> None:
    assert gitlinks(GOOD) == ["module"]


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"DIRC", b"x" * 100, b"DIRX" + GOOD[4:], GOOD[:7] + b"\1" + GOOD[8:], GOOD[:7] + b"\5" + GOOD[8:]),
        *(GOOD[:-30], GOOD[:60] + GOOD[-20:], GOOD[:11] + b"\3" + GOOD[12:], GOOD[:11] + b"\1" + GOOD[12:]),
        *(GOOD[:8] + b"\xff\xff\xff\xff" + GOOD[12:], GOOD[:-20] + b"x" + GOOD[-20:], GOOD[:7] + b"\4" + GOOD[8:]),
        made_index((0o160000, b"")),  # of a split index: the path is in the shared one
        made_index((0o160000, b"a\0b")),
        made_index((0o160000, b"a"), extensions=b"TREE\xff\xff\xff\xffabc"),
    ],
)
def test_a_damaged_index_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError):
        gitlinks(content)


@settings(max_examples=300)
@given(at=st.integers(0, len(GOOD) - 1), bits=st.integers(1, 255), version=st.sampled_from([2, 4]))
def test_a_flipped_index_is_read_or_a_value_error(at: int, bits: int, version: int) -> None:
    content = bytearray(GOOD)
    content[7] = version
    content[at] ^= bits
    with contextlib.suppress(ValueError):
        gitlinks(bytes(content))


def test_a_path_that_grows_without_end_is_refused_in_time() -> None:
    entry = bytes(26) + b"\x81\xa4" + bytes(32) + b"\x0f\xff" + b"\0" + b"x" * 100 + b"\0"
    content = b"DIRC" + struct.pack(">II", 4, 50_000) + entry * 50_000 + bytes(20)
    started = time.monotonic()
    with pytest.raises(ValueError, match="damaged path"):
        gitlinks(content)
    assert time.monotonic() - started < 1
