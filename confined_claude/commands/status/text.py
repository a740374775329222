"""A status for people: lines of text, safe to print."""

from __future__ import annotations

import os
import shlex
import sys
import textwrap
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.filesize import decimal

from ...engine.context import program_name
from ...engine.image import Image
from ...fs.usage import in_words
from ...image.inventory import ImageInventory
from ...session.listing import Session
from ...state.profiles import DEFAULT
from ...text import counted, escape
from ..installers import uninstaller
from .model import CLEAN, CLEAN_ALL, CLEAN_GLOBAL, CLEAN_GLOBAL_ALL, Data, KnownProject, SessionUsage, Status

_PLAIN, _TITLE, _YELLOW = "", "bold", "yellow"
_Rows = Sequence[Sequence[str]]


class Line(NamedTuple):
    """A line of text, and its style in rich's words."""

    text: str
    style: str = _PLAIN


def lines(found: Status, home: Path, width: int | None = None, height: int | None = None) -> list[Line]:
    """Return a status as text, in which paths below ``home`` are shortened.

    Tables that are wider than ``width`` columns have a record on several lines instead. With a ``height``, only as
    many of the known projects are listed as there is room for.
    """
    return _Text(found, home, width).lines(height)


class _Text:
    """The text of one status."""

    def __init__(self, found: Status, home: Path, width: int | None) -> None:
        self._found = found
        self._home = home
        self._width = width

    def lines(self, height: int | None) -> list[Line]:
        project = self._found.project
        above = [
            *_section("Sessions", self._sessions()),
            *_section("This project" if project is None else f"This project: {self._path(project.root)}", self._own()),
            *_section("Accounts", self._accounts()),
            *_section("Shared by all projects", self._data(self._found.shared)),
            *_section("Images", self._images()),
            *_section("To review", self._to_review()),
        ]
        known = list(self._known())
        below = list(_section("Clean up", self._commands()))[:-1]
        if height is not None and len(above) + len(known) + len(below) + 2 > height:
            room = max(0, height - len(above) - len(below) - 3)
            known = [*known[:room], Line("  … and more: `confined-claude status` lists them all.")]
        return [*above, *_section("Known projects", known), *below]

    # Sections

    def _sessions(self) -> Iterator[Line]:
        if self._found.sessions is None:
            yield Line("  Not known.")
            yield from self._problems("engine")
            return
        if not self._found.sessions:
            yield Line("  No session runs.")
        yield from self._table([self._session(each) for each in self._found.sessions])
        for session in (each.session for each in self._found.sessions if each.session.is_orphaned):
            name, path = escape(session.name), self._path(session.path)
            if session.is_up:
                yield Line(f"  {name}: its terminal is gone.", _YELLOW)
                yield Line(f"    `confined-claude run` in {path} joins it.")
                yield Line(f"    `confined-claude stop --session {name}` ends it.")
            else:
                yield Line(f"  {name}: it was interrupted; the next start removes the rest of it.", _YELLOW)

    def _session(self, found: SessionUsage) -> tuple[str, ...]:
        session, usage = found.session, found.usage
        cpu = "" if usage is None else f"cpu {_duration(usage.cpu_seconds)}"
        return (
            escape(session.name),
            self._path(session.path),
            f"since {self._when(session.since)}",
            _version(found.claude_version),
            "" if usage is None else f"memory {decimal(usage.memory)}",
            cpu if found.cpu_percent is None else f"cpu {found.cpu_percent:.0f} %",
            _network(session),
            "" if session.profile in ("", DEFAULT) else f"profile {escape(session.profile)}",
            "" if found.state == "running" else found.state,
        )

    def _own(self) -> Iterator[Line]:
        if self._found.project is None:
            yield from self._problems("project")
        elif not self._found.data:
            yield Line("  Nothing is stored for it.")
        else:
            yield from self._data(self._found.data, self._found.project.root)

    def _data(self, found: Iterable[Data], root: Path | None = None) -> Iterator[Line]:
        """Yield a table of directories, with paths relative to the project's ``root`` for those below it."""
        rows = []
        for each in found:
            path = each.location.path
            is_inside = root is not None and path.is_relative_to(root)
            where = escape(str(path.relative_to(root))) if root is not None and is_inside else self._path(path)
            rows.append((escape(each.name), in_words(each.size), where))
        return self._table(rows)

    def _accounts(self) -> Iterator[Line]:
        rows = [
            (
                escape(each.profile.name),
                each.in_words,
                f"config from {self._path(each.profile.source)}",
                "used here" if each.is_current and len(self._found.accounts) > 1 else "",
            )
            for each in self._found.accounts
        ]
        return self._table(rows)

    def _images(self) -> Iterator[Line]:
        yield from self._problems("images")
        found = self._found.images
        if found is None:
            return

        def row(image: Image) -> tuple[str, ...]:
            return (
                escape(image.names[0]) if image.names else image.id.removeprefix("sha256:")[:12],
                _version(image.claude_version),
                decimal(image.size),
                _use(found, image),
            )

        if not (found.images or found.others):
            yield Line("  There is none; the first start builds it.")
        if found.images:
            yield from self._table([row(image) for image in found.images])
            yield Line(f"  {decimal(found.bytes)} in total; what they share counts once.")
        if found.freed_bytes:
            yield Line(f"  {decimal(found.freed_bytes)} of it is in images that nothing uses.")
        if found.others:
            yield Line(f"  Built by another user or elsewhere; `{program_name(os.environ)} rmi NAME` removes one:")
            yield from self._table([row(image) for image in found.others])

    def _to_review(self) -> Iterator[Line]:
        yield from self._problems("records")
        rows = []
        for each in self._found.projects:
            red, yellow, unseen, older = each.open.red, each.open.yellow, each.open.unscanned, each.open.older
            if red or yellow or unseen or older:
                sessions = f"{counted(unseen, 'session')} not scanned yet"
                cells = (
                    red and f"{red} red",
                    yellow and f"{yellow} yellow",
                    unseen and sessions,
                    older and f"{older} older (review --all)",
                )
                rows.append((self._name(each), *(cell or "" for cell in cells)))
        yield from self._table(rows)
        if rows:
            yield Line("  `confined-claude review`, in the project, shows it.")

    def _known(self) -> Iterator[Line]:
        yield from self._table(
            [
                (self._name(each), in_words(each.size), f"last used {self._when(each.known.last_used)}")
                for each in self._found.projects
                if each.exists
            ]
        )
        for each in self._found.projects:
            if not each.exists:
                why = "its record cannot be read" if each.known.root is None else "gone"
                what = f"{self._name(each)}: {why}; {in_words(each.size)} are still stored. To delete them:"
                yield Line(f"  {what}", _YELLOW)
                yield Line(f"    {escape(shlex.join(each.forgotten_by))}")

    def _commands(self) -> Iterator[Line]:
        found, freed = self._found, {}
        for command in (CLEAN, CLEAN_ALL, CLEAN_GLOBAL, CLEAN_GLOBAL_ALL):
            freed[command] = in_words(found.removed_by(command))
        rows = []
        if found.sessions:
            rows.append(("confined-claude stop", "ends this project's session; --all ends every one"))
        if found.project is not None:
            rows += [
                ("confined-claude clean", f"deletes this project's venvs and local-bin: {freed[CLEAN]}"),
                (
                    "confined-claude clean --all",
                    f"deletes its data and records too: {freed[CLEAN_ALL]}, and Claude's history of it",
                ),
            ]
        what = f"deletes caches and logs of all projects: {freed[CLEAN_GLOBAL]}"
        if found.images is not None and found.images.freed_bytes:
            what += f", and unused images: {decimal(found.images.freed_bytes)}"
        rows += [
            ("confined-claude clean-global", what),
            ("confined-claude clean-global --all", f"deletes Claude's own config too: {freed[CLEAN_GLOBAL_ALL]}"),
            uninstaller(Path(sys.prefix)),
        ]
        return self._table(rows)

    # Parts

    def _problems(self, about: str) -> Iterator[Line]:
        for problem in self._found.problems:
            if problem.about == about:
                yield from (Line(f"  {escape(text)}", _YELLOW) for text in (problem.message, problem.hint) if text)

    def _table(self, rows: _Rows) -> Iterator[Line]:
        return table(rows, self._width)

    def _name(self, found: KnownProject) -> str:
        return escape(found.known.id) if found.known.root is None else self._path(found.known.root)

    def _path(self, path: Path) -> str:
        is_below = path.is_relative_to(self._home) and path != self._home
        return escape(f"~/{path.relative_to(self._home)}" if is_below else str(path))

    def _when(self, seconds: float) -> str:
        then = time.localtime(seconds)
        is_today = time.localtime(self._found.time)[:3] == then[:3]
        return time.strftime("today %H:%M" if is_today else "%Y-%m-%d %H:%M", then)


