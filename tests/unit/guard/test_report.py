"""Findings in words: nothing in them steers a terminal, and there is never too much of them."""

from __future__ import annotations

import re
import textwrap
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from confined_claude.commands.review import lines as review_lines
from confined_claude.fs.directory import Location
from confined_claude.guard import report
from confined_claude.guard.findings import Finding
from confined_claude.guard.isolation import Unfetched
from confined_claude.guard.review import Review
from confined_claude.guard.rule_table import RULES
from confined_claude.guard.snapshot import Kind
from confined_claude.text import escape


def finding(
    path: str = ".envrc", red: bool = True, before: bytes | None = None, after: bytes | None = b"x\n"
) -> Finding:
    return Finding(path, Kind.FILE, red, "your shell", "new", before, after, "" if before is None else "0", "1")


odd = st.text(st.characters() | st.sampled_from("\x1b\r\n\t\x07\x9b\u202e\u2028\udc9b\udcff\x7f"), max_size=30)
contents = st.none() | st.binary(max_size=60) | odd.map(lambda text: text.encode("utf-8", "replace"))
findings = st.builds(
    lambda **fields: Finding(**fields),  # noqa: PLW0108 - of the class itself hypothesis fills in every field
    path=odd,
    kind=st.just(Kind.FILE),
    red=st.booleans(),
    runs=st.sampled_from(["git", ""]),
    why=odd,
    before=contents,
    after=contents,
    digest_before=st.sampled_from(["", "0"]),
    digest_after=st.sampled_from(["", "1"]),
    session=odd,
    since=st.floats(0, 4e9),
)


def is_safe(text: str) -> bool:
    return all(line.isprintable() for line in text.split("\n")) and "\r" not in text


@settings(max_examples=200)
@given(found=st.lists(findings, max_size=4), branches=st.lists(odd, max_size=3), command=odd)
def test_whatever_is_in_the_findings_the_output_steers_nothing(
    found: list[Finding], branches: list[str], command: str
) -> None:
    lines = list(review_lines(Review(found, [Unfetched(tuple(branches), Path(command), Location(Path()))]), found))
    assert all(line.isprintable() for line in lines)
    for one in found:
        assert any(escape(one.path) in line for line in lines)


@given(found=st.lists(findings, min_size=1, max_size=3))
def test_whatever_is_in_the_findings_the_report_steers_nothing(
    found: list[Finding], capfd: pytest.CaptureFixture[str]
) -> None:
    report.report(found)
    output = capfd.readouterr()
    assert output.out == ""
    assert is_safe(output.err)
    assert output.err.encode()
    assert output.err.startswith("confined-claude: This session has left ")


def test_without_findings_nothing_is_reported(capfd: pytest.CaptureFixture[str]) -> None:
    report.report([])
    assert capfd.readouterr() == ("", "")
    assert list(review_lines(Review([], []), [])) == ["There is nothing to review."]


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ([finding()], "1 file that your machine runs by itself (red)"),
        ([finding(), finding()], "2 files that your machine runs by itself (red)"),
        ([finding(red=False)], "1 file that your tools may run (yellow)"),
        (
            [finding(), *[finding(red=False)] * 3],
            "1 file that your machine runs by itself (red) and 3 that your tools may run (yellow)",
        ),
    ],
)
def test_the_summary_counts_by_colour(found: list[Finding], words: str) -> None:
    assert report.summarize(found) == words


@pytest.mark.parametrize(
    ("before", "after", "shown"),
    [
        (None, b"a\nb\n", ["+a", "+b"]),
        (b"a\nb\nc\nd\ne\n", b"a\nb\nX\nd\ne\n", [" b", "-c", "+X", " d"]),
        (b"a\n", b"a", []),
        (b"-- x\n++ y\n", b"", ["--- x", "-++ y"]),
        (None, b"++ x\n", ["+++ x"]),
        (b"a", b"\xff", ["(not shown: it is binary or too large)"]),
        (b"\xff", b"a", ["(not shown: it is binary or too large)"]),
        (b"a", None, ["(not shown: it is binary or too large)"]),
        (None, None, ["(not shown: it is binary or too large)"]),
        (None, b"", []),
        (None, b"a\x1b[2Jb\rc\td", ["+a\\x1b[2Jb\\rc\\td"]),
        (b"# a\nb\n", b"# a\rb\n", ["-# a", "-b", "+# a\\rb"]),
        (None, b"x" * 500, ["+" + "x" * 158 + "…"]),
        (None, b"1\n2\n3\n4\n5\n6\n7\n8", ["+1", "+2", "+3", "+4", "… 4 more lines"]),
    ],
)
def test_what_changed_is_shown_in_lines(before: bytes | None, after: bytes | None, shown: list[str]) -> None:
    difference = report.difference(finding(before=before, after=after), report.Limits(lines=4, width=160))
    assert difference.lines == shown
    assert difference.is_whole == (not any(word in line for line in shown for word in ("not shown", "…")))


