"""The settings in force, told: each with its value and where it comes from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from ..console import plain
from ..settings.resolution import Resolved

VERSION = 1
_DEFAULT = "default"


def told(resolved: Resolved) -> Iterator[str]:
    """One line for each setting, as it stands in a config file, with where it comes from."""
    shown = {name: f"{name} = {_toml(value)}" for name, value in values(resolved).items()}
    width = max(map(len, shown.values()))
    for name, text in shown.items():
        sources = " and ".join(resolved.sources.get(name, (_DEFAULT,)))
        yield plain(f"{text:<{min(width, 40)}}  # {sources}")
    for name in resolved.not_taken:
        yield plain(f"# The project's {name} is not taken: what is in force is narrower, or yours.")


def as_json(resolved: Resolved) -> dict[str, Any]:
    """The same for programs. ``settings`` has by name the value, and its sources: none for a default."""
    return {
        "version": VERSION,
        "settings": {
            name: {"value": value, "sources": list(resolved.sources.get(name, ()))}
            for name, value in values(resolved).items()
        },
        "not_taken": list(resolved.not_taken),
    }


def values(resolved: Resolved) -> dict[str, str | list[str]]:
    """By name what is in force: texts, and lists of texts."""
    found = asdict(resolved.settings)
    return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}


def _toml(value: str | list[str]) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
