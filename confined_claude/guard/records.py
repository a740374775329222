"""The records of a project's sessions in ``<state>``, where no session can see or change them.

Each session that is not scanned yet has a record, with its baseline: what there was before it, or before the first of
the sessions that it overlaps with. The project has its open findings, and what was made for the time of the sessions.
Only the owner of the project's lock changes any of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from ..fs.directory import Directory, Location
from ..fs.lock import Lock
from ..fs.lock import locked as locked_directory
from ..state import boundaries, liveness, projects
from ..state.boundaries import BASELINE as _BEFORE
from ..state.boundaries import Boundaries
from ..state.store import LOCK, read_json, write_json
from .findings import Finding
from .snapshot import Item, Kind, Snapshot

FINDINGS = "findings.json"
_ACCEPTED, _ACCEPTED_LIMITS = "accepted.json", "accepted-limits.json"
_COPIES, _MADE, _MADE_TIPS = "copies.json", "made.json", "made-tips.json"
_TRASH, _UNSCANNED = "removed", ".unseen"
CARRIED = (FINDINGS, _ACCEPTED, _ACCEPTED_LIMITS, _COPIES, _MADE_TIPS, boundaries.FILE, _TRASH)  # by a moved project

Identity = tuple[int, int]


class Record(NamedTuple):
    """What a session protects, from its start on. Paths are those of a snapshot.

    ``pinned`` has the device and inode of each read-only path, ``writable`` the exceptions within those,
    ``git_directories`` those from which git took settings at that time, ``hidden`` what the session does not see.
    ``seen`` has the real paths of what it sees beside this place: what is mounted, and its project. One that
    ``is_isolated`` writes a copy of the repository.
    """

    pinned: Mapping[str, Identity] = MappingProxyType({})
    writable: tuple[str, ...] = ()
    git_directories: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    seen: tuple[str, ...] = ()
    is_isolated: bool = False


class Before(NamedTuple):
    """A session's baseline: its container's name, the time of the scan (epoch seconds), and what was found.

    ``programs`` are the directories of the caller's PATH that were scanned, see ``programs.py``. It ``has_packages``
    if directories of packages are in the snapshot, unlike in version 0.1.
    Sessions that overlap have the scan in common that was made before the first of them.

    ``tips`` are the commits that branches named then, without those that sessions made, which are ``made``.
    """

    session: str
    since: float
    snapshot: Snapshot
    programs: tuple[str, ...] = ()
    has_packages: bool = True
    tips: tuple[str, ...] = ()
    made: tuple[str, ...] = ()


class RecordedSession(NamedTuple):
    """A session on record. Without an owner it was interrupted, or is still running without its terminal."""

    key: str
    record: Record
    has_owner: bool


class ReadOnlyRecords:
    """The records of one project. Methods raise ConfinedError for a record that is damaged: it stays as it is."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def sessions(self) -> list[RecordedSession]:
        return [
            RecordedSession(key, self._record(key + liveness.SUFFIX), has_owner)
            for key, has_owner in liveness.sessions(self._directory)
        ]

    def session_keys(self) -> list[tuple[str, bool]]:
        """Return (key, whether it has an owner) of every session on record, even if its record cannot be read."""
        return liveness.sessions(self._directory)

    def unscanned(self) -> list[tuple[str, Record]]:
        """Return (key, record) of sessions that are over, but could not be scanned completely."""
        names = sorted(name for name in self._directory.names() if name.endswith(_UNSCANNED))
        return [(name.removesuffix(_UNSCANNED), self._record(name)) for name in names]

    def _record(self, name: str) -> Record:
        return read_json(self._directory, name, _decode_record) or Record()

    def before(self, key: str) -> Before | None:
        """Return what there was before a session; None if it never started."""
        return read_json(self._directory, key + _BEFORE, _decode_before)

    def findings(self) -> list[Finding]:
        """Return the open findings."""
        return read_json(self._directory, FINDINGS, _decode_findings) or []

    def accepted(self) -> dict[str, str]:
        """Return what was accepted while a session ran: digests by the key of the finding."""
        return read_json(self._directory, _ACCEPTED, _decode_digests) or {}

    def accepted_limits(self) -> dict[str, str]:
        """Return the limits of a scan that were accepted: digests by the key of the finding."""
        return read_json(self._directory, _ACCEPTED_LIMITS, _decode_digests) or {}

    def copies(self) -> dict[str, dict[str, str]]:
        """Return the references of the host's repository when it was copied for a session, by the copy's name."""
        return read_json(self._directory, _COPIES, _decode_copies) or {}

    def made(self) -> list[Path]:
        """Return what was made in the project for the time of the sessions."""
        return read_json(self._directory, _MADE, _decode_paths) or []

    def made_tips(self) -> list[str]:
        """Return the branch tips that sessions made."""
        return read_json(self._directory, _MADE_TIPS, _decode_names) or []

    def boundaries(self) -> Boundaries:
        """Return the repositories and scaffolds that sessions made, or that were there before them."""
        return boundaries.read(self._directory)