def test_a_finding_is_shown_with_its_session_and_what_acts_on_it() -> None:
    one = Finding("a\nb", Kind.FILE, True, "git", "new hook", None, b"x", "", "1", "confined-claude-x", 0.0)
    first, second, third, fourth = report.describe([one], max_findings=1, limits=report.Limits(1, 160))
    assert (first, second, fourth) == ("  red     a\\nb", "          new hook; used by git", "          +x")
    assert third.startswith("          first seen after the session confined-claude-x of 19")


def test_however_much_there_is_the_output_is_bounded(capfd: pytest.CaptureFixture[str]) -> None:
    large = [
        finding(path=f"{number}" + "p" * 200, after=b"line\n" * 5_000, before=b"y" * 60_000) for number in range(300)
    ]
    report.report(large)
    output = capfd.readouterr().err
    assert "… and 290 more" in output
    assert len(output.splitlines()) < 150
    reviewed = list(review_lines(Review(large, []), large))
    assert len(reviewed) < 200 * 410
    assert max(map(len, reviewed)) < 1100


def test_a_change_far_down_a_file_is_shown() -> None:
    before = b"".join(b"%d\n" % number for number in range(1000))
    changed = finding(before=before, after=before + b"evil\n")
    assert report.difference(changed, report.Limits(10, 160)) == ([" 999", "+evil"], True)


def test_what_is_too_far_from_the_first_change_is_not_all_of_it() -> None:
    before = b"".join(b"%d\n" % number for number in range(1000))
    changed = finding(before=before, after=before.replace(b"5\n", b"x\n", 1) + b"evil\n")
    assert not report.difference(changed, report.Limits(1000, 160)).is_whole


def test_the_hint_depends_on_the_colour(capfd: pytest.CaptureFixture[str]) -> None:
    report.report([finding()])
    assert "No session starts here until you have reviewed" in capfd.readouterr().err


def test_a_session_that_left_nothing_red_ends_with_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    report.report([finding(red=False, path=path) for path in ("Makefile", "a\nb", "pom.xml", "setup.py")])
    assert capfd.readouterr().err == (
        "confined-claude: This session has left 4 files that your tools may run (yellow): "
        "Makefile, a\\nb, pom.xml and 1 more. See `confined-claude review`.\n"
    )


def test_beside_red_there_is_one_yellow_line_for_each_tool(capfd: pytest.CaptureFixture[str]) -> None:
    yellow = [finding(red=False, path=path) for path in ("package.json", ".npmrc")]
    report.report([finding(), *yellow, yellow[0]._replace(path="Makefile", runs="make")])
    lines = [line for line in capfd.readouterr().err.splitlines() if "yellow  " in line]
    assert lines == [
        "  yellow  package.json, .npmrc; used by your shell",
        "  yellow  Makefile; used by make",
    ]


def test_what_else_there_is_to_say_is_in_the_same_block(capfd: pytest.CaptureFixture[str]) -> None:
    report.report([finding(red=False)], also=["one", "two"])
    lines = capfd.readouterr().err.splitlines()
    assert lines[0].startswith("confined-claude: This session has left 1 file")
    assert lines[1:] == ["  one", "  two"]
    report.report([], also=["one"])
    assert capfd.readouterr().err == "confined-claude: This session has ended.\n  one\n"


def test_what_waits_is_shown_with_the_command_that_fetches_it() -> None:
    lines = list(review_lines(Review([], [Unfetched(("main", "a\x1bb"), Path("/a b"), Location(Path()))]), []))
    shown = [
        "A copy of the repository has commits on: main, a\\x1bb. To fetch them:",
        "  cd '/a b' && confined-claude fetch",
    ]
    assert lines == shown


def test_a_closed_terminal_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w", buffering=1) as full:
        monkeypatch.setattr("sys.stderr", full)
        report.report([finding()])
        monkeypatch.undo()
        full.buffer.raw.close()  # type: ignore[attr-defined]
    assert Path("/dev/full").exists()


@pytest.mark.parametrize("page", ["first-session.md", "reviewing.md"])
def test_the_block_in_the_guides_is_what_is_printed(page: str, capfd: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).resolve().parents[3] / "docs/guides" / page).read_text()
    shown = textwrap.dedent(re.findall(r"^( +confined-claude: This session has left.*?)\n\n", text, re.M | re.S)[0])
    stated = re.search(r"after the session (\S+) of (.+)\n *\+(.+)\n", shown)
    assert stated
    name, when, line = stated.groups()
    runs = {file: rule.runs for rule in RULES for file in rule.patterns}
    since = time.mktime(time.strptime(when, "%Y-%m-%d %H:%M"))
    red = finding(after=f"{line}\n".encode())._replace(runs=runs[".envrc"], session=name, since=since)
    yellow = finding("Makefile", red=False)._replace(runs=runs["Makefile"])
    report.report([red, yellow], also=[row[2:] for row in shown.partition("`.\n")[2].splitlines()])
    assert capfd.readouterr().err == f"{shown}\n"
