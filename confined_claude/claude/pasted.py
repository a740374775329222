"""Tokens that were pasted with more than themselves into a variable. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .. import environment

_QUOTES = "\"'`\u2018\u2019\u201c\u201d"


def remarks(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for each variable that signs in whose value no service accepts as it stands."""
    for name in environment.SIGN_IN:
        value = environ.get(name, "")
        found = [
            what
            for what, is_there in (
                ("line breaks", "\n" in value or "\r" in value),
                ("blanks", any(char.isspace() and char not in "\r\n" for char in value)),
                ("quotes", any(quote in value for quote in _QUOTES)),
            )
            if is_there
        ]
        if found:
            yield f"{name} has {' and '.join(found)} in it, which no token has. Set it to the token alone."
