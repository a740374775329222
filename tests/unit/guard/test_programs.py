"""Directories of the caller's PATH that are in a project."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from confined_claude.guard.findings import Finding
from confined_claude.guard.guarded_project import GuardedProject
from confined_claude.guard.open_findings import still_open
from confined_claude.guard.programs import directories
from confined_claude.guard.records import Before
from confined_claude.guard.snapshot import Kind
from confined_claude.host import Host
from confined_claude.project import Project
from confined_claude.settings import Settings
from confined_claude.workspace import Workspace

from ..guarding import Scanned, put


def program(path: Path, content: str = "#!/bin/sh\n") -> Path:
    put(path, content).chmod(0o755)
    return path


def told(findings: list[Finding]) -> list[tuple[str, bool]]:
    return [(finding.path, finding.red) for finding in findings]


def test_entries_of_a_path(root: Path) -> None:
    path = f"/usr/bin:{root}/bin:./node_modules/.bin:{root}/.venv/bin:../tools:{root}-too/bin:.::..:/"
    assert list(directories(path.split(":"), root, {".venv"})) == ["/bin", "/bin", "node_modules/.bin", "tools"]
    assert list(directories([f"/{root}//bin"], root, set())) == ["/bin", "/bin"]


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("{root}/bin", "bin"),
        ("/usr/bin:{root}/node_modules/.bin:/bin", "node_modules/.bin"),
        ("./node_modules/.bin", "packages/a/node_modules/.bin"),
        ("../bin", "bin"),
        ("{root}/venv/bin", "venv/bin"),
    ],
)
def test_a_new_program_there_is_red_and_a_changed_one_yellow(path: str, place: str, root: Path) -> None:
    directory = root / place
    program(directory / "tool")
    program(directory / "large", "x" * (65 << 10))
    put(directory / "notes")
    scanned = Scanned(root, path=path.format(root=root))

    def programs() -> list[Finding]:
        return [finding for finding in scanned.findings() if finding.kind == Kind.PROGRAM]

    put(directory / "readme")  # not executable
    program(root / "elsewhere/git")
    assert programs() == []
    program(directory / "git")
    (directory / "ls").symlink_to("tool")
    (directory / "notes").chmod(0o755)
    program(directory / "tool", "evil")
    program(directory / "large", "y" * (65 << 10))
    found = programs()
    assert told(found) == [
        *((f"{place}/{name}", True) for name in ("git", "ls", "notes")),
        *((f"{place}/{name}", False) for name in ("large", "tool")),
    ]
    assert still_open(found, scanned.project) == found
    # Whoever reviews that may have another PATH.
    bare = GuardedProject(Workspace(Host(1, 1, root, {}, root, root, root), Project(root), Settings()), lenient=True)
    assert still_open(found, bare) == found
    (directory / "git").unlink()
    (directory / "notes").chmod(0o644)
    program(directory / "tool")
    assert told(still_open(found, bare)) == [(f"{place}/ls", True), (f"{place}/large", False)]


def test_a_directory_led_elsewhere_is_red(root: Path) -> None:
    program(root / "evil/git")
    program(root / "tools/tool")
    (root / "bin").symlink_to("tools")
    scanned = Scanned(root, path=f"{root}/bin")
    assert scanned.findings() == []
    (root / "bin").unlink()
    (root / "bin").symlink_to("evil")
    found = scanned.findings()
    assert told(found) == [("bin", True), ("bin/git", True)]
    assert still_open(found, scanned.project) == found
    (root / "bin").unlink()
    (root / "bin").symlink_to("tools")
    assert told(still_open(found, scanned.project)) == []


def test_what_is_moved_there_is_red(root: Path) -> None:
    program(root / "src/bin/git")
    scanned = Scanned(root, path=f"{root}/bin")
    (root / "src/bin").rename(root / "bin")
    assert told(scanned.findings()) == [("bin/git", True)]


def test_in_a_directory_that_the_baseline_lacks_what_is_recent_counts(root: Path) -> None:
    """As when another session of the project was started with another PATH."""
    program(root / "bin/tool")
    time.sleep(0.05)
    scanned = Scanned(root, since=time.time(), path=f"{root}/bin")
    time.sleep(0.05)
    program(root / "bin/git")
    before = Before("other", scanned.since, Scanned(root).snapshot)
    assert told(scanned.project.compare(scanned.record, before).findings) == [("bin/git", True)]


def test_an_environment_that_is_hidden_from_sessions_is_the_hosts(root: Path) -> None:
    put(root / "env/pyvenv.cfg")
    (root / ".venv").mkdir()
    scanned = Scanned(root, path=f"{root}/env/bin:{root}/.venv/bin")
    program(root / "env/bin/black")
    program(root / ".venv/bin/black")
    assert scanned.red() == []
    shutil.rmtree(root / ".venv")
    program(root / "env/bin/git")
    assert Scanned(root, path=f"{root}/.venv/bin").project.programs == ("/.venv/bin",)
