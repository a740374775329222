"""The files of the tree that settings, hooks and scripts lead to in turn, as far as their words say so.

What starts programs by itself is known: a hook, settings of git or of an agent, what a shell reads. Each file that it
names, and each that those name, acts with it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ..fs.directory import Directory, Location
from ..project import SCAFFOLD
from ..text import normal_path
from . import words
from .rules import DEPENDENCY_DIRECTORIES, Matcher
from .snapshot import TOO_FAR, Item, Kind, Reached
from .walk import Walk
from .words import Named

_MAX_CHARACTERS = 2 << 20  # that are searched
_MAX_FOUND = 1000  # that are noted
_MAX_LOOKS = 20_000  # for a file
_MAX_BASES = 24  # directories from which one text may name something
_MAX_NAMES = 20_000  # in a directory
_DEPTH = 2
_PROGRAM = 0o111

# The suffixes of what an interpreter runs, and of what it imports.
_SCRIPTS = frozenset(
    """sh bash zsh fish ksh csh py pyw pyc so js mjs cjs jsx ts mts cts tsx node rb pl pm php lua awk sed ps1 tcl r jl
    exs groovy kts el vim nu nix scm bat cmd exe wasm""".split()
)
# Of what programs only read. It counts where something names it that starts by itself.
_DATA = frozenset("json jsonc json5 toml yaml yml ini cfg conf config env properties xml txt rc mk".split())
_TEXTS = frozenset("md mdc rst adoc html css svg png jpg jpeg gif pdf lock csv iml".split())
# Files of a rule that start nothing by themselves, or name files that they do not start.
_QUIET_SUFFIXES = _TEXTS | {"xml", "sublime-workspace", "code-snippets"}
_QUIET = frozenset((".idea", ".vs", ".fleet", "launch.json", "extensions.json"))
_NO_HOOKS = frozenset(("config", "config.worktree", "index", "HEAD", "commondir", "attributes"))


class Start(NamedTuple):
    """Something that starts programs by itself: what does so, where it stands, the text, and its directory."""

    runs: str
    path: str
    text: str
    directory: str = ""
    is_setting: bool = False


class _Text(NamedTuple):
    start: Start
    text: str
    directory: str
    depth: int


class ReachScan:
    """Notes what is reached on behalf of ``walk``, whose snapshot has all that starts something.

    ``packages`` are directories that are reported as a whole.
    """

    def __init__(self, root: Path, matcher: Matcher, walk: Walk, packages: Iterable[str], since_ns: int | None) -> None:
        self._root = root
        self._matcher = matcher
        self._walk = walk
        self._snapshot = walk.snapshot
        self._packages = frozenset(packages)
        self._since_ns = since_ns or 0
        self._looks = _MAX_LOOKS
        self._characters = _MAX_CHARACTERS
        self._modes: dict[str, int] = {}
        self._users: dict[str, str] = {}  # the texts that use a package.json
        self._names: dict[str, Mapping[str, list[str]]] = {}

    def scan(self, settings: Iterable[Start]) -> None:
        """Note what the ``settings`` of git lead to, and what the files do that are in the snapshot."""
        # Those at the root come first: a session can make others.
        starts = sorted(self._starts(), key=lambda start: start.path.count("/"))
        texts = [_Text(start, start.text, start.directory, 0) for start in (*settings, *starts)]
        for text in texts:  # which becomes longer
            self._walk.check(text.directory)
            self._characters -= len(text.text)
            for path, is_red in self._found(text) if self._characters >= 0 else ():
                content = self._note(path, Reached(text.start.runs, text.start.path, is_red), text.text)
                if content is not None and text.depth < _DEPTH - 1:
                    directory = path.rpartition("/")[0]
                    texts.append(_Text(text.start, words.text_of(path, content), directory, text.depth + 1))
                if len(self._snapshot.reached) > _MAX_FOUND:
                    break
            if min(self._looks, self._characters, _MAX_FOUND - len(self._snapshot.reached)) < 0:
                self._walk.add_unscanned("", TOO_FAR)
                return

    def _starts(self) -> Iterator[Start]:
        for path, item in self._snapshot.items.items():
            if not item.content or item.kind not in (Kind.FILE, Kind.GIT_FILE):
                continue
            directory, _, name = path.rpartition("/")
            if item.kind == Kind.GIT_FILE:
                if "/hooks/" in path or (name not in _NO_HOOKS and item.content.startswith(b"#!")):
                    place = "" if path.startswith("/") else f"/{directory}".rpartition("/.git")[0][1:]
                    yield Start("git", path, words.text_of(path, item.content), place)
                continue
            rule = self._matcher.rule_of(path.split("/"))
            if rule is None or not rule.red or path.startswith(f"{SCAFFOLD}/") or _is_quiet(path, item.content):
                continue
            yield Start(rule.runs, path, words.text_of(path, item.content), directory)

    def _found(self, text: _Text) -> Iterator[tuple[str, bool]]:
        """Yield the files that a text leads to, each with whether it runs them."""
        bases = self._bases(text)
        for one in dict.fromkeys(words.paths_in(text.text)):
            for base in bases:
                yield from self._resolved(one, base, text)
        for tool, names in words.tools(text.text).items():
            for base in bases:
                for name in (*names, *self._configuration(base, tool)):
                    if stat.S_ISREG(self._mode(path := _joined(base, name))):
                        yield path, True

    def _bases(self, text: _Text) -> list[str]:
        """Return the directories from which a text may name something: its own, all above it, and where it goes to."""
        parts = [part for part in text.directory.split("/") if part]
        bases = ["/".join(parts[:count]) for count in range(min(len(parts), _MAX_BASES // 2), -1, -1)]
        if not words.goes_elsewhere(text.text):
            return bases
        named = dict.fromkeys(words.paths_in(text.text))
        paths = [_joined(base, path) for one in named for path in _readings(one.path, self._root) for base in bases]
        elsewhere = (path for path in dict.fromkeys(paths) if path not in bases and stat.S_ISDIR(self._mode(path)))
        return [*bases, *islice(elsewhere, _MAX_BASES - len(bases))]

    def _resolved(self, one: Named, base: str, text: _Text) -> Iterator[tuple[str, bool]]:
        if one.is_module:
            parts = [part for part in one.path.split("/") if part]
            for count in range(1, len(parts) + 1):
                module = _joined(base, "/".join(parts[:count]))
                yield from self._modules(module, text)
                for name in ("__init__", "__main__"):
                    yield from self._modules(f"{module}/{name}", text)
            return
        for reading in _readings(one.path, self._root):
            path = _joined(base, reading)
            if stat.S_ISREG(self._mode(path)):
                yield from self._file(path, runs=one.runs, text=text, has_directory="/" in one.path)
                return
            if path and "/" in one.path:  # its suffix may be missing
                yield from self._modules(path, text)
                if stat.S_ISDIR(self._mode(path)) and (one.runs or one.path.startswith(".")):
                    for name in ("index", "__main__", "__init__"):
                        yield from self._modules(f"{path}/{name}", text)

    def _modules(self, path: str, text: _Text) -> Iterator[tuple[str, bool]]:
        """Yield the scripts that ``path`` may stand for without its suffix."""
        directory, _, stem = path.rpartition("/")
        for name in self._listed(directory).get(stem, ()):
            if name.rpartition(".")[2] in _SCRIPTS:
                yield from self._file(_joined(directory, name), runs=True, text=text)

    def _file(self, path: str, *, runs: bool, text: _Text, has_directory: bool = False) -> Iterator[tuple[str, bool]]:
        """Yield a path if it is that of a file that matters, with whether it is run."""
        mode = self._mode(path)
        if not stat.S_ISREG(mode) or path == text.start.path:
            return
        suffix = PurePosixPath(path).suffix[1:].lower()
        is_program = bool(mode & _PROGRAM) and suffix not in _DATA
        if suffix in _TEXTS and not is_program:
            return
        if text.start.is_setting and not text.depth:
            yield path, True
        elif suffix in _DATA:
            if not text.depth:
                yield path, False
        elif runs or suffix in _SCRIPTS or (has_directory and (is_program or not suffix)):
            yield path, True

    def _configuration(self, base: str, tool: str) -> Iterator[str]:
        for stem, names in self._listed(base).items():
            if stem in (f"{tool}.config", f".{tool}rc"):
                yield from names

    def _note(self, path: str, reached: Reached, text: str) -> bytes | None:
        """Note a file that is reached, unless another rule covers it; return its content if that is new and small."""
        real = os.path.realpath(self._root / path)
        if not real.startswith(f"{self._root}/"):
            return None  # a link out of the project is noted as such
        parts = tuple(real.removeprefix(f"{self._root}/").split("/"))
        name = "/".join(parts)
        rule = self._matcher.rule_of(parts)
        is_covered = rule is not None and (
            rule.red or rule.is_user_writable or not (reached.is_red or rule.is_safeguard)
        )
        if parts[0] == SCAFFOLD or ".git" in parts or self._in_packages(parts):
            return None
        known = self._snapshot.reached.get(name)
        if known is not None and (known.is_red or not reached.is_red) and not _is_package(name):
            return None
        with contextlib.suppress(OSError), Location(self._root, parts[:-1]).open() as directory:
            status = directory.stat(parts[-1])
            if name != path and path not in self._snapshot.reached:  # a link on the way may change as well
                self._snapshot.reached[path] = reached._replace(is_recent=self._is_recent(path))
                self._snapshot.put(path, Item(Kind.REACHED, hashlib.sha256(os.fsencode(name)).hexdigest()))
            if is_covered:
                return None
            self._snapshot.reached[name] = reached._replace(is_recent=status.st_ctime_ns >= self._since_ns)
            return self._content(directory, name, text)
        return None

    def _content(self, directory: Directory, name: str, text: str) -> bytes | None:
        """Note a file with its content; return that, or what ``text`` uses of a package.json."""
        content = self._walk.read(directory, name.rpartition("/")[2])
        if content is None:
            self._walk.add_file(directory, name, Kind.REACHED)
            return None
        if not _is_package(name):
            self._snapshot.add(name, Kind.REACHED, content)
            return content[: words.MAX_TEXT]
        self._users[name] = f"{self._users.get(name, '')}\n{text}"
        if (used := words.used_scripts(content, self._users[name])) is None:
            used = content.decode("utf-8", "replace")
        encoded = used.encode("utf-8", "replace")
        self._snapshot.add(name, Kind.REACHED, content, digest=hashlib.sha256(encoded).hexdigest())
        return encoded[: words.MAX_TEXT]

    def _is_recent(self, path: str) -> bool:
        with contextlib.suppress(OSError):
            return os.lstat(self._root / path).st_ctime_ns >= self._since_ns
        return True

    def _in_packages(self, parts: tuple[str, ...]) -> bool:
        return not DEPENDENCY_DIRECTORIES.isdisjoint(parts) or any(
            "/".join(parts[:count]) in self._packages for count in range(1, len(parts))
        )

    def _mode(self, path: str) -> int:
        """Return the mode of what is at a path in the end; 0 for nothing, and once too much was looked for."""
        if path not in self._modes:
            self._looks -= 1
            self._modes[path] = 0
            if self._looks >= 0 and not path.startswith("../"):
                with contextlib.suppress(OSError, ValueError):
                    self._modes[path] = os.stat(self._root / path).st_mode  # noqa: PTH116 - hot
        return self._modes[path]

    def _listed(self, path: str) -> Mapping[str, list[str]]:
        """Return the scripts and the settings in a directory by their name without suffix."""
        if path not in self._names:
            found: dict[str, list[str]] = {}
            if stat.S_ISDIR(self._mode(path)):
                with (
                    contextlib.suppress(OSError),
                    Location(self._root, tuple(filter(None, path.split("/")))).open() as opened,
                ):
                    for name in opened.names()[:_MAX_NAMES]:
                        stem, dot, suffix = name.rpartition(".")
                        if dot and suffix in _SCRIPTS | _DATA:
                            # A module of C has more in its name.
                            found.setdefault(stem.partition(".cpython-")[0], []).append(name)
                        elif name.endswith("rc"):
                            found.setdefault(name, []).append(name)
            self._names[path] = found
        return self._names[path]


def _is_quiet(path: str, content: bytes) -> bool:
    parts = path.lower().split("/")
    if parts[-1] == "tasks.json" and ".vscode" in parts:
        return b"folderOpen" not in content
    return PurePosixPath(parts[-1]).suffix[1:] in _QUIET_SUFFIXES or not _QUIET.isdisjoint(parts)


def _readings(word: str, root: Path) -> Iterator[str]:
    """Yield what a word may mean as a path: as it stands, below the root, and after the value of a variable."""
    word = normal_path(word) if word.startswith("/") else word
    if word.startswith(f"{root}/"):
        yield word.removeprefix(f"{root}/")
        return
    if not word.startswith("/"):
        yield word
    if "/" in word.strip("/") or word.startswith("/"):
        yield word.partition("/")[2]


def _is_package(path: str) -> bool:
    return path.rpartition("/")[2] == words.PACKAGE


def _joined(base: str, path: str) -> str:
    joined = normal_path(f"{base}/{path}" if base else path)
    return "" if joined == "." else joined