def _section(title: str, content: Iterable[Line]) -> Iterator[Line]:
    if listed := list(content):
        yield from (Line(title, _TITLE), *listed, Line(""))


def table(rows: _Rows, width: int | None) -> Iterator[Line]:
    """Yield aligned columns; where they do not fit, the first cell on a line and the others below it.

    A column with nothing in it is left out.
    """
    rows = list(zip(*filter(any, zip(*rows, strict=True)), strict=True))
    if not rows:
        return
    widths = [max(map(_cells, column)) for column in zip(*rows, strict=True)]
    if width is None or sum(widths) + 2 * len(widths) <= width:
        for row in rows:
            cells = (cell + " " * (size - _cells(cell)) for cell, size in zip(row, widths, strict=True))
            yield Line(f"  {'  '.join(cells)}".rstrip())
        return
    for first, *others in rows:
        yield Line(f"  {first}")
        # A path that is broken up could not be copied.
        wrapped = textwrap.wrap(
            ", ".join(" ".join(cell.split()) for cell in others if cell),
            max(width, 20),
            initial_indent="    ",
            subsequent_indent="    ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        yield from map(Line, wrapped)


def _cells(text: str) -> int:
    """Return the number of columns of a terminal that ``text`` takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _network(session: Session) -> str:
    ports = "".join(f", localhost:{port}" for port in session.ports)
    return escape(f"network {session.network}{ports}") if session.network else ""


def _use(found: ImageInventory, image: Image) -> str:
    if image.is_used:
        return "a container uses it"
    return "" if image in found.others else "for the next start" if found.is_needed(image) else "unused"


def _version(claude_version: str) -> str:
    return f"Claude {escape(claude_version)}" if claude_version else ""


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
