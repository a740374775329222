"""Text from elsewhere: escaped, so that it neither steers a terminal nor looks like something else; and parsed."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import islice
from typing import Any, NamedTuple

_QUOTED = "`[^`]*`"
_GAP = r"(?<=\S) {4,}(?=\S)"
_SPACE = "\0"  # of those that stay; text on its way to a terminal has none
# What file systems that fold names ignore in them: Default_Ignorable_Code_Point of Unicode.
_IGNORED = (
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff"
    "\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_SEQUENCE = r"\x1b\[[0-?]*[ -/]*[@-~]"


def escape(text: str) -> str:
    """Return ``text`` on one line, with backslash escapes for whatever is not printable."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def rooted(path: str) -> str:
    """Return ``path`` with one slash in front in place of two.

    They are one on every system that the tool runs on. POSIX leaves that open, so Python takes ``//etc`` and ``/etc``
    for two paths.
    """
    return f"/{path.lstrip('/')}" if path.startswith("//") else path


def normal_path(path: str | os.PathLike[str]) -> str:
    """Return ``path`` by its names alone: without ``.``, ``..``, or a slash that adds nothing."""
    return rooted(os.path.normpath(path))  # noqa: TID251


def sha256(content: bytes) -> str:
    """Return the hex digits of the SHA-256 of something that is shorter than a megabyte.

    Like the standard library's ``random``, this does without ``hashlib``, which loads all of OpenSSL: 3 ms and 2 MB of
    memory. Code that hashes users' files takes ``hashlib``, as it is several times faster.
    """
    return str(_sha256()(content).hexdigest())


@cache  # looking for a module that is not there takes 0.3 ms
def _sha256() -> Any:
    try:
        from _sha2 import sha256 as algorithm  # type: ignore[import-not-found]
    except ImportError:
        try:
            from _sha256 import sha256 as algorithm  # type: ignore[import-not-found]  # before Python 3.12
        except ImportError:
            from hashlib import sha256 as algorithm
    return algorithm


def folded(name: str) -> str:
    """Return what names have in common that are one for APFS, NTFS, or ext4 where it folds them."""
    if name.isascii():
        return name.lower()
    from unicodedata import normalize

    return normalize("NFD", re.sub(_IGNORED, "", normalize("NFD", name)).casefold())


def all_folded(names: Sequence[str]) -> list[str]:
    """Return ``folded`` of each of these names of files, which have no NUL: those of a large directory at once."""
    joined = "\0".join(names)
    return joined.lower().split("\0") if names and joined.isascii() else list(map(folded, names))


def starred(text: str) -> str:
    """Return the pattern of fnmatch for ``text``, in which ``*`` stands for anything, and all else for itself."""
    return re.sub(r"[\[?]", r"[\g<0>]", text)


def repr_without(value: NamedTuple, *hidden: str) -> str:
    """Return the repr of a named tuple without the fields ``hidden``, which may hold secrets."""
    shown = (f"{name}={field!r}" for name, field in zip(value._fields, value, strict=True) if name not in hidden)
    return f"{type(value).__name__}({', '.join(shown)})"


def nearest(word: str, known: Iterable[str], likeness: float = 0.5) -> str:
    """Return the one of ``known`` words that ``word`` is most likely meant to be; empty if it is like none."""
    import difflib  # only for what is wrong

    return next(iter(difflib.get_close_matches(word, known, 1, likeness)), "")


def named(names: Sequence[str], most: int) -> str:
    """Return the first ``most`` of the names for a message, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def counted(number: int, noun: str) -> str:
    """Return a number of things in words: ``1 file``, ``2 files``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def strip_controls(text: str) -> str:
    """Return the output of a program without colours and control characters, with its line breaks."""
    return "".join(char if char.isprintable() or char == "\n" else " " for char in re.sub(_SEQUENCE, "", text))


def wrap(text: str, width: int) -> str:
    """Return ``text`` with its lines broken at spaces to ``width`` columns, the rest of each indented further.

    What is in back quotes, such as a command, stays together where it fits on a line; a longer word stays whole. What
    four spaces set apart in such a line begins one of its own.
    """
    return "\n".join(part for line in text.split("\n") for part in _wrap_line(line, width))


def _wrap_line(line: str, width: int) -> list[str]:
    if len(line) <= width:
        return [line]
    indent = line[: len(line) - len(line.lstrip())] + "  "
    first, *others = re.split(_GAP, line)
    if others:
        return [part for each in (first, *(indent + other for other in others)) for part in _wrap_line(each, width)]
    import textwrap  # takes time to import, and most lines are short

    joined = re.sub(
        _QUOTED, lambda found: found[0].replace(" ", _SPACE) if len(found[0]) < width // 2 else found[0], line
    )
    parts = textwrap.wrap(
        joined, max(width, 20), subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return [part.replace(_SPACE, " ") for part in parts]


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


def as_dict(value: Any) -> dict[str, Any]:
    """Return a value of JSON that is an object; an empty one in place of any other."""
    return value if isinstance(value, dict) else {}
