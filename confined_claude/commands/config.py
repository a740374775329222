"""``config``: the settings in force, each with its value and where it comes from."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from functools import partial
from typing import Any

from ..console import say
from ..errors import ConfinedError, ReviewNeeded
from ..host import Host
from ..settings import SPECS, openings
from ..settings.files import ProjectFiles
from ..settings.resolution import Resolved, resolve
from ..state import trust
from ..state.current import current_project
from ..state.store import records_of
from ..text import escape
from . import accounts

VERSION = 1
_DEFAULT = "default"


def config(host: Host, *, as_json: bool) -> None:
    """Print the settings that a session started here would have. Raises ConfinedError for a mistake in a file."""
    resolved, notes = resolve_here(host)
    here = None
    with contextlib.suppress(ConfinedError):
        here = current_project(host)
    account = accounts.in_force(host, here, resolved.settings)
    if as_json:
        print(json.dumps({**in_json(resolved), "profile": account.document()}, indent=2))
    else:
        print("\n".join((*lines(resolved), f"# {accounts.line(account, resolved.settings.profile)}")))
    for note in notes:
        say(note)


def resolve_here(host: Host) -> tuple[Resolved, list[str]]:
    """Return the settings in force here, and notes on why the project has no say in them.

    Raises ConfinedError for a mistake in a file.
    """
    try:
        here = current_project(host)
    except ConfinedError as error:
        return resolve(host.user_config_file, None, host.environ, {}), [error.message]
    files = ProjectFiles.read(here.scaffold)
    trusted = partial(trust.is_trusted, records_of(host, here.id))
    try:
        return resolve(host.user_config_file, files, host.environ, {}, trusted), []
    except ReviewNeeded as error:
        found = resolve(host.user_config_file, None, host.environ, {})
        return found, [f"No session starts here until that is allowed. {error.message}", error.hint]


def lines(resolved: Resolved) -> Iterator[str]:
    """Yield one line for each setting, as in a config file, with where it comes from."""
    texts = {name: f"{name} = {_toml(value)}" for name, value in values(resolved).items()}
    width = min(max(map(len, texts.values())), 40)
    for name, text in texts.items():
        yield escape(f"{text:<{width}}  # {' and '.join(resolved.sources.get(name, (_DEFAULT,)))}")
    if opened := openings.line(resolved.settings):
        yield f"# {opened}"
    for name in resolved.not_taken:
        yield escape(f"# The project's {name} does not apply: what is in force is narrower, or yours.")


def in_json(resolved: Resolved) -> dict[str, Any]:
    """Return the same for programs. ``settings`` has by name the value, and its sources: none for a default."""
    return {
        "version": VERSION,
        "settings": {
            name: {"value": value, "sources": list(resolved.sources.get(name, ()))}
            for name, value in values(resolved).items()
        },
        "not_taken": list(resolved.not_taken),
    }


def values(resolved: Resolved) -> dict[str, str | list[str]]:
    """Return by name what is in force, without secrets: texts, and lists of texts."""
    found = {name: SPECS[name].masked(value) for name, value in resolved.settings._asdict().items()}
    return {name: value if isinstance(value, str) else list(value) for name, value in found.items()}


def _toml(value: str | list[str]) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return '"' + "".join(map(_toml_character, value)) + '"'


def _toml_character(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    return character if character.isprintable() else f"\\U{ord(character):08x}"
