#!/usr/bin/env python3
"""Make what of the manual is made: pages from the code, and the site from all pages.

``make_docs.py`` writes the pages in docs/reference that derive from the code, and the schema of a project's
config.toml. ``make_docs.py site DIRECTORY`` collects the pages of docs/ and those of the repository's root, as the
source of the site that zensical.toml describes.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from confined_claude import errors
from confined_claude.commands import catalogue, groups
from confined_claude.settings import SPECS, Kind
from confined_claude.settings.specs import Spec
from confined_claude.text import normal_path

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
OF_THE_ROOT = ("SECURITY.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")
LINK = re.compile(r"(\]\()([^)#:]+)(?=[)#])")
# Of the settings that take numbers, those that are no ports.
NUMBERS = {
    "pids": {"type": "integer", "minimum": 1, "maximum": 9_999_999},
    "cpus": {"type": "number", "exclusiveMinimum": 0, "maximum": 9999},
}
EXIT_CODES = {
    0: "All is well, or Claude itself ended with 0.",
    1: "`doctor` has found a problem, or `login` has brought no new sign-in; or Claude's own.",
    errors.USAGE: "Wrong usage or configuration, or something on your machine prevents the command.",
    errors.ENGINE: "The engine is missing, out of reach, or refused what was asked of it.",
    errors.REVIEW: "Something waits for your review or your trust.",
    errors.INTERRUPTED: "Ctrl-C, as in any shell.",
    errors.READER_GONE: "What read the output has closed the pipe, as in any shell.",
}


def commands_page() -> str:
    """Return the page that lists every command with its flags, as `--help` explains them."""
    first = "Each is a command of `confined-claude`, and a task of `inv` in a project with the scaffold."
    lines = ["# Commands", "", first]
    for group, names in groups.GROUPS.items():
        lines += ["", f"## {group}"]
        for name in names:
            command = catalogue.COMMANDS[name]
            first, *rest = (command.body.__doc__ or "").strip().splitlines()
            line = " ".join((name, "[OPTIONS]" if command.flags else "", groups.ARGUMENTS.get(name, "")))
            lines += ["", f"### {name}", "", f"{first}.", "", f"    confined-claude {' '.join(line.split())}"]
            if rest:
                lines += ["", "```text", *(line.removeprefix("    ") for line in rest if line.strip()), "```"]
            if command.flags:
                lines += ["", "| Option | What it does |", "|---|---|"]
            for option, flag in command.options.items():
                value = "" if command.flags[flag] is False else " VALUE"
                lines += [f"| `{option}{value}` | {command.help[flag].replace('|', chr(92) + '|')} |"]
    return "\n".join(lines) + "\n"


def exit_codes_page() -> str:
    """Return the page of the exit codes."""
    rows = [f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items()]
    text = "`run`, `shell` and `exec` end with the exit code of what they ran, unless one of these comes first."
    return "\n".join(["# Exit codes", "", text, "", "| Code | Meaning |", "|---|---|", *rows]) + "\n"


def schema() -> str:
    """Return the JSON schema of a project's config.toml, by which editors complete and check it."""
    may_be = {name: spec for name, spec in SPECS.items() if spec.widens or spec.narrow or spec.is_free}
    described: dict[str, Any] = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Settings of Confined Claude in a project",
        "type": "object",
        "additionalProperties": False,
        "properties": {name: _property(name, spec) for name, spec in may_be.items()},
    }
    return json.dumps(described, indent=1) + "\n"


def _property(name: str, spec: Spec) -> dict[str, Any]:
    meanings = "; ".join(f"{value}: {text}" for value, text in spec.meanings.items())
    trust = f"beyond the default it needs trust: {spec.widens}" if spec.widens else ""
    text = ". ".join(filter(None, (spec.help, spec.values, meanings, trust)))
    choices = [value for value in spec.scale if spec.widens or spec.is_harmless(value)]
    kinds: list[dict[str, Any]] = [{"enum": choices}] if choices else []
    if spec.pattern and (spec.widens or spec.is_free):
        kinds.append({"type": "string", "pattern": f"^({spec.pattern})$"})
    if spec.is_number:
        kinds.append(NUMBERS.get(name, {"type": "integer", "minimum": 1, "maximum": 65535}))
    entry = kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
    lists = {"type": "array", "items": entry}
    if spec.kind is Kind.LIMIT:
        return {"description": text, "anyOf": [*kinds, {**lists, "minItems": 1}]}
    return {"description": text, **(lists if spec.is_list else entry)}


MADE = {
    "docs/reference/commands.md": commands_page,
    "docs/reference/exit-codes.md": exit_codes_page,
    "template/.confined-claude/config.schema.json": schema,
}


def collect(target: Path) -> None:
    """Fill ``target`` with all pages, their links led to where the site has them."""
    places = {page: target / page.relative_to(DOCS) for page in DOCS.rglob("*") if page.is_file()}
    places |= {ROOT / name: target / name for name in OF_THE_ROOT}
    places[ROOT / "README.md"] = target / "index.md"
    for page, place in places.items():
        place.parent.mkdir(parents=True, exist_ok=True)
        if page.suffix != ".md":
            shutil.copy(page, place)
            continue

        def led(found: re.Match[str], page: Path = page, place: Path = place) -> str:
            linked = places.get(Path(normal_path(page.parent / found[2])))
            return found[1] + (os.path.relpath(linked, place.parent) if linked else found[2])

        place.write_text(LINK.sub(led, page.read_text()))


if __name__ == "__main__":
    if sys.argv[1:2] == ["site"]:
        collect(Path(sys.argv[2]))
    else:
        for name, make in MADE.items():
            (ROOT / name).write_text(make())
