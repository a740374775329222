"""Text from elsewhere, made safe to print: it must neither steer a terminal nor look like something else."""

from __future__ import annotations

import re

_SEQUENCE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")


def escape(text: str) -> str:
    """Return ``text`` on one line, with backslash escapes for whatever is not printable."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def strip_controls(text: str) -> str:
    """Return the output of a program without colours and control characters, with its line breaks."""
    return "".join(char if char.isprintable() or char == "\n" else " " for char in _SEQUENCE.sub("", text))