class Records(ReadOnlyRecords):
    """The records of one project, whose lock this process holds. Methods raise ConfinedError."""

    def begin(self, key: str, record: Record) -> Lock:
        """Record a session, which has an owner until the lock is closed.

        Its baseline is that of another session on record, if one has any: what that one changes is not there before.
        """
        with_baseline = (session for session in self.sessions() if self._directory.exists(session.key + _BEFORE))
        other = next(with_baseline, None)
        if other is not None:
            record = record._replace(git_directories=other.record.git_directories)
        write_json(self._directory, key + liveness.SUFFIX, _encode_record(record))
        owner = liveness.own(self._directory, key)
        if other is not None and (before := self.before(other.key)) is not None:
            write_json(self._directory, key + _BEFORE, _encode_before(before))
        return owner

    def take_over(self, key: str) -> Lock | None:
        """Own a session on record until the lock is closed; return None if there is none, or if it has an owner."""
        return liveness.take_over(self._directory, key)

    def save_before(self, key: str, before: Before) -> Before:
        """Record the baseline of a session unless it has one; return the one on record, with this session's name.

        Sessions on record that have none get the same one: they have not started, and this one is about to.
        """
        known = self.before(key)
        if known is None:
            self.save_boundaries(self.boundaries().at_a_start(before.snapshot.boundaries))
        before = (known or before)._replace(session=before.session)
        write_json(self._directory, key + _BEFORE, _encode_before(before))
        for other, _ in self.session_keys():
            if not self._directory.exists(other + _BEFORE):
                write_json(self._directory, other + _BEFORE, _encode_before(before))
        return before

    def update_baselines(self, items: Mapping[str, Item | None]) -> None:
        """Change all baselines on record: ``items`` by key in a snapshot, None for what is no longer there."""
        for key in [name.removesuffix(_BEFORE) for name in self._directory.names() if name.endswith(_BEFORE)]:
            if (before := self.before(key)) is not None:
                changed = {**before.snapshot.items, **items}
                snapshot = Snapshot({name: item for name, item in changed.items() if item is not None})
                write_json(self._directory, key + _BEFORE, _encode_before(before._replace(snapshot=snapshot)))

    def mark_unscanned(self, key: str) -> None:
        """Keep the record of a session that is over, but could not be scanned completely."""
        with contextlib.suppress(FileNotFoundError):
            self._directory.rename(key + liveness.SUFFIX, key + _UNSCANNED)

    def end(self, key: str) -> None:
        """Delete the record of a session."""
        for suffix in (liveness.SUFFIX, _UNSCANNED, _BEFORE):
            with contextlib.suppress(FileNotFoundError):
                self._directory.unlink(key + suffix)

    def save_findings(self, findings: Iterable[Finding]) -> None:
        """Replace the open findings."""
        write_json(self._directory, FINDINGS, [_encode_finding(finding) for finding in findings])

    def save_boundaries(self, known: Boundaries) -> None:
        boundaries.save(self._directory, known)

    def save_accepted(self, digests: Mapping[str, str]) -> None:
        write_json(self._directory, _ACCEPTED, digests)

    def save_accepted_limits(self, digests: Mapping[str, str]) -> None:
        write_json(self._directory, _ACCEPTED_LIMITS, digests)

    def save_copies(self, copies: Mapping[str, Mapping[str, str]]) -> None:
        write_json(self._directory, _COPIES, copies)

    def save_made(self, paths: Iterable[Path]) -> None:
        write_json(self._directory, _MADE, [str(path) for path in paths])

    def save_made_tips(self, commits: Iterable[str]) -> None:
        write_json(self._directory, _MADE_TIPS, list(commits))

    def save_removed(self, name: str, content: bytes) -> Path:
        """Keep the content of a file that is removed from the project; return where. Raises OSError."""
        with self._directory.make(_TRASH) as trash:
            trash.write(name, content)
            return trash.path / name


@contextlib.contextmanager
def locked(location: Location) -> Iterator[Records]:
    """Hold the lock on a project's records for the block; they are made if missing.

    Raises ConfinedError if they cannot be used, or are of a newer version; a link in place of ``<state>`` is refused.
    """
    with locked_directory(location, LOCK) as directory:
        projects.refuse_newer(directory)
        yield Records(directory)


