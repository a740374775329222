"""Secrets that the user defines by name: the tables ``[secrets.NAME]`` in their own config file. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ConfinedError
from . import variables

# Where a value comes from, and what the key names.
SOURCES = ("variable", "file", "command", "keyring")
_KEYS = (*SOURCES, "as_variable", "as_file", "always")
# Inside: in the home directory, or where Docker has its secrets.
_PATH = re.compile(r"(~|/run/secrets)(/(?!\.\.?(/|$))[^/\0\n]+)+")


@dataclass(frozen=True)
class Secret:
    """A secret's definition: where its value comes from, and what it is in a session.

    ``source`` is one of SOURCES and ``place`` what it names. ``variable`` and ``path`` are empty if it is not given
    so. Every session has it if ``always``, else those of which a setting names it.
    """

    name: str
    source: str
    place: str
    variable: str
    path: str
    always: bool


def parse(tables: Mapping[str, Any], source: str) -> dict[str, Secret]:
    """Return the secrets in the TOML tables of the file ``source``. Raises ConfinedError for a mistake."""
    return {name: _parse(name, table, source) for name, table in tables.items()}


def _parse(name: str, table: Any, source: str) -> Secret:
    where = f"{source}: [secrets.{name}]"
    if not re.fullmatch(variables.NAME, name):
        raise ConfinedError(f"{where} has no name for a secret.", "It has letters, digits and underscores: GH_TOKEN.")
    if not isinstance(table, dict) or (unknown := sorted(set(table) - set(_KEYS))):
        what = f"has {', '.join(unknown)}, which it cannot" if isinstance(table, dict) else "is no table"
        raise ConfinedError(f"{where} {what}.", f"It takes {', '.join(_KEYS)}.")
    given = [key for key in SOURCES if key in table]
    if len(given) != 1:
        raise ConfinedError(
            f"{where} has {len(given)} places that it comes from.", f"Give one of {', '.join(SOURCES)}."
        )
    always = table.get("always", False)
    texts = {key: table[key] for key in _KEYS[:-1] if key in table}
    for key, text in texts.items():
        if not isinstance(text, str) or not text.strip() or "\0" in text:
            raise ConfinedError(f"{where}: {key} is no text.", f'Write it in quotes: {key} = "…".')
    if not isinstance(always, bool):
        raise ConfinedError(f"{where}: always is true or false.", "Write it without quotes.")
    path = texts.get("as_file", "")
    if path and not _PATH.fullmatch(path):
        raise ConfinedError(f"{where}: as_file cannot be {path}.", "It is a path like ~/.netrc or /run/secrets/NAME.")
    variable = texts.get("as_variable", "" if path else name)
    if variable and (not re.fullmatch(variables.NAME, variable) or (problem := variables.problem(variable))):
        reason = problem if re.fullmatch(variables.NAME, variable) else "it is no name of a variable"
        raise ConfinedError(f"{where} cannot be the variable {variable}: {reason}.", "Give it another as_variable.")
    if given[0] == "keyring" and not all(texts["keyring"].rpartition("/")):
        raise ConfinedError(f"{where}: keyring is no SERVICE/USERNAME.", "Write both, with a slash between them.")
    return Secret(name, given[0], texts[given[0]], variable, path, always)
