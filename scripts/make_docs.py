#!/usr/bin/env python3
"""Make what of the manual is made: pages from the code, and the site from all pages.

``make_docs.py`` writes the pages in docs/reference that derive from the code. ``make_docs.py site DIRECTORY`` collects
the pages of docs/ and those of the repository's root, as the source of the site that zensical.toml describes.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

from confined_claude import errors
from confined_claude.commands import catalogue

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
OF_THE_ROOT = ("SECURITY.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")
LINK = re.compile(r"(\]\()([^)#:]+)(?=[)#])")
EXIT_CODES = {
    0: "All is well, or Claude itself ended with 0.",
    1: "`doctor` has found a problem; or Claude's own.",
    errors.USAGE: "Wrong usage or configuration, or something on this machine prevents the command.",
    errors.ENGINE: "The engine is missing, out of reach, or refused what was asked of it.",
    errors.REVIEW: "Something waits for your review or your trust.",
    errors.INTERRUPTED: "Ctrl-C, as in any shell.",
    errors.READER_GONE: "What read the output has closed the pipe, as in any shell.",
}


def commands_page() -> str:
    """Return the page that lists every command with its flags, as `--help` explains them."""
    first = "Each is a command of `confined-claude`, and a task of `inv` in a project with the scaffold."
    lines = ["# Commands", "", first]
    for group, names in catalogue.GROUPS.items():
        lines += ["", f"## {group}"]
        for name in names:
            command = catalogue.COMMANDS[name]
            first, *rest = (command.body.__doc__ or "").strip().splitlines()
            line = " ".join((name, "[OPTIONS]" if command.flags else "", catalogue.ARGUMENTS.get(name, "")))
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


MADE = {"reference/commands.md": commands_page, "reference/exit-codes.md": exit_codes_page}


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
            linked = places.get(Path(os.path.normpath(page.parent / found[2])))
            return found[1] + (os.path.relpath(linked, place.parent) if linked else found[2])

        place.write_text(LINK.sub(led, page.read_text()))


if __name__ == "__main__":
    if sys.argv[1:2] == ["site"]:
        collect(Path(sys.argv[2]))
    else:
        for name, make in MADE.items():
            (DOCS / name).write_text(make())
