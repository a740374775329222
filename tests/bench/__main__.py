"""Measures everything that has a limit, and prints it as a table.

    python -m bench [--quick] [--growth] [--json FILE] [--compare FILE] [--page]

Needs an engine; builds the image if it is missing. Ratios are of times measured in turn, so other work on the machine
disturbs both alike. ``--quick`` measures what CI can hold, in under three minutes, and ends with exit code 1 only for a
figure that is beyond its limit by more than noise explains. ``--page`` writes docs/benchmarks.md and its plots.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from . import growth as growing
from . import image, memory, networks, page, starts, status, trees, work
from .figures import Figure, Report, Series, read, table
from .place import Place, made

RUNS, QUICK_RUNS = 15, 7


def measure(place: Place, *, quick: bool, growth: bool) -> Iterator[Figure | Series]:
    """Measure one figure after the other; with ``growth`` also those that take long and much of the disk."""
    runs = QUICK_RUNS if quick else RUNS
    yield from starts.starts(place, runs, ("none", "open") if quick else ("none", "open", "allowlist"))
    yield from starts.listing(place, runs)
    yield from memory.memory(place, ["internet"], [1])
    if not quick:
        yield from memory.memory(place, ["open", "allowlist"], [1])
        yield from memory.memory(place, ["internet"], [memory.MANY])
        yield from starts.joins(place, runs)
        yield from starts.ends(place, runs)
        yield from trees.scans(place, runs)
        yield from status.status(place, 7)
        yield from work.work(place, runs)
        yield from networks.networks(place, 7)
    if growth:
        yield trees.growth(place)
        yield from growing.growth(place)
        yield from image.updates(place)


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
            if isinstance(item, Series):
                report.series.append(item)
            else:
                report.figures.append(item)
                print("  ".join(item.row()), file=sys.stderr, flush=True)
    print("\n".join(table(report, earlier)))
    for series in report.series:
        print(f"{series.name}: {series.slope}")
    if arguments.json:
        arguments.json.write_text(json.dumps(report.to_json(), indent=1) + "\n")
    if arguments.page:
        page.write(report)
    failed = [figure.name for figure in report.figures if figure.has_failed]
    if failed:
        print(f"Beyond the limit: {'; '.join(failed)}.", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
