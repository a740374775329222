"""The files that git's settings lead to: what they include, run, or take hooks from. Read without git."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Set
from itertools import islice, pairwise
from pathlib import Path
from typing import NamedTuple

from ..fs.directory import Location
from ..fs.identity import ways
from ..host import GitVariable as Variable
from ..project import SCAFFOLD
from ..text import folded, normal_path
from . import gitconfig, repository
from .repository import Repository

_MAX_CONFIG_BYTES = 1 << 20
_MAX_OWN_CONFIG_BYTES = 64 << 10  # of a submodule or linked worktree
MAX_DEPTH = 10  # of includes: git's own bound
# More are not looked at. A session that makes more has made settings that are red.
_MAX_HOOKS = 200
_MAX_VARIABLES = 1000  # that act, and paths that they name
_MAX_INCLUDED, _FILE_COST = 100_000, 1000  # variables of included files, and how many a file counts for
_MAX_WORDS = 100
_MAX_COMMAND = 4096  # characters
# Git's own files, which are pinned and scanned anyway.
_KNOWN = frozenset(("config", "config.worktree", "commondir", "hooks"))
_TOOLS = frozenset(("mergetool", "difftool", "browser", "man", "guitool"))
# No file that a setting names has this in its name.
_PATTERN = r"[*?\[%]|://"
# Settings whose value is a path that git only reads as data.
_DATA = (
    r"(?:commit\.template|blame\.ignorerevsfile|core\.(?:excludesfile|worktree)|mailmap\.(?:file|blob)|user\.signingkey"
    r"|gpg\.ssh\..*file|http\..*|safe\.directory|fsck\.skiplist|format\.signaturefile|sendemail\..*file"
    r"|url\..*|remote\..*\.(?:url|pushurl|fetch|push))"
)
_WORDS = r"[^\s'\"!;&|()<>$`=]+"
_INTERPRETER = (
    r"(?:ba|da|z|k|fi|a|c|tc)?sh|\.|source|exec|env|xargs|make|(?:python|pypy|perl|ruby|node|php|lua|tclsh)[0-9.]*"
    r"|g?awk|bun|deno|tsx|ts-node|uv|pwsh|Rscript|osascript|busybox|nohup|time|timeout|nice|sudo"
)
# The names of githooks(5), for a directory that has other things too.
_HOOKS = tuple(
    """applypatch-msg pre-applypatch post-applypatch pre-commit pre-merge-commit prepare-commit-msg commit-msg
    post-commit pre-rebase post-checkout post-merge pre-push pre-receive update proc-receive post-receive post-update
    reference-transaction push-to-checkout pre-auto-gc post-rewrite sendemail-validate fsmonitor-watchman
    p4-changelist p4-prepare-changelist p4-post-changelist p4-pre-submit post-index-change""".split()
)


def read_variables(path: Path, limit: int = _MAX_CONFIG_BYTES) -> list[Variable]:
    """Return the variables of a config file of at most ``limit`` bytes; none for any other, and if git refuses it."""
    with contextlib.suppress(ValueError):
        content = Location(path.parent).read(path.name, limit) or b""
        return [Variable(key, value, path.parent) for key, value in gitconfig.parse_config(content)]
    return []


def led_to(variables: Iterable[Variable], top: Path) -> Iterator[Path]:
    """Yield the files and directories that git obeys or runs in the work tree ``top`` because of ``variables``.

    They may be missing. Every link on the way to a file is yielded too.
    """
    named = (path for variable in _acting(variables) for path in _named(variable, top))
    for path in islice(named, _MAX_VARIABLES):
        yield from places(path)


def _acting(variables: Iterable[Variable]) -> Iterator[Variable]:
    """Yield the variables, included ones too, that are not harmless. No number of harmless ones pushes these out."""
    found = (one for one in dict.fromkeys(with_included(variables)) if _acts(one.key, one.value))
    return islice(found, _MAX_VARIABLES)


def _acts(key: str, value: str) -> bool:
    return is_include(key) or _is_path(key) or _is_command(key, value)


def with_included(variables: Iterable[Variable]) -> Iterator[Variable]:
    """Yield the variables, and those of the files that they include. Conditions of includes are taken to be met."""
    seen: set[Path] = set()
    left = _MAX_INCLUDED

    def search(variables: Iterable[Variable], depth: int) -> Iterator[Variable]:
        nonlocal left
        for variable in variables:
            yield variable
            if is_include(variable.key) and depth < MAX_DEPTH and left > 0:
                included = Path(os.path.realpath(expanded(variable.value, variable.directory)))
                if included not in seen:
                    seen.add(included)
                    inner = read_variables(included)
                    left -= len(inner) + _FILE_COST
                    yield from search(inner, depth + 1)

    return search(variables, 0)


def commands(variables: Iterable[Variable]) -> Iterator[str]:
    """Yield the values that git runs, or hands to a program that it runs."""
    for key, value, _ in _acting(variables):
        if not is_include(key) and _is_command(key, value):
            yield value


def links_of_hooks(hooks: Path) -> Iterator[Path]:
    """Yield where the links in a directory of hooks lead, with every link on the way."""
    with contextlib.suppress(OSError):
        with Location(hooks).open() as directory:
            links = [name for name in directory.names()[:_MAX_HOOKS] if directory.is_link(name)]
        for name in links:
            yield from places(hooks / name)


def places(path: Path) -> Iterator[Path]:
    """Yield every link on the way to ``path``, an absolute path, and what it is in the end."""
    found = [*ways(path)]
    yield from (Path(way) for way in found if way == found[-1] or os.path.islink(way))  # noqa: PTH114 - for each file


def is_include(key: str) -> bool:
    """Return whether a variable names a file that git includes, if only under a condition."""
    return key.startswith(("include.", "includeif.")) and key.endswith(".path")


def expanded(value: str, base: Path) -> Path:
    """Return the path in a setting, which may begin with ``~`` or be relative to ``base``."""
    # "~name" stays as it is without such a user.
    return base / os.path.expanduser(value)  # noqa: PTH111


def _named(variable: Variable, top: Path) -> Iterator[Path]:
    """Yield the absolute paths that the value of a variable names."""
    key, value, directory = variable
    if "\0" in value:
        return
    if is_include(key):
        yield expanded(value, directory)
    elif _is_path(key):
        path = expanded(value, top)
        yield path
        if key == "core.hookspath":
            yield from (path / hook for hook in _HOOKS)
            yield from links_of_hooks(path)
    elif _is_command(key, value):
        for word, is_program in _words(value):
            path = expanded(word, top)
            inner = top / word.partition("/")[2]  # of "$PWD/x", say
            if is_program and not _is_directory(path) and ("/" in word or "." in word or _is_file(path)):
                yield path
            yield from (one for one in (path, inner) if "/" in word and _is_file(one) and os.access(one, os.X_OK))


def _is_path(key: str) -> bool:
    """Return whether the value of a variable is a path as a whole, from the top of the work tree."""
    section, _, name = key.partition(".")
    return name in ("hookspath", "attributesfile", "templatedir") or (section in _TOOLS and name.endswith(".path"))


def _is_command(key: str, value: str) -> bool:
    if key.startswith("alias.") and not value.startswith(("!", "-")):
        return False  # a command of git's own
    return not gitconfig.is_harmless(key, value) and re.fullmatch(_DATA, key) is None


def _words(command: str) -> Iterator[tuple[str, bool]]:
    """Yield the words of a command that may be files, each with whether it is run: by itself, or by an interpreter."""
    command = command[:_MAX_COMMAND]
    words = re.findall(_WORDS, command)
    with contextlib.suppress(ValueError):
        words += shlex.split(command.removeprefix("!"))
    is_interpreted = False
    for index, word in enumerate(words[:_MAX_WORDS]):
        is_program = (not index and "/" in word) or is_interpreted
        if not word.startswith("-") and not re.search(_PATTERN, word):
            yield word, is_program
        is_interpreted = is_interpreted or re.fullmatch(_INTERPRETER, word.rpartition("/")[2]) is not None


def _is_directory(path: Path) -> bool:
    return os.path.isdir(path)  # noqa: PTH112 - no error for any name


def _is_file(path: Path) -> bool:
    return os.path.isfile(path)  # noqa: PTH113 - no error for any name


class NamedFiles(NamedTuple):
    """What git's settings lead to where a session can write.

    ``in_tree`` are paths below the project's root, ``anywhere`` those that the user's settings name in any work tree.
    ``in_git`` are absolute paths in git directories. ``commands`` are what the settings run, each with the work tree.
    """

    in_tree: tuple[str, ...] = ()
    anywhere: tuple[str, ...] = ()
    in_git: tuple[Path, ...] = ()
    commands: tuple[tuple[Path, str], ...] = ()


def named_files(root: Path, own: Repository | None, user: Iterable[Variable], files: Iterable[Path] = ()) -> NamedFiles:
    """Return what the settings lead to that git reads in the project at ``root``: the ``user``'s and the repository's.

    ``own`` is the project's repository, if it has one; else that of a directory above it counts. ``files`` are those
    with the user's settings, which may be links into the project.
    """
    general = list(user)
    trees = list(_work_trees(root, own))
    git_directories = {directory for directory, _ in trees}
    found = dict.fromkeys(place for path in files for place in places(path))
    common = trees[0][0] if trees else root / ".git"
    shared = settings_of(common)
    run: dict[tuple[Path, str], None] = {}
    for directory, top in trees or [(common, root)]:
        variables = general + (shared if directory == common or directory.parent == common / "worktrees" else [])
        if directory != common:
            variables += settings_of(directory, _MAX_OWN_CONFIG_BYTES)
        found |= dict.fromkeys(led_to(variables, top))
        run |= dict.fromkeys((top, command) for command in commands(variables))
        found |= dict.fromkeys(links_of_hooks(directory / "hooks"))
    outside = () if own is None or own.common.is_relative_to(root) else (own.common,)
    kept = [
        path for path in found if _can_change(path, root, (*outside, root)) and not _is_known(path, git_directories)
    ]
    all_kept = frozenset(kept)
    kept = [path for path in kept if all_kept.isdisjoint(path.parents)]
    in_git = [path for path in kept if is_in_git(path, root)]
    in_tree = [str(path.relative_to(root)) for path in kept if not is_in_git(path, root)]
    return NamedFiles(tuple(in_tree), tuple(dict.fromkeys(_anywhere(general))), tuple(in_git), tuple(run))


def settings_of(directory: Path, limit: int = _MAX_CONFIG_BYTES) -> list[Variable]:
    """Return the variables in the config files of a git directory, each of at most ``limit`` bytes."""
    return [variable for name in ("config", "config.worktree") for variable in read_variables(directory / name, limit)]


def is_in_git(path: Path, root: Path) -> bool:
    """Return whether a path is in a git directory, as far as its name says, or outside the project."""
    return not path.is_relative_to(root) or ".git" in (folded(part) for part in path.relative_to(root).parts)


def _work_trees(root: Path, own: Repository | None) -> Iterator[tuple[Path, Path]]:
    """Yield the git directories whose settings count, each with its work tree."""
    if own is None:
        if (above := repository.above(root)) is not None:
            yield repository.common_of(above), above
        return
    for directory in own.git_directories():
        top = root if directory in (own.common, own.own) else repository.work_tree(directory)
        if top is not None:
            yield directory, top


def _can_change(path: Path, root: Path, bases: Iterable[Path]) -> bool:
    return path.parts[len(root.parts) :][:1] != (SCAFFOLD,) and any(
        path.is_relative_to(base) and path != base for base in bases
    )


def _is_known(path: Path, git_directories: Set[Path]) -> bool:
    """Return whether a path is that of a git directory, or pinned and scanned as a part of one."""
    return path in git_directories or any(
        above in git_directories and inner.name in _KNOWN for inner, above in pairwise((path, *path.parents))
    )


def _anywhere(variables: Iterable[Variable]) -> Iterator[str]:
    """Yield the relative paths that settings of the user name, and that each work tree may have."""
    for key, value, _ in variables:
        if _is_path(key):
            words = [value]
        else:
            words = [word for word, runs in _words(value) if runs and "/" in word] if _is_command(key, value) else []
        for path in map(normal_path, words):
            if not path.startswith(("/", "~", "..")) and path != "." and not is_include(key):
                yield path
