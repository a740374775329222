"""The user's own setup of Claude in a container's config: it follows the host's, and what the container wrote stays.

The record of what was copied is in ``<state>``, where no session writes. A file that is as it was copied follows the
host, its deletion there included; one that differs was changed inside, and stays.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from ..errors import system_error
from ..fs.directory import Directory, Location
from ..fs.lock import locked
from ..host import Host
from ..settings.specs import OFF, ONCE
from ..state import store
from ..text import as_dict, parse_json, sha256
from .approvals import DIRECTORY, LOCK
from .carried import HostSetup
from .host_commands import INSIDE
from .host_settings import SETTINGS
from .offer import FOLLOWED, HostConfig, Offer, Offered, with_paths_inside
from .onboarding import BACKUPS
from .setup_settings import SettingsCopy, copy_of, text_of, without_hooks_of_0_1

_MOST_BYTES = 16 << 20
_LEFT_OUT = "Not all of your own Claude setup is in sessions: `confined-claude setup` says what is left out, and why."


class Copied(NamedTuple):
    """A file on record: its stamp on the host when it was looked at, and the hash of what was copied.

    The hash is empty for a file that the container had first, and for one that is not copied.
    """

    size: int
    changed: int
    inode: int
    is_executable: bool
    hash: str

    def is_of(self, offered: Offered) -> bool:
        """Return whether the host's file is the one that was looked at."""
        return (self.size, self.changed, self.inode, self.is_executable) == (*offered.stamp, offered.is_executable)


class Change(NamedTuple):
    """A file that does not follow the host, as a session changed it (``inside``, None if deleted)."""

    path: str
    inside: bytes | None
    host: bytes
    offered: Offered | None = None
    is_executable: bool = False


class Record:
    """What was copied to one config.

    ``settings`` is the hash of the host's settings when they were copied, None before; ``left_out`` are paths that the
    user was told of.
    """

    def __init__(
        self,
        files: dict[str, Copied] | None = None,
        settings: str | None = None,
        *,
        is_done: bool = False,
        left_out: Iterable[str] = (),
    ) -> None:
        self.files = files or {}
        self.settings = settings
        self.is_done = is_done
        self.left_out = list(left_out)


