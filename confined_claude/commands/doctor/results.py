"""The results of the checks: how they come about, and how they are printed."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from ... import __version__
from ...background import Background, Unfinished
from ...errors import ConfinedError
from ...text import escape

OK, WARNING, PROBLEM = "ok", "warning", "problem"
VERSION = 1
_INDENT = 9
_REPORT = "Look at it yourself; if all is well there, report this."


class Result(NamedTuple):
    """What a check found, and a hint on what to do about it."""

    status: str
    what: str
    hint: str = ""


# Results by the name of their check, in the order of the checks.
Report = Sequence[tuple[str, Result]]


def ok(what: str) -> Result:
    return Result(OK, what)


def warning(what: str, hint: str) -> Result:
    return Result(WARNING, what, hint)


def problem(what: str, hint: str) -> Result:
    return Result(PROBLEM, what, hint)


def run_check(check: Callable[..., Result | Iterable[Result]], *arguments: Any, seconds: float = 10) -> list[Result]:
    """Return the results of a check. One problem is returned instead if it fails or takes longer than ``seconds``."""

    def run() -> list[Result]:
        answer = check(*arguments)
        return [answer] if isinstance(answer, Result) else list(answer)

    try:
        return Background(run).result(seconds)
    except ConfinedError as error:
        return [problem(error.message, error.hint)]
    except Unfinished:
        reason = f"there was no answer within {seconds:.0f} s"
    except Exception as error:  # whatever it is, the other checks go on
        # No more of it than that: its text could be part of a file with a secret.
        reason = f"{error.strerror}: {error.filename}" if isinstance(error, OSError) else type(error).__name__
    return [problem(f"could not be checked: {reason}", _REPORT)]


def exit_code(report: Report) -> int:
    return int(any(result.status == PROBLEM for _, result in report))


def as_text(report: Report) -> Iterator[str]:
    """Yield lines for people, wrapped to the terminal's width or to COLUMNS; in a pipe they are not wrapped."""
    width = shutil.get_terminal_size((0, 0)).columns
    for name, result in report:
        yield from _wrapped(f"{result.status:<{_INDENT}}", f"{name}: {result.what}", width)
        if result.hint:
            yield from _wrapped(" " * _INDENT, f"-> {result.hint}", width)
    counts = [(sum(result.status == status for _, result in report), status) for status in (PROBLEM, WARNING)]
    words = [f"{count} {status}{'s' if count > 1 else ''}" for count, status in counts if count]
    yield f"{' and '.join(words)}." if words else "All is well."


def _wrapped(start: str, text: str, width: int) -> list[str]:
    text = start + " ".join(escape(text).split())
    if not width:
        return [text]
    # A broken path or command could not be copied.
    return textwrap.wrap(
        text,
        max(width, 2 * _INDENT),
        subsequent_indent=" " * _INDENT,
        drop_whitespace=True,
        break_long_words=False,
        break_on_hyphens=False,
    )


def as_json(report: Report) -> str:
    checks = [
        {"name": name, "status": result.status, "what": result.what, "cure": result.hint} for name, result in report
    ]
    return json.dumps({"version": VERSION, "tool": __version__, "checks": checks}, indent=2)
