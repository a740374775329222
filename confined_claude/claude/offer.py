"""What the host's Claude config offers for a copy: read as if a stranger had written it, links and sizes above all.

A directory in it (one skill, say) is offered whole, or left out whole with the reason.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from ..fs.directory import Directory, Location
from ..text import normal_path

# In the order in which they are taken, until the bounds below are reached.
FOLLOWED = ("CLAUDE.md", "keybindings.json", "rules", "output-styles", "themes", "agents", "commands", "skills")
MEMORY = "CLAUDE.md"
_FILE_BYTES = 4 << 20
_ENTRY_BYTES, _ENTRY_FILES = 16 << 20, 500
_ALL_BYTES, _ALL_FILES = 64 << 20, 5000
_MOST_DEPTH, _MOST_LINKS = 16, 16
_MOST_IMPORTS = 5  # as deep as Claude Code follows them

# What the client keeps for itself, sign-ins and conversations above all: no link, import or script may lead there.
_CLIENTS_OWN = frozenset(
    """.claude.json .credentials.json .config.json backups cache debug file-history history.jsonl ide image-cache local
    paste-cache plans projects session-env sessions settings.json settings.local.json shell-snapshots stats-cache.json
    statsig tasks teams telemetry todos""".split()
)
# What is of no use in a session.
_SKIPPED = frozenset(
    (".git", ".hg", ".svn", ".jj", "__pycache__", ".venv", ".DS_Store", ".mypy_cache", ".pytest_cache")
)
SECRET_NAME = r"""(?ix)
    \.env(\..*)?|.*\.env|.*\.(pem|key|p12|pfx|jks|keystore|kdbx|ppk)|id_(rsa|dsa|ecdsa|ed25519)\b.*
    |\.?(netrc|npmrc|pypirc|pgpass|htpasswd|git-credentials)|\.?credentials(\..*)?|.*_history
    |(.*[._-])?(secrets?|tokens?|passwords?|api[_-]?keys?)\.(json|ya?ml|toml|ini|txt|cfg)|service[_-]?account.*\.json
    |\.(ssh|aws|azure|gnupg|kube|docker|gcloud)"""  # noqa: S105
_PRIVATE_KEY = rb"\s*-----BEGIN [A-Z ]*PRIVATE KEY"
_IMPORT = r"(?:^|\s)@((?:[^\s\\]|\\ )+)"
_CODE = r"(?s)```.*?(?:```|\Z)|`[^`\n]*`"

Parts = tuple[str, ...]


class Offered(NamedTuple):
    """A file that is offered: where it lies below the host's config, links resolved, and its stamp.

    The stamp is (size, time of the last change in ns, inode): while that is the same, so is the content.
    """

    source: Parts
    stamp: tuple[int, int, int]
    is_executable: bool = False


class Offer:
    """All that is offered, by path below the config, and what is left out, by path, with the reason."""

    def __init__(self) -> None:
        self.files: dict[str, Offered] = {}
        self.left_out: dict[str, str] = {}
        self.bytes = 0

    def covers(self, path: str) -> bool:
        """Return whether ``path`` is in what is left out: it is still there on the host, just not copied."""
        return any(path == name or path.startswith(f"{name}/") for name in self.left_out)


class HostConfig:
    """The host's Claude config, at ``path``, open for reading. Raises OSError where there is none."""

    def __init__(self, path: Path, home: Path) -> None:
        self._path = path
        self._home = home
        self._root = Location(path).open()

    def __enter__(self) -> HostConfig:
        return self

    def __exit__(self, *_: object) -> None:
        self._root.close()

    def offer(self, scripts: Iterable[str] = (), followed: Iterable[str] = FOLLOWED) -> Offer:
        """Return what there is to copy: what is ``followed``, what the memory imports, and ``scripts`` by their paths.

        Of a script in a directory, everything in that directory is offered: it may need the rest.
        """
        offer = Offer()
        for name in followed:
            for path in self._entries(name):
                self._add(offer, path)
        for name in self._imports(offer) if MEMORY in offer.files else ():
            if name not in offer.files:
                self._add(offer, _parts(name))
        for script in scripts:
            if script not in offer.files:
                self._add(offer, _parts(script)[:1])
        return offer

    def read(self, name: str, limit: int = _FILE_BYTES) -> bytes | None:
        """Return the content of the file ``name`` directly in the config; None for anything else."""
        try:
            return self.content(self._led_to((name,)), limit)
        except (_LeftOut, OSError):
            return None

    def content(self, source: Parts, limit: int = _FILE_BYTES) -> bytes | None:
        """Return the content of an offered file; None if it is gone, too large, or a private key."""
        try:
            with self._opened(source[:-1]) as directory:
                content = directory.read(source[-1], limit)
        except OSError:
            return None
        return None if content is None or re.match(_PRIVATE_KEY, content) else content

    # Walking

    def _entries(self, name: str) -> Iterator[Parts]:
        """Yield the paths of what is directly in the directory ``name``; its own if that is something else."""
        try:
            with self._opened(self._resolved((name,))) as directory:
                names = sorted(directory.names())[: _ALL_FILES + 1]
        except (_LeftOut, OSError):
            yield (name,)
        else:
            yield from ((name, inner) for inner in names)

    def _add(self, offer: Offer, path: Parts) -> None:
        """Add the file or directory at ``path``, or the reason why not."""
        walk = _Walk()
        try:
            source = self._resolved(path[:-1]) if len(path) > 1 else ()
            with self._opened(source) as directory:
                self._collect(directory, (*source, path[-1]), path, walk, frozenset())
            if offer.bytes + walk.bytes > _ALL_BYTES or len(offer.files) + len(walk.files) > _ALL_FILES:
                raise _LeftOut(f"what is before it has {_ALL_BYTES >> 20} MB, or {_ALL_FILES} files, already")
        except _LeftOut as error:
            offer.left_out["/".join(path)] = error.reason
        except OSError:  # it has just gone
            return
        else:
            offer.files |= walk.files
            offer.left_out |= walk.left_out
            offer.bytes += walk.bytes

    def _collect(self, directory: Directory, source: Parts, path: Parts, walk: _Walk, above: frozenset[Parts]) -> None:
        """Add to ``walk``, as ``path``, the files at ``source``, an entry of the open ``directory``.

        ``above`` are the directories on the way. Raises _LeftOut if there is more than may be copied.
        """
        if path[-1] in _SKIPPED:
            return
        try:
            if re.fullmatch(SECRET_NAME, path[-1]):
                raise _Unusable("it looks like a secret")
            status = directory.stat(source[-1])
            if stat.S_ISLNK(status.st_mode):
                real = self._resolved(source)
                with self._opened(real[:-1]) as beside:
                    if not beside.exists(real[-1]):
                        raise _Unusable("it is a link to nowhere")
                    self._collect(beside, real, path, walk, above)
            elif stat.S_ISREG(status.st_mode):
                walk.add("/".join(path), Offered(source, _stamp(status), bool(status.st_mode & stat.S_IXUSR)))
            elif not stat.S_ISDIR(status.st_mode):
                raise _Unusable("it is not a regular file")
            elif source in above or len(path) > _MOST_DEPTH:
                raise _Unusable("its directories are nested too deep, or in a circle")
            else:
                with directory.child(source[-1]) as inner:
                    for name in sorted(inner.names()):
                        self._collect(inner, (*source, name), (*path, name), walk, above | {source})
        except _Unusable as error:
            walk.leave_out("/".join(path), error.reason)
        except FileNotFoundError:  # it has just gone
            return
        except OSError as error:
            walk.leave_out("/".join(path), f"it cannot be read: {error.strerror}")

    def _opened(self, parts: Parts) -> Directory:
        return self._root.child(*parts or ["."])

    def _resolved(self, path: Parts) -> Parts:
        """Return where ``path`` leads, as ``_led_to`` does. Raises _Unusable also for what is nobody's to copy."""
        done = self._led_to(path)
        if not done or done[0] in _CLIENTS_OWN:
            raise _Unusable("it leads to what Claude Code keeps for itself")
        if secret := next((name for name in done if re.fullmatch(SECRET_NAME, name)), ""):
            raise _Unusable(f"it leads to {secret}, which looks like a secret")
        return done

    def _led_to(self, path: Parts) -> Parts:
        """Return where ``path`` leads in the config, links resolved. Raises _Unusable for a way out, and OSError."""
        to_do, links = list(path), 0
        done: list[str] = []
        while to_do:
            name = to_do.pop(0)
            if name == "..":
                if not done:
                    raise _Unusable("it leads out of the Claude config")
                done.pop()
            elif name not in ("", "."):
                with self._opened(tuple(done)) as directory:
                    target = directory.readlink(name) if directory.is_link(name) else None
                if target is None:
                    done.append(name)
                    continue
                links += 1
                if links > _MOST_LINKS:
                    raise _Unusable("it is a link in a circle")
                if target.startswith("/"):
                    target, done = self._below(target), []
                to_do[:0] = target.split("/")
        return tuple(done)

    def _below(self, target: str) -> str:
        """Return the path below the config of the absolute path ``target``. Raises _Unusable if it is not in it."""
        for root in (str(self._path), os.path.realpath(self._path)):
            if f"{normal_path(target)}/".startswith(f"{root}/"):
                return normal_path(target)[len(root) + 1 :]
        raise _Unusable(f"it is a link to {target}, outside of the Claude config")

    # What the memory imports

    def _imports(self, offer: Offer) -> Iterator[str]:
        """Yield the paths in the config of the files that its CLAUDE.md imports, and those that these import."""
        seen, to_do = {MEMORY}, [(MEMORY, 0)]
        while to_do:
            name, depth = to_do.pop(0)
            place = offer.files[name].source if name in offer.files else _parts(name)
            try:
                text = (self.content(self._resolved(place)) or b"").decode("utf-8", "replace")
            except (_LeftOut, OSError):
                continue
            for found in re.finditer(_IMPORT, re.sub(_CODE, "", text)):
                written = found[1].replace("\\ ", " ").rstrip(".,;:)")
                path = normal_path(self._path / Path(name).parent / self._expanded(written))
                try:
                    inner = self._below(path)
                except _LeftOut:
                    if len(offer.left_out) < _ENTRY_FILES and os.path.lexists(path):
                        offer.left_out[f"@{written}"] = "the memory imports it from outside of the Claude config"
                    continue
                if inner not in seen and depth < _MOST_IMPORTS and len(seen) < _ENTRY_FILES:
                    seen.add(inner)
                    to_do.append((inner, depth + 1))
                    yield inner

    def _expanded(self, path: str) -> str:
        return f"{self._home}/{path[2:]}" if path.startswith("~/") else path


