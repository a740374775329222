"""What waits for a person: looked at, restored or accepted."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import ConfinedError
from ..fs import safefs
from ..host import Host
from ..text import escape
from . import guard as watch
from . import isolation, records
from .findings import Finding
from .guard import Ground
from .isolation import Waiting
from .snapshot import Kind

_REMOVABLE = (Kind.FILE, Kind.GIT_FILE, Kind.LINK, Kind.GIT_LINK, Kind.POINTER)


@dataclass(frozen=True)
class Review:
    """The open findings, red first, and what waits in copies of the repository."""

    findings: list[Finding]
    waiting: list[Waiting]

    @property
    def is_red(self) -> bool:
        return any(finding.red for finding in self.findings)


def look(ground: Ground, host: Host, is_running: Callable[[str], bool]) -> Review:
    """What is open in a project, sessions that were cut off included. ``is_running`` is as in ``watch``."""
    with records.locked(ground.project, host) as kept:
        watch.settle(kept, ground, is_running, quiet=True)
        return Review(watch.open_findings(kept, ground), isolation.waiting(ground.project, host, kept))


def refuse_while_red(ground: Ground, host: Host, is_running: Callable[[str], bool]) -> None:
    """Raise ReviewNeeded if something red is open, sessions that were cut off included."""
    with records.locked(ground.project, host) as kept:
        watch.settle(kept, ground, is_running)
        watch.refuse_while_red(kept, ground)


def accept(ground: Ground, host: Host, findings: list[Finding]) -> None:
    """Close ``findings``, as they are: if one changes again, it is open again."""
    with records.locked(ground.project, host) as kept:
        digests = {finding.key: finding.digest_after for finding in findings}
        still = [finding for finding in kept.findings() if digests.get(finding.key) != finding.digest_after]
        kept.keep_findings(still)
        for key, _ in list(kept.unseen()):
            kept.end(key)
        if any(True for _ in kept.sessions()):  # which will find it again
            kept.keep_accepted(kept.accepted() | digests)


def restore(ground: Ground, host: Host, path: str) -> str:
    """Put ``path`` back as it was before the session that changed it; gives what was done.

    What was not there before is taken out of the project and kept in ``<state>``. Raises
    ConfinedError for what is not open, or of which too little is known.
    """
    wanted = path.removeprefix("./").rstrip("/")
    with records.locked(ground.project, host) as kept:
        found = [finding for finding in kept.findings() if wanted in (finding.path, escape(finding.path))]
        if not found:
            raise ConfinedError(f"{escape(path)} is not among the findings.", "`confined-claude review` lists them.")
        done = [_restore(finding, ground, kept) for finding in found]
        watch.open_findings(kept, ground)
    return "; ".join(done)


def _restore(finding: Finding, ground: Ground, kept: records.Records) -> str:
    path = ground.project.root / finding.path
    try:
        with _parent_of(path, ground) as folder:
            if finding.kind == Kind.SETID:
                _clear_setid(folder, path.name)
                return f"{escape(finding.path)} runs with nobody's rights any more"
            if not finding.digest_before and finding.kind in _REMOVABLE:
                content = safefs.read(folder, path.name)
                aside = kept.put_aside(f"{path.name[-100:]}.{secrets.token_hex(4)}", content or finding.after or b"")
                os.unlink(path.name, dir_fd=folder)
                return f"{escape(finding.path)} is removed, and kept in {aside}"
            if finding.before is not None and finding.kind in (Kind.FILE, Kind.GIT_FILE, Kind.POINTER):
                _write_back(folder, path.name, finding.before)
                return f"{escape(finding.path)} is as it was before"
    except OSError as error:
        raise safefs.cannot("restore", path, error) from None
    raise ConfinedError(
        f"{escape(finding.path)} cannot be restored: too little is kept of what it was.",
        "Put it right yourself, or accept it with `confined-claude review --accept`.",
    )


@contextlib.contextmanager
def _parent_of(path: Path, ground: Ground) -> Iterator[int]:
    """The folder that holds ``path``, opened without following a link below the project."""
    base = next(place for place in (ground.project.root, *ground.outside, Path("/")) if path.is_relative_to(place))
    with safefs.opened(base, *path.relative_to(base).parts[:-1]) as folder:
        yield folder


def _write_back(folder: int, name: str, content: bytes) -> None:
    """Write in place where there is a file: sessions that go on have it pinned by its inode."""
    flags = os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        handle = os.open(name, flags, dir_fd=folder)
    except OSError:
        safefs.write(folder, name, content, mode=0o644)
        return
    with open(handle, "wb") as file:
        file.write(content)


def _clear_setid(folder: int, name: str) -> None:
    handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    try:
        os.fchmod(handle, stat.S_IMODE(os.fstat(handle).st_mode) & ~(stat.S_ISUID | stat.S_ISGID))
    finally:
        os.close(handle)
