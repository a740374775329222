"""What the benchmark makes of its measurements."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import pytest
from bench import page, place
from bench.figures import Figure, Item, Missing, Report, Series, attempt, change, ratio, read, table
from bench.starts import in_turn

SLOW = ratio("start", (3.0, 3.2, 3.1), (2.0, 2.0, 2.0), 1.5, 1.35)
REPORT = Report(
    [SLOW, Figure("end", (0.1, 0.1), "s", goal=0.15)],
    [Series("scan", "files", "s", (1000.0, 100_000.0), (0.01, 0.31))],
    [Missing("npm install", "no network")],
    {
        "time": "now",
        "minutes": 9,
        "processors": 2,
        "kernel": "6",
        "python": "3",
        "load": [1.0],
        "load at the end": [2.5],
    },
)


@pytest.mark.parametrize(
    ("samples", "verdict", "has_failed"),
    [
        ((1.3, 1.3), "goal met", False),
        ((1.4, 1.4), "within the limit", False),
        ((1.6, 1.6), "over the limit", False),  # noise may be why
        ((2.0, 2.0), "over the limit", True),
    ],
)
def test_a_figure_fails_only_beyond_what_noise_explains(
    samples: tuple[float, ...], verdict: str, has_failed: bool
) -> None:
    figure = ratio("start", samples, (1.0, 1.0), 1.5, 1.35)
    assert (figure.verdict, figure.has_failed) == (verdict, has_failed)


def test_the_fastest_times_can_acquit_a_figure() -> None:
    assert not ratio("start", (1.4, 3.0, 3.0), (1.0, 1.0, 1.0), 1.5, 1.35).has_failed


def test_a_figure_without_limit_never_fails() -> None:
    figure = Figure("end", (9.0,), "s", goal=0.15)
    assert (figure.verdict, figure.has_failed) == ("goal missed", False)


def test_no_module_is_compiled_while_it_is_measured(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("old = True\n")
    importing = [sys.executable, "-B", "-v", "-c", "import package"]  # -B: as for a user that may not write there

    def compiled() -> bool:
        done = subprocess.run(importing, cwd=tmp_path, capture_output=True, text=True, check=True)
        return f"code object from {package}" in done.stderr  # what is read of a cache is in quotes

    place.compile_package(package)
    assert not compiled()
    (package / "__init__.py").write_text("changed = True\n")
    assert compiled()  # the control
    place.compile_package(package)
    assert not compiled()
    (package / "broken.py").write_text("=")
    with pytest.raises(RuntimeError):
        place.compile_package(package)


def test_what_is_compared_takes_turns_and_changes_places() -> None:
    called: list[str] = []

    def call(name: str) -> int:
        called.append(name)
        return len(called)

    found = in_turn(2, {name: partial(call, name) for name in "ab"})
    assert called == ["a", "b", "a", "b", "b", "a"]  # the first round is not counted
    assert found == {"a": [3, 6], "b": [4, 5]}


@pytest.mark.parametrize(
    ("number", "verdict", "has_failed"),
    [(200.0, "goal met", False), (100.0, "within the limit", False), (50.0, "below the limit", True)],
)
def test_of_some_figures_more_is_better(number: float, verdict: str, has_failed: bool) -> None:
    figure = Figure("at once", (number,), "", 100, 200, at_least=True)
    assert (figure.verdict, figure.has_failed) == (verdict, has_failed)


def test_what_fails_is_missing_and_the_rest_is_measured() -> None:
    def measured() -> Iterator[Item]:
        yield SLOW
        raise RuntimeError("no network")

    def measured_next() -> Iterator[Item]:
        yield Figure("end", (0.1,), "s")

    report = Report()
    for item in (*attempt("npm install", measured), *attempt("end", measured_next)):
        report.add(item)
    assert [figure.name for figure in report.figures] == ["start", "end"]
    (missing,) = report.missing
    assert missing.name == "npm install"
    assert missing.reason.startswith("no network (test_bench.py, line ")
    assert report.failures == [f"npm install could not be measured: {missing.reason}"]


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (["sh", "-c", "echo no such thing >&2; exit 7"], "ended with 7: no such thing"),
        (["sleep", "60"], "has not ended after 1 s"),
    ],
)
def test_a_command_that_fails_or_hangs_says_so(
    command: list[str], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if command[0] == "sleep":
        monkeypatch.setattr(place, "_SECONDS", 1)
    with pytest.raises(RuntimeError, match=reason):
        place.finish(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE))


def test_a_series_says_what_more_costs_and_how_its_end_grows() -> None:
    line = Series("scan", "files", "s", (10.0, 100.0, 1000.0), (0.2, 0.2, 1.0))
    assert line.slope == "+0.841 s for each 1,000 files; at the end 10 times as many take 5 times as much"


def test_the_table_compares_with_an_earlier_run() -> None:
    earlier = read(json.loads(json.dumps(REPORT.to_json())))
    assert earlier == REPORT
    header, row, _ = table(REPORT, earlier)
    assert header.split()[:2] == ["figure", "value"]
    assert row.split()[:3] == ["start", "1.55", SLOW.unit]
    assert row.endswith("over the limit  as before")
    assert change(Figure("start", (3.1, 3.1)), earlier) == "+100%"
    assert change(Figure("other", (1.0,)), earlier) == "new"


def test_the_page_has_the_table_and_a_plot_for_each_series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PAGE", "FIGURES", "PLOTS"):
        monkeypatch.setattr(page, name, tmp_path / name)
    (tmp_path / "PLOTS").mkdir()
    (tmp_path / "PLOTS/of-an-earlier-run.svg").touch()
    page.write(REPORT)
    text = (tmp_path / "PAGE").read_text()
    assert "| start | 1.55 " in text
    assert "+0.303 s for each 100,000 files" in text
    assert "in 9 minutes" in text
    assert "1.0 at the beginning and 2.5 at the end" in text
    assert "- npm install: no network" in text
    (plot,) = (tmp_path / "PLOTS").iterdir()
    assert f"(benchmarks/{plot.name})" in text
    tree = ElementTree.parse(plot)
    assert len(tree.findall("{*}circle")) == 2
    assert read(json.loads((tmp_path / "FIGURES").read_text())) == REPORT
