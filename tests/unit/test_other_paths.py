"""What no session may see is refused by every path that mounts give it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from confined_claude.fs import mounted
from confined_claude.host import Host
from confined_claude.project import refusal

from .guarding import put

ASK = """
import json, sys
from pathlib import Path
from confined_claude.host import Host
from confined_claude.project import refusal
print(json.dumps([refusal(Path(path), Host.current()) for path in sys.argv[1:]]))
"""
# The mount on jail hides one in it, which the table has all the same.
HIDING = "mount --bind store jail"
HOME, KEYS, OWN = "your home directory", "keys of yours", "the sign-in and records"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with a home directory in it, and some more."""
    place = tmp_path / "a b"
    for name in (
        "users/me/code/app",
        "users/me/.ssh/inner",
        "users/me/.docker",
        "alias",
        "jail/inner",
        "state",
        "store/inner/h",
        "empty",
    ):
        (place / name).mkdir(parents=True)
    put(place / "users/me/.netrc")
    put(place / "file")
    (place / "state/confined-claude/projects/x-01234567").mkdir(parents=True)
    return place


def refused(place: Path, mounts: str, *paths: str) -> list[str]:
    """What is said of ``paths`` in ``place`` once ``mounts`` are made there, in a mount namespace."""
    script = f'set -e; cd "$PLACE"; {mounts}; shift; cd /; exec "$@"'
    words = ["unshare", "--mount", "sh", "-c", script, "sh", "-", sys.executable, "-c", ASK]
    environ = {"PLACE": str(place), "HOME": str(place / "users/me"), "XDG_STATE_HOME": str(place / "state")}
    done = subprocess.run(
        [*words, *(str(place / path) for path in paths)],
        env={**environ, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    return [str(reason) for reason in json.loads(done.stdout)]


@pytest.mark.mount
@pytest.mark.parametrize(
    ("mounts", "path", "reason"),
    [
        ("mount --bind users/me alias", "alias", HOME),
        ("mount --bind users alias", "alias", HOME),
        ("mount --bind users alias", "alias/me", HOME),
        ("mount --bind users/me jail/inner", "jail", HOME),
        ("mount --bind users jail/inner", "jail", HOME),
        ("mount --bind users/me alias; mount --rbind . jail/inner", "jail", HOME),
        (f"mount --bind store/inner/h users/me; mount -t tmpfs none jail/inner; {HIDING}", "jail/inner", HOME),
        ("mount --bind users/me alias", "alias/.ssh", KEYS),
        ("mount --bind users/me/.ssh alias", "alias", KEYS),
        ("mount --bind users/me/.ssh alias", "alias/inner", KEYS),
        ("mount --bind users/me/.ssh/inner alias", "alias", KEYS),
        ("mount --bind users/me/.ssh/inner jail/inner", "jail", KEYS),
        ("mount --bind users/me/.netrc file", "file", KEYS),
        ("mount --bind state/confined-claude alias", "alias", OWN),
        ("mount --bind state alias", "alias", OWN),
        ("mount --bind state/confined-claude/projects alias", "alias/x-01234567", OWN),
        ("mount --bind state/confined-claude/projects jail/inner", "jail", OWN),
    ],
)
def test_what_is_mounted_a_second_time_is_refused_there(mounts: str, path: str, reason: str, place: Path) -> None:
    (said,) = refused(place, mounts, path)
    assert reason in said
    if not path.startswith("alias/"):
        assert refused(place, ":", path) == [""]  # the control


@pytest.mark.mount
def test_a_file_system_is_refused_of_which_a_part_is_mounted_as_the_home_directory(place: Path) -> None:
    """As the top of btrfs, with the home directories in a subvolume."""
    layout = "mount -t tmpfs none alias; mkdir -p alias/@home/me/.ssh alias/@data/app"
    said = refused(place, f"{layout}; mount --bind alias/@home users", "alias", "alias/@home", "alias/@data/app")
    assert [HOME in each for each in said] == [True, True, False]
    assert refused(place, layout, "alias") == [""]  # the control


@pytest.mark.mount
@pytest.mark.parametrize(
    ("mounts", "path"),
    [
        ("mount --bind users/me alias", "alias/code/app"),
        ("mount --bind users/me/code alias", "alias/app"),
        ("mount --bind users/me alias; mount -t tmpfs none alias", "alias"),
        ("mount --bind users/me jail/inner; mount -t tmpfs none jail/inner", "jail"),
        ("mount --bind empty alias; mount --bind users/me/.ssh empty", "alias"),
        ("mount -t tmpfs none users/me/.docker", "alias"),
        ("mount --bind empty users/me/code/app", "empty"),
    ],
)
def test_other_paths_of_what_may_be_seen_are_fine(mounts: str, path: str, place: Path) -> None:
    assert refused(place, mounts, path) == [""]


@pytest.mark.mount
@pytest.mark.parametrize(
    "name", ["no\u00a0break", "wide\u3000", "next\u0085line", "re\rturn", "tab\tbed", "line\nfeed"]
)
def test_a_mount_point_with_any_character_is_seen(name: str, place: Path) -> None:
    (place / "jail" / name).mkdir()
    (said,) = refused(place, f"mount --bind users/me 'jail/{name}'", "jail")
    assert HOME in said
    assert refused(place, ":", "jail") == [""]  # the control


def test_a_hard_link_to_a_file_with_passwords_is_refused(host: Host, tmp_path: Path) -> None:
    put(host.home / ".netrc")
    os.link(host.home / ".netrc", tmp_path / "notes")
    assert KEYS in refusal(tmp_path / "notes", host)
    assert refusal(put(tmp_path / "other"), host) == ""


def test_names_in_the_table_are_escaped_and_what_cannot_be_looked_at_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = put(
        tmp_path / "table",
        "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
        f"23 22 8:1 {tmp_path}/a\\040b /made-up\\134x rw shared:1 - ext4 /dev/sda1 rw\n"
        "24 22 0:5 / /proc rw - proc proc rw\n",
    )
    monkeypatch.setattr(mounted, "_TABLE", table)
    assert list(mounted.elsewhere(tmp_path / "a b/c")) == []  # there is nothing

    def fails(*_paths: object) -> bool:
        raise PermissionError

    monkeypatch.setattr(os.path, "samefile", fails)
    assert list(mounted.elsewhere(tmp_path / "a b/c")) == [Path("/made-up\\x/c")]
    assert list(mounted.elsewhere(tmp_path)) == [Path("/made-up\\x")]
    monkeypatch.setattr(mounted, "_TABLE", tmp_path / "missing")
    assert list(mounted.elsewhere(tmp_path)) == []
