"""Which files git includes in a repository, as git-config(1) has it: read without git, and with their conditions."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from ..host import GitVariable as Variable
from ..text import normal_path
from .gitsettings import MAX_DEPTH, expanded, is_include, read_variables

_CLASSES = {"alnum": "a-zA-Z0-9", "alpha": "a-zA-Z", "digit": "0-9", "lower": "a-z", "upper": "A-Z", "space": r"\s"}
_ANY_URL = "hasconfig:remote.*.url"
_MAX_FILES = 200  # a file may include itself


class Place(NamedTuple):
    """What the conditions of includes ask for: the git directory, the branch, the addresses of remotes, the home.

    ``git_directory`` is None where there is no repository, ``branch`` empty where none is checked out.
    """

    home: Path
    git_directory: Path | None = None
    branch: str = ""
    urls: tuple[str, ...] = ()

    def meets(self, condition: str, directory: Path) -> bool:
        """Return whether a condition holds that is in a file of ``directory``."""
        kind, _, pattern = condition.partition(":")
        if kind in ("gitdir", "gitdir/i"):
            return self._is_at(pattern, directory, re.IGNORECASE if kind == "gitdir/i" else 0)
        if kind == "onbranch":
            return bool(self.branch) and _matches(_with_all_below(pattern), self.branch)
        if condition.startswith(f"{_ANY_URL}:"):
            return any(_matches(condition.removeprefix(f"{_ANY_URL}:"), url) for url in self.urls)
        return False

    def _is_at(self, pattern: str, directory: Path, flags: int) -> bool:
        if self.git_directory is None:
            return False
        start = ""
        if pattern.startswith("~"):
            pattern = str(expanded(pattern, Path("/"))) + "/" * pattern.endswith("/")
            if pattern.startswith(f"{self.home}/"):  # of the user, by its real path
                pattern = os.path.realpath(self.home) + pattern.removeprefix(str(self.home))
        elif pattern.startswith("./"):
            start, pattern = f"{os.path.realpath(directory)}/", pattern.removeprefix("./")
        elif not pattern.startswith("/"):
            pattern = f"**/{pattern}"
        pattern = _with_all_below(pattern)
        places = (os.path.realpath(self.git_directory), normal_path(self.git_directory.absolute()))
        return any(place.startswith(start) and _matches(pattern, place.removeprefix(start), flags) for place in places)


def resolved(variables: Iterable[Variable], place: Place, *, plain: bool = True) -> Iterator[Variable]:
    """Yield ``variables`` with those of the files that they include at ``place``, in git's order.

    Unless ``plain``, those of includes without a condition are among the variables already.
    """
    left = _MAX_FILES

    def search(variables: Iterable[Variable], plain: bool, depth: int) -> Iterator[Variable]:
        nonlocal left
        for variable in variables:
            yield variable
            key, value, directory = variable
            if not is_include(key) or "\0" in value or depth >= MAX_DEPTH or left <= 0:
                continue
            condition = key.removeprefix("includeif.").removesuffix(".path")
            if plain if key == "include.path" else place.meets(condition, directory):
                left -= 1
                yield from search(read_variables(expanded(value, directory)), True, depth + 1)

    return search(variables, plain, 0)


def _with_all_below(pattern: str) -> str:
    return f"{pattern}**" if pattern.endswith("/") else pattern


def _matches(pattern: str, text: str, flags: int = 0) -> bool:
    """Return whether git's wildmatch has a path match a pattern: see gitignore(5) for ``**``."""
    parts: list[str] = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        begins = at == 0 or pattern[at - 1] == "/"
        if begins and pattern.startswith("**/", at):
            parts.append("(?:.*/)?")
            at += 3
        elif begins and pattern[at:] == "**":
            parts.append(".*")
            at += 2
        elif char == "*":
            parts.append("[^/]*")
            at += 1
        elif char == "?":
            parts.append("[^/]")
            at += 1
        elif char == "[" and (found := re.compile(r"\[([!^]?)(\]?(?:\[:\w+:\]|\\.|[^\]])*)\]").match(pattern, at)):
            inner = re.sub(r"\[:(\w+):\]", lambda name: _CLASSES.get(name[1], ""), found[2])
            inner = re.sub(r"(?<!\\)([\[\]&~|])", r"\\\1", inner)
            parts.append(f"(?!/)[{'^' if found[1] else ''}{inner}]")
            at = found.end()
        else:
            at += char == "\\" and at + 1 < len(pattern)
            parts.append(re.escape(pattern[at]))
            at += 1
    try:
        return re.fullmatch("".join(parts), text, flags | re.DOTALL) is not None
    except re.error:
        return False
