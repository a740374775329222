"""A git index: never fewer submodules, nor fewer paths that git refuses, than git itself finds in it."""

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

from confined_claude.guard.gitconfig import decode
from confined_claude.guard.gitindex import links_at, parse_index
from confined_claude.guard.gitpaths import invalid_files, is_invalid
from confined_claude.guard.rules import Matcher, rules_for
from confined_claude.guard.scan import scan

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


def gitlinks(index: bytes, hash_size: int = 20) -> list[str]:
    return parse_index(index, hash_size).gitlinks


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


def test_a_path_with_the_bits_of_a_gitlink_is_refused() -> None:
    with pytest.raises(ValueError, match="damaged path"):
        gitlinks(made_index((0o100644, b"x\0\0\xe0\0" + b"y" * 5)))


@pytest.mark.parametrize("mode", [0, 0o020000, 0o060000, 0o140000])
def test_unknown_modes_are_refused(mode: int) -> None:
    with pytest.raises(ValueError, match="damaged entry"):
        gitlinks(made_index((0o100644, b"a"), (mode, b"d/")))


def test_a_sparse_index_has_directories(tmp_path: Path) -> None:
    root = made_repository(tmp_path / "project")
    for name in ("other", "third"):
        put(root / name / "file")
    commit(root)
    git(root, "sparse-checkout", "set", "--cone", "--sparse-index", "other")
    trees = {name: git(root, "rev-parse", f"HEAD:{name}").strip() for name in ("src", "third")}
    index = parse_index((root / ".git/index").read_bytes())
    assert index.directories == {f"{name}/": tree for name, tree in trees.items()}
    assert not index.invalid


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
        made_index((0o100644, b"")),
        made_index((0o100644, b"a"), extensions=b"abcd\0\0\0\0"),
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


# Paths that git refuses

FORBIDDEN = [
    *(b"../victim", b"a/../../victim", b"..", b".", b"./a", b"a/.", b"a/..", b"/abs", b"//a", b"a//b", b"a/", b"/"),
    *(b".git", b".git/hooks/pre-commit", b".GIT/config", b"a/.gIt/x", b"git~1", b"GIT~1/hooks/x", b"a/git~1"),
    *(b".git ", b".git./x", b".git. ./x", b".git::$INDEX_ALLOCATION/hooks", b"git~1:x", b"a\\.git\\x"),
    *(b".g\xe2\x80\x8cit/config", b"\xef\xbb\xbf.git", b".git\xe2\x81\xaf", b"a/.GI\xe2\x80\xaeT/x"),
]
FORBIDDEN_LINKS = [
    *(
        b".gitmodules",
        b"a/.GitModules",
        b".gitmodules ",
        b"gitmod~1",
        b"GITMOD~4. ",
        b"gi7eba~1",
        b"gi7eb~12",
        b"~1234567",
    ),
    *(b".gitmodules:x", b".gitmodules/x", b"x\\.gitmodules", b".git\xe2\x80\x8dmodules"),
]
ALLOWED = [
    *(
        b"...",
        b"a..b",
        b"..a",
        b".a",
        b"a.",
        b".gitignore",
        b".github/x",
        b".gitmodules",
        b"git",
        b"x.git",
        b"a/x.git/b",
    ),
    *(
        b"git~2",
        b"git~10",
        b"agit~1",
        b".git~1",
        b".gita",
        b".git.a",
        b"a\\b",
        b"\xe2\x80\x8c",
        b"\xff",
        b" ",
        b"\n",
        b"a:b",
    ),
]
ALLOWED_LINKS = [
    b"gitmod~5",
    b"gi7eba~0",
    b"~123456",
    b"gi7ebaa~1",
    b".gitmodules x",
    b".gitmodules /x",
    b"a",
    b".gitignore",
]


