"""A push that a session asks for: as it says so, and as a person is shown it. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from ..text import counted, escape, parse_json

HEADS = "refs/heads/"
_MAX_UPDATES = 16
_COLUMNS = 200  # of a line that is shown
_BLANK = "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"  # and printable
_ID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
# A part of what git-check-ref-format(1) allows; the name is printable beside that, and not that of another kind.
_REF = re.compile(
    r"refs/(?:heads|tags)/(?![-.]|refs/)(?!.*(?:\.\.|//|/\.|@\{|\.lock(?:/|$)|[/.]$))[^\x00-\x20\x7f~^:?*\[\\]{1,200}"
)

_URL = re.compile(r"(?i)([a-z][a-z0-9+.-]*://)([^?#]*)(.*)", re.DOTALL)
_URLS = re.compile(r"(?i)[a-z][a-z0-9+.-]*://[^\s'\"]+")
_HIDDEN = "***"
_USUAL_PLACE = re.compile(r"(\[[^\]]*\]|[^:]*)(:[0-9]*)?")  # host and port


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

    @property
    def shown_url(self) -> str:
        """The address as it is shown: escaped, and without a user's name or token."""
        return shown(masked(self.url))

    def refused(self, reason: str) -> dict[str, str]:
        """Return the answer that nothing of it is pushed; with an empty ``reason`` that all of it is."""
        return {each.ref: reason for each in self.updates}


def _is_update(value: object) -> bool:
    if not isinstance(value, list) or [*map(type, value)] != [str, str]:
        return False
    ref, new = value
    # git takes nothing but zeros for a request to delete.
    is_object = _ID.fullmatch(new) is not None and set(new) != {"0"}
    return is_object and ref.isprintable() and _REF.fullmatch(ref) is not None


def masked(url: str) -> str:
    """Return an address without a user's name, password or query: each can be a token. The user name of ssh stays."""
    if not (match := _URL.fullmatch(url)):
        return url
    scheme, rest, query = match.groups()
    place, slash, path = rest.partition("/")
    user, at, host = place.rpartition("@")
    if at:
        user = user if scheme.lower() not in ("http://", "https://") and ":" not in user else _HIDDEN
        rest = f"{user}@{host}{slash}{path}"
    elif not _USUAL_PLACE.fullmatch(place):  # a password with a slash or a question mark
        _, at, rest = rest.rpartition("@")
        rest = f"{_HIDDEN}{at}{rest}" if at else _HIDDEN
    return f"{scheme}{rest}{f'?{_HIDDEN}' if query else ''}"


def with_masked_urls(text: str) -> str:
    """Return ``text`` with each address in it masked."""
    return _URLS.sub(lambda found: masked(found[0]), text)


class Finding(NamedTuple):
    """A file that ``runs`` with something. One that ``asks`` is never pushed without a question."""

    path: str
    runs: str
    red: bool
    asks: bool


class Change(NamedTuple):
    """What an update does to the remote, which has ``old`` there, or nothing if that is empty.

    ``commits`` are those that it gains, a line each; ``files`` are lines added, lines deleted and the path; ``passing``
    are those that only an earlier commit has touched; ``findings`` are of both.
    """

    update: Update
    old: str
    commits: tuple[str, ...]
    files: tuple[tuple[str, ...], ...]
    passing: tuple[str, ...]
    findings: tuple[Finding, ...]

    def may_pass(self, patterns: str) -> bool:
        """Return whether it needs no question where the setting ``push`` is ``patterns``."""
        is_named = any(fnmatchcase(self.update.name, pattern) for pattern in patterns.split(","))
        return self.update.ref.startswith(HEADS) and is_named and not any(found.asks for found in self.findings)


def described(change: Change) -> Iterator[str]:
    """Yield the lines that show a change to a person; what a session chose in them is escaped."""
    yield f"  {_title(change)}, {counted(len(change.commits), 'commit')}:"
    yield from _first(50, [f"    {shown(line)}" for line in change.commits])
    lines = [sum(int(file[at]) for file in change.files if file[at].isdecimal()) for at in (0, 1)]
    yield f"  {counted(len(change.files), 'file')} changed, +{lines[0]} -{lines[1]}:"
    yield from _first(30, [f"    {shown(path)} +{added} -{deleted}" for added, deleted, path in change.files])
    if change.passing:
        yield f"  {counted(len(change.passing), 'file')} only in earlier commits, which are published too:"
        yield from _first(30, [f"    {shown(path)}" for path in change.passing])
    yield from _first(100, _found(change.findings))


def asked(changes: Sequence[Change], request: Request, *, is_first: bool) -> Iterator[str]:
    """Yield the lines to show right before the question: where it goes, if it ``is_first`` there, and what is red."""
    yield f"To {request.shown_url}{', the first push to this address' if is_first else ''}:"
    for change in changes:
        yield f"  {_title(change)}"
        yield from _first(10, _found(finding for finding in change.findings if finding.red))


def shown(text: str) -> str:
    """Return ``text`` from a session on one line of bounded width, with escapes for what is not seen, or turns it."""
    line, columns = "", 0
    for char in escape(text[:_COLUMNS]):
        is_strange = char in _BLANK or unicodedata.bidirectional(char) in ("R", "AL", "AN")
        part = char.encode("unicode_escape").decode() if is_strange else char
        columns += 2 if unicodedata.east_asian_width(part[0]) in ("F", "W") else len(part)
        if columns > _COLUMNS:
            return f"{line}…"
        line += part
    return line if len(text) <= _COLUMNS else f"{line}…"


def _title(change: Change) -> str:
    what = f"new, {change.update.new[:10]}" if not change.old else f"{change.old[:10]} to {change.update.new[:10]}"
    return f"{shown(change.update.name)} ({what})"


def _found(findings: Iterable[Finding]) -> list[str]:
    lines = sorted(findings, key=lambda finding: not finding.red)
    return [f"  {'red' if red else 'yellow'}: {shown(path)} (used by {runs})" for path, runs, red, _ in lines]


def _first(most: int, lines: list[str]) -> Iterator[str]:
    yield from lines[:most]
    if len(lines) > most:
        yield f"    and {len(lines) - most} more"
