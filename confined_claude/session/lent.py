"""Secrets that are lent: the session has a placeholder, and the sidecar puts the value into requests. Pure."""

from __future__ import annotations

import json
import re
import secrets as random
import shlex
import string
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ..errors import ConfinedError
from ..project import CONTAINER_HOME
from ..settings.secrets import HTTPS_PORT, Secret
from ..text import repr_without

# What tells one kind of token from another is no secret, and programs look at it. All else is random.
_KIND = re.compile(r"github_pat_|gh[oprsu]_|sk-ant-[a-z]+[0-9]+-|sk-|npm_|pypi-|glpat-|hf_|xox[a-z]-|")
# git knows no other header for it.
_BASIC = "authorization"
_HEX = string.digits + "abcdef"
# What a header can hold: no blank, and enough that no other word of a request is the same.
_FEWEST = 8
NOT_LENDABLE = "cannot be lent: it is not one word of 8 to 8192 characters."
_VALUE = re.compile(rf"[!-~]{{{_FEWEST},8192}}")


class Lent(NamedTuple):
    """A lent secret: the (host, port) pairs that it is lent to, its header, what the session has, and its value.

    ``name`` is its own, and ``word`` what a shell in the session makes the placeholder of; empty if no program but
    Claude Code has a use for it.
    """

    hosts: tuple[tuple[str, int], ...]
    header: str
    placeholder: str
    value: str
    name: str = ""
    word: str = ""

    def __repr__(self) -> str:
        return repr_without(self, "value")


def lend(secret: Secret, printed: bytes) -> Lent:
    """Return ``secret``, whose source has ``printed`` its value, with a new placeholder.

    Nothing printed is a dry run's. Raises ConfinedError, without the value, for one that no header can hold.
    """
    value = printed.decode("ascii", "replace").strip()
    if secret.lend is None or (printed and not is_lendable(value)):
        raise ConfinedError(
            f"The secret {secret.name} {NOT_LENDABLE}",
            "Lend a token or a password; what has other forms can only be given, without `lend`.",
        )
    path = shlex.quote(secret.path.replace("~", str(CONTAINER_HOME), 1))
    word = f'"${secret.variable}"' if secret.variable else f'"$(cat {path})"'
    return Lent(*secret.lend, placeholder(value), value, secret.name, word)


def is_lendable(value: str) -> bool:
    """Return whether a header can hold ``value``, and nothing else of a request is likely to be the same."""
    return _VALUE.fullmatch(value) is not None


def placeholder(value: str) -> str:
    """Return a random text of the same kind and length as ``value``, with nothing else of it."""
    found = _KIND.match(value)
    kind = found[0] if found and len(value) - found.end() >= _FEWEST else ""
    rest = value[len(kind) :]
    letters = _HEX if set(rest) <= set(_HEX) else string.ascii_letters + string.digits
    return kind + "".join(random.choice(letters) for _ in rest)


def hide(text: str, lent: Iterable[Lent]) -> str:
    """Return ``text`` with placeholders for the values of ``lent``, also as JSON and git's settings have them."""
    for one in sorted(lent, key=lambda one: len(one.value), reverse=True):  # one may be a part of another
        for form in {one.value, json.dumps(one.value)[1:-1]} - {""}:
            text = text.replace(form, one.placeholder)
    return text


def message(lent: Iterable[Lent]) -> bytes:
    """Return the line that tells the sidecar what it lends, and takes the place of every line before."""
    parts = ("hosts", "header", "placeholder", "value")
    return json.dumps([{part: getattr(one, part) for part in parts} for one in lent]).encode() + b"\n"


def git_settings(lent: Iterable[Lent]) -> Iterator[tuple[str, str]]:
    """Yield the (key, value) pairs with which git signs in to the hosts of ``lent``, by the placeholder alone.

    GitHub takes any user, and a token as the password. git says `erase` once a host has refused that.
    """
    for one in lent:
        for host, port in one.hosts if one.header == _BASIC and one.word else ():
            place = f"https://{host}" + (f":{port}" if port != HTTPS_PORT else "")
            refused = f"confined-claude: {host} does not accept the secret {one.name}, which you lend to it."
            yield (
                f"credential.{place}.helper",
                f"!f() {{ case $1 in get) printf 'username=x-access-token\npassword=%s\n' {one.word} ;; "
                f"erase) echo '{refused}' >&2 ;; esac; }}; f",
            )
