"""The reader of git's objects against the installed git: loose, packed, as deltas, damaged."""

from __future__ import annotations

import os
import subprocess
import time
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from confined_claude.fs.directory import Location
from confined_claude.guard import gitobjects
from confined_claude.guard.gitobjects import Objects, blob_id

from ..guarding import commit, git, made_repository, put


def full_repository(root: Path, object_format: str = "sha1") -> Path:
    """A repository with many versions of a large tree, a program, a link and odd names."""
    root.mkdir()
    git(root, "init", "--quiet", f"--object-format={object_format}")
    for number in range(200):
        put(root / f"many/file-{number:03}.txt", f"{number}\n")
    for name in ("Makefile", "deep/er/two\nlines", os.fsdecode(b"deep/\xff"), ".envrc"):
        put(root / name, name.encode("utf-8", "surrogateescape"))
    put(root / "tool").chmod(0o755)
    (root / "link").symlink_to("Makefile")
    commit(root)
    for number in range(20):
        put(root / f"many/file-{number:03}.txt", f"changed {number}\n")
        commit(root)
    return root


def listed(root: Path, name: str) -> dict[str, tuple[bytes, str]]:
    """What git says is in a commit."""
    done = subprocess.run(["git", "ls-tree", "-rz", name], cwd=root, check=True, capture_output=True)
    entries = (entry.partition(b"\t") for entry in done.stdout.split(b"\0")[:-1])
    return {
        path.decode("utf-8", "surrogateescape"): (about.split()[0], about.split()[2].decode())
        for about, _, path in entries
    }


def reader(root: Path) -> Objects:
    return Objects(Location(root / ".git"))


@pytest.mark.parametrize("object_format", ["sha1", "sha256"])
@pytest.mark.parametrize("packing", ["loose", "packed", "repacked"])
def test_every_file_of_every_commit_is_found_as_git_has_it(
    object_format: str, packing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gitobjects, "_MAX_SECONDS", 60)
    root = full_repository(tmp_path / "full", object_format)
    if packing != "loose":
        extra = ["--no-reuse-delta", "--window=50"] if packing == "repacked" else []
        refs = {"repack.useDeltaBaseOffset": "false"} if packing == "repacked" else {}
        git(root, "repack", "-adfq" if extra else "-adq", "--depth=50", *extra[1:], **refs)
    for name in git(root, "rev-list", "HEAD").split():
        expected = listed(root, name)
        objects = reader(root)
        assert {path: objects.entry(name, path) for path in expected} == expected
        assert objects.entry(name, "many") is not None
        for path in ("nothing", "many/nothing", "Makefile/x", "", "many/", "/many"):
            assert objects.entry(name, path) is None
        assert objects.lacks(name, "many/nothing")
        assert objects.lacks(name, "no/thing")
        assert not objects.lacks(name, "Makefile")


@pytest.mark.parametrize("object_format", ["sha1", "sha256"])
def test_what_is_present_is_known_without_a_look_at_it(object_format: str, tmp_path: Path) -> None:
    root = full_repository(tmp_path / "full", object_format)
    git(root, "repack", "-dq")
    git(root, "commit", "--quiet", "--allow-empty", "--message", "loose")
    names = {line.split()[0] for line in git(root, "rev-list", "--all", "--objects", "--no-object-names").splitlines()}
    absent = {f"{number:0{len(min(names))}x}" for number in range(50)}
    assert reader(root).present(names | absent) == names
    (index,) = (root / ".git/objects/pack").glob("*.idx")
    index.chmod(0o644)
    index.write_bytes(index.read_bytes()[:1500])
    assert reader(root).present(names | absent) < names
    assert reader(tmp_path / "nothing").present(names) == set()


def test_a_file_has_the_name_that_git_gives_it(tmp_path: Path) -> None:
    root = made_repository(tmp_path / "made")
    for content in (b"", b"x", b"\0\xff" * 5000):
        put(root / "x", content)
        assert blob_id(content, "0" * 40) == git(root, "hash-object", "--no-filters", "x").strip()


def test_an_object_with_another_content_than_its_name_says_is_none(tmp_path: Path) -> None:
    root = made_repository(tmp_path / "made")
    head = git(root, "rev-parse", "HEAD").strip()
    tree, other = (git(root, "rev-parse", name).strip() for name in ("HEAD^{tree}", "HEAD:src"))
    assert reader(root).entry(head, "src/main.py")
    assert not reader(root).lacks(head, "src/main.py")
    path = root / ".git/objects" / tree[:2] / tree[2:]
    path.chmod(0o644)
    path.write_bytes((root / ".git/objects" / other[:2] / other[2:]).read_bytes())
    assert reader(root).entry(head, "main.py") is None
    assert not reader(root).lacks(head, "x")
    objects = reader(root)
    objects.entry(head, "main.py")
    assert objects.forged == {tree}
    path.write_bytes(zlib.compress(b"tree 99999999999\0" + b"0" * (40 << 20)))  # more than is read
    objects = reader(root)
    assert objects.entry(head, "main.py") is None
    assert objects.forged == set()


def test_what_is_no_commit_is_none(tmp_path: Path) -> None:
    root = made_repository(tmp_path / "made")
    tree = git(root, "rev-parse", "HEAD^{tree}").strip()
    for name in (tree, "0" * 40, "", "../../../etc", "x" * 40, "é"):
        assert reader(root).entry(name, "src/main.py") is None
        assert not reader(root).lacks(name, "x")


PACKED: dict[str, bytes] = {}


@settings(max_examples=300, deadline=None)
@given(edits=st.lists(st.tuples(st.booleans(), st.floats(0, 1), st.binary(min_size=1, max_size=8)), max_size=4))
def test_whatever_a_pack_holds_the_answer_is_gits_or_none(
    edits: list[tuple[bool, float, bytes]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    if not PACKED:
        root = full_repository(tmp_path_factory.mktemp("packed") / "full")
        git(root, "repack", "-adfq", "--depth=50")
        PACKED.update({path.suffix: path.read_bytes() for path in (root / ".git/objects/pack").iterdir()})
        PACKED["head"] = git(root, "rev-parse", "HEAD").strip().encode()
        PACKED["entry"] = listed(root, "HEAD")["many/file-007.txt"][1].encode()
    place = tmp_path_factory.getbasetemp() / "damaged"
    contents = {suffix: bytearray(PACKED[suffix]) for suffix in (".idx", ".pack")}
    for in_index, where, content in edits:
        data = contents[".idx" if in_index else ".pack"]
        at = int(where * (len(data) - 1))
        data[at : at + len(content)] = content
    for suffix, data in contents.items():
        put(place / f"objects/pack/pack-x{suffix}", bytes(data))
    found = Objects(Location(place)).entry(PACKED["head"].decode(), "many/file-007.txt")
    assert found in (None, (b"100644", PACKED["entry"].decode()))
    assert found is not None or edits


def test_no_number_of_packs_takes_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = full_repository(tmp_path / "full")
    git(root, "repack", "-adq")
    (index,) = (root / ".git/objects/pack").glob("*.idx")
    for number in range(300):
        os.link(index, index.with_name(f"pack-{number}.idx"))
        os.link(index.with_suffix(".pack"), index.with_name(f"pack-{number}.pack"))
    monkeypatch.setattr("confined_claude.guard.gitobjects._MAX_SECONDS", 0.1)
    objects = reader(root)
    begun = time.thread_time()
    for number in range(500):
        assert objects.entry(f"{number:040}", "Makefile") is None
    assert time.thread_time() - begun < 1
