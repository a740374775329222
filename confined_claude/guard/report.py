"""Findings as text that is safe to print: names and contents come from a session."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import NamedTuple

from ..console import say
from ..text import counted, diff, escape, named
from .findings import Finding
from .snapshot import Kind

_MAX_FINDINGS = 10
_MAX_NAMED = 3
# More is not compared.
_MAX_COMPARED = 400
_FILES = (Kind.FILE, Kind.GIT_FILE, Kind.POINTER, Kind.PROGRAM, Kind.REACHED, Kind.COMMITTED)


class Limits(NamedTuple):
    """How many lines of what changed are shown, and how wide they are at most."""

    lines: int
    width: int


class Difference(NamedTuple):
    """What changed, in lines, and whether that is all of it."""

    lines: list[str]
    is_whole: bool


_LIMITS = Limits(lines=6, width=160)


def report(findings: Sequence[Finding], who: str = "This session", also: Sequence[str] = ()) -> None:
    """Report on stderr, in one block, what ``who`` has left and the lines ``also``; nothing if there are neither.

    Yellow findings take one line, or one for each tool beside red ones.
    """
    red = [finding for finding in findings if finding.red]
    yellow = [finding for finding in findings if not finding.red]
    if red:
        lines = [f"{who} has left {summarize(findings)}:"]
        lines += [*describe(red, max_findings=_MAX_FINDINGS, limits=_LIMITS), *_by_tool(yellow)]
        lines.append("  No session starts here until you have reviewed what is red with `confined-claude review`.")
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
    return _first([finding.path + ("" if finding.digest_after else " (removed)") for finding in findings])


def _first(paths: Sequence[str]) -> str:
    return named([*map(escape, paths)], _MAX_NAMED)


def lines_on_branches(behind: Sequence[str]) -> list[str]:
    """Return the lines on protected files that stayed ``behind`` while a session switched or merged branches."""
    if not behind:
        return []
    files = "1 protected file is" if len(behind) == 1 else f"{len(behind)} protected files are"
    hint = "`git status` shows the difference, `git restore FILE` takes the branch's version."
    return [f"{files} not as in the branch: {_first(behind)}. {hint}"]


def _by_tool(findings: Sequence[Finding]) -> Iterator[str]:
    """Yield a line for each tool with the findings that it uses."""
    tools: dict[str, list[Finding]] = {}
    for finding in findings:
        tools.setdefault(finding.runs, []).append(finding)
    for tool, found in tools.items():
        yield f"  yellow  {name(found)}" + (f"; used by {escape(tool)}" if tool else "")


def summarize(findings: Sequence[Finding]) -> str:
    """Return how many findings there are of each colour, in words."""
    red = sum(finding.red for finding in findings)
    yellow = len(findings) - red
    parts = []
    if red:
        parts.append(f"{counted(red, 'file')} that your machine runs by itself (red)")
    if yellow:
        noun = "" if red else "file " if yellow == 1 else "files "
        parts.append(f"{yellow} {noun}that your tools may run (yellow)")
    return " and ".join(parts)


def describe(findings: Sequence[Finding], *, max_findings: int, limits: Limits) -> Iterator[str]:
    """Yield the lines of each finding: colour, path, what it is, what would run it, since when, and what changed."""
    for finding in findings[:max_findings]:
        yield f"  {'red   ' if finding.red else 'yellow'}  {escape(finding.path)}"
        yield f"          {escape(finding.why)}" + (f"; used by {escape(finding.runs)}" if finding.runs else "")
        if finding.session:
            started = time.strftime("%Y-%m-%d %H:%M", time.localtime(finding.since))
            yield f"          first seen after the session {escape(finding.session)} of {started}"
        yield from (f"          {line}" for line in difference(finding, limits).lines)
    if len(findings) > max_findings:
        yield f"  … and {len(findings) - max_findings} more"


def difference(finding: Finding, limits: Limits) -> Difference:
    """Return what changed, each line escaped and cut."""
    is_empty = finding.after is None and finding.before is None and finding.kind not in _FILES
    if is_empty or finding.kind == Kind.GITLINK:
        return Difference([], is_whole=True)  # there is nothing to show but the path
    if not finding.digest_after and finding.before is None:
        return Difference([], is_whole=True)  # it is gone
    before, after = _lines(finding.before), _lines(finding.after)
    if before is None or after is None or finding.after is None:
        return Difference(["(not shown: it is binary or too large)"], is_whole=False)
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(before, after, strict=False)))
    compared = slice(max(0, same - 1), max(0, same - 1) + _MAX_COMPARED)
    changed = diff(before[compared], after[compared], context=1)
    lines = [line if len(line) <= limits.width else line[: limits.width - 1] + "…" for line in map(escape, changed)]
    is_whole = max(len(before), len(after)) <= compared.stop and max(map(len, lines), default=0) < limits.width
    if len(lines) > limits.lines:
        lines[limits.lines :] = [f"… {len(lines) - limits.lines} more lines"]
        is_whole = False
    return Difference(lines, is_whole)


def _lines(content: bytes | None) -> list[str] | None:
    """Return the lines of a file; None if it is no text."""
    try:
        text = (content or b"").decode()
    except UnicodeDecodeError:
        return None
    return text.removesuffix("\n").split("\n") if text else []  # a carriage return alone ends no line of most programs
