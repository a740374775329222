"""``git = "isolated"``: sessions work on a copy of the repository, the host's stays as it is.

What they commit waits in the copy until the host's git fetches it, see ``fetching.py``. A copy is used again while the
host's repository has not changed; it is deleted once all of it is fetched.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from ..console import say
from ..engine.mount import Mount
from ..errors import ConfinedError, system_error
from ..fs.copying import copy_tree
from ..fs.directory import Directory, Location
from ..fs.removal import empty_trash, remove_tree, trash_name
from ..system import APP
from .gitrefs import is_id, names_object
from .records import ReadOnlyRecords, Records
from .repository import Repository, find

DIRECTORY = "git"  # of the copies in a project's data
_MAX_BYTES = 64 << 20
_MAX_DEPTH = 32
_PATIENCE_SECONDS = 1.0

References = dict[str, str]


class CopyPlan(NamedTuple):
    """The copy that a session works on: the directory ``name`` in ``copies``, to be made if it ``is_new``.

    ``original`` is the repository's git directory. ``references`` has those of the host by copy, as they were when
    that was made; copies that are ``obsolete`` are to be deleted.
    """

    copies: Location
    name: str
    original: Path
    is_new: bool
    references: Mapping[str, References]
    obsolete: tuple[str, ...] = ()

    @property
    def mount(self) -> Mount:
        location = self.copies.at(self.name)
        return Mount(location.base, location.parts, str(self.original))


# What HEAD says before the name of a branch.
BRANCH_IS = "ref: refs/heads/"


class Unfetched(NamedTuple):
    """A ``copy`` with branches that the repository of the project at ``root`` does not have so.

    The project's files are those of the branch that is ``checked_out`` there, and what a session has changed since.
    """

    branches: tuple[str, ...]
    root: Path
    copy: Location
    checked_out: str = ""

    @property
    def command(self) -> str:
        """The command that fetches them."""
        return f"cd {shlex.quote(str(self.root))} && {APP} fetch"


def plan_copy(
    repository: Repository, copies: Location, records: ReadOnlyRecords | None, new_name: str | None = None
) -> CopyPlan:
    """Choose the copy of ``repository`` as it is now that a session works on. Nothing is made or deleted.

    ``new_name`` is that of a copy that has to be made, by default the next number.
    """
    now = references(Location(repository.common)) | head(Location(repository.own))
    recorded = {} if records is None else records.copies()
    known = {name: then for name, then in recorded.items() if copies.at(name).path.is_dir()}
    obsolete = []
    if records is not None and not records.sessions():  # else one may be using any of them
        obsolete = [name for name, then in known.items() if then != now and not _has_news(copies.at(name), then, now)]
    remaining = {name: then for name, then in known.items() if name not in obsolete}
    name = next((name for name, then in remaining.items() if then == now), None)
    is_new = name is None
    name = name or new_name or _next_number(copies)
    return CopyPlan(copies, name, repository.common, is_new, remaining | {name: now}, tuple(obsolete))


def make_copy(plan: CopyPlan, records: Records) -> None:
    """Carry out ``plan``. Raises ConfinedError."""
    if plan.is_new or plan.obsolete:
        with plan.copies.make() as directory:
            for name in plan.obsolete:
                remove_tree(directory, name)
            if plan.is_new:
                empty_trash(directory)  # what a killed start has copied
                _make(plan, directory)
    records.save_copies(plan.references)


def _make(plan: CopyPlan, directory: Directory) -> None:
    """Make a copy in the trash, and move it to its place once it is whole: a part of one is never taken for a copy."""
    unfinished = trash_name()
    notice = threading.Timer(_PATIENCE_SECONDS, say, ["Copying the repository, which sessions then work on."])
    notice.start()
    try:
        with Location(plan.original).open() as original:
            copy_tree(original, directory, unfinished)
        directory.rename(unfinished, plan.name)
    except OSError as error:
        raise system_error("copy the repository to", directory.path / plan.name, error) from None
    finally:
        notice.cancel()
        remove_tree(directory, unfinished)


def unfetched(root: Path, copies: Location, records: ReadOnlyRecords) -> list[Unfetched]:
    """Return the copies with commits that the repository of the project at ``root`` does not have.

    Nothing in them is trusted: they are read, and git is not run.
    """
    repository = None
    with contextlib.suppress(ConfinedError):
        repository = find(root)
    here = set() if repository is None else set(references(Location(repository.common)).values())
    found = []
    for name, then in records.copies().items():
        copy = copies.at(name)
        there = references(copy) | head(copy)
        branches = tuple(
            sorted(
                reference.removeprefix("refs/heads/")
                for reference, commit in there.items()
                if commit not in here
                and then.get(reference) != commit
                and (_is_branch(reference, commit) or _is_detached(reference, commit))
            )
        )
        if branches:
            found.append(Unfetched(branches, root, copy, there["HEAD"].removeprefix(BRANCH_IS)))
    return found


def references(repository: Location) -> References:
    """Return what each reference of a repository names. No link is followed, what cannot be read is left out."""
    found: References = {}
    with contextlib.suppress(OSError), repository.open() as directory:
        for line in (directory.read("packed-refs", _MAX_BYTES) or b"").splitlines():
            commit, _, name = line.partition(b" ")
            if name and not line.startswith((b"#", b"^")):
                found[os.fsdecode(name)] = os.fsdecode(commit)
        with directory.child("refs") as refs:
            found.update(_loose(refs, "refs", 0))
    return found


def _loose(directory: Directory, prefix: str, depth: int) -> Iterator[tuple[str, str]]:
    with directory.entries() as listing:
        entries = list(listing)
    for entry in entries:
        path = f"{prefix}/{entry.name}"
        if entry.is_dir(follow_symlinks=False) and depth < _MAX_DEPTH:
            with directory.child_or_none(entry.name) as inner:
                if inner is not None:
                    yield from _loose(inner, path, depth + 1)
        elif (content := directory.read(entry.name, 4096)) is not None:
            yield path, os.fsdecode(content.strip())


def head(repository: Location) -> References:
    """Return what HEAD names, by the name HEAD; an empty name if it cannot be read."""
    return {"HEAD": os.fsdecode((repository.read("HEAD", 4096) or b"").strip())}


def _has_news(copy: Location, then: References, now: References) -> bool:
    """Return whether a copy has commits that the host has neither now nor had ``then``."""
    there = {commit for reference, commit in head(copy).items() if _is_detached(reference, commit)}
    return not there.union(references(copy).values()) <= {*then.values(), *now.values()}


def _is_branch(reference: str, commit: str) -> bool:
    return reference.startswith("refs/heads/") and names_object(os.fsencode(reference), os.fsencode(commit))


def _is_detached(reference: str, commit: str) -> bool:
    return reference == "HEAD" and is_id(os.fsencode(commit))


def _next_number(copies: Location) -> str:
    names: list[str] = []
    with contextlib.suppress(OSError), copies.open() as directory:
        names = directory.names()
    return str(1 + max((int(name) for name in names if name.isdecimal()), default=0))