def refused_by_git(directory: Path, path: bytes, mode: str = "100644") -> bool:
    done = subprocess.run(
        ["git", "-c", "core.protectHFS=true", "-c", "core.protectNTFS=true", "update-index", "-z", "--index-info"],
        cwd=directory,
        env={"PATH": os.environ["PATH"], "HOME": str(directory), "GIT_CONFIG_NOSYSTEM": "1"},
        input=f"{mode} {SHA[20]} 0\t".encode() + path + b"\0",
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return b"Ignoring path" in done.stderr


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("empty")
    run_git(directory, "init", "--quiet")
    return directory


def forget(repository: Path) -> None:
    (repository / ".git/index").unlink(missing_ok=True)


@pytest.mark.parametrize("path", [*FORBIDDEN, *FORBIDDEN_LINKS, *ALLOWED, *ALLOWED_LINKS])
def test_what_git_refuses_is_refused(path: bytes, empty: Path) -> None:
    forget(empty)
    assert is_invalid(path) == refused_by_git(empty, path) == (path in FORBIDDEN)
    forget(empty)
    assert is_invalid(path, is_link=True) == refused_by_git(empty, path, "120000")
    assert is_invalid(path, is_link=True) == (path in FORBIDDEN + FORBIDDEN_LINKS)


WORDS = "a . .. / \\ : git GIT .git git~1 .gitmodules modules gitmod~1 gi7eba ~ 1 ~10"
PIECES = st.sampled_from([*WORDS.encode().split(), b" ", b"\xe2\x80\x8c", b"\xe2\x80\x93", b"\xff"])


@settings(max_examples=150)
@given(path=st.lists(PIECES, min_size=1, max_size=6).map(b"".join), mode=st.sampled_from(["100644", "120000"]))
def test_any_path_that_git_refuses_is_refused(path: bytes, mode: str, empty: Path) -> None:
    forget(empty)
    assert is_invalid(path, is_link=mode == "120000") == refused_by_git(empty, path, mode)


@settings(max_examples=200)
@given(paths=st.lists(st.lists(PIECES, max_size=6).map(b"".join), min_size=1, max_size=5))
def test_many_paths_are_judged_as_each_is(paths: list[bytes]) -> None:
    assert invalid_files(paths) == [path for path in paths if is_invalid(path)]


@pytest.mark.parametrize("path", [b"d/", b"a/d/", b"d"])
def test_a_directory_of_a_sparse_index_may_end_with_a_slash(path: bytes) -> None:
    index = parse_index(made_index((0o040000, path)))
    assert list(index.directories) == [path.decode()]


@pytest.mark.parametrize("path", [b"/", b"d//", b"../", b".git/", b"a/../"])
def test_a_directory_that_git_refuses_is_invalid(path: bytes) -> None:
    assert parse_index(made_index((0o040000, path))).invalid == [path.decode()]


@pytest.mark.parametrize("version", ["2", "3", "4"])
def test_invalid_paths_are_found_in_every_version(
    version: str, repository: Path, hash_size: int, tmp_path: Path
) -> None:
    """Real git has made the index; names of the same length replace those in it, as git's own check is not asked."""
    update_index(repository, [*PLAIN, "dir/xx/pre-commit", "yy/victim"], LINKS)
    if version == "3":
        run_git(tmp_path, "update-index", "--skip-worktree", "yy/victim", directory=repository)
    else:
        run_git(tmp_path, "update-index", "--index-version", version, directory=repository)
    index = (repository / ".git/index").read_bytes()
    assert str(index[7]) == version
    index = index.replace(b"xx/pre-commit", b"../pre-commit").replace(b"yy/victim", b"../victim")
    found = parse_index(index, hash_size)
    assert found.invalid == ["dir/../pre-commit", "../victim"]
    assert found.gitlinks == LINKS
    # The control: git reads it, and does not mind.
    (repository / ".git/index").write_bytes(index)
    assert b"\n../victim" in run_git(tmp_path, "-c", "core.quotePath=false", "ls-files", directory=repository)


def listed_by_git(directory: Path) -> list[tuple[str, bytes]] | None:
    """(mode, path) of what git finds in its index; None if it refuses that."""
    done = subprocess.run(
        ["git", "-c", "index.threads=2", "ls-files", "--stage", "--sparse", "-z"],
        cwd=directory,
        env={"PATH": os.environ["PATH"], "HOME": str(directory), "GIT_CONFIG_NOSYSTEM": "1"},
        capture_output=True,
        check=False,
    )
    lines = [line.partition(b"\t") for line in done.stdout.split(b"\0")[:-1]]
    return None if done.returncode else [(head[:6].decode(), path) for head, _, path in lines]


@pytest.fixture(scope="module", params=["2", "4", "split"])
def original(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """A repository, and an index of it that real git has made."""
    directory = tmp_path_factory.mktemp("original")
    run_git(directory, "init", "--quiet")
    update_index(directory, ["aaa", "bb/ccc", "bb/cdd", "eeeeeeeeee"], ["bb/sub", "zzz"])
    if request.param == "split":
        run_git(directory, "update-index", "--split-index")
        update_index(directory, ["bb/new", "yyy"], ["bb/zub"], "-c", "splitIndex.maxPercentChange=100")
    else:
        run_git(directory, "update-index", "--index-version", request.param)
    return directory, (directory / ".git/index").read_bytes()


@settings(max_examples=120)
@given(
    changes=st.lists(
        st.tuples(st.floats(0, 0.999), st.sampled_from(b"/.\0\1\x10\x40\xa0\xe0\xffgt")), min_size=1, max_size=4
    )
)
def test_of_a_changed_index_git_finds_nothing_that_is_not_reported(
    changes: list[tuple[float, int]], original: tuple[Path, bytes]
) -> None:
    directory, content = original
    index = bytearray(content)
    for place, byte in changes:
        index[12 + int((len(index) - 12) * place)] = byte
    (directory / ".git/index").write_bytes(index)
    listed = listed_by_git(directory)
    try:
        found = parse_index(bytes(index))
        base = directory / ".git" / found.shared
        found.check_shared(parse_index(base.read_bytes()) if found.shared and base.exists() else None)
    except ValueError:
        return  # reported as damaged
    assert listed is not None
    names = {
        decode(path)
        for mode, path in listed
        if is_invalid(path, is_link=mode == "120000", is_directory=mode == "040000")
    }
    assert names <= set(found.invalid)
    shared = {"bb/sub", "zzz"} if found.shared else set()
    assert {decode(path) for mode, path in listed if mode == "160000"} <= {*found.gitlinks, *found.invalid, *shared}


@pytest.mark.parametrize(("name", "found"), [(b".gitmodules", [".gitmodules"]), (b"xgitmodules", [])])
def test_a_file_that_a_split_index_turns_into_a_link_counts_by_its_path(
    tmp_path: Path, name: bytes, found: list[str]
) -> None:
    """Git refuses a link of that name elsewhere; the split index has no path for it, only its number."""
    root = made_repository(tmp_path / "p")
    put(root / "xgitmodules", "x")
    commit(root)
    git(root, "update-index", "--split-index")
    other = git(root, "hash-object", "-w", "src/main.py").strip()
    git(root, "update-index", "--cacheinfo", f"120000,{other},xgitmodules", **{"splitIndex.maxPercentChange": "100"})
    index = parse_index((root / ".git/index").read_bytes())
    shared = root / ".git" / index.shared
    shared.write_bytes(shared.read_bytes().replace(b"xgitmodules", name))
    assert len(index.replaced_links) == 1
    assert links_at(shared.read_bytes(), index.replaced_links) == found
    listed = [key for key in scanned(root) if key.startswith(".git/index: ")]
    assert listed == [f".git/index: {path}" for path in found]


def scanned(root: Path) -> set[str]:
    return set(scan(root, Matcher(rules_for((), ()))).items)


BITS = {"assume-unchanged": "h", "skip-worktree": "S"}


@pytest.mark.parametrize("bit", BITS)
@pytest.mark.parametrize("version", ["2", "4"])
def test_what_git_passes_over_is_known(bit: str, version: str, repository: Path, hash_size: int) -> None:
    for name in ("a", "b/c", "d"):
        put(repository / name)
    commit(repository)
    git(repository, "update-index", "--index-version", version)
    git(repository, "update-index", f"--{bit}", "b/c")
    assert git(repository, "ls-files", "-v").split() == ["H", "a", BITS[bit], "b/c", "H", "d"]
    index = parse_index((repository / ".git/index").read_bytes(), hash_size)
    assert (index.hidden, index.marked) == (("b/c",), {})
    for other in BITS:
        git(repository, "update-index", f"--{other}", "b/c")
    index = parse_index((repository / ".git/index").read_bytes(), hash_size)
    assert (index.hidden, list(index.marked)) == (("b/c",), ["b/c"])
