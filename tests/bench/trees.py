"""How much processor time the guard takes to look through a project with many files; it never waits for anything."""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from confined_claude.guard.rules import Matcher, rules_for
from confined_claude.guard.scan import scan

from .figures import Figure, Series
from .place import Place

FILES = 100_000
SIZES = (1_000, 10_000, 100_000, 1_000_000)
_IN_A_DIRECTORY = 500


def scans(place: Place, runs: int) -> Iterator[Figure]:
    """Measure a scan of a tree of ``FILES`` files."""
    tree = place.home / "tree"
    _fill(tree, 0, FILES)
    times = tuple(_scans(tree, runs))
    yield Figure("scan of 100,000 files (processor time)", times, "s", limit=0.4, goal=0.3, best=min(times))
    shutil.rmtree(tree)


def growth(place: Place) -> Iterator[Series]:
    """Measure scans of trees of growing size."""
    tree, there, sizes, times = place.home / "growing-tree", 0, [], []
    for size in SIZES:
        _fill(tree, there, size)
        there = size
        sizes.append(float(size))
        times.append(statistics.median(_scans(tree, 3)))
    shutil.rmtree(tree)
    yield Series("scan of a project (processor time)", "files", "s", tuple(sizes), tuple(times))


def _fill(tree: Path, first: int, last: int) -> None:
    """Make the files from the number ``first`` to the number ``last``."""
    for number in range(first, last):
        if number % _IN_A_DIRECTORY == 0:
            directory = tree / f"{number // 10_000}" / f"{number}"
            directory.mkdir(parents=True)
        (directory / f"file-{number}.py").touch()


def _scans(tree: Path, runs: int) -> list[float]:
    matcher, taken = Matcher(rules_for((), ())), []
    for _ in range(runs):
        began, since = time.process_time(), time.time()
        scan(tree, matcher, since=since)
        taken.append(time.process_time() - began)
    return taken
