"""How long starts take, as ratios to what they are made of, all in one run.

    python tests/bench/start.py

Needs an engine and the image. All it makes is in a HOME of its own, and goes at the end.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from confined_claude.guard.rules import Matcher, rules_for
from confined_claude.guard.scan import scan

RUNS = 15
FILES = 100_000
IMAGE = "confined-claude:latest"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SHIM = Path(__file__).resolve().parents[2] / "template/tasks.py"


@dataclass(frozen=True)
class Place:
    """Someone's HOME with a project that has the scaffold's tasks, and a folder with a tasks file of nobody's."""

    home: Path

    @property
    def project(self) -> Path:
        return self.home / "project"

    @property
    def bare(self) -> Path:
        return self.home / "bare"

    def make(self) -> None:
        for folder in (self.project, self.bare):
            folder.mkdir()
        (self.project / "tasks.py").write_text(SHIM.read_text())
        (self.bare / "tasks.py").write_text("from invoke import task\n\n\n@task\ndef nothing(_context):\n    pass\n")

    def seconds(self, command: Sequence[str], cwd: Path) -> float:
        environ = {"HOME": str(self.home), "PATH": SYSTEM_PATH}
        began = time.perf_counter()
        subprocess.run(command, env=environ, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, check=True)
        return time.perf_counter() - began


def own(name: str, *words: str) -> list[str]:
    """A command of this installation."""
    return [str(Path(sys.executable).with_name(name)), *words]


def pairs(place: Place) -> dict[str, tuple[tuple[list[str], Path], tuple[list[str], Path]]]:
    """By name what is measured, and what it is measured against: each a command and where it is run."""
    mount = f"type=bind,source={place.project},target={place.project}"
    bare = ["docker", "run", "--rm", "--mount", mount, "--entrypoint", "claude", IMAGE, "--version"]
    run = ("run", "--network", "open", "--", "--version")
    return {
        "run, plain network / docker run": ((own("confined-claude", *run), place.project), (bare, place.project)),
        "run / docker run": (
            (own("confined-claude", "run", "--", "--version"), place.project),
            (bare, place.project),
        ),
        "inv run / confined-claude run": (
            (own("inv", *run), place.project),
            (own("confined-claude", *run), place.project),
        ),
        "inv --list / bare Invoke": (
            (own("inv", "--list"), place.project),
            (own("inv", "--list"), place.bare),
        ),
    }


def ratio(place: Place, one: tuple[list[str], Path], other: tuple[list[str], Path]) -> float:
    """How much longer ``one`` takes than ``other``, each in turn with the other; the middle of some such pairs."""
    found = []
    for number in range(RUNS + 1):
        first, second = place.seconds(*one), place.seconds(*other)
        if number:  # the first pair fills caches
            found.append(first / second)
    return statistics.median(found)


def seconds_to_look(folder: Path) -> float:
    """How long the guard looks through a project with many files."""
    for number in range(FILES):
        if number % 500 == 0:
            place = folder / f"{number // 10_000}" / f"{number}"
            place.mkdir(parents=True)
        (place / f"file-{number}.py").touch()
    matcher, taken = Matcher(rules_for((), ())), []
    for _ in range(5):
        began, began_at = time.perf_counter(), time.time()
        scan(folder, matcher, since=began_at)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="confined-claude-bench-") as folder:
        place = Place(Path(folder).resolve())
        place.make()
        for what, (one, other) in pairs(place).items():
            print(json.dumps({"what": what, "runs": RUNS, "ratio": round(ratio(place, one, other), 2)}), flush=True)
        taken = round(seconds_to_look(Path(folder, "files")), 3)
        print(json.dumps({"what": "look through a project", "files": FILES, "seconds": taken}))


if __name__ == "__main__":
    main()