class Setup:
    """Brings the setup in the Claude config at ``location`` in line with that of ``host``."""

    def __init__(self, location: Location, host: Host, theirs: HostSetup, scripts: Iterable[str] = ()) -> None:
        """Take the setup in ``theirs``; ``scripts`` are files of it that hooks and servers of the session need."""
        self._location = location
        self._host = host
        self.theirs = theirs
        self._scripts = scripts
        self._state = store.state_of(host)
        self._name = _name(location)

    def bring(self, mode: str) -> tuple[str, ...]:
        """Copy what is new or changed on the host, as the setting ``setup`` says; return what to say of it, once.

        Raises ConfinedError where something cannot be written, and for a record of a newer version.
        """
        if mode == OFF:
            return ()
        record = self.record()
        # Hooks and servers that are allowed later need their scripts all the same.
        has_all = mode == ONCE and (record is None or record.is_done)
        if has_all and not self._scripts:
            return ()
        with self._offered(() if has_all else FOLLOWED) as (source, offer):
            if source is None or (record is not None and record.is_done and _is_same(offer, record, has_all=has_all)):
                return ()
            with self._changing() as (config, record):
                told = record.left_out
                if not has_all:
                    self._remove_gone(offer, config, record)
                    record.left_out = sorted(offer.left_out)
                self._copy(source, offer, config, record)
                record.is_done = True
        return (_LEFT_OUT,) if set(record.left_out) - set(told) else ()

    @contextlib.contextmanager
    def _changing(self) -> Iterator[tuple[Directory, Record]]:
        """Open the config and its record, which is written however the block ends. Raises ConfinedError."""
        with locked(self._state.at(DIRECTORY), LOCK) as records, self._location.make() as config:
            # Version 0.1 has made a config without a record, and has copied the settings.
            record = self.record() or Record(settings="")
            try:
                yield config, record
            except OSError as error:
                raise system_error("write to", config.path, error) from None
            finally:
                _write_record(records, self._location, record)

    def record(self) -> Record | None:
        """Return what is on record of the config, None if nothing is. Raises ConfinedError for a newer version."""
        with self._state.at(DIRECTORY).open_if_exists() as directory:
            return None if directory is None else store.read_json(directory, self._name, _decoded)

    @contextlib.contextmanager
    def _offered(self, followed: Iterable[str] = FOLLOWED) -> Iterator[tuple[HostConfig | None, Offer]]:
        """Open the host's config, and return with it what it offers; None where there is none that can be read."""
        try:
            source = HostConfig(self._host.claude_config, self._host.home)
        except OSError:
            yield None, Offer()
            return
        with source:
            yield source, source.offer((*(self.settings.scripts if followed else ()), *self._scripts), followed)

    @cached_property
    def settings(self) -> SettingsCopy:
        """What a config gets of the host's settings."""
        return copy_of(self.theirs.settings, self.theirs.paths)

    def offer(self) -> Offer:
        """Return what the host offers."""
        with self._offered() as (_, offer):
            return offer

    # What does not follow

    def changes(self) -> list[Change]:
        """Return what a session changed or deleted, and the settings if they differ from the host's by now."""
        record, found = self.record() or Record(settings=""), []
        with self._offered() as (source, offer), self._location.open_if_exists() as config:
            if source is None or config is None:
                return []
            for path, offered in offer.files.items():
                content, known = self._content(source, path, offered), record.files.get(path)
                inside = _read(config, path)
                follows = inside is None if known is None else inside is not None and _hash(inside) == known.hash
                if content is not None and inside != content and not follows:
                    found.append(Change(path, inside, content, offered, offered.is_executable))
            if self.theirs.settings and record.settings is not None:
                content, inside = self.settings_text(source), _read(config, SETTINGS)
                if parse_json(inside) != parse_json(content):
                    found.append(Change(SETTINGS, inside, content))
        return found

    def take(self, changes: Sequence[Change]) -> str:
        """Take the host's side of ``changes``; return where in the config is now what was there, empty if nothing was.

        Raises ConfinedError.
        """
        kept = f"{BACKUPS}/setup-{time.strftime('%Y%m%d-%H%M%S')}"
        with self._changing() as (config, record):
            for change in changes:
                if change.inside is not None:
                    _place(config, f"{kept}/{change.path}", change.inside, 0o600)
                _place(config, change.path, change.host, 0o700 if change.is_executable else 0o600)
                if change.offered is None:
                    record.settings = digest(self.theirs.settings)
                else:
                    stamp = (*change.offered.stamp, change.is_executable)
                    record.files[change.path] = Copied(*stamp, _hash(change.host))
        return kept if any(change.inside is not None for change in changes) else ""

    # Copying

    def _content(self, source: HostConfig, path: str, offered: Offered) -> bytes | None:
        """Return what the container gets of an offered file; None if that is nothing."""
        content = source.content(offered.source)
        if content is None or not path.endswith(".md"):
            return content
        return with_paths_inside(content, {str(self._host.claude_config): INSIDE})

    def _remove_gone(self, offer: Offer, config: Directory, record: Record) -> None:
        """Remove what was copied and is gone on the host."""
        for path in [path for path in record.files if path not in offer.files and not offer.covers(path)]:
            _remove(config, path, record.files.pop(path).hash)

    def _copy(self, source: HostConfig, offer: Offer, config: Directory, record: Record) -> None:
        """Bring ``config`` in line with ``offer``, and ``record`` with what was done. Raises OSError."""
        for path, offered in offer.files.items():
            known = record.files.get(path)
            if known is not None and known.is_of(offered):
                continue
            content = self._content(source, path, offered)
            copied = Copied(*offered.stamp, offered.is_executable, "" if content is None else _hash(content))
            if content is not None and not _write(config, path, content, copied, known):
                copied = copied._replace(hash=known.hash if known else "")
            record.files[path] = copied
        if record.settings == "" and not record.is_done:
            kept = without_hooks_of_0_1(parse_json(_read(config, SETTINGS)), self.theirs.settings)
            if kept is not None:
                config.write(SETTINGS, kept)
        if record.settings is None:
            if self.theirs.settings and not config.exists(SETTINGS):
                config.write(SETTINGS, self.settings_text(source))
            record.settings = digest(self.theirs.settings)

    def settings_text(self, source: HostConfig) -> bytes:
        """Return the host's settings for the config: unchanged, if nothing of them is left out or translated."""
        if self.settings.content == self.theirs.settings:
            return source.read(SETTINGS) or b"{}"
        return text_of(self.settings.content)


