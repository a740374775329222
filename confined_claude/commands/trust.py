"""``trust``: what the project's files ask for beyond the defaults, shown and allowed."""

from __future__ import annotations

import sys

from ..console import confirmed, show
from ..errors import ReviewNeeded
from ..fs.directory import Location
from ..host import Host
from ..settings import dockerfile
from ..settings.files import ProjectFiles
from ..state import trust as state
from ..state.current import current_project
from ..state.store import records_of
from ..text import diff, escape


def trust(host: Host, digest: str | None) -> None:
    """Print what the current project's files ask for, and allow it if the user agrees.

    ``digest`` allows the content with that hash without a question. Raises ReviewNeeded if nothing is allowed.
    """
    here = current_project(host)
    files = ProjectFiles.read(here.scaffold)
    records = records_of(host, here.id)
    lines = explain(records, files)
    if not lines:
        print("This project's files ask for nothing that needs your trust.")
        return
    show("\n".join(lines))
    digest = digest or _confirmed(state.digest_of(files))
    state.allow(records, ProjectFiles.read(here.scaffold), digest)  # as they are by now
    print("Allowed, as long as they stay as they are.")


def explain(records: Location, files: ProjectFiles) -> list[str]:
    """Return what ``files`` ask for, line by line; no lines if that is nothing, or allowed already.

    The lines end with the Dockerfile, and with the difference from what was allowed last.
    """
    requests = files.requests()
    if not requests or state.is_trusted(records, files):
        return []
    lines = [f"{files.scaffold} asks for more than the defaults:"]
    lines += [f"  {escape(request.what)}: {request.consequence}" for request in requests]
    last = state.last_allowed(records)
    if files.dockerfile and not (last and last.dockerfile):
        lines += [f"The {dockerfile.NAME}:", *_indented(files.dockerfile.splitlines())]
    if last is not None:
        changes = diff(last.config.splitlines(), files.config.splitlines())
        changes += diff(last.places, files.places())
        if last.dockerfile:
            changes += diff(last.dockerfile.splitlines(), files.dockerfile.splitlines())
        lines += ["It has changed since you last allowed it:", *_indented(changes)] if changes else []
    return lines


def _confirmed(digest: str) -> str:
    """Return ``digest`` if the person at the terminal agrees. Raises ReviewNeeded."""
    if not sys.stdin.isatty():
        raise ReviewNeeded("Nothing is allowed: there is no terminal to ask on.", f"Allow it with --hash {digest}")
    if not confirmed("Allow this?"):
        raise ReviewNeeded("Nothing is allowed.", "Narrow the file, or set what you want in your own config file.")
    return digest


def _indented(lines: list[str]) -> list[str]:
    return [f"  {escape(line)}" for line in lines]
