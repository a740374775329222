"""The addresses in git's settings that it fetches from or pushes to, and what is said of settings. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from .. import text

Variables = Sequence[tuple[str, str]]
MAX_NAMED = 20  # settings of one file
# The variables whose values git fetches from or pushes to.
_ADDRESS = re.compile(
    r"remote\..*\.(?:url|pushurl)|remote\.pushdefault|branch\..*\.(?:remote|pushremote)|submodule\..*\.url"
    r"|url\..*\.(?:insteadof|pushinsteadof)"
)


def named(keys: Iterable[str]) -> str:
    """Return the names of settings, each once, and how many more there are."""
    return text.named([*dict.fromkeys(keys)], MAX_NAMED)


def changed(before: Variables, settings: Variables) -> tuple[list[str], list[str]]:
    """Return in words which addresses that git fetches from or pushes to are others now, and which are new."""
    redirected, added = [], []
    known = frozenset(before)
    values: dict[str, list[str]] = {}
    for key, value in before:
        values.setdefault(key, []).append(value)
    for key, value in settings:
        if (key, value) in known or not _ADDRESS.fullmatch(key):
            continue
        then = values.get(key)
        if then:
            redirected.append(f"{key} is {value!r} and was {', '.join(map(repr, then[:MAX_NAMED]))}")
        elif "push" in key.rpartition(".")[2]:
            redirected.append(f"{key} is {value!r} and was not set")
        elif not key.startswith("branch."):
            added.append(f"{key} is {value!r} and was not set")
    return redirected, added
