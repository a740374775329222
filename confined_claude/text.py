"""Text from elsewhere: escaped, so that it neither steers a terminal nor looks like something else; and parsed."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import islice
from typing import Any

_SEQUENCE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")


def escape(text: str) -> str:
    """Return ``text`` on one line, with backslash escapes for whatever is not printable."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def strip_controls(text: str) -> str:
    """Return the output of a program without colours and control characters, with its line breaks."""
    return "".join(char if char.isprintable() or char == "\n" else " " for char in _SEQUENCE.sub("", text))


def diff(before: Sequence[str], after: Sequence[str], context: int = 0) -> list[str]:
    """Return the lines of a unified diff without its headings."""
    import difflib  # takes time to import, and a start without findings does not need it

    lines = islice(difflib.unified_diff(before, after, lineterm="", n=context), 2, None)
    return [line for line in lines if not line.startswith("@@")]


def parse_json(content: bytes | str | None) -> Any:
    """Return the value of a JSON text; None for anything else."""
    try:
        return json.loads(content or b"")
    except (ValueError, RecursionError):
        return None
