"""Measures everything that has a limit, and prints it as a table.

    python -m bench [--quick] [--growth] [--json FILE] [--compare FILE] [--page]

Needs an engine; builds the image if it is missing. Ratios are of times measured in turn, so other work on the machine
disturbs both alike. ``--quick`` measures what CI can hold, in half a minute. Exit code 1 means that a figure is beyond
its limit by more than noise explains, or could not be measured. ``--page`` writes docs/benchmarks.md and its plots;
with ``--growth`` all of it takes about a quarter of an hour on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from . import growth as growing
from . import image, memory, networks, page, starts, status, streaming, trees, work
from .figures import Item, Report, attempt, read, table
from .place import Place, made

RUNS, QUICK_RUNS = 15, 7


def measure(place: Place, *, quick: bool, growth: bool) -> Iterator[Item]:
    """Measure one figure after the other; with ``growth`` also those that take long and much of the disk.

    What cannot be measured is missing, and the rest is measured all the same.
    """
    runs = QUICK_RUNS if quick else RUNS
    parts: list[tuple[str, Callable[[], Iterable[Item]]]] = [
        ("starts", lambda: starts.starts(place, runs, ("none", "open") if quick else ("none", "open", "allowlist"))),
        ("inv --list", lambda: starts.listing(place, runs)),
        ("memory", lambda: memory.memory(place, ["internet"], [1])),
    ]
    if not quick:
        parts += [
            ("memory in other networks", lambda: memory.memory(place, ["open", "allowlist"], [1])),
            ("memory of many", lambda: memory.memory(place, ["internet"], [memory.MANY])),
            ("exec", lambda: starts.joins(place, runs)),
            ("the end of a session", lambda: starts.ends(place, runs)),
            ("scans", lambda: trees.scans(place, runs)),
            ("status", lambda: status.status(place, 7)),
            ("work", lambda: work.work(place, 11)),
            ("the model's answer", lambda: streaming.streaming(place, 5)),
            ("networks", lambda: networks.networks(place, 7)),
        ]
    if growth:
        parts += [
            ("scans of large projects", lambda: trees.growth(place)),
            ("sessions at once", lambda: growing.sessions(place)),
            ("git = isolated", lambda: growing.isolated(place)),
            ("versions of the image", lambda: growing.images(place)),
            ("builds of the image", lambda: image.builds(place)),
        ]
    for name, part in parts:
        began = time.monotonic()
        yield from attempt(name, part)
        print(f"({name}: {time.monotonic() - began:.0f} s)", file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="only what CI measures")
    parser.add_argument("--growth", action="store_true", help="also how figures grow, with the largest sizes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    parser.add_argument("--compare", type=Path, metavar="FILE", help="compare with the figures of an earlier run")
    parser.add_argument("--page", action="store_true", help="write the page of the docs")
    arguments = parser.parse_args()
    earlier = read(json.loads(arguments.compare.read_text())) if arguments.compare else None
    report = Report()
    with made() as place:
        report.describe()
        for item in measure(place, quick=arguments.quick, growth=arguments.growth):
            report.add(item)
            print(item, file=sys.stderr, flush=True)
    report.conclude()
    print("\n".join(table(report, earlier)))
    for series in report.series:
        print(f"{series.name}: {series.slope}")
    if arguments.json:
        arguments.json.write_text(json.dumps(report.to_json(), indent=1) + "\n")
    if arguments.page:
        page.write(report)
    for failure in report.failures:
        print(f"{failure}.", file=sys.stderr)
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
