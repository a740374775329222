"""Findings as text that is safe to print: names and contents come from a session."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from itertools import takewhile

from ..console import say
from ..text import diff, escape
from .findings import Finding

_MAX_FINDINGS = 10
_MAX_DIFF = 6
_MAX_NAMED = 3
_MAX_WIDTH = 160
# More is not compared.
_MAX_COMPARED = 400


def report(findings: Sequence[Finding], who: str = "This session", also: Sequence[str] = ()) -> None:
    """Report on stderr, in one block, what ``who`` has left and the lines ``also``; nothing if there are neither.

    What is yellow takes one line, or one for each tool beside what is red.
    """
    red = [finding for finding in findings if finding.red]
    yellow = [finding for finding in findings if not finding.red]
    if red:
        lines = [f"{who} has left {summarize(findings)}:"]
        lines += [*describe(red, max_findings=_MAX_FINDINGS, max_diff=_MAX_DIFF), *_by_tool(yellow)]
        lines.append("  Nothing starts here until you have looked at what is red, with `confined-claude review`.")
    elif yellow:
        lines = [f"{who} has left {summarize(yellow)}: {name(yellow)}. See `confined-claude review`."]
    elif also:
        lines = [f"{who} has ended."]
    else:
        return
    with contextlib.suppress(OSError):  # a closed terminal; the findings are on record all the same
        say("\n".join([*lines, *(f"  {line}" for line in also)]))


def name(findings: Sequence[Finding]) -> str:
    """Return the paths of the first few findings, and how many more there are."""
    paths = [escape(finding.path) for finding in findings[:_MAX_NAMED]]
    more = len(findings) - len(paths)
    return ", ".join(paths) + (f" and {more} more" if more else "")


def _by_tool(findings: Sequence[Finding]) -> Iterator[str]:
    """Yield a line for each tool with the findings that it acts on."""
    tools: dict[str, list[Finding]] = {}
    for finding in findings:
        tools.setdefault(finding.runs, []).append(finding)
    yield from (f"  yellow  {name(found)}; acted on by {tool}" for tool, found in tools.items())


def summarize(findings: Sequence[Finding]) -> str:
    """Return how many findings there are of each colour, in words."""
    red = sum(finding.red for finding in findings)
    yellow = len(findings) - red
    parts = []
    if red:
        parts.append(f"{red} {'file' if red == 1 else 'files'} that your computer runs by itself (red)")
    if yellow:
        noun = "" if red else "file " if yellow == 1 else "files "
        parts.append(f"{yellow} {noun}that your tools may run (yellow)")
    return " and ".join(parts)


def describe(findings: Sequence[Finding], *, max_findings: int, max_diff: int) -> Iterator[str]:
    """Yield the lines of each finding: colour, path, what it is, what would run it, since when, and what changed."""
    for finding in findings[:max_findings]:
        yield f"  {'red   ' if finding.red else 'yellow'}  {escape(finding.path)}"
        yield f"          {escape(finding.why)}" + (f"; acted on by {finding.runs}" if finding.runs else "")
        if finding.session:
            started = time.strftime("%Y-%m-%d %H:%M", time.localtime(finding.since))
            yield f"          since the session {escape(finding.session)} of {started}"
        yield from (f"          {line}" for line in difference(finding, max_diff))
    if len(findings) > max_findings:
        yield f"  … and {len(findings) - max_findings} more"


def difference(finding: Finding, max_lines: int) -> Iterator[str]:
    """Yield at most ``max_lines`` lines of what changed, each escaped and cut."""
    if not finding.digest_after or not (finding.after or finding.before):
        return
    before, after = _lines(finding.before), _lines(finding.after)
    if before is None or after is None or finding.after is None:
        yield "(not shown: it is binary or too large)"
        return
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(before, after, strict=False)))
    compared = slice(max(0, same - 1), same - 1 + _MAX_COMPARED)
    changed = diff(before[compared], after[compared], context=1)
    for line in map(escape, changed[:max_lines]):
        yield line if len(line) <= _MAX_WIDTH else line[: _MAX_WIDTH - 1] + "…"
    if len(changed) > max_lines:
        yield f"… {len(changed) - max_lines} more lines"


def _lines(content: bytes | None) -> list[str] | None:
    """Return the lines of a file; None if it is no text."""
    try:
        return (content or b"").decode().splitlines()
    except UnicodeDecodeError:
        return None
