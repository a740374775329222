"""The settings, and who may set what.

Defaults < the user's config file < the project's config file < environment < flags. A clone brings
the project's file along, so that file may only narrow what a session gets, unless the user trusts it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from . import safefs
from .errors import ConfinedError, ReviewNeeded

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PREFIX = "CONFINED_CLAUDE_"


# A path from the project's root, `*` for any part of a name. What guards the rest cannot be named.
_PATTERN = r"(?!\.confined-claude(/|$)|\.git(/|$)|\*+(/|$))(?!(.*/)?\.\.?(/|$))[^/\s,]([^,\n]*[^,\s])?"


def _setting(
    default: Any, allowed: str, pattern: str, *, narrow: str | None = None, widens: str = "", many: bool = False
) -> Any:
    """A setting: its default, its values in words and as a pattern, and what a project may do with it.

    ``narrow`` is the value that a project may ask for, ``""`` any, None none: what else it asks
    for ``widens`` its confinement, with that consequence. ``many`` is for a list of such values.
    """
    meaning = {"allowed": allowed, "pattern": re.compile(pattern), "narrow": narrow, "widens": widens, "many": many}
    return field(default=default, metadata=meaning)


@dataclass(frozen=True)
class Settings:
    """One session's settings. README.md has the table for users."""

    claude_config: str = _setting("shared", "shared or project", "shared|project", narrow="project")
    caches: str = _setting("shared", "shared or project", "shared|project", narrow="project")
    claude_version: str = _setting(
        "latest",
        "latest, or a version like 2.1.330",
        r"[0-9A-Za-z][0-9A-Za-z.-]*",
        widens="an image with that version of Claude Code is built and used, with whatever holes it may have",
    )
    network: str = _setting(
        "open",
        "open, none, or docker:NAME",
        r"open|none|docker:[0-9A-Za-z][0-9A-Za-z_.-]*",
        narrow="none",
        widens="sessions join that Docker network, and reach whatever is in it",
    )
    git: str = _setting(
        "guarded",
        "guarded, isolated or open",
        "guarded|isolated|open",
        narrow="isolated",
        widens="sessions may change git's settings and hooks, which your machine runs; you are told only afterwards",
    )
    protect: tuple[str, ...] = _setting(
        (), "a list of paths in the project, * in a name", _PATTERN, narrow="", many=True
    )
    writable: tuple[str, ...] = _setting(
        (),
        "a list of paths in the project, * in a name",
        _PATTERN,
        many=True,
        widens="sessions may change these files, which your machine runs; you are told only afterwards",
    )


@dataclass(frozen=True)
class Wish:
    """What a project's file asks for beyond the defaults: a setting, its value, and what follows from it."""

    name: str
    value: str
    consequence: str


def load(
    user_file: Path,
    project_file: Path | None,
    environ: Mapping[str, str],
    flags: Mapping[str, str | None],
    is_trusted: Callable[[str], bool] = lambda _text: False,
) -> Settings:
    """The settings in force. A flag that is None was not given; a missing file sets nothing.

    ``project_file`` is None outside any project; ``is_trusted`` says of its text whether it may widen.

    Raises ConfinedError for a file that cannot be read or parsed, an unknown name, a value that
    is none, and ReviewNeeded for a project file that asks for more than the defaults and is not trusted.
    """
    settings = _merge(Settings(), _values(_read(user_file), str(user_file)))
    if project_file is not None:
        text = _read(project_file)
        asked = _values(text, str(project_file))
        if (wishes := _wishes(asked)) and not is_trusted(text):
            names = ", ".join(f"{wish.name} = {wish.value}" for wish in wishes)
            raise ReviewNeeded(
                f"{project_file} asks for more than a project may give itself: {names}.",
                "If you want that, see what it means with `confined-claude trust`, and allow it there.",
            )
        settings = _merge(settings, asked, project=True)
    known = {PREFIX + item.name.upper(): item for item in fields(Settings)}
    variables = {
        item.name: environ[variable].split(",") if item.metadata["many"] else environ[variable]
        for variable, item in known.items()
        if environ.get(variable)
    }
    settings = _merge(settings, _checked(variables, "the environment"))
    return _merge(settings, _checked({k: v for k, v in flags.items() if v is not None}, "the command line"))


def wishes(project_file: Path) -> tuple[str, tuple[Wish, ...]]:
    """The text of a project's file, and what it asks for beyond the defaults. Raises as ``load`` does."""
    text = _read(project_file)
    return text, _wishes(_values(text, str(project_file)))


def _wishes(asked: Mapping[str, Any]) -> tuple[Wish, ...]:
    found = []
    for item in fields(Settings):
        value = asked.get(item.name, item.default)
        narrow = item.metadata["narrow"]
        if value != item.default and narrow not in ("", value):
            shown = ", ".join(map(repr, value)) if item.metadata["many"] else repr(value)
            found.append(Wish(item.name, shown, item.metadata["widens"]))
    return tuple(found)


def _read(path: Path) -> str:
    return safefs.read_config(path) or ""


def _values(text: str, source: str) -> dict[str, Any]:
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfinedError(f"{source} is not valid TOML: {error}.", "Correct that line, or remove the file.") from None
    return _checked(values, source)


def _checked(values: Mapping[str, Any], source: str) -> dict[str, Any]:
    """``values`` with lists as tuples. Raises ConfinedError for an unknown name and for a value that is none."""
    known = {item.name: item.metadata for item in fields(Settings)}
    checked: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            raise ConfinedError(f"Unknown setting in {source}: {name}.", f"The settings are: {', '.join(known)}.")
        meaning = known[name]
        many = meaning["many"]
        entries = value if many and isinstance(value, list) else [None if many else value]
        if not all(isinstance(entry, str) and meaning["pattern"].fullmatch(entry) for entry in entries):
            hint = f"It is {meaning['allowed']}{', each' if many else ','} in quotes."
            raise ConfinedError(f"{source}: {name} cannot be {value!r}.", hint)
        checked[name] = tuple(entries) if many else value
    return checked


def _merge(settings: Settings, values: Mapping[str, Any], *, project: bool = False) -> Settings:
    """``settings`` with ``values`` over them.

    A project's wish for a default is not taken, it must not undo what the user narrowed; and what
    it lists comes in addition.
    """
    taken = dict(values)
    if project:
        for item in fields(Settings):
            if taken.get(item.name) == item.default:
                del taken[item.name]
            elif item.metadata["many"] and item.name in taken:
                taken[item.name] = (*getattr(settings, item.name), *taken[item.name])
    return replace(settings, **taken)
