"""What the benchmark makes of its measurements."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from bench import page
from bench.figures import Figure, Report, Series, change, ratio, read, table

SLOW = ratio("start", (3.0, 3.2, 3.1), (2.0, 2.0, 2.0), 1.5, 1.35)
REPORT = Report(
    [SLOW, Figure("end", (0.1, 0.1), "s", goal=0.15)],
    [Series("scan", "files", "s", (1000.0, 100_000.0), (0.01, 0.31))],
    {"time": "now", "processors": 2, "kernel": "6", "python": "3", "load": [1.0]},
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
    page.write(REPORT)
    text = (tmp_path / "PAGE").read_text()
    assert "| start | 1.55 " in text
    assert "+0.303 s for each 100,000 files" in text
    (plot,) = (tmp_path / "PLOTS").iterdir()
    assert f"(benchmarks/{plot.name})" in text
    tree = ElementTree.parse(plot)
    assert len(tree.findall("{*}circle")) == 2
    assert read(json.loads((tmp_path / "FIGURES").read_text())) == REPORT
