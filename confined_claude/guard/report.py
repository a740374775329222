"""Findings in words, safe to print: names and contents come from a session."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, takewhile
from typing import TYPE_CHECKING

from ..console import say
from .findings import Finding

if TYPE_CHECKING:
    from .review import Review

_WIDTH = 160
_MOST = 10
_MOST_REVIEWED = 200
_FEW_LINES = 6
_DIFF_LINES = 400


def shown(text: str) -> str:
    """``text`` on one line without anything that steers a terminal, or that looks like something else."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def tell(findings: Sequence[Finding], who: str = "This session") -> None:
    """Say on stderr what a session has left; nothing if that is nothing."""
    if not findings:
        return
    with contextlib.suppress(OSError):  # a closed terminal; the findings are kept all the same
        say(f"{who} has left {summary(findings)}:")
        for line in lines(findings, most=_MOST, diff_lines=_FEW_LINES):
            print(line, file=sys.stderr)
        if any(finding.red for finding in findings):
            say("Nothing starts here until you have looked at what is red, with `confined-claude review`.")
        else:
            say("`confined-claude review` shows it again.")


def summary(findings: Sequence[Finding]) -> str:
    """How many findings of which colour, in words."""
    red = sum(finding.red for finding in findings)
    yellow = len(findings) - red
    parts = []
    if red:
        parts.append(f"{red} {'thing that runs by itself' if red == 1 else 'things that run by themselves'} (red)")
    if yellow:
        parts.append(f"{yellow} {'thing' if yellow == 1 else 'things'} that you may run (yellow)")
    return " and ".join(parts)


def lines(findings: Iterable[Finding], *, most: int, diff_lines: int) -> Iterator[str]:
    """A finding after the other: colour, path, what it is, what would run it, since when, and what changed."""
    listed = list(findings)
    for finding in listed[:most]:
        yield f"  {'red   ' if finding.red else 'yellow'}  {shown(finding.path)}"
        yield f"          {shown(finding.why)}" + (f"; acted on by {finding.runs}" if finding.runs else "")
        if finding.session:
            started = time.strftime("%Y-%m-%d %H:%M", time.localtime(finding.since))
            yield f"          since the session {shown(finding.session)} of {started}"
        yield from (f"          {line}" for line in difference(finding, diff_lines))
    if len(listed) > most:
        yield f"  … and {len(listed) - most} more"


def review(found: Review) -> Iterator[str]:
    """All that is open, with what changed; and what waits in a copy of the repository."""
    if found.findings:
        yield f"Sessions have left {summary(found.findings)}:"
        yield from lines(found.findings, most=_MOST_REVIEWED, diff_lines=_DIFF_LINES)
        yield "`review --restore PATH` puts one back as it was; `review --accept` closes all of it as it is."
    elif not found.waiting:
        yield "There is nothing to review."
    for waiting in found.waiting:
        branches = ", ".join(map(shown, waiting.branches))
        yield f"A copy of the repository has commits on: {branches}. To fetch them:"
        yield f"  {shown(waiting.command)}"


def difference(finding: Finding, most: int) -> Iterator[str]:
    """At most ``most`` lines of what changed, each escaped and cut."""
    if not finding.digest_after or not (finding.after or finding.before):
        return
    before, after = _lines(finding.before), _lines(finding.after)
    if before is None or after is None or (finding.after is None and finding.digest_after):
        yield "(not shown: it is binary or too large)"
        return
    same = max(0, sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(before, after, strict=False))) - 1)
    before, after = before[same : same + _DIFF_LINES], after[same : same + _DIFF_LINES]
    changed = changed_lines(before, after, context=1)
    for line in changed[:most]:
        text = shown(line)
        yield text if len(text) <= _WIDTH else text[: _WIDTH - 1] + "…"
    if len(changed) > most:
        yield f"… {len(changed) - most} more lines"


def changed_lines(before: list[str], after: list[str], *, context: int) -> list[str]:
    """A unified diff without its headings."""
    import difflib

    difference = islice(difflib.unified_diff(before, after, lineterm="", n=context), 2, None)
    return [line for line in difference if not line.startswith("@@")]


def _lines(content: bytes | None) -> list[str] | None:
    if content is None:
        return []
    try:
        return content.decode().splitlines()
    except UnicodeDecodeError:
        return None
