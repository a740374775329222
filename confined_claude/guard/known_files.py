"""Which files a session did not write: they are as they were before it, at the project's root or in a branch.

A worktree, or a switch to another branch, puts such files into the project. Only branch tips that no session made
count: else a session could commit something for the next one to check out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..fs.directory import Location
from .findings import Finding
from .gitobjects import Objects, blob_id
from .isolation import head, references
from .records import Before, Records
from .repository import Repository
from .rules import Matcher
from .snapshot import Item, Kind, Snapshot

_MAX_TIPS = 500  # in which a file is looked for
_NAME = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_BRANCHES = ("refs/heads/", "refs/stash", "refs/remotes/")
_FILE, _PROGRAM = b"100644", b"100755"


def branches(repository: Repository | None) -> dict[str, str]:
    """Return the commits that HEAD, branches and the stash name now, by their names for a person.

    Those of other repositories' branches are included.
    """
    if repository is None:
        return {}
    named = references(Location(repository.common))
    found = {"HEAD": head(Location(repository.own))["HEAD"]}
    for prefix in _BRANCHES:
        below = (name for name in sorted(named) if name.startswith(prefix))
        found |= {name.removeprefix(prefix) or "stash": named[name] for name in below}
    return {name: commit for name, commit in found.items() if _NAME.fullmatch(commit)}


def known_tips(records: Records, repository: Repository | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the branch tips that no session made, as of now, and those that one did."""
    tips, made = dict.fromkeys(branches(repository).values()), frozenset(records.made_tips())
    return tuple(tip for tip in tips if tip not in made), tuple(tip for tip in tips if tip in made)


def record_made_tips(records: Records, repository: Repository | None, before: Iterable[str]) -> None:
    """Record which branch tips a session may have made: those that were not there, or not known, ``before`` it."""
    now = set(branches(repository).values())
    known = records.made_tips()
    if (made := sorted((set(known) | now - set(before)) & now)) != known:
        records.save_made_tips(made)


class KnownFiles:
    """What a project at ``root`` had ``before`` a session, as files that the session may have put elsewhere."""

    def __init__(self, root: Path, repository: Repository, before: Before, matcher: Matcher) -> None:
        self._root = root
        self._repository = repository
        self._before = before
        self._matcher = matcher
        self._objects = Objects(Location(repository.common))
        self._tips = before.tips[:_MAX_TIPS]

    def without_known(
        self, findings: Iterable[Finding], after: Snapshot, work_trees: Mapping[str, Path]
    ) -> list[Finding]:
        """Return the findings without those files that are known.

        ``work_trees`` are the paths of the repository's linked worktrees in the project, with their git directories.
        """
        trees = {
            tree: own
            for tree, own in work_trees.items()
            if self._matcher.rule_of(tree.split("/"), is_directory=True) is None
        }
        return [
            finding
            for finding in findings
            if finding.kind not in (Kind.FILE, Kind.REACHED)
            or not self._is_known(finding.path, after.items.get(finding.key), trees)
        ]

    def _is_known(self, path: str, item: Item | None, trees: Mapping[str, Path]) -> bool:
        tree = next((tree for tree in sorted(trees, reverse=True) if path.startswith(f"{tree}/")), "")
        below = path.removeprefix(f"{tree}/") if tree else path
        if item is None:
            own = trees.get(tree, self._repository.own)
            return self._is_switched_away(below, self._before.snapshot.items.get(path), own)
        if item.content is None or (is_program := _is_program(self._root, path)) is None:
            return False
        old = self._before.snapshot.items.get(below)
        if tree and old is not None and (old.kind, old.digest) == (Kind.FILE, item.digest):
            return _is_program(self._root, below) == is_program
        mode = _PROGRAM if is_program else _FILE
        return any(self._objects.entry(tip, below) == (mode, blob_id(item.content, tip)) for tip in self._tips)

    def _is_switched_away(self, path: str, old: Item | None, own: Path) -> bool:
        """Return whether a file went with a switch of branches: one had it like this, and that of ``own`` has none.

        Both were there before the session, and the file was not there by itself.
        """
        named = head(Location(own))["HEAD"]
        if named.startswith("ref: "):
            named = references(Location(self._repository.common)).get(named[5:], "")
        if old is None or named not in self._before.tips or not self._objects.lacks(named, path):
            return False
        entries = [(tip, self._objects.entry(tip, path)) for tip in self._tips]
        if old.content is None:
            return any(entry is not None for _, entry in entries)
        return any(entry is not None and entry[1] == blob_id(old.content, tip) for tip, entry in entries)


def _is_program(root: Path, path: str) -> bool | None:
    """Return whether the file is executable for its owner; None if that is not to be known. No link is followed."""
    *parents, name = path.split("/")
    try:
        with Location(root, tuple(parents)).open() as directory:
            return bool(directory.stat(name).st_mode & 0o100)
    except OSError:
        return None
