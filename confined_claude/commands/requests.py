"""``requests``: the pushes that sessions ask for, shown one after the other, and made or refused."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

from ..console import ask, show
from ..errors import ReviewNeeded
from ..fs.directory import Location
from ..guard.outgoing import Outgoing
from ..guard.push_addresses import agree, is_agreed
from ..guard.push_failures import CannotPush
from ..guard.push_request import asked, described
from ..host import Host
from ..project import Project
from ..state.projects import projects
from ..state.store import records_of, state_of
from ..text import escape
from ..workspace import Workspace


def requests(host: Host) -> None:
    """Show the pushes that wait, of all projects, and make those that the person at the terminal agrees to.

    Raises ReviewNeeded if one waits, and there is no terminal to ask on, and ConfinedError where this machine cannot
    keep what is fetched.
    """
    are_there = False
    for workspace, outgoing in _waiting(host):
        are_there = True
        root = escape(str(workspace.project.root))
        print(f"A session in {root} asks for a push to {outgoing.request.shown_url}")
        try:
            changes = outgoing.examine(workspace)
            for change in changes:
                show("\n".join(described(change)))
        except CannotPush as error:
            print(f"  It cannot be shown: {escape(error.reason)}.")
            if sys.stdin.isatty() and ask("Refuse it? [y]es, [l]ater ", "yl") == "y":
                _refuse(outgoing, escape(error.told))
            continue
        if not sys.stdin.isatty():
            continue
        is_first = not is_agreed(workspace.state, outgoing.request.url)
        show("\n".join(asked(changes, outgoing.request, is_first=is_first)))
        answer = ask("Push this, with your own rights? [y]es, [n]o, [l]ater ", "ynl")
        if answer == "y":
            agree(workspace.state, outgoing.request.url)
            _push(outgoing)
        elif answer == "n":
            _refuse(outgoing, "the user has refused it")
    if not are_there:
        print("No session asks for anything.")
    elif not sys.stdin.isatty():
        raise ReviewNeeded("Nothing is pushed: there is no terminal to ask on.", "Run it in a terminal.")


def _waiting(host: Host) -> Iterator[tuple[Workspace, Outgoing]]:
    for known in projects(state_of(host)):
        if known.root is None:
            continue
        location = records_of(host, known.id).at("requests")
        for place in [inner for session in _below(location) for inner in _below(session)]:
            if (outgoing := Outgoing.waiting(host, known.id, place)) is not None:
                yield Workspace.load_leniently(host, Project(known.root)), outgoing


def _below(location: Location) -> list[Location]:
    with contextlib.suppress(OSError), location.open() as directory:
        return [location.at(name) for name in sorted(directory.names())]
    return []


def _push(outgoing: Outgoing) -> None:
    if not outgoing.claim():
        print("It does not wait any more.")
        return
    results = outgoing.request.refused("it was interrupted")
    try:
        results = outgoing.push(lambda words: print(f"{escape(words)}."))
    finally:
        outgoing.answer(results)
    for ref, why in results.items():
        print(f"{escape(ref)} {f'is not pushed: {escape(why)}' if why else 'is pushed'}.")


def _refuse(outgoing: Outgoing, reason: str) -> None:
    if outgoing.claim():
        outgoing.answer(outgoing.request.refused(reason))
