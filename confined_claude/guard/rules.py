"""How a path finds its rule: the matcher of the patterns in ``rule_table``. Pure."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..text import folded, starred
from .rule_table import OWN, RULES, SAFEGUARDS, Rule

# The file that makes a directory a virtual environment of Python.
VENV_MARK = "pyvenv.cfg"
# Conda's. An environment of either kind is also known by what is in its bin/, should the mark be missing.
CONDA_MARK = "conda-meta"
ENVIRONMENT_PROGRAM = r"(?i)activate|conda|pypy[\d.]*|python[\d.]*"
# Package managers fill these: their files are too many to report one by one, and change all the time.
DEPENDENCY_DIRECTORIES = frozenset(
    ("node_modules", "bower_components", "site-packages", ".tox", ".nox", "__pypackages__")
)

_SPECIAL = r"[*?\[\]]"  # what fnmatch takes for more than itself


class _Pattern(NamedTuple):
    parents: tuple[str, ...]
    anchored: bool
    is_directory: bool
    rule: Rule
    order: int
    name: str

    def fits(self, parents: Sequence[str]) -> bool:
        """Return whether the parent directories, folded, are those of the pattern."""
        count = len(self.parents)
        if len(parents) < count or (self.anchored and len(parents) != count):
            return False
        return all(map(fnmatch.fnmatchcase, parents[len(parents) - count :], self.parents))


class Matcher:
    """Finds the rule of a path, one name at a time, for scans of large trees."""

    def __init__(self, rules: tuple[Rule, ...]) -> None:
        self.rules = rules
        self._exact: dict[str, list[_Pattern]] = {}
        self._globs: list[_Pattern] = []
        self._holders: list[_Pattern] = []
        for order, rule in enumerate(rules):
            for text in rule.patterns:
                *parents, name = folded(text).strip("/").split("/")
                anchored = text.startswith("/")
                parents = [starred(parent) for parent in parents]
                for count, parent in enumerate(parents):
                    self._holders.append(_Pattern(tuple(parents[:count]), anchored, True, rule, order, parent))
                pattern = _Pattern(tuple(parents), anchored, text.endswith("/"), rule, order, name)
                if "*" in name:
                    self._globs.append(pattern._replace(name=starred(name)))
                else:
                    self._exact.setdefault(name, []).append(pattern)
        # What a name that has one of them begins with, or else ends with, by its first and its last letter. Most names
        # have none: this tells it faster than an expression does.
        self._begins: dict[str, tuple[str, ...]] = {}
        self._ends: dict[str, tuple[str, ...]] = {}
        self._has_open = False  # one with neither
        for pattern in self._globs:
            begin, *_, end = re.split(_SPECIAL, pattern.name)
            if begin:
                self._begins[begin[0]] = (*self._begins.get(begin[0], ()), begin)
            elif end:
                self._ends[end[-1]] = (*self._ends.get(end[-1], ()), end)
            else:
                self._has_open = True

    def rule_of(self, path: Sequence[str], *, is_directory: bool = False) -> Rule | None:
        """Return the rule of a path from the project's root: the first of its own and of the directories it is in."""
        found = self._pattern_of(path, is_directory=is_directory)
        return found[0].rule if found else None

    def place_of(self, path: Sequence[str]) -> tuple[str, ...]:
        """Return the directory for which a file with a rule acts: that of `.github`, say, for what is in it."""
        found = self._pattern_of(path, is_directory=False)
        return tuple(path[: found[1] - len(found[0].parents)]) if found else ()

    def _pattern_of(self, path: Sequence[str], *, is_directory: bool) -> tuple[_Pattern, int] | None:
        """Return the pattern that a path has its rule from, and how many names are before the one that matches it."""
        parts = [folded(part) for part in path]
        last = len(parts) - 1
        found = [
            (pattern, count)
            for count, part in enumerate(parts)
            if (pattern := self._find(part, parts[:count], is_directory=is_directory or count < last))
        ]
        return min(found, key=lambda match: match[0].order, default=None)

    def find(self, name: str, parents: Sequence[str], *, is_directory: bool) -> Rule | None:
        """Return the rule of ``name``, folded like ``parents``; None for most."""
        pattern = self._find(name, parents, is_directory=is_directory)
        return pattern.rule if pattern else None

    def _find(self, name: str, parents: Sequence[str], *, is_directory: bool) -> _Pattern | None:
        patterns: Sequence[_Pattern] = self._exact.get(name, ())
        if (
            name.startswith(self._begins.get(name[:1], ()))
            or name.endswith(self._ends.get(name[-1:], ()))
            or self._has_open
        ):
            globs = (pattern for pattern in self._globs if fnmatch.fnmatchcase(name, pattern.name))
            patterns = (*patterns, *globs)
        if not patterns:
            return None
        fitting = [pattern for pattern in patterns if pattern.is_directory == is_directory and pattern.fits(parents)]
        return min(fitting, key=lambda pattern: pattern.order, default=None)

    def find_link(self, name: str, parents: Sequence[str]) -> Rule | None:
        """Return the rule of a link, which may stand for a file, a directory, or one that holds what has a rule."""
        rule = self.find(name, parents, is_directory=False) or self.find(name, parents, is_directory=True)
        holders = (holder for holder in self._holders if fnmatch.fnmatchcase(name, holder.name))
        return rule or next((holder.rule for holder in holders if holder.fits(parents)), None)


def rules_for(protect: Iterable[str], writable: Iterable[str], found: Iterable[Rule] = ()) -> tuple[Rule, ...]:
    """Return the rules of a project: the user's own first, then those ``found`` in it.

    What is opened by ``writable`` is yellow.
    """
    opened, protected = _rooted(writable), _rooted(protect)
    own = [Rule("your programs (you made it writable)", False, opened, is_user_writable=True)] if opened else []
    own += [Rule("your programs (you named it in `protect`)", True, protected)] if protected else []
    return (OWN, *own, *found, *RULES, *SAFEGUARDS)


def _rooted(patterns: Iterable[str]) -> tuple[str, ...]:
    """Return the patterns of a config file, each of which may mean a file or a directory."""
    plain = (pattern.removesuffix("/**").strip("/") for pattern in patterns)
    return tuple(form for pattern in plain for form in (f"/{pattern}", f"/{pattern}/"))
