"""What stays open, for how long, and what closes it for good."""

from __future__ import annotations

import shutil

import pytest

from confined_claude.commands.review import lines
from confined_claude.guard import review
from confined_claude.guard.findings import OLDER_AFTER
from confined_claude.guard.records import FindingCounts, count_findings

from .test_guard import Place, place

__all__ = ["place"]


def listed(place: Place, *, show_all: bool = False) -> list[str]:
    found = review.review(place.workspace)
    shown = [finding for finding in found.findings if show_all or not finding.is_older]
    return list(lines(found, shown))


def test_what_is_yellow_is_only_counted_once_more_sessions_have_ended(place: Place) -> None:
    place.leave("Makefile", "changed:\n")
    for _ in range(OLDER_AFTER):
        assert count_findings(place.workspace.state) == FindingCounts(yellow=1)
        assert "Makefile" in "\n".join(listed(place))
        assert place.session() == []
    assert count_findings(place.workspace.state) == FindingCounts(older=1)
    assert listed(place) == ["1 older finding: confined-claude review --all"]
    assert "Makefile" in "\n".join(listed(place, show_all=True))
    # A change is news again.
    assert [finding.path for finding in place.leave("Makefile", "changed: again\n")] == ["Makefile"]
    assert count_findings(place.workspace.state) == FindingCounts(yellow=1)
    place.put("Makefile", "all:\n")
    assert listed(place) == ["There is nothing to review."]


def test_what_is_red_is_never_only_counted(place: Place) -> None:
    beside = [place.start() for _ in range(OLDER_AFTER + 1)]
    place.leave(".envrc")
    for one in beside:
        one.finish()
    assert count_findings(place.workspace.state) == FindingCounts(red=1)


def deep(place: Place) -> None:
    here = place.root
    for _ in range(102):
        here /= "d"
    here.mkdir(parents=True)


def test_a_limit_of_the_scan_that_is_accepted_is_closed_until_it_changes(place: Place) -> None:
    path = "/".join("d" * 101)
    deep(place)
    for _ in range(2):
        found = place.session() or review.review(place.workspace).findings
        assert [(finding.path, finding.red) for finding in found] == [(path, False)]
    review.accept_path(place.workspace, path)
    for _ in range(2):
        assert place.session() == []
        assert place.reviewed() == []
    # The same limit anew is this session's doing, and another one is another.
    shutil.rmtree(place.root / "d")
    assert place.session() == []
    assert [(finding.path, finding.red) for finding in place.session(lambda: deep(place))] == [(path, True)]
    review.accept(place.workspace, review.review(place.workspace).findings)
    assert place.session() == []
    (place.root / "d").rename(place.root / "e")
    (finding,) = place.session()
    assert (finding.path, finding.red) == (path.replace("d", "e", 1), False)


@pytest.mark.parametrize("is_interrupted", [False, True])
def test_an_interrupted_session_counts_no_accepted_limit_either(place: Place, is_interrupted: bool) -> None:
    deep(place)
    one = place.start()
    if is_interrupted:
        one.close()
        assert len(place.reviewed()) == 1
    else:
        one.finish()
    review.accept(place.workspace, review.review(place.workspace).findings)
    one = place.start()
    if is_interrupted:
        one.close()
    else:
        one.finish()
    assert place.reviewed() == []