class _Walk(Offer):
    """What was found on the way through one entry."""

    def add(self, path: str, file: Offered) -> None:
        if file.stamp[0] > _FILE_BYTES:
            raise _Unusable(f"it has more than {_FILE_BYTES >> 20} MB")
        self.files[path] = file
        self.bytes += file.stamp[0]
        self.check()

    def leave_out(self, path: str, reason: str) -> None:
        self.left_out[path] = reason
        self.check()

    def check(self) -> None:
        if self.bytes > _ENTRY_BYTES or len(self.files) + len(self.left_out) > _ENTRY_FILES:
            raise _LeftOut(f"it has more than {_ENTRY_BYTES >> 20} MB, or {_ENTRY_FILES} files")


class _LeftOut(Exception):
    """An entry is not offered, for ``reason``."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Unusable(_LeftOut):
    """One file or directory of an entry is not offered; the rest of the entry is."""


def _stamp(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ino


def _parts(path: str) -> Parts:
    return tuple(path.split("/"))


def with_paths_inside(content: bytes, prefixes: Mapping[str, str]) -> bytes:
    """Return the text of a memory with each import from below one of ``prefixes`` as it is called in a session."""
    for prefix, inside in prefixes.items():
        content = content.replace(f"@{prefix}/".encode(), f"@{inside}/".encode())
    return content
