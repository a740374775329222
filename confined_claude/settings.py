"""The settings, and who may set what.

Defaults < the user's config file < the project's config file < environment < flags. The agent
can write the project's file, so that file may only narrow what a session gets.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from . import safefs
from .errors import ConfinedError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PREFIX = "CONFINED_CLAUDE_"


def _setting(default: str, allowed: str, pattern: str, narrow: str = "") -> Any:
    """A setting: its default, its values in words and as a pattern, the value a project may ask for."""
    return field(default=default, metadata={"allowed": allowed, "pattern": re.compile(pattern), "narrow": narrow})


@dataclass(frozen=True)
class Settings:
    """One session's settings. README.md has the table for users."""

    claude_config: str = _setting("shared", "shared or project", "shared|project", narrow="project")
    caches: str = _setting("shared", "shared or project", "shared|project", narrow="project")
    claude_version: str = _setting("latest", "latest, or a version like 2.1.330", r"[0-9A-Za-z][0-9A-Za-z.-]*")
    network: str = _setting(
        "open", "open, none, or docker:NAME", r"open|none|docker:[0-9A-Za-z][0-9A-Za-z_.-]*", narrow="none"
    )


def load(
    user_file: Path, project_file: Path | None, environ: Mapping[str, str], flags: Mapping[str, str | None]
) -> Settings:
    """The settings in force. A flag that is None was not given; a missing file sets nothing.

    ``project_file`` is None outside any project.

    Raises ConfinedError for a file that cannot be read or parsed, an unknown name, a value that
    is none, and for a project file that asks for more than the defaults give.
    """
    settings = Settings()
    settings = _apply(settings, _read(user_file), str(user_file))
    if project_file is not None:
        settings = _apply(settings, _read(project_file), str(project_file), project=True)
    known = {PREFIX + item.name.upper(): item.name for item in fields(Settings)}
    variables = {name: environ[variable] for variable, name in known.items() if environ.get(variable)}
    settings = _apply(settings, variables, "the environment")
    return _apply(settings, {name: value for name, value in flags.items() if value is not None}, "the command line")


def _read(path: Path) -> dict[str, Any]:
    text = safefs.read_config(path)
    try:
        values: dict[str, Any] = tomllib.loads(text or "")
    except (ValueError, RecursionError) as error:
        raise ConfinedError(f"{path} is not valid TOML: {error}.", "Correct that line, or remove the file.") from None
    return values


def _apply(settings: Settings, values: Mapping[str, Any], source: str, *, project: bool = False) -> Settings:
    known = {item.name: item for item in fields(Settings)}
    taken = {}
    for name, value in values.items():
        if name not in known:
            raise ConfinedError(f"Unknown setting in {source}: {name}.", f"The settings are: {', '.join(known)}.")
        meaning = known[name].metadata
        if not isinstance(value, str) or not meaning["pattern"].fullmatch(value):
            raise ConfinedError(f"{source}: {name} cannot be {value!r}.", f"It is {meaning['allowed']}, in quotes.")
        if not project or value == meaning["narrow"]:
            taken[name] = value
        elif value != known[name].default:
            raise ConfinedError(
                f"{source} asks for {name} = {value!r}, which a project may not grant itself.",
                f"If you want it, set {name} in your own config file or with {PREFIX}{name.upper()}.",
            )
    # A project's wish for a default is not taken: it must not undo what the user narrowed.
    return replace(settings, **taken)
