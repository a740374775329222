"""``config``: the settings in force and where they are from, as text and as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from . import dockerfile, trust
from .errors import ConfinedError
from .guard.report import shown
from .host import Host
from .project import Project
from .settings import DEFAULT, LEAST, MANY, WAITS, Origin, ProjectFiles, Resolved, kind_of, resolve

VERSION = 1


@dataclass(frozen=True)
class Config:
    """What ``config`` shows. ``project`` is None where there can be none, and ``reason`` says why."""

    project: Project | None
    reason: str
    resolved: Resolved
    has_dockerfile: bool


def config(here: Project | ConfinedError, host: Host, flags: Mapping[str, str | None]) -> Config:
    """The settings in force for the project ``here``, or outside any, where ``here`` is the reason.

    Raises ConfinedError for a wrong file, variable or flag.
    """
    if isinstance(here, ConfinedError):
        resolved = resolve(host.user_config_file, None, host.environ, flags)
        return Config(None, here.message, resolved, has_dockerfile=False)
    files = ProjectFiles.read(here.scaffold)
    resolved = resolve(host.user_config_file, files, host.environ, flags, partial(trust.is_trusted, here, host))
    return Config(here, "", resolved, has_dockerfile=bool(files.dockerfile))


def as_text(found: Config) -> Iterator[str]:
    """A line for each setting, and below it one for each place that has a say in it."""
    if found.project is None:
        yield f"No project: {shown(found.reason)}"
    else:
        yield f"Project: {shown(str(found.project.root))}"
    for name, origins in found.resolved.origins.items():
        value = shown(_words(getattr(found.resolved.settings, name), limit=kind_of(name) == LEAST)) or "(none)"
        taken = [origin for origin in origins if not origin.refused]
        if [origin.source for origin in origins] == [DEFAULT]:
            yield f"{name} = {value} ({DEFAULT})"
            continue
        yield f"{name} = {value}"
        several = len(taken) > 1 and kind_of(name) in (MANY, LEAST)
        for origin in taken:
            yield f"    {shown(origin.source)}" + (f": {_said(origin)}" if several else "")
        for origin in origins:
            if origin.refused:
                yield f"    {shown(origin.source)}: {_said(origin)}: not taken, {origin.refused}"
    if found.has_dockerfile:
        state = f"not taken, {WAITS}" if found.resolved.waiting else "goes into the image"
        yield f"{dockerfile.NAME} of the project: {state}"
    if found.resolved.waiting:
        yield "Nothing starts here before `confined-claude trust`, or without what waits for it."


def as_json(found: Config) -> str:
    """The same for programs. A list is a list, a limit the list of all that are set, of which the lowest counts."""
    value: dict[str, Any] = {
        "version": VERSION,
        "project": None if found.project is None else str(found.project.root),
        "settings": {
            name: {
                "value": getattr(found.resolved.settings, name),
                "from": [_plain(origin) for origin in origins if not origin.refused],
                "not_taken": [_plain(origin) | {"reason": origin.refused} for origin in origins if origin.refused],
            }
            for name, origins in found.resolved.origins.items()
        },
        "dockerfile": found.has_dockerfile,
        "waits_for_trust": [wish.what for wish in found.resolved.waiting],
    }
    return json.dumps(value, indent=2)


def _plain(origin: Origin) -> dict[str, Any]:
    return {"source": origin.source, "value": origin.value}


def _said(origin: Origin) -> str:
    return shown(_words(origin.value)) or "(none)"


def _words(value: str | tuple[str, ...], *, limit: bool = False) -> str:
    """A value in words. Of a limit's values it is the lowest, if that can be told without the machine."""
    if isinstance(value, str):
        return value
    if limit and len(value) > 1:
        for unit in ("", "%"):
            if all(re.fullmatch(rf"[0-9.]+{unit}", word) for word in value):
                return min(value, key=lambda word: float(word.rstrip("%")))
        return f"the lowest of {', '.join(value)}"
    return ", ".join(value)
