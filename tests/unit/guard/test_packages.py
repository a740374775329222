"""Directories of packages and environments: whatever changes in one is reported, however it gets there."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from confined_claude.guard.findings import Finding
from confined_claude.guard.open_findings import merge
from confined_claude.guard.records import Before

from ..guarding import Scanned, only, put

Change = Callable[[Path], object]


def scanned_later(root: Path) -> Scanned:
    """What a scan finds after all there is was made: nothing of it is new."""
    time.sleep(0.05)
    scanned = Scanned(root, since=time.time())
    time.sleep(0.05)
    assert scanned.findings() == []
    return scanned


def put_packages(root: Path) -> None:
    put(root / "node_modules/a/index.js")
    put(root / "stash/x/index.js")
    put(root / "stash/evil.pth", "import os\n")
    put(root / "old/app/node_modules/x/index.js")
    put(root / "app/src/main.js")
    for name in ("lib/python3.11/site-packages/a/__init__.py", "bin/activate", "pyvenv.cfg"):
        put(root / "backend/venv" / name)
    put(root / "conda/conda-meta/history")
    put(root / "conda/bin/tool")
    put(root / "bare/bin/python3.11")


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (lambda root: (root / "stash/x").rename(root / "node_modules/x"), "node_modules"),
        (lambda root: (root / "stash/x").rename(root / "node_modules/a/x"), "node_modules"),
        (lambda root: (root / "stash").rename(root / "app/node_modules"), "app/node_modules"),
        (
            lambda root: (root / "stash/evil.pth").rename(root / "backend/venv/lib/python3.11/site-packages/evil.pth"),
            "backend/venv",
        ),
        # The directory that has them is moved, or another one takes its place.
        (lambda root: (root / "old/app").rename(root / "new"), "new/node_modules"),
        (
            lambda root: [(root / "node_modules").rename(root / "x"), (root / "old/app").rename(root / "node_modules")],
            "node_modules",
        ),
        # What makes it an environment goes.
        (
            lambda root: [(root / "backend/venv/pyvenv.cfg").unlink(), put(root / "backend/venv/bin/python")],
            "backend/venv",
        ),
        (lambda root: put(root / "conda/bin/evil"), "conda"),
        (lambda root: [shutil.rmtree(root / "conda/conda-meta"), put(root / "conda/bin/evil")], "conda"),
        (lambda root: put(root / "bare/bin/pip"), "bare/bin"),
        (lambda root: [(root / "bare/bin/python3.11").unlink(), put(root / "bare/bin/pip")], "bare/bin"),
    ],
)
def test_what_is_moved_or_put_there_is_reported(change: Change, path: str, root: Path) -> None:
    put_packages(root)
    scanned = scanned_later(root)
    change(root)
    found = [finding for finding in scanned.findings() if finding.why == "packages changed"]
    assert path in [finding.path for finding in found]
    assert not any(finding.red for finding in found)


def test_a_directory_in_the_place_of_another_is_reported(root: Path) -> None:
    for name in ("app", "other"):
        put(root / name / "node_modules/a/index.js")
    scanned = scanned_later(root)
    (root / "app").rename(root / "x")
    (root / "other").rename(root / "app")
    (root / "x").rename(root / "other")
    assert [finding.path for finding in scanned.findings()] == ["app/node_modules", "other/node_modules"]


def test_ordinary_work_beside_packages_is_none_in_them(root: Path) -> None:
    put_packages(root)
    scanned = scanned_later(root)
    put(root / "app/src/new.js")
    (root / "app/src").rename(root / "app/source")
    put(root / "bin/run")
    assert scanned.findings() == []


def test_later_changes_are_reported_while_a_finding_is_open(root: Path) -> None:
    put(root / "node_modules/a/index.js")
    scanned = scanned_later(root)

    def change() -> Finding:
        time.sleep(0.02)
        put(root / "node_modules/a/index.js", "evil")
        return only(scanned.findings())

    first = change()
    assert only(scanned.findings()) == first  # nothing has changed since
    assert merge([first], {}, [first])[1] == []
    second = change()
    (known,), fresh = merge([first], {}, [second])
    assert [finding.path for finding in fresh] == ["node_modules"]
    assert (known.digest_before, known.digest_after) == (first.digest_before, second.digest_after)
    assert merge([], {first.key: first.digest_after}, [second])[1] != []  # accepted was the first


def test_a_baseline_of_version_0_1_has_no_packages_and_reports_changed_ones(root: Path) -> None:
    put(root / "node_modules/a/index.js")
    put(root / "other/node_modules/a/index.js")
    scanned = scanned_later(root)
    items = {key: item for key, item in scanned.snapshot.items.items() if "node_modules" not in key}
    scanned.snapshot.items.clear()
    scanned.snapshot.items.update(items)
    before = Before("old", scanned.since, scanned.snapshot, has_packages=False)
    assert scanned.project.compare(scanned.record, before).findings == []
    put(root / "node_modules/b/index.js")
    assert [finding.path for finding in scanned.project.compare(scanned.record, before).findings] == ["node_modules"]
