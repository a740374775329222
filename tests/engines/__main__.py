"""Takes every engine on the tour, and prints the table.

    python -m engines [--build] [--page] [-k WORDS]

Needs root that may mount, and an engine with the image of sessions. The files of the machines are kept in
~/.cache/confined-claude-tests; the images take 2 GB for each engine while that is tried. ``--build`` has each kind of
builder make the image, instead of loading it. ``--page`` writes the table into docs/reference/engines.md. Exit code 1
means that something failed on an engine that is required.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from helpers import REPOSITORY

from .kinds import KINDS, Kind
from .machine import machine
from .roots import CACHE, root
from .tour import STEPS, Tour, install, save_images, toured

# What their logs have.
_BUILDERS = {"Step 1/": "classic builder", "[internal] load": "BuildKit", "STEP 1/": "Podman"}
PAGE = REPOSITORY / "docs/reference/engines.md"


@dataclass
class Result:
    """What a tour of one engine came to: a cell for each step, and why those failed that did."""

    kind: Kind
    version: str = ""
    cells: dict[str, str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


def take(tour: Tour, result: Result) -> None:
    """Take the steps; one that fails does not keep the others."""
    for name, step in STEPS.items():
        began = time.monotonic()
        try:
            result.cells[name] = step(tour)
        except Exception as error:
            result.cells[name], result.failures[name] = "**no**", str(error)
        print(f"{result.kind}: {name}: {result.cells[name]} ({time.monotonic() - began:.0f} s)", flush=True)


def tried(kind: Kind, archive: Path, place: Path, commands: dict[str, Path], *, build: bool) -> Result:
    """Take one engine on the tour, on a machine of its own."""
    result = Result(kind)
    with machine(root(kind.suite), [place, REPOSITORY], CACHE) as inside:
        log = place / f"{kind.name}.log"
        kind.begin(inside, log)
        result.version = kind.version(inside)
        if kind.suite not in commands:
            home = Path(tempfile.mkdtemp(prefix="install-", dir=place))
            home.chmod(0o755)
            commands[kind.suite] = install(inside, home)
        kind.load(inside, archive)
        with toured(kind, inside, commands[kind.suite], place, log) as tour:
            if build:
                _build(tour, result)
            take(tour, result)
    return result


def _build(tour: Tour, result: Result) -> None:
    """Have the engine's builder make the image that is there already, and say which builder that is."""
    name = "builds the image"
    try:
        said = tour.tool("rebuild")
        assert "The image is built" in said, said
        log = max((tour.user.home / ".local/state/confined-claude/logs").glob("build-*")).read_text()
        result.cells[name] = next(builder for mark, builder in _BUILDERS.items() if mark in log)
    except Exception as error:
        result.cells[name], result.failures[name] = "**no**", str(error)
    print(f"{result.kind}: {name}: {result.cells[name]}", flush=True)


def table(results: Sequence[Result]) -> str:
    """Return the table: a row for each step, a column for each engine."""
    heads = [f"{result.kind}: {result.version}" for result in results]
    lines = [f"| | {' | '.join(heads)} |", "|---" * (len(results) + 1) + "|"]
    for name in dict.fromkeys(name for result in results for name in result.cells):
        lines.append(f"| {name} | {' | '.join(result.cells.get(name, '') for result in results)} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run the program and return its exit code."""
    parser = argparse.ArgumentParser(prog="engines", description="Take every engine on the tour.")
    parser.add_argument("--build", action="store_true", help="have each engine build the image")
    parser.add_argument("--page", action="store_true", help=f"write {PAGE.relative_to(REPOSITORY)}; implies --build")
    parser.add_argument("-k", metavar="WORDS", default="", help="only engines whose names have these words")
    options = parser.parse_args()
    if options.page and options.k:
        parser.error("the page has all engines: --page cannot be used with -k")
    kinds = [kind for kind in KINDS if options.k.lower() in kind.name.lower()]
    results, commands = [], dict[str, Path]()
    with tempfile.TemporaryDirectory(prefix="confined-claude-engines-", dir="/tmp") as directory:
        place = Path(directory)
        place.chmod(0o755)
        archive = save_images(place)
        for kind in kinds:
            try:
                results.append(tried(kind, archive, place, commands, build=options.build or options.page))
            except Exception as error:
                results.append(Result(kind, failures={"start": str(error)}))
                print(f"{kind}: {error}", flush=True)
    print("", table(results), sep="\n")
    for result in results:
        for name, reason in result.failures.items():
            print(f"{result.kind}: {name}: {reason}", file=sys.stderr)
    if options.page:
        write_page(results)
    return int(any(result.failures and result.kind.is_required for result in results))


def write_page(results: Sequence[Result]) -> None:
    """Replace the table of the page, and its date."""
    text = PAGE.read_text()
    begin, end = text.index("<!-- table -->"), text.index("<!-- end -->")
    date = time.strftime("%d %B %Y").lstrip("0")
    PAGE.write_text(f"{text[:begin]}<!-- table -->\nRun on {date}:\n\n{table(results)}{text[end:]}")


if __name__ == "__main__":
    sys.exit(main())
