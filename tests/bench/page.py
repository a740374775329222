"""The docs' page of the benchmarks: the table, and a plot for each figure that grows."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from .figures import HEADINGS, Report, Series, shown
from .place import REPOSITORY

PAGE = REPOSITORY / "docs/benchmarks.md"
FIGURES = REPOSITORY / "docs/benchmarks.json"
PLOTS = REPOSITORY / "docs/benchmarks"
_INTRODUCTION = """\
# Benchmarks

`inv bench --growth --page` measures all of this in one run and writes this page; do not edit it.
[CONTRIBUTING.md](../CONTRIBUTING.md) says more.

A ratio compares two times that were measured in turn, so that other work on the machine disturbs both alike. The value
is the median; the spread is that of the half of the samples in the middle.
"""
_NOTES = """
## What is compared with what

- **docker run** is a plain container of the same image with the same mount of the project, and none of our options.
- **confined-claude** runs from modules that are compiled, as they are in an installation.
- **Outside** is this machine's own system without a container: the image's files as a chroot, the project at the same
  path on the same disk, git without our wrapper. Both sides run the same programs, so the difference is all that a
  session adds. The figure for work is processor time, as in elapsed time other work on the machine would cover 3 %.
- **The model's answer** comes from a made-up API: 2,000 words at 1,000 words a second, some ten times as fast as models
  write. The time is that from its first word to its last one, as a program on the host reads them. All at once, they
  show what the engine's own way to the terminal costs.
- **The networks** lead to a server in a network namespace on the same machine, so no cable hides what they cost. The
  allowlist's proxy decides about each new connection, and passes the bytes on.
- **Memory** is the proportional set size (PSS): what processes share counts in parts.
- **A build from scratch** downloads nothing twice in itself. What an earlier build has downloaded is downloaded again,
  unless the engine still has the whole step: a cache that builds share (`RUN --mount=type=cache`, with BuildKit only)
  saved 3 s of 58 s here, and a project's Dockerfile could write to it what every project's image is then made of.
"""
_FONT, _COLOUR = 'font-family="sans-serif" font-size="12"', "#d97757"
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP, _RIGHT = 560, 300, 70, 50, 40, 20


def write(report: Report) -> None:
    """Write the page, its plots and the figures as JSON."""
    PLOTS.mkdir(exist_ok=True)
    for old in PLOTS.glob("*.svg"):
        old.unlink()
    for series in report.series:
        (PLOTS / _file(series)).write_text(plot(series))
    PAGE.write_text("\n".join(_lines(report)) + "\n")
    FIGURES.write_text(json.dumps(report.to_json(), indent=1) + "\n")


def _lines(report: Report) -> Iterator[str]:
    machine = report.machine
    yield _INTRODUCTION
    yield (
        f"Measured {machine['time']} in {machine['minutes']} minutes, on {machine['processors']} processors, Linux "
        f"{machine['kernel']}, Python {machine['python']}. The machine's load (1, 5 and 15 minutes) was "
        f"{_loads(machine['load'])} at the beginning and {_loads(machine['load at the end'])} at the end.\n"
    )
    yield from _table([HEADINGS, *(figure.row() for figure in report.figures)])
    if report.missing:
        yield "\nNot measured:\n"
        yield from (f"- {missing.name}: {missing.reason}" for missing in report.missing)
    yield _NOTES
    yield "## Growth\n"
    yield "An axis that spans more than a power of ten is logarithmic; the others begin at 0.\n"
    for series in report.series:
        yield f"**{series.name}**: {series.slope}.\n"
        yield f"![{series.name}](benchmarks/{_file(series)})\n"


def _loads(loads: Iterable[float]) -> str:
    return ", ".join(map(str, loads))


def _table(rows: Sequence[Iterable[str]]) -> Iterator[str]:
    for number, row in enumerate(rows):
        yield f"| {' | '.join(row)} |"
        if number == 0:
            yield f"|{'---|' * len(HEADINGS)}"


def _file(series: Series) -> str:
    return re.sub("[^a-z0-9]+", "-", f"{series.name} {series.what}".lower()).strip("-") + ".svg"


def plot(series: Series) -> str:
    """Return a plot as SVG; an axis that spans more than a power of ten is logarithmic, the others begin at 0."""
    across = _axis(series.x, _LEFT, _WIDTH - _RIGHT)
    up = _axis(series.y, _HEIGHT - _BOTTOM, _TOP)
    points = [(across(x), up(y)) for x, y in zip(series.x, series.y, strict=True)]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return "\n".join((
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" {_FONT}>',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<text x="{_LEFT}" y="20" font-size="14">{series.name}, {series.unit}</text>',
        f'<path d="M{_LEFT} {_TOP}V{_HEIGHT - _BOTTOM}H{_WIDTH - _RIGHT}" fill="none" stroke="#888"/>',
        *(
            f'<text x="{x:.0f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{size:,.0f}</text>'
            for (x, _), size in zip(points, series.x, strict=True)
        ),
        f'<text x="{(_LEFT + _WIDTH) / 2}" y="{_HEIGHT - 10}" text-anchor="middle">{series.what}</text>',
        *(
            f'<text x="{x:.0f}" y="{y - 8:.0f}" text-anchor="middle">{shown(value)}</text>'
            for (x, y), value in zip(points, series.y, strict=True)
        ),
        f'<polyline points="{line}" fill="none" stroke="{_COLOUR}" stroke-width="2"/>',
        *(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{_COLOUR}"/>' for x, y in points),
        "</svg>\n",
    ))  # fmt: skip


def _axis(values: Sequence[float], first: float, last: float) -> Callable[[float], float]:
    """Return where on an axis from ``first`` to ``last`` a value stands; the ends are free for its labels."""
    is_logarithmic = 0 < 10 * min(values) < max(values)
    scale = math.log if is_logarithmic else float
    low = scale(min(values)) if is_logarithmic else 0.0
    span = (scale(max(values)) - low) or 1.0
    return lambda value: first + (last - first) * (0.06 + 0.86 * (scale(value) - low) / span)
