"""What is kept of a project's sessions in ``<state>``, where no session can see or change it.

For each session that is not looked through yet a record with what there was before it, for the
project what is open to review and what was made for the time of the sessions. All of it is
changed under a lock only.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import ConfinedError
from ..fs import safefs
from ..host import Host
from ..project import Project
from ..state import projects
from ..state import store as state
from .findings import Finding
from .snapshot import Item, Kind, Snapshot

_PROJECTS = "projects"
_LOCK = "lock"
_FINDINGS = "findings.json"
_ACCEPTED = "accepted.json"
_COPIES = "copies.json"
_MADE = "made.json"
_SUFFIX = ".session"
_UNSEEN = ".unseen"
_BEFORE = ".before"
_MOST_BYTES = 1 << 30


@dataclass
class Record:
    """What a session keeps, from its beginning on.

    ``kept`` has a device and inode by path, ``opened`` what is writable in that, ``git_folders`` are
    what git took settings from then.
    """

    kept: dict[str, tuple[int, int]] = field(default_factory=dict)
    opened: list[str] = field(default_factory=list)
    git_folders: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Before:
    """What there was before a session: its container's name, when it was looked at (epoch seconds), what there was."""

    session: str
    since: float
    snapshot: Snapshot


class Records:
    """The records of one project. Every method needs the lock, see ``locked``."""

    def __init__(self, folder: int, path: Path) -> None:
        self._folder = folder
        self._path = path

    # Sessions

    def begin(self, key: str, record: Record) -> int:
        """Keep the record of a session; it counts as alive until the handle given is closed."""
        self._save(key + _SUFFIX, vars(record))
        handle = os.open(key + _SUFFIX, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._folder)
        fcntl.flock(handle, fcntl.LOCK_EX)
        return handle

    def keep_unseen(self, key: str) -> None:
        """Keep the record of a session that is over, as something could not be looked through yet."""
        with contextlib.suppress(FileNotFoundError):
            os.rename(key + _SUFFIX, key + _UNSEEN, src_dir_fd=self._folder, dst_dir_fd=self._folder)

    def unseen(self) -> Iterator[tuple[str, Record]]:
        """(key, record) of such sessions."""
        for name in sorted(os.listdir(self._folder)):
            if name.endswith(_UNSEEN):
                yield name.removesuffix(_UNSEEN), self._record(name)

    def end(self, key: str) -> None:
        for suffix in (_SUFFIX, _UNSEEN, _BEFORE):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(key + suffix, dir_fd=self._folder)

    def sessions(self) -> Iterator[tuple[str, Record, bool]]:
        """(key, record, alive) of every session on record."""
        for name in sorted(os.listdir(self._folder)):
            if name.endswith(_SUFFIX):
                yield name.removesuffix(_SUFFIX), self._record(name), self._is_alive(name)

    def session_keys(self) -> Iterator[tuple[str, bool]]:
        """(key, alive) of every session on record, whether or not its record can be read."""
        for name in sorted(os.listdir(self._folder)):
            if name.endswith(_SUFFIX):
                yield name.removesuffix(_SUFFIX), self._is_alive(name)

    def before(self, key: str) -> Before | None:
        """What there was before a session; None if it never began."""
        if not (value := self._load(key + _BEFORE)):
            return None
        with self._damage_told(key + _BEFORE):
            items = {
                path: Item(Kind(kind), digest, _as_bytes(text))
                for path, (kind, digest, text) in value.pop("items").items()
            }
            return Before(**value, snapshot=Snapshot(items))

    def keep_before(self, key: str, before: Before) -> None:
        items = {path: [item.kind, item.digest, _as_text(item.content)] for path, item in before.snapshot.items.items()}
        self._save(key + _BEFORE, {"session": before.session, "since": before.since, "items": items})

    def _is_alive(self, name: str) -> bool:
        return _is_held(name, self._folder)

    def adopt(self, key: str) -> int | None:
        """As ``begin`` for a session whose record is there and that nobody owns; None if there is none of that kind."""
        try:
            handle = os.open(key + _SUFFIX, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._folder)
        except OSError:
            return None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        return handle

    # Findings and what was made

    def findings(self) -> list[Finding]:
        with self._damage_told(_FINDINGS):
            return [_finding(value) for value in self._load(_FINDINGS) or ()]

    def keep_findings(self, findings: Iterable[Finding]) -> None:
        """Replace the open findings."""
        self._save(_FINDINGS, [_plain(finding) for finding in findings])

    def accepted(self) -> dict[str, str]:
        """What was reviewed while a session ran: digests by the key of the finding."""
        with self._damage_told(_ACCEPTED):
            return _digests(self._load(_ACCEPTED) or {})

    def keep_accepted(self, digests: dict[str, str]) -> None:
        self._save(_ACCEPTED, digests)

    def copies(self) -> dict[str, dict[str, str]]:
        """The references that the host's repository had when a session's copy of it was made, by the copy's name."""
        with self._damage_told(_COPIES):
            return {name: _digests(copy) for name, copy in (self._load(_COPIES) or {}).items()}

    def keep_copies(self, copies: dict[str, dict[str, str]]) -> None:
        self._save(_COPIES, copies)

    def made(self) -> list[Path]:
        with self._damage_told(_MADE):
            return [Path(path) for path in self._load(_MADE) or ()]

    def keep_made(self, paths: Iterable[Path]) -> None:
        self._save(_MADE, [str(path) for path in paths])

    def put_aside(self, name: str, content: bytes) -> Path:
        """Keep the content of a file that is taken out of the project; gives where."""
        with safefs.open_folder(self._path, "removed") as folder:
            safefs.write(folder, name, content)
        return self._path / "removed" / name

    def _load(self, name: str) -> Any:
        content = safefs.read(self._folder, name, _MOST_BYTES)
        if not content:
            return None
        with self._damage_told(name):
            value = json.loads(content)
            state.refuse_newer(value, self._path / name)
            return value

    @contextlib.contextmanager
    def _damage_told(self, name: str) -> Iterator[None]:
        """Raise ConfinedError where a record cannot be read; it stays, as nobody knows what it would have said."""
        try:
            yield
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
            raise ConfinedError(
                f"{self._path / name} is damaged, or from a newer version.",
                "Look through the project yourself, then remove that file, and start again.",
            ) from None

    def _record(self, name: str) -> Record:
        with self._damage_told(name):
            return Record(**(self._load(name) or {}))

    def _save(self, name: str, value: Any) -> None:
        if not value:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=self._folder)
            return
        try:
            safefs.write(self._folder, name, json.dumps(value).encode())
        except OSError as error:
            raise safefs.cannot("write", self._path / name, error) from None