def make(location: Location, host: Host) -> None:
    """Make the config at ``location`` if it is missing; what is on record of an earlier one there is forgotten first.

    Raises ConfinedError.
    """
    if os.path.lexists(location.path):
        return
    with locked(store.state_of(host).at(DIRECTORY), LOCK) as records:
        if not os.path.lexists(location.path):
            _forget_gone(records)
            _write_record(records, location, Record())
            location.make().close()


def digest(settings: Any) -> str:
    """Return the hash of parsed settings."""
    return sha256(json.dumps(settings, sort_keys=True).encode())


def _read(config: Directory, path: str) -> bytes | None:
    """Return the content of a file of the config; None for anything else."""
    *parents, name = path.split("/")
    try:
        with config.child(*parents or ["."]) as directory:
            return directory.read(name, _MOST_BYTES)
    except OSError:
        return None


def _place(config: Directory, path: str, content: bytes, mode: int) -> None:
    """Write a file of the config, its directories made first. Raises OSError, also for what is in their place."""
    *parents, name = path.split("/")
    with contextlib.ExitStack() as stack:
        directory = config
        for parent in parents:
            directory = stack.enter_context(directory.make(parent))
        directory.write(name, content, mode)


def _is_same(offer: Offer, record: Record, *, has_all: bool) -> bool:
    """Return whether nothing has changed on the host since ``record``."""
    known = record.files
    if not all(path in known and known[path].is_of(offered) for path, offered in offer.files.items()):
        return False
    are_there = all(path in offer.files or offer.covers(path) for path in known)
    return has_all or (are_there and record.left_out == sorted(offer.left_out))


def _write(config: Directory, path: str, content: bytes, copied: Copied, known: Copied | None) -> bool:
    """Write a file of the config, unless the container has changed or deleted it; return whether it is a copy now."""
    there = _read(config, path)
    is_deleted = there is None and known is not None and known.hash
    if is_deleted or (there is None and _is_in_the_way(config, path)):
        return False
    if there is not None and _hash(there) not in (copied.hash, known.hash if known else ""):
        return False
    _place(config, path, content, 0o700 if copied.is_executable else 0o600)
    return True


def _is_in_the_way(config: Directory, path: str) -> bool:
    """Return whether the file cannot be made, as something is at its place, or no directory at one above it."""
    with contextlib.ExitStack() as stack, contextlib.suppress(FileNotFoundError):
        directory, (*parents, name) = config, path.split("/")
        for parent in parents:
            directory.stat(parent)
            if not directory.is_directory(parent):
                return True
            directory = stack.enter_context(directory.child(parent))
        return directory.exists(name)
    return False


def _remove(config: Directory, path: str, copied: str) -> None:
    """Remove a file of the config that is as it was copied, and the directories that are empty then."""
    *parents, name = path.split("/")
    with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
        directories = [config]
        for parent in parents:
            directories.append(stack.enter_context(directories[-1].child(parent)))
        there = directories[-1].read(name, _MOST_BYTES)
        if there is None or _hash(there) != copied:
            return
        directories[-1].unlink(name)
        for parent, directory in zip(reversed(parents), reversed(directories[:-1]), strict=True):
            directory.rmdir(parent)


def _hash(content: bytes) -> str:
    import hashlib  # for files that are new or changed

    return hashlib.sha256(content).hexdigest()


def _name(location: Location) -> str:
    return f"{sha256(os.fsencode(location.path))[:16]}.json"


def _forget_gone(records: Directory) -> None:
    """Remove the records of configs that are gone."""
    for name in records.names():
        path = as_dict(parse_json(records.read(name))).get("config")
        if isinstance(path, str) and not os.path.lexists(path):
            records.unlink(name)


def _write_record(records: Directory, location: Location, record: Record) -> None:
    store.write_json(records, _name(location), {"version": store.VERSION, "config": str(location.path), **vars(record)})


def _decoded(value: Any) -> Record:
    files = {str(path): Copied(*entry) for path, entry in value["files"].items()}
    return Record(files, value["settings"], is_done=value["is_done"], left_out=value.get("left_out", ()))
