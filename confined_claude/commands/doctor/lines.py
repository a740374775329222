"""The lines of an examination: what they say, how they come about, and how they are shown."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass

from ... import __version__
from ...background import Background, Unfinished
from ...errors import ConfinedError
from ...text import escape

OK, WARNING, PROBLEM = "ok", "warning", "problem"
VERSION = 1
_INDENT = 9
_REPORT = "Look at it yourself; if all is well there, report this."


@dataclass(frozen=True)
class Line:
    """One line: what was looked at, how it is, and what to do about that."""

    name: str
    status: str
    what: str
    cure: str = ""


def of_error(name: str, error: ConfinedError) -> Line:
    return Line(name, PROBLEM, error.message, error.hint)


def checked(name: str, check: Callable[[], Line | Iterable[Line]], seconds: float = 10) -> list[Line]:
    """The lines of ``check``. If it fails or takes longer, one line called ``name`` says so."""

    def run() -> list[Line]:
        answer = check()
        return [answer] if isinstance(answer, Line) else list(answer)

    try:
        return Background(run).result(seconds)
    except ConfinedError as error:
        return [of_error(name, error)]
    except Unfinished:
        reason = f"there was no answer within {seconds:.0f} s"
    except Exception as error:  # whatever it is, the other checks go on
        # No more of it than that: what it says could be part of a file with a secret.
        reason = f"{error.strerror}: {error.filename}" if isinstance(error, OSError) else type(error).__name__
    return [Line(name, PROBLEM, f"could not be checked: {reason}", _REPORT)]


def exit_code(lines: Iterable[Line]) -> int:
    return int(any(line.status == PROBLEM for line in lines))


def as_text(lines: Sequence[Line]) -> Iterator[str]:
    """The lines for people: wrapped to the terminal's width, or to COLUMNS; in a pipe as long as they are."""
    width = shutil.get_terminal_size((0, 0)).columns
    for line in lines:
        yield from _wrapped(f"{line.status:<{_INDENT}}", f"{line.name}: {line.what}", width)
        if line.cure:
            yield from _wrapped(" " * _INDENT, f"-> {line.cure}", width)
    counts = [(sum(line.status == status for line in lines), status) for status in (PROBLEM, WARNING)]
    said = [f"{count} {status}{'s' if count > 1 else ''}" for count, status in counts if count]
    yield f"{' and '.join(said)}." if said else "All is well."


def _wrapped(start: str, text: str, width: int) -> list[str]:
    text = start + " ".join(escape(text).split())
    if not width:
        return [text]
    # A path or a command that is broken up could not be copied.
    return textwrap.wrap(
        text,
        max(width, 2 * _INDENT),
        subsequent_indent=" " * _INDENT,
        drop_whitespace=True,
        break_long_words=False,
        break_on_hyphens=False,
    )


def as_json(lines: Sequence[Line]) -> str:
    value = {"version": VERSION, "tool": __version__, "checks": [asdict(line) for line in lines]}
    return json.dumps(value, indent=2)