@contextlib.contextmanager
def locked(project: Project, host: Host) -> Iterator[Records]:
    """The records of ``project``, held until the end of the block.

    Raises ConfinedError if they cannot be used; a link in place of ``<state>`` is refused.
    """
    with locked_by_id(project.id, host) as kept:
        yield kept


@contextlib.contextmanager
def locked_by_id(project_id: str, host: Host) -> Iterator[Records]:
    """As ``locked``, of a project that may be gone."""
    path = host.state / _PROJECTS / project_id
    with contextlib.ExitStack() as stack:
        while True:
            folder = stack.enter_context(state.made(host, _PROJECTS, project_id))
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            try:
                lock = os.open(_LOCK, flags, 0o600, dir_fd=folder)
            except OSError as error:
                raise safefs.cannot("use", path / _LOCK, error) from None
            stack.callback(os.close, lock)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if _is_at(path / _LOCK, lock):
                break
            stack.close()  # whoever had the lock has removed the records
        projects.refuse_newer(project_id, host)
        yield Records(folder, path)


def _is_at(path: Path, handle: int) -> bool:
    """Whether an open file is the one at ``path``."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(handle))
    except OSError:
        return False


class Unwritten(Records):
    """Records for a look at what would become of them: what changes, changes here alone, and nothing on the disk."""

    def __init__(self, folder: int, path: Path) -> None:
        super().__init__(folder, path)
        self._changed: dict[str, Any] = {}

    def end(self, key: str) -> None:
        """It stays on record."""

    def keep_unseen(self, key: str) -> None:
        """It stays on record."""

    def made(self) -> list[Path]:
        """Nothing, as it would be taken away."""
        return []

    def _load(self, name: str) -> Any:
        return self._changed[name] if name in self._changed else super()._load(name)

    def _save(self, name: str, value: Any) -> None:
        self._changed[name] = value


@contextlib.contextmanager
def unwritten(project: Project, host: Host) -> Iterator[Unwritten | None]:
    """The records of ``project`` for a look, held until the end of the block; None if there are none yet."""
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(state.opened(host, _PROJECTS, project.id))
            lock = os.open(_LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        except FileNotFoundError:
            yield None
            return
        stack.callback(os.close, lock)
        fcntl.flock(lock, fcntl.LOCK_EX)
        projects.refuse_newer(project.id, host)
        yield Unwritten(folder, host.state / _PROJECTS / project.id)


@contextlib.contextmanager
def owned(handle: int) -> Iterator[None]:
    """Be the owner of the session whose record ``handle`` holds, until the end of the block."""
    try:
        yield
    finally:
        os.close(handle)


@dataclass(frozen=True)
class Glance:
    """How many findings are open by the records, and how many sessions were cut off and are not looked through yet."""

    red: int = 0
    yellow: int = 0
    unseen: int = 0


def glance(project_id: str, host: Host) -> Glance:
    """What is open in a project by its records, without a lock and without a look at the project.

    Raises ConfinedError if they are damaged, or of a newer version.
    """
    try:
        with state.opened(host, _PROJECTS, project_id) as folder:
            projects.refuse_newer(project_id, host)
            names = os.listdir(folder)
            kept = Records(folder, host.state / _PROJECTS / project_id)
            findings = kept.findings() if _FINDINGS in names else []
            cut_off = (name.endswith(_SUFFIX) and not _is_held(name, folder) for name in names)
            unseen = sum(cut_off) + sum(name.endswith(_UNSEEN) for name in names)
    except OSError:
        return Glance()
    red = sum(finding.red for finding in findings)
    return Glance(red, len(findings) - red, unseen)


def are_there(project_id: str, host: Host) -> bool:
    """Whether there are records of this project."""
    return (host.state / _PROJECTS / project_id).is_dir()


def has_owner(project_id: str, key: str, host: Host) -> bool:
    """Whether the process that started the session ``key`` is still there."""
    try:
        with state.opened(host, _PROJECTS, project_id) as folder:
            return _is_held(key + _SUFFIX, folder)
    except OSError:
        return False


def without_owner(host: Host) -> Iterator[str]:
    """The keys of sessions on record, of all projects, whose process is gone."""
    with contextlib.suppress(OSError), state.opened(host, _PROJECTS) as everything:
        for project_id in os.listdir(everything):
            with contextlib.suppress(OSError), safefs.entered(everything, project_id) as folder:
                for name in os.listdir(folder):
                    if name.endswith(_SUFFIX) and not _is_held(name, folder):
                        yield name.removesuffix(_SUFFIX)


def _is_held(name: str, folder: int) -> bool:
    """Whether a process holds the lock of a session's record."""
    try:
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return False
    try:
        # Shared, so that two who ask do not take each other for the owner.
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _plain(finding: Finding) -> dict[str, Any]:
    value = asdict(finding)
    return value | {name: _as_text(value[name]) for name in ("before", "after")}


def _finding(value: dict[str, Any]) -> Finding:
    return Finding(
        **(value | {"kind": Kind(value["kind"])} | {name: _as_bytes(value[name]) for name in ("before", "after")})
    )


def _digests(value: dict[str, Any]) -> dict[str, str]:
    """Return ``value``, all of whose values are text. Raises ValueError and such for anything else."""
    if not all(isinstance(digest, str) for digest in value.values()):
        raise ValueError("not a digest")
    return value


def _as_text(content: bytes | None) -> str | None:
    """Bytes in JSON: one character for each."""
    return None if content is None else content.decode("latin-1")


def _as_bytes(text: str | None) -> bytes | None:
    return None if text is None else text.encode("latin-1")
