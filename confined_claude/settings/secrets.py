"""Secrets that the user defines by name: the tables ``[secrets.NAME]`` in their own config file. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..errors import ConfinedError
from . import variables
from .specs import SPECS

# Where a value comes from, and what the key names.
SOURCES = ("variable", "file", "command", "keyring")
_TEXTS = (*SOURCES, "as_variable", "as_file")
_KEYS = (*_TEXTS, "always", "lend")
HTTPS_PORT = 443
_HEADER = re.compile(r"[A-Za-z0-9-]{1,64}")
# They are about the connection, or say where a request goes and where it ends.
_NO_HEADERS = frozenset(
    "host connection content-length transfer-encoding te trailer upgrade expect keep-alive proxy-authorization "
    "proxy-connection proxy-authenticate".split()
)
_MOST_HOSTS = 50
# This machine, as it is named in a session.
OWN = r"(localhost|.*\.localhost|.*\.docker\.internal)\.?"
# Inside: in the home directory, but not in the place of what it has there, or where Docker has its secrets.
_PATH = re.compile(r"(~(?!/workspace(/|$)|/\.config$)|/run/secrets)(/(?!\.\.?(/|$))[^/\0\n]+)+")


class Lend(NamedTuple):
    """To whom a secret is lent: (host, port) pairs, and the header of requests that it is put into, in lower case."""

    hosts: tuple[tuple[str, int], ...]
    header: str


class Secret(NamedTuple):
    """A secret's definition: where its value comes from, and what it is in a session.

    ``source`` is one of SOURCES and ``place`` what it names. ``variable`` and ``path`` are empty if it is not given
    so. Every session has it if ``always``, else those of which a setting names it. If there is ``lend``, a session has
    a placeholder in its place.
    """

    name: str
    source: str
    place: str
    variable: str
    path: str
    always: bool
    lend: Lend | None = None


def parse(tables: Mapping[str, Any], source: str) -> dict[str, Secret]:
    """Return the secrets in the TOML tables of the file ``source``. Raises ConfinedError for a mistake."""
    return {name: _parse(name, table, source) for name, table in tables.items()}


def _parse(name: str, table: Any, source: str) -> Secret:
    where = f"{source}: [secrets.{name}]"
    if not re.fullmatch(variables.NAME, name):
        hint = "Use letters, digits and underscores: GH_TOKEN."
        raise ConfinedError(f"{source}: {name} is not a valid name for a secret.", hint)
    if not isinstance(table, dict) or (unknown := sorted(set(table) - set(_KEYS))):
        what = f"has {', '.join(unknown)}, which are no keys of it" if isinstance(table, dict) else "is not a table"
        raise ConfinedError(f"{where} {what}.", f"It takes {', '.join(_KEYS)}.")
    given = [key for key in SOURCES if key in table]
    if len(given) != 1:
        raise ConfinedError(f"{where} has {len(given)} sources.", f"Give one of {', '.join(SOURCES)}.")
    always = table.get("always", False)
    texts = {key: table[key] for key in _TEXTS if key in table}
    for key, text in texts.items():
        if not isinstance(text, str) or not text.strip() or "\0" in text:
            raise ConfinedError(f"{where}: {key} must be text.", f'Write it in quotes: {key} = "…".')
    if not isinstance(always, bool):
        raise ConfinedError(f"{where}: always must be true or false.", "Write it without quotes.")
    path = texts.get("as_file", "")
    if path and not _PATH.fullmatch(path):
        raise ConfinedError(
            f"{where}: as_file cannot be {path}.", "It must be a path like ~/.netrc or /run/secrets/NAME."
        )
    variable = texts.get("as_variable", "" if path else name)
    if variable and (not re.fullmatch(variables.NAME, variable) or (problem := variables.problem(variable))):
        reason = problem if re.fullmatch(variables.NAME, variable) else "it is not the name of a variable"
        raise ConfinedError(f"{where} cannot be the variable {variable}: {reason}.", "Give it another as_variable.")
    if given[0] == "keyring" and not all(texts["keyring"].rpartition("/")):
        raise ConfinedError(f"{where}: keyring must be SERVICE/USERNAME.", "Write both, with a slash between them.")
    lend = _lend(table["lend"], where) if "lend" in table else None
    return Secret(name, given[0], texts[given[0]], variable, path, always, lend)


def _lend(table: Any, where: str) -> Lend:
    """Return to whom a secret is lent. Raises ConfinedError for a mistake."""
    if not isinstance(table, dict) or set(table) - {"hosts", "header"}:
        raise ConfinedError(
            f"{where}: lend must have hosts, and may have a header.", 'lend = {hosts = ["api.github.com"]}'
        )
    hosts, header = table.get("hosts"), table.get("header", "Authorization")
    known = isinstance(hosts, list) and [host for host in hosts if SPECS["allow"].allows(host) and host[:2] != "*."]
    if not known or known != hosts or len(known) > _MOST_HOSTS:
        raise ConfinedError(
            f"{where}: hosts must be a list of full host names.",
            f'Name each in full, 1 to {_MOST_HOSTS} of them: hosts = ["api.github.com", "git.example.com:8443"].',
        )
    if own := [host for host in known if re.fullmatch(OWN, host.partition(":")[0].lower())]:
        raise ConfinedError(
            f"{where}: {own[0]} is your machine, to which nothing can be lent.", "Give the secret instead."
        )
    if not isinstance(header, str) or not _HEADER.fullmatch(header) or header.lower() in _NO_HEADERS:
        raise ConfinedError(f"{where}: the header cannot be {header!r}.", "It is Authorization, X-Api-Key or the like.")
    pairs = (host.lower().partition(":") for host in known)
    return Lend(tuple(sorted({(host, int(port or HTTPS_PORT)) for host, _, port in pairs})), header.lower())