@contextlib.contextmanager
def locked_if_exist(location: Location) -> Iterator[ReadOnlyRecords | None]:
    """Hold the lock on a project's records for the block, and change nothing; yield None if there are none."""
    with location.open_if_exists() as directory:
        if directory is None or not directory.exists(LOCK):
            yield None
            return
        with Lock.open(directory, LOCK) as lock:
            lock.acquire()
            projects.refuse_newer(directory)
            yield ReadOnlyRecords(directory)


class FindingCounts(NamedTuple):
    """How many findings are open by the records, and how many sessions that are over were not scanned yet.

    The ``older`` ones are yellow too, and not among the ``yellow``.
    """

    red: int = 0
    yellow: int = 0
    unscanned: int = 0
    older: int = 0


def count_findings(location: Location) -> FindingCounts:
    """Count what is open in a project by its records, without their lock and without a scan.

    Raises ConfinedError if they are damaged, or of a newer version.
    """
    try:
        with location.open() as directory:
            projects.refuse_newer(directory)
            findings = ReadOnlyRecords(directory).findings()
            interrupted = sum(not has_owner for _, has_owner in liveness.sessions(directory))
            unscanned = sum(name.endswith(_UNSCANNED) for name in directory.names())
    except OSError:
        return FindingCounts()
    red = sum(finding.red for finding in findings)
    older = sum(finding.is_older for finding in findings)
    return FindingCounts(red, len(findings) - red - older, interrupted + unscanned, older)


# The formats on disk, which are those of version 0.1.


def _encode_record(record: Record) -> Any:
    added = {"hidden": record.hidden, "seen": record.seen, "isolated": record.is_isolated}  # version 0.1 refuses these
    known = {"kept": dict(record.pinned), "opened": record.writable, "git_folders": record.git_directories}
    return known | {name: value for name, value in added.items() if value}


def _decode_record(value: Any) -> Record:
    pinned = {path: (device, inode) for path, (device, inode) in value.pop("kept").items()}
    writable, git_directories = tuple(value.pop("opened")), tuple(value.pop("git_folders"))
    later = tuple(value.pop("hidden", ())), tuple(value.pop("seen", ())), bool(value.pop("isolated", False))
    return Record(pinned, writable, git_directories, *later, **value)  # TypeError for a field of newer code alone


def _encode_before(before: Before) -> Any:
    items = {
        key: [item.kind, item.digest, _as_text(item.content), *([True] if item.shared else [])]
        for key, item in before.snapshot.items.items()
    }
    # Version 0.1 refuses these.
    added = {"programs": before.programs, "has_packages": before.has_packages, "tips": before.tips, "made": before.made}
    return {"session": before.session, "since": before.since, "items": items, **added}


def _decode_before(value: Any) -> Before:
    items = value.pop("items").items()
    snapshot = Snapshot(
        {key: Item(Kind(kind), digest, _as_bytes(text), bool(shared)) for key, (kind, digest, text, *shared) in items}
    )
    programs, has_packages = tuple(map(str, value.pop("programs", ()))), bool(value.pop("has_packages", False))
    tips, made = (tuple(_decode_names(value.pop(name, []))) for name in ("tips", "made"))
    return Before(**value, snapshot=snapshot, programs=programs, has_packages=has_packages, tips=tips, made=made)


def _encode_finding(finding: Finding) -> Any:
    return finding._asdict() | {"before": _as_text(finding.before), "after": _as_text(finding.after)}


def _decode_finding(value: Any) -> Finding:
    contents = {name: _as_bytes(value[name]) for name in ("before", "after")}
    return Finding(**(value | contents | {"kind": Kind(value["kind"])}))


def _decode_findings(value: Any) -> list[Finding]:
    return [_decode_finding(one) for one in value]


def _decode_paths(value: Any) -> list[Path]:
    return [Path(path) for path in _decode_names(value)]


def _decode_names(value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise TypeError("no list of names")
    return value


def _decode_digests(value: Any) -> dict[str, str]:
    if not all(isinstance(digest, str) for digest in value.values()):
        raise ValueError("not a digest")
    return dict(value)


def _decode_copies(value: Any) -> dict[str, dict[str, str]]:
    return {name: _decode_digests(references) for name, references in value.items()}


def _as_text(content: bytes | None) -> str | None:
    """Return bytes as text for JSON, one character for each."""
    return None if content is None else content.decode("latin-1")


def _as_bytes(text: str | None) -> bytes | None:
    return None if text is None else text.encode("latin-1")
