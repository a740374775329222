"""The scan of what git's settings lead to: the files that they name, and the commands that they run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from ..fs.directory import Directory, Location
from ..text import folded
from .gitsettings import commands, led_to, links_of_hooks, settings_of
from .reach import Start
from .snapshot import Kind
from .walk import Walk


class NamedScan:
    """Scans what git's settings lead to, where no rule of the tree applies."""

    def __init__(self, root: Path, walk: Walk) -> None:
        self._root = root
        self._walk = walk
        self.commands: list[tuple[Path, str]] = []  # of nested repositories

    def scan(self, named_in_git: Iterable[Path]) -> None:
        """Note the files ``named_in_git``, and what the settings of nested repositories lead to."""
        for path in named_in_git:
            self._add(path)
        nested = [path for path in self._walk.snapshot.git_directories if not Path(path).is_absolute()]
        for git in nested:
            self._walk.check(git)
            directory = self._root / git
            top = directory.parent if folded(directory.name) == ".git" else directory
            variables = settings_of(directory)
            self.commands += [(top, command) for command in commands(variables)]
            for path in (*led_to(variables, top), *links_of_hooks(directory / "hooks")):
                is_inside = path.is_relative_to(self._root) and not directory.is_relative_to(path)
                if is_inside and self._name(path) not in self._walk.snapshot.items:
                    self._add(path)

    def start(self, command: str, top: Path) -> Start:
        """Return what starts because git's settings have ``command`` in the work tree ``top``."""
        directory = self._name(top).removeprefix(".") if top.is_relative_to(self._root) else ""
        return Start("git", "its settings", command, directory, is_setting=True)

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self._root)) if path.is_relative_to(self._root) else str(path)

    def _add(self, path: Path) -> None:
        base = self._root if path.is_relative_to(self._root) else Path("/")
        parts = path.relative_to(base).parts
        if parts:
            with contextlib.suppress(OSError), Location(base, parts[:-1]).open() as directory:
                self._add_all(directory, self._name(path))

    def _add_all(self, directory: Directory, path: str) -> None:
        """Note a file, or all files in a directory, no link among them."""
        name = path.rpartition("/")[2]
        if directory.is_file(name):
            self._walk.add_file(directory, path, Kind.GIT_FILE)
        elif directory.is_directory(name):
            with self._walk.enter(directory, name, path, path.count("/")) as inner:
                if inner is not None:
                    for entry in self._walk.entries(inner, path):
                        self._add_all(inner, f"{path}/{entry.name}")
