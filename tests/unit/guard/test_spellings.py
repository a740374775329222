"""Where the file system finds a file by other spellings of its name, none of them gets around the guard.

On NTFS as Windows has it, which is mounted for the tests and lists all names in small letters: `HEAD` as `head`.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from confined_claude.errors import ConfinedError
from confined_claude.fs.spelling import as_listed
from confined_claude.guard import repository
from confined_claude.guard.hiding import find
from confined_claude.host import Host
from confined_claude.project import mounts
from confined_claude.state.current import current_project
from confined_claude.text import folded

from ..guarding import HOOK, Scanned, git, made_repository, put
from .test_guard import Place

REAL = [pytest.mark.mount, pytest.mark.skipif(not os.path.exists("/dev/fuse"), reason="there is no FUSE")]  # noqa: PTH110


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    image, place = tmp_path / "disk", tmp_path / "mounted"
    with image.open("wb") as file:
        file.truncate(8 << 20)
    subprocess.run(["mkntfs", "--quiet", "--force", "--fast", image], check=True, capture_output=True)
    place.mkdir()
    subprocess.run(["lowntfs-3g", "-o", "ignore_case,permissions", image, place], check=True, capture_output=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


@pytest.fixture
def place(disk: Path, host: Host, monkeypatch: pytest.MonkeyPatch) -> Place:
    return Place(made_repository(disk / "project"), host, monkeypatch)


@pytest.mark.parametrize(
    ("one", "other", "are_same"),
    [
        (".GIT", ".git", True),
        (".v\u017fcode", ".vscode", True),
        (".g\u200cit", ".git", True),
        ("\u212aeys", "keys", True),
        ("Gr\u00f6\u00dfe", "GRO\u0308SSE", True),
        (".g\u0131t", ".git", False),
        ("a", "á", False),
    ],
)
def test_names_that_some_file_systems_take_for_one_are_folded_to_one(one: str, other: str, *, are_same: bool) -> None:
    assert (folded(one) == folded(other)) is are_same


@pytest.mark.parametrize("name", [".v\u017fcode/tasks.json", ".VSCODE/Tasks.JSON", "sub/.vsc\u00adode/tasks.json"])
def test_a_file_is_judged_by_all_that_its_name_may_find(name: str, root: Path) -> None:
    before = Scanned(root)
    put(root / "sub/.vcode/tasks.json", "folderOpen")  # the control
    put(root / name, json.dumps({"tasks": [{"runOn": "folderOpen"}]}))
    assert [finding.path for finding in before.findings() if finding.red] == [name]


@pytest.mark.parametrize("name", ["Ab", "AB", "ab"])
def test_a_file_system_that_distinguishes_letters_keeps_them(name: str, tmp_path: Path) -> None:
    put(tmp_path / "AB/x")
    put(tmp_path / "ab/x")
    (tmp_path / "Ab").symlink_to("AB")
    assert as_listed(tmp_path / name / "x") == tmp_path / name / "x"
    assert as_listed(tmp_path / "none" / "X") == tmp_path / "none" / "X"


class TestOnSuchADisk:
    pytestmark = REAL

    def test_one_directory_is_one_project_however_it_is_spelled(
        self, place: Place, host: Host, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(place.root.with_name("PROJECT") / "SRC")
        assert current_project(host).root == place.root

    @pytest.mark.parametrize("name", [".git/HEAD", ".GIT/head", ".HG/x", ".Confined-Claude/config.toml"])
    def test_a_session_cannot_make_a_boundary_by_another_spelling(
        self, place: Place, host: Host, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        def root_of(directory: Path) -> Path:
            monkeypatch.chdir(directory)
            return current_project(host).root

        put(place.root / "before" / name, "ref: refs/heads/main\n")
        place.session(lambda: put(place.root / "part" / name, "ref: refs/heads/main\n"))
        assert root_of(place.root / "part") == root_of(place.root / "PART") == place.root
        assert root_of(place.root / "before") == root_of(place.root / "Before") == place.root / "before"  # the control

    def test_a_nested_repository_is_looked_through(self, place: Place) -> None:
        def works() -> None:
            git(place.root, "init", "--quiet", "--bare", "sub/BARE")
            put(place.root / "sub/BARE/HOOKS/post-update", HOOK)
            git(place.root, "init", "--quiet", "lib")
            put(place.root / "lib/.GIT/HOOKS/pre-commit", HOOK)

        found = {finding.path for finding in place.session(works) if finding.red}
        assert found >= {"sub/bare/hooks/post-update", "lib/.git/hooks/pre-commit"}

    def test_what_a_scan_does_not_look_at_holds_no_repository(self, place: Place) -> None:
        git_directory = place.root / ".confined-claude/venvs/x"
        git(place.root, "init", "--quiet", "--bare", str(git_directory))
        for spelling in (".confined-claude", ".CONFINED-claude"):
            put(place.root / "part/.git", f"gitdir: {place.root}/{spelling}/venvs/x\n")
            (place.root / "part/.git").rename(place.root / "pointer")
            (place.root / ".git").rename(place.root / "kept")
            (place.root / "pointer").rename(place.root / ".git")
            with pytest.raises(ConfinedError, match="does not point back to this project"):
                repository.find(place.root)
            (place.root / ".git").unlink()
            (place.root / "kept").rename(place.root / ".git")
        assert repository.find(place.root) is not None

    def test_a_link_hides_nothing_of_gits(self, place: Place) -> None:
        put(place.root / "Config/Secret")
        (place.root / ".env.a").symlink_to(".GIT/CONFIG")
        (place.root / ".env.b").symlink_to("CONFIG/secret")
        assert find(place.root, [".env.*"], None).files == ("config/secret",)

    def test_keys_are_mounted_by_no_spelling(self, disk: Path, host: Host, place: Place) -> None:
        home = disk / "home"
        put(home / ".ssh/id")
        put(home / "data/x")

        def bound(name: str) -> Callable[[], object]:
            return lambda: mounts.bind((str(home / name),), place.root, host._replace(home=home))

        assert bound("DATA")()
        for name in (".ssh", ".SSH", ".Ssh/ID"):
            with pytest.raises(ConfinedError, match="No session may see"):
                bound(name)()
