"""A status for people and for programs: text, JSON, and a live view."""

from __future__ import annotations

import json
import shlex
import signal
import sys
import textwrap
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from rich.filesize import decimal

from ...console import Progress
from ...engine.image import Image
from ...errors import ConfinedError
from ...fs.disk import Size, in_words
from ...image.inventory import ImageInventory
from ...text import escape
from .collector import (
    CLEAN,
    CLEAN_ALL,
    CLEAN_GLOBAL,
    CLEAN_GLOBAL_ALL,
    Data,
    KnownProject,
    Looker,
    Running,
    Status,
    forgetting,
)

VERSION = 1

_REFRESH_SECONDS = 2.0
_TICK_SECONDS = 0.1
_PLAIN, _TITLE, _RED, _YELLOW = "", "bold", "red", "yellow"


def show(looker: Looker, home: Path, *, as_json: bool) -> bool:
    """Print a status; gives whether the engine could be asked."""
    with Progress("Adding up what the folders take") as adding:
        found = looker.look(adding.show)
    if as_json:
        print(json.dumps(in_json(found), indent=2))
    elif sys.stdout.isatty():
        _print(found, home)
    else:
        print("\n".join(line.text for line in lines(found, home)))
    return not found.is_engine_missing


def in_json(found: Status) -> dict[str, Any]:
    """A status in the form of docs/status.schema.json."""
    return {
        "version": VERSION,
        "time": _moment(found.time),
        "problems": [{"about": item.about, "message": item.message, "hint": item.hint} for item in found.problems],
        "sessions": None if found.sessions is None else [_session(item) for item in found.sessions],
        "project": None
        if found.project is None
        else {
            "id": found.project.id,
            "path": str(found.project.root),
            "data": [_data(item) for item in found.data],
        },
        "shared": [_data(item) for item in found.shared],
        "images": None if found.images is None else _our(found.images),
        "projects": [_project(item) for item in found.projects],
    }


def _session(item: Running) -> dict[str, Any]:
    session, takes = item.session, item.usage
    return {
        "name": session.name,
        "id": session.id,
        "state": item.state,
        "project": session.project_id,
        "path": str(session.path),
        "since": _moment(session.since),
        "image": session.image,
        "claude_version": item.claude_version,
        "memory_bytes": None if takes is None else takes.memory,
        "cpu_seconds": None if takes is None else round(takes.cpu_seconds, 3),
    }


def _data(item: Data) -> dict[str, Any]:
    return {"name": item.name, "path": str(item.path), **_size(item.size), "removed_by": item.removed_by}


def _our(images: ImageInventory) -> dict[str, Any]:
    return {
        "images": [_image(image, images) for image in images.images],
        "bytes": images.bytes,
        "free_bytes": images.freed_bytes,
        "removed_by": CLEAN_GLOBAL,
        "others": [_image(image, images) for image in images.others],
    }


def _image(image: Image, images: ImageInventory) -> dict[str, Any]:
    return {
        "id": image.id,
        "names": list(image.names),
        "claude_version": image.claude_version or None,
        "bytes": image.size,
        "is_used": images.is_needed(image),
    }


def _project(item: KnownProject) -> dict[str, Any]:
    return {
        "id": item.known.id,
        "path": None if item.known.root is None else str(item.known.root),
        "exists": item.exists,
        "last_used": _moment(item.known.last_used),
        **_size(item.size),
        "findings": {"red": item.open.red, "yellow": item.open.yellow, "sessions_to_look_through": item.open.unscanned},
        "forgotten_by": forgetting(item.known),
    }


def _size(size: Size) -> dict[str, Any]:
    return {"bytes": size.bytes, "is_whole": size.is_whole}


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds")


# For people


@dataclass(frozen=True)
class Line:
    """A line, safe to print, and its colour in rich's words."""

    text: str
    style: str = _PLAIN


def lines(found: Status, home: Path, width: int | None = None, height: int | None = None) -> list[Line]:
    """A status as text. Tables that are wider than ``width`` columns have a record on several lines instead.

    With a ``height``, of the known projects only as many are listed as there is room for.
    """
    above = [
        *_section("Sessions", _sessions(found, home, width)),
        *_section(_title(found, home), _this_project(found, home, width)),
        *_section("Shared by all projects", _table([_data_row(item, home) for item in found.shared], width)),
        *_section("Images", _images(found, width)),
        *_section("To review", _to_review(found, home, width)),
    ]
    listed = list(_known(found, home, width))
    below = list(_section("To get rid of it", _riddance(found, width)))[:-1]
    if height is not None and len(above) + len(listed) + len(below) + 2 > height:
        room = max(0, height - len(above) - len(below) - 3)
        listed = [*listed[:room], Line("  … and more: `confined-claude status` lists them all.")]
    return [*above, *_section("Known projects", listed), *below]


def _section(title: str, listed: Iterable[Line]) -> Iterator[Line]:
    content = list(listed)
    if content:
        yield from (Line(title, _TITLE), *content, Line(""))


