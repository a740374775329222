"""A push that a session asks for: as it says so, and as a person is shown it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import NamedTuple

from ..text import escape, parse_json

HEADS = "refs/heads/"
_MAX_UPDATES = 16
_ID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
# A part of what git-check-ref-format(1) allows; the name is printable beside that.
_REF = re.compile(
    r"refs/(?:heads|tags)/(?![-.])(?!.*(?:\.\.|//|/\.|@\{|\.lock(?:/|$)|[/.]$))[^\x00-\x20\x7f~^:?*\[\\]{1,200}"
)


class Update(NamedTuple):
    """A branch or a tag of the remote, by its full name ``ref``, that is to name the object ``new``."""

    ref: str
    new: str

    @property
    def name(self) -> str:
        return self.ref.removeprefix(HEADS)


class Request(NamedTuple):
    """A push to ``url`` that a session asks for."""

    url: str
    updates: tuple[Update, ...]

    @classmethod
    def parse(cls, line: bytes) -> Request | None:
        """Return the request in the JSON line of a session; None for anything that is not exactly one."""
        value = parse_json(line)
        if not isinstance(value, dict) or value.keys() != {"url", "updates"} or not isinstance(value["url"], str):
            return None
        updates = value["updates"]
        if not isinstance(updates, list) or not 0 < len(updates) <= _MAX_UPDATES or not all(map(_is_update, updates)):
            return None
        is_one = len({ref for ref, _ in updates}) == len(updates) and len({len(new) for _, new in updates}) == 1
        return cls(value["url"], tuple(Update(*each) for each in updates)) if is_one else None


def _is_update(value: object) -> bool:
    if not isinstance(value, list) or [*map(type, value)] != [str, str]:
        return False
    ref, new = value
    return ref.isprintable() and _REF.fullmatch(ref) is not None and _ID.fullmatch(new) is not None


class Change(NamedTuple):
    """What an update does to the remote, which has ``old`` there, or nothing if that is empty.

    ``commits`` are the new ones, a line each; ``files`` are lines added, lines deleted and the path; ``findings``
    those that something runs, with what that is, and whether that is red. One that ``always_asks`` is never pushed
    without a question.
    """

    update: Update
    old: str
    commits: tuple[str, ...]
    files: tuple[tuple[str, ...], ...]
    findings: tuple[tuple[str, str, bool], ...]
    always_asks: bool

    def may_pass(self, patterns: str) -> bool:
        """Return whether it needs no question where the setting ``push`` is ``patterns``."""
        is_named = any(fnmatchcase(self.update.name, pattern) for pattern in patterns.split(","))
        return self.update.ref.startswith(HEADS) and is_named and not self.always_asks


def described(change: Change) -> Iterator[str]:
    """Yield the lines that show a change to a person; what a session chose in them is escaped."""
    name = escape(change.update.name)
    what = f"new, {change.update.new[:10]}" if not change.old else f"{change.old[:10]} to {change.update.new[:10]}"
    yield f"  {name} ({what}), {_number(len(change.commits), 'commit')}:"
    yield from _first(50, [f"    {escape(line)}" for line in change.commits])
    counted = [sum(int(file[at]) for file in change.files if file[at].isdecimal()) for at in (0, 1)]
    yield f"  {_number(len(change.files), 'file')} changed, +{counted[0]} -{counted[1]}:"
    yield from _first(30, [f"    {escape(path)} +{added} -{deleted}" for added, deleted, path in change.files])
    found = sorted(change.findings, key=lambda finding: not finding[2])
    lines = [f"  {'red' if red else 'yellow'}: {escape(path)} (runs with {runs})" for path, runs, red in found]
    yield from _first(100, lines)


def _number(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _first(most: int, lines: list[str]) -> Iterator[str]:
    yield from lines[:most]
    if len(lines) > most:
        yield f"    and {len(lines) - most} more"
