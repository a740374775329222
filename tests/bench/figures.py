"""What is measured: each figure with its limit and its goal, the verdict on it, the table, and its JSON."""

from __future__ import annotations

import os
import platform
import statistics
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

# In CI other work shares the processors. A figure fails only beyond the limit and this much more.
ROOM = 1.25
HEADINGS = ("figure", "value", "spread", "limit", "goal", "verdict")


def shown(value: float) -> str:
    """Return a number with three digits that count, without an exponent."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


@dataclass(frozen=True)
class Figure:
    """One figure: its ``samples`` in ``unit``, the smaller the better, unless it should be ``at_least`` so much.

    Without a ``unit`` of its own it is a ratio of two times that were measured one right after the other. ``best`` is
    the most favourable reading of the samples: for a ratio that of the two fastest times, else the smallest.
    """

    name: str
    samples: tuple[float, ...]
    unit: str = "×"  # noqa: RUF001 - the sign that a reader expects
    limit: float | None = None
    goal: float | None = None
    best: float = 0.0
    at_least: bool = False

    @property
    def value(self) -> float:
        return statistics.median(self.samples)

    @property
    def spread(self) -> float:
        """The half of the samples in the middle: from the first quartile to the third."""
        first, third = self._quartiles
        return third - first

    @property
    def _quartiles(self) -> tuple[float, float]:
        if len(self.samples) == 1:
            return self.value, self.value
        first, _, third = statistics.quantiles(self.samples, n=4, method="inclusive")
        return first, third

    @property
    def verdict(self) -> str:
        if self.limit is not None and not self._keeps(self.limit):
            return "below the limit" if self.at_least else "over the limit"
        if self.goal is not None:
            return "goal met" if self._keeps(self.goal) else "within the limit" if self.limit else "goal missed"
        return ""

    def _keeps(self, bound: float) -> bool:
        return self.value >= bound if self.at_least else self.value <= bound

    @property
    def has_failed(self) -> bool:
        """Whether three quarters of the samples, and the fastest times, are beyond the limit and the room for noise."""
        if self.limit is None or self.at_least:
            return self.verdict == "below the limit"
        return min(self._quartiles[0], self.best or self.value) > self.limit * ROOM

    def __str__(self) -> str:
        return "  ".join(self.row())

    def row(self) -> tuple[str, ...]:
        """Return the cells of its row in the table."""
        limit, goal = (f"{value:g} {self.unit}" if value is not None else "" for value in (self.limit, self.goal))
        return (self.name, f"{shown(self.value)} {self.unit}", f"{self.spread:.2g}", limit, goal, self.verdict)


def ratio(name: str, ours: Iterable[float], theirs: Iterable[float], limit: float | None, goal: float | None) -> Figure:
    """Return the figure for times measured in turn, ``ours`` and ``theirs``."""
    ours, theirs = tuple(ours), tuple(theirs)
    samples = tuple(one / other for one, other in zip(ours, theirs, strict=True))
    return Figure(name, samples, limit=limit, goal=goal, best=min(ours) / min(theirs))


@dataclass(frozen=True)
class Series:
    """How a figure grows: ``y`` in ``unit`` for each size ``x`` of ``what``."""

    name: str
    what: str
    unit: str
    x: tuple[float, ...]
    y: tuple[float, ...]

    def __str__(self) -> str:
        points = (f"{shown(y)} at {shown(x)}" for x, y in zip(self.x, self.y, strict=True))
        return f"{self.name}, {self.unit}: {'; '.join(points)} {self.what}"

    @property
    def slope(self) -> str:
        """What each more of ``what`` costs, by the straight line that fits best, and what the largest step did."""
        slope = statistics.linear_regression(self.x, self.y).slope
        size = 10 ** (len(str(int(max(self.x)))) - 1)
        text = f"{'+' * (slope > 0)}{shown(slope * size)} {self.unit} for each {size:,} {self.what}"
        if min(self.y) <= 0:
            return text
        more, taken = (values[-1] / values[-2] for values in (self.x, self.y))
        return f"{text}; at the end {shown(more)} times as many take {shown(taken)} times as much"


@dataclass(frozen=True)
class Missing:
    """What could not be measured, and why."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name} could not be measured: {self.reason}"


Item = Figure | Series | Missing


def attempt(name: str, measure: Callable[[], Iterable[Item]]) -> Iterator[Item]:
    """Yield what ``measure`` yields; if it fails, what is missing then is called ``name``."""
    try:
        yield from measure()
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        yield Missing(name, f"{error or type(error).__name__} ({Path(place.filename).name}, line {place.lineno})")


@dataclass
class Report:
    """Everything that one run has measured."""

    figures: list[Figure] = field(default_factory=list)
    series: list[Series] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)
    machine: dict[str, Any] = field(default_factory=dict)

    def add(self, item: Item) -> None:
        kinds: dict[type, list[Any]] = {Figure: self.figures, Series: self.series, Missing: self.missing}
        kinds[type(item)].append(item)

    @property
    def failures(self) -> list[str]:
        """What is beyond its limit by more than noise explains, or could not be measured."""
        beyond = [f"{figure.name} is beyond its limit" for figure in self.figures if figure.has_failed]
        return beyond + list(map(str, self.missing))

    _began: float = field(default_factory=time.monotonic, compare=False)

    def describe(self) -> None:
        """Note on which machine this is, and what else it does."""
        self.machine = {
            "time": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
            "processors": os.cpu_count(),
            "kernel": platform.release(),
            "python": platform.python_version(),
            "load": _load(),
        }

    def conclude(self) -> None:
        """Note how long it took, and what else the machine has done meanwhile."""
        self.machine |= {"minutes": round((time.monotonic() - self._began) / 60, 1), "load at the end": _load()}

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON objects."""
        figures = [{**asdict(figure), "value": figure.value, "verdict": figure.verdict} for figure in self.figures]
        series, missing = ([asdict(item) for item in items] for items in (self.series, self.missing))
        return {"machine": self.machine, "figures": figures, "series": series, "missing": missing}


def _load() -> list[float]:
    return [round(load, 1) for load in os.getloadavg()]


def read(document: Mapping[str, Any]) -> Report:
    """Return the report that ``to_json`` has made ``document`` of."""
    names = {item.name for item in fields(Figure)}
    figures = [{key: value for key, value in item.items() if key in names} for item in document["figures"]]
    series = [Series(**{**item, "x": tuple(item["x"]), "y": tuple(item["y"])}) for item in document["series"]]
    return Report(
        [Figure(**{**item, "samples": tuple(item["samples"])}) for item in figures],
        series,
        [Missing(**item) for item in document.get("missing", ())],
        dict(document["machine"]),
    )


def change(figure: Figure, earlier: Report) -> str:
    """Return how a figure has changed since an ``earlier`` report; a change within both spreads is none."""
    before = next((item for item in earlier.figures if item.name == figure.name), None)
    if before is None:
        return "new"
    difference = figure.value - before.value
    if abs(difference) <= (figure.spread + before.spread) / 2:
        return "as before"
    return f"{difference / before.value:+.0%}"


def table(report: Report, earlier: Report | None = None) -> list[str]:
    """Return the figures as lines of text, compared with an ``earlier`` report if there is one."""
    rows = [(*HEADINGS, *(["since then"] if earlier else []))]
    rows += [(*figure.row(), *([change(figure, earlier)] if earlier else [])) for figure in report.figures]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