def _table(rows: Sequence[Sequence[str]], width: int | None, style: str = _PLAIN) -> Iterator[Line]:
    """Aligned columns; where they do not fit, the first cell on a line and the others below it."""
    if not rows:
        return
    columns = range(len(rows[0]))
    widths = [max(_width(row[column]) for row in rows) for column in columns]
    if width is not None and 2 + sum(widths) + 2 * (len(widths) - 1) > width:
        for first, *others in rows:
            yield Line(f"  {first}", style)
            text = ", ".join(" ".join(cell.split()) for cell in others if cell)
            indent = "    "
            # A path that is broken up could not be copied.
            wrapped = textwrap.wrap(
                text,
                max(width, 20),
                initial_indent=indent,
                subsequent_indent=indent,
                break_long_words=False,
                break_on_hyphens=False,
            )
            yield from (Line(part, style) for part in wrapped)
        return
    for row in rows:
        cells = (cell + " " * (size - _width(cell)) for cell, size in zip(row, widths, strict=True))
        yield Line(f"  {'  '.join(cells)}".rstrip(), style)


def _width(text: str) -> int:
    """How many columns of a terminal ``text`` takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _path(path: Path, home: Path) -> str:
    return escape(f"~/{path.relative_to(home)}" if path.is_relative_to(home) and path != home else str(path))


def _problems(found: Status, about: str) -> Iterator[Line]:
    for problem in found.problems:
        if problem.about == about:
            yield from (Line(f"  {escape(text)}", _YELLOW) for text in (problem.message, problem.hint) if text)


def _sessions(found: Status, home: Path, width: int | None) -> Iterator[Line]:
    if found.sessions is None:
        yield Line("  Not known.")
        yield from _problems(found, "engine")
        return
    if not found.sessions:
        yield Line("  No session runs.")
    yield from _table([_session_row(item, home, found.time) for item in found.sessions], width)
    for item in found.sessions:
        if item.session.is_left:
            name, where = escape(item.session.name), _path(item.session.path, home)
            if item.session.is_up:
                yield Line(f"  {name}: its terminal is gone.", _YELLOW)
                yield Line(f"    `confined-claude run` in {where} joins it.")
                yield Line(f"    `confined-claude stop --session {name}` ends it.")
            else:
                yield Line(f"  {name}: it was cut off; the next start removes what is left of it.", _YELLOW)


def _session_row(item: Running, home: Path, now: float) -> tuple[str, ...]:
    session, takes = item.session, item.usage
    if item.cpu_percent is not None:
        cpu = f"cpu {item.cpu_percent:.0f} %"
    else:
        cpu = "" if takes is None else f"cpu {_duration(takes.cpu_seconds)}"
    return (
        escape(session.name),
        _path(session.path, home),
        f"since {_when(session.since, now)}",
        f"Claude {escape(item.claude_version)}" if item.claude_version else "",
        "" if takes is None else decimal(takes.memory),
        cpu,
        "" if item.state == "running" else item.state,
    )


def _title(found: Status, home: Path) -> str:
    return "This project" if found.project is None else f"This project: {_path(found.project.root, home)}"


def _this_project(found: Status, home: Path, width: int | None) -> Iterator[Line]:
    if found.project is None:
        yield from _problems(found, "project")
    elif not found.data:
        yield Line("  Nothing is kept for it.")
    else:
        yield from _table([_data_row(item, home, found.project.root) for item in found.data], width)


def _data_row(item: Data, home: Path, root: Path | None = None) -> tuple[str, ...]:
    """``root`` is the project's, whose folders are named from there."""
    if root is not None and item.path.is_relative_to(root):
        return (escape(item.name), in_words(item.size), escape(str(item.path.relative_to(root))))
    return (escape(item.name), in_words(item.size), _path(item.path, home))


def _images(found: Status, width: int | None) -> Iterator[Line]:
    yield from _problems(found, "images")
    if found.images is None:
        return
    if not (found.images.images or found.images.others):
        yield Line("  There is none; the first start builds it.")
    if found.images.images:
        yield from _table([_image_row(image, found.images) for image in found.images.images], width)
        yield Line(f"  Together {decimal(found.images.bytes)}; what they share counts once.")
    if found.images.freed_bytes:
        yield Line(f"  {decimal(found.images.freed_bytes)} of it is in images that nothing uses.")
    if found.images.others:
        yield Line("  Not built from here; these stay,")
        yield Line("  unless you use `docker rmi NAME`:")
        yield from _table([_image_row(image, found.images) for image in found.images.others], width)


def _image_row(image: Image, images: ImageInventory) -> tuple[str, ...]:
    return (
        escape(image.names[0]) if image.names else image.id.removeprefix("sha256:")[:12],
        f"Claude {escape(image.claude_version)}" if image.claude_version else "",
        decimal(image.size),
        "in use" if images.is_needed(image) else "",
    )


