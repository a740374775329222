"""Secrets that are lent: the session has a placeholder, and the sidecar puts the value into requests. Pure."""

from __future__ import annotations

import json
import re
import secrets as random
import string
from collections.abc import Iterable
from typing import NamedTuple

from ..errors import ConfinedError
from ..settings.secrets import Secret
from ..text import repr_without

# What tells one kind of token from another is no secret, and programs look at it. All else is random.
_KIND = re.compile(r"github_pat_|gh[oprsu]_|sk-ant-[a-z]+[0-9]+-|sk-|npm_|pypi-|glpat-|hf_|xox[a-z]-|")
_HEX = string.digits + "abcdef"
# As a header holds it: no blank, and enough of it that no other word of a request is the same.
_VALUE = re.compile(r"[!-~]{8,8192}")


class Lent(NamedTuple):
    """A lent secret: the (host, port) pairs that it is lent to, its header, what the session has, and its value."""

    hosts: tuple[tuple[str, int], ...]
    header: str
    placeholder: str
    value: str

    def __repr__(self) -> str:
        return repr_without(self, "value")


def lend(secret: Secret, printed: bytes) -> Lent:
    """Return ``secret``, whose source has ``printed`` its value, with a new placeholder.

    Nothing printed is a dry run's. Raises ConfinedError, without the value, for one that no header can hold.
    """
    value = printed.decode("ascii", "replace").strip()
    if secret.lend is None or (printed and not _VALUE.fullmatch(value)):
        raise ConfinedError(
            f"The secret {secret.name} cannot be lent: it is not one word of 8 to 8192 characters.",
            "Lend a token or a password; what has other forms can only be given, without `lend`.",
        )
    return Lent(secret.lend.hosts, secret.lend.header, placeholder(value), value)


def placeholder(value: str) -> str:
    """Return a random text of the same kind and length as ``value``, with nothing else of it."""
    found = _KIND.match(value)
    kind = found[0] if found else ""
    rest = value[len(kind) :]
    letters = _HEX if set(rest) <= set(_HEX) else string.ascii_letters + string.digits
    return kind + "".join(random.choice(letters) for _ in rest)


def message(lent: Iterable[Lent]) -> bytes:
    """Return the line that tells the sidecar what it lends, and takes the place of every line before."""
    return json.dumps([one._asdict() for one in lent]).encode() + b"\n"
