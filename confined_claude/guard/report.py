"""Findings as text that is safe to print: names and contents come from a session."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile

from ..console import say
from ..text import diff, escape
from .findings import Finding

_WIDTH = 160
_MOST = 10
_FEW_LINES = 6
_DIFF_LINES = 400


def tell(findings: Sequence[Finding], who: str = "This session") -> None:
    """Print to stderr what a session has left, if it has left anything."""
    if not findings:
        return
    with contextlib.suppress(OSError):  # a closed terminal; the findings are recorded anyway
        say(f"{who} has left {summary(findings)}:")
        for line in lines(findings, most=_MOST, diff_lines=_FEW_LINES):
            print(line, file=sys.stderr)
        if any(finding.red for finding in findings):
            say("Nothing starts here until you have looked at what is red, with `confined-claude review`.")
        else:
            say("`confined-claude review` shows it again.")


def summary(findings: Sequence[Finding]) -> str:
    """Return the number of findings of each colour, in words."""
    red = sum(finding.red for finding in findings)
    yellow = len(findings) - red
    parts = []
    if red:
        parts.append(f"{red} {'thing that runs by itself' if red == 1 else 'things that run by themselves'} (red)")
    if yellow:
        parts.append(f"{yellow} {'thing' if yellow == 1 else 'things'} that you may run (yellow)")
    return " and ".join(parts)


def lines(findings: Iterable[Finding], *, most: int, diff_lines: int) -> Iterator[str]:
    """Yield each finding: colour, path, what it is, what would run it, since when, and what changed."""
    listed = list(findings)
    for finding in listed[:most]:
        yield f"  {'red   ' if finding.red else 'yellow'}  {escape(finding.path)}"
        yield f"          {escape(finding.why)}" + (f"; acted on by {finding.runs}" if finding.runs else "")
        if finding.session:
            started = time.strftime("%Y-%m-%d %H:%M", time.localtime(finding.since))
            yield f"          since the session {escape(finding.session)} of {started}"
        yield from (f"          {line}" for line in difference(finding, diff_lines))
    if len(listed) > most:
        yield f"  … and {len(listed) - most} more"


def difference(finding: Finding, most: int) -> Iterator[str]:
    """Yield at most ``most`` lines of what changed, each escaped and cut."""
    if not finding.digest_after or not (finding.after or finding.before):
        return
    before, after = _lines(finding.before), _lines(finding.after)
    if before is None or after is None or (finding.after is None and finding.digest_after):
        yield "(not shown: it is binary or too large)"
        return
    same = max(0, sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(before, after, strict=False))) - 1)
    before, after = before[same : same + _DIFF_LINES], after[same : same + _DIFF_LINES]
    changed = diff(before, after, context=1)
    for line in changed[:most]:
        text = escape(line)
        yield text if len(text) <= _WIDTH else text[: _WIDTH - 1] + "…"
    if len(changed) > most:
        yield f"… {len(changed) - most} more lines"


def _lines(content: bytes | None) -> list[str] | None:
    if content is None:
        return []
    try:
        return content.decode().splitlines()
    except UnicodeDecodeError:
        return None