def _to_review(found: Status, home: Path, width: int | None) -> Iterator[Line]:
    yield from _problems(found, "records")
    waiting = [item for item in found.projects if item.open.red or item.open.yellow or item.open.unscanned]
    rows = []
    for item in waiting:
        opened, plural = item.open, "" if item.open.unscanned == 1 else "s"
        rows.append(
            (
                _name(item, home),
                f"{opened.red} red" if opened.red else "",
                f"{opened.yellow} yellow" if opened.yellow else "",
                f"{opened.unscanned} session{plural} not looked through yet" if opened.unscanned else "",
            )
        )
    yield from _table(rows, width)
    if rows:
        yield Line("  `confined-claude review`, in the project, shows it.")


def _name(item: KnownProject, home: Path) -> str:
    return escape(item.known.id) if item.known.root is None else _path(item.known.root, home)


def _known(found: Status, home: Path, width: int | None) -> Iterator[Line]:
    there = [item for item in found.projects if item.exists]
    rows = [
        (_name(item, home), in_words(item.size), f"last used {_when(item.known.last_used, found.time)}")
        for item in there
    ]
    yield from _table(rows, width)
    for item in found.projects:
        if not item.exists:
            why = "its record cannot be read" if item.known.root is None else "gone"
            yield Line(f"  {_name(item, home)}: {why}; {in_words(item.size)} are kept. To forget it:", _YELLOW)
            yield Line(f"    {escape(shlex.join(forgetting(item.known)))}")


def _riddance(found: Status, width: int | None) -> Iterator[Line]:
    rows = []
    if found.sessions:
        rows.append(("confined-claude stop", "ends this project's session; --all ends every one"))
    if found.project is not None:
        rows += [
            ("confined-claude clean", f"deletes this project's venvs and local-bin: {_sum(found, CLEAN)}"),
            ("confined-claude clean --all", f"and records of it: {_sum(found, CLEAN_ALL)}, and Claude's history of it"),
        ]
    what = f"deletes caches and logs of all projects: {_sum(found, CLEAN_GLOBAL)}"
    if found.images is not None and found.images.freed_bytes:
        what += f", and unused images: {decimal(found.images.freed_bytes)}"
    rows += [
        ("confined-claude clean-global", what),
        ("confined-claude clean-global --all", f"and Claude's own config and history: {_sum(found, CLEAN_GLOBAL_ALL)}"),
        ("./install.sh --uninstall", "takes away all there is, its images as well; asks about your data"),
    ]
    return _table(rows, width)


def _sum(found: Status, command: str) -> str:
    return in_words(found.removed_by(command))


def _when(seconds: float, now: float) -> str:
    then = time.localtime(seconds)
    today = time.localtime(now)[:3] == then[:3]
    return time.strftime("today %H:%M" if today else "%Y-%m-%d %H:%M", then)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


# In a terminal


def _text(listed: Iterable[Line]) -> Any:
    """Lines as rich's text, in which nothing is markup."""
    from rich.text import Text

    return Text("\n", overflow="fold").join(Text(line.text, line.style) for line in listed)


def _print(found: Status, home: Path) -> None:
    from rich.console import Console

    console = Console()
    console.print(_text(lines(found, home, console.width)), soft_wrap=True)


def watch(looker: Looker, home: Path) -> None:
    """Show a status that is kept up to date, until Ctrl-C.

    Raises ConfinedError where there is no terminal that can do that.
    """
    from rich.console import Console
    from rich.live import Live

    console = Console()
    if not sys.stdout.isatty() or console.is_dumb_terminal:
        raise ConfinedError(
            "There is no terminal to show a live view on.",
            "Leave out --watch; programs take `confined-claude status --json`.",
        )
    ended: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, lambda received, _frame: ended.append(received))
    # Stopped, it would leave the terminal as no shell wants it.
    signal.signal(signal.SIGTSTP, signal.SIG_IGN)
    newest = _Newest(looker)
    with Live("Looking …", console=console, screen=True, auto_refresh=False) as live:
        drawn: object = None
        while not ended:
            time.sleep(_TICK_SECONDS)
            now = (newest.found, console.size)
            if newest.found is not None and now != drawn:
                drawn = now
                listed = lines(newest.found, home, console.width, console.height)
                live.update(_text(listed), refresh=True)
            if newest.error is not None:
                raise newest.error
    if ended[0] != signal.SIGINT:
        raise SystemExit(128 + ended[0])


class _Newest:
    """The newest status, found out in the background again and again."""

    def __init__(self, looker: Looker) -> None:
        self.found: Status | None = None
        self.error: BaseException | None = None
        self._looker = looker
        threading.Thread(target=self._go_on, daemon=True).start()

    def _go_on(self) -> None:
        try:
            while True:
                began = time.monotonic()
                self.found = self._looker.look()
                time.sleep(max(0.0, began + _REFRESH_SECONDS - time.monotonic()))
        except BaseException as error:
            self.error = error
