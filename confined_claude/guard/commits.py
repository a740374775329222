"""What a session has committed that acts by itself, and is not in the work tree: it comes with a merge or a checkout.

A file of a tip is new if none of the tips known before has exactly that file. This tool's own reader of git's objects
finds them; where that cannot read on, it says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice
from typing import NamedTuple

from ..fs.directory import Location
from ..text import folded
from .findings import Finding
from .gitobjects import TREE_MODE, Objects, blob_id
from .known_files import branches
from .repository import Repository
from .rule_table import Rule
from .rules import DEPENDENCY_DIRECTORIES, Matcher
from .snapshot import KEPT_BYTES, Item, Kind, Reached, Snapshot

_MAX_VISITED = 100  # commits on the way back to a known one
_MAX_BASES = 4
_MAX_DEPTH = 100
_MAX_FILES = 20_000  # that are looked at
_MAX_FOUND = 200
_LINK_MODE = b"120000"
_FILE_MODES = frozenset((b"100644", b"100755", b"100664", _LINK_MODE))
_MAX_CHECKED_BRANCHES, _MAX_CHECKED = 5, 100  # and files in each
_UNREAD, _FORGED = (hashlib.sha256(word).hexdigest() for word in (b"unread", b"forged"))
_WHEN = "on a branch: it acts once that is merged or checked out"


class CommittedFile(NamedTuple):
    """A file at ``path`` in a new tip, which acts by ``rule``; ``name`` is that of its content for git.

    Without a rule it is the branch that could not be looked through.
    """

    branch: str
    path: str
    rule: Rule | None
    mode: bytes = b""
    name: str = ""


class _Unread(Exception):
    """An object is missing, damaged, or one too many."""


class CommittedFiles:
    """Finds what acts by itself in the tips of a ``repository`` that are not among the ``known`` commits."""

    def __init__(
        self,
        repository: Repository,
        matcher: Matcher,
        known: Collection[str],
        reached: Mapping[str, Reached],
    ) -> None:
        self._matcher = matcher
        self._known = dict.fromkeys(known)
        self._reached = {path for path, how in reached.items() if how.is_red}
        self._objects = Objects(Location(repository.common))
        self._new: dict[str, str] = {}
        for name, commit in branches(repository).items():
            if commit not in self._known:
                self._new.setdefault(commit, name)
        self._left = _MAX_FILES

    def find(self) -> Iterator[CommittedFile]:
        """Yield the files, each content once, on the first branch that has it."""
        seen = set()
        for commit, branch in self._new.items():
            try:
                for path, rule, mode, name in self._changed(commit):
                    if (path, mode, name) not in seen and not self._is_known(path, mode, name):
                        seen.add((path, mode, name))
                        yield CommittedFile(branch, path, rule, mode, name)
            except _Unread:
                yield CommittedFile(branch, "", None)
            if len(seen) > _MAX_FOUND:
                return

    def content(self, file: CommittedFile) -> bytes | None:
        """Return the content of a file; None if it is large, or cannot be read."""
        content = self._objects.blob(file.name)
        return content if content is not None and len(content) <= KEPT_BYTES else None

    def content_before(self, path: str) -> tuple[str, bytes | None]:
        """Return name and content of the file at ``path`` in the first known tip that has one, else an empty name."""
        for commit in self._known:
            if (entry := self._objects.entry(commit, path)) is not None:
                return entry[1], self._objects.blob(entry[1])
        return "", None

    def _is_known(self, path: str, mode: bytes, name: str) -> bool:
        return any(self._objects.entry(commit, path) == (mode, name) for commit in self._known)

    def _changed(self, commit: str) -> Iterator[tuple[str, Rule, bytes, str]]:
        tree = self._objects.root(commit)
        if tree is None:
            raise _Unread
        bases = [self._objects.root(base) for base in self._bases(commit)]
        yield from self._below(tree, frozenset(filter(None, bases)), (), None)

    def _bases(self, commit: str) -> list[str]:
        """Return the nearest known commits that ``commit`` descends from; else the first known one, if any."""
        bases: list[str] = []
        queue = [commit]
        for visited, one in enumerate(queue):  # which becomes longer
            if visited > _MAX_VISITED or len(bases) >= _MAX_BASES:
                break
            for parent in self._objects.parents(one):
                if parent in self._known:
                    bases.append(parent)
                elif parent not in queue:
                    queue.append(parent)
        return bases or list(self._known)[:1]

    def _below(
        self, tree: str, others: frozenset[str], parents: tuple[str, ...], rule: Rule | None, prefix: str = ""
    ) -> Iterator[tuple[str, Rule, bytes, str]]:
        """Yield what acts by itself below a tree, and is not the same in one of ``others``, at its place elsewhere."""
        if tree in others:
            return
        entries = self._objects.tree(tree) if len(parents) < _MAX_DEPTH else None
        if entries is None:
            raise _Unread
        known = [found for other in others if (found := self._objects.tree(other)) is not None]
        is_ruled = DEPENDENCY_DIRECTORIES.isdisjoint(parents)
        for raw, (mode, name) in entries.items():
            there = [found[raw] for found in known if raw in found]
            if (mode, name) in there:
                continue
            self._left -= 1
            if self._left < 0:
                raise _Unread
            part = raw.decode("utf-8", "surrogateescape")
            lower, path = folded(part), f"{prefix}{part}"
            if mode == TREE_MODE:
                own = rule or (self._matcher.find(lower, parents, is_directory=True) if is_ruled else None)
                inner = frozenset(one for kind, one in there if kind == TREE_MODE)
                yield from self._below(name, inner, (*parents, lower), own, f"{path}/")
            elif mode in _FILE_MODES:
                find = self._matcher.find_link if mode == _LINK_MODE else self._find_file
                own = rule or (find(lower, parents) if is_ruled else None)
                if own is None and path in self._reached:
                    own = Rule("what leads to it", True, ())
                if own is not None and own.red:
                    yield path, own, mode, name

    def _find_file(self, name: str, parents: tuple[str, ...]) -> Rule | None:
        return self._matcher.find(name, parents, is_directory=False)


def findings(
    repository: Repository,
    matcher: Matcher,
    known: Collection[str],
    snapshots: Iterable[Snapshot],
    reached: Mapping[str, Reached],
) -> Iterator[Finding]:
    """Yield the findings in tips that are not among the ``known`` commits.

    A file that one of the ``snapshots`` has unchanged at its place is none.
    """
    files = CommittedFiles(repository, matcher, known, reached)
    work_trees = [snapshot.items for snapshot in snapshots]
    for file in files.find():
        if file.rule is None:
            why = "a branch that could not be scanned: it is too large, or parts of it are elsewhere"
            yield Finding(f"{file.branch}:", Kind.COMMITTED, False, "", why, None, None, "", _UNREAD)
        elif not any(_is_there(items, file) for items in work_trees):
            name, before = files.content_before(file.path)
            why = f"{'changed' if name else 'new'} {_WHEN}"
            path = f"{file.branch}:{file.path}"
            after = files.content(file)
            yield Finding(path, Kind.COMMITTED, False, file.rule.runs, why, before, after, name, file.name)


def forged(repository: Repository, paths: Iterable[str]) -> Iterator[Finding]:
    """Yield the findings for branches, and files at ``paths`` in them, whose objects are not what their names say.

    Git writes such files without a word: it looks at what an object has, and at its name only in ``git fsck``.
    """
    objects = Objects(Location(repository.common))
    commits: dict[str, str] = {}
    for name, commit in branches(repository).items():
        commits.setdefault(commit, name)
    checked: set[str] = set()
    for commit, branch in islice(commits.items(), _MAX_CHECKED_BRANCHES):
        for path in ("", *islice(paths, _MAX_CHECKED)):
            _check(objects, commit, path, checked)
            if objects.forged:
                objects.forged.clear()
                why = "the content of git's object for it does not match the object's name, see `git fsck`"
                runs = "git, at a checkout"
                yield Finding(f"{branch}:{path}", Kind.COMMITTED, True, runs, why, None, None, "", _FORGED)


def _check(objects: Objects, commit: str, path: str, checked: set[str]) -> None:
    """Read the objects of a file, or of the root if there is no ``path``; those in ``checked`` once."""
    if not path:
        root = objects.root(commit)
        if root is not None:
            objects.tree(root)
    elif (entry := objects.entry(commit, path)) is not None and entry[1] not in checked:
        checked.add(entry[1])
        objects.blob(entry[1])


def is_still_there(repository: Repository | None, finding: Finding) -> bool:
    """Return whether the branch of a finding still has what was found there."""
    branch, _, path = finding.path.partition(":")
    commit = branches(repository).get(branch)
    if repository is None or commit is None:
        return False
    objects = Objects(Location(repository.common))
    if finding.digest_after == _FORGED:
        _check(objects, commit, path, set())
        return bool(objects.forged)
    return not path or (objects.entry(commit, path) or ("", ""))[1] == finding.digest_after


def _is_there(items: Mapping[str, Item], file: CommittedFile) -> bool:
    """Return whether a work tree has exactly this file: then it is known, or reported as such."""
    item = items.get(file.path)
    if item is None or item.content is None:
        return False
    content = item.content.partition(b"\0")[0] if item.kind == Kind.LINK else item.content
    return blob_id(content, file.name) == file.name


def changed(repository: Repository, matcher: Matcher, known: Collection[str]) -> dict[str, list[str]]:
    """Return the paths that act by themselves in tips which are not among the ``known``, by branch."""
    found: dict[str, list[str]] = {}
    for file in CommittedFiles(repository, matcher, known, {}).find():
        found.setdefault(file.branch, []).extend(filter(None, [file.path]))
    return found
