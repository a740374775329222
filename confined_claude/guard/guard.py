"""A project under guard: looked at before a session, kept while it runs, looked at after."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ..engine.mount import Mount
from ..errors import ConfinedError, ReviewNeeded
from ..fs import safefs
from ..host import Host
from ..project import CONTAINER_HOME, Project
from ..settings import Settings
from ..text import escape
from . import pins, records, report, repository
from .findings import Finding, audit
from .records import Before, Record, Records
from .repository import Repository
from .rules import Matcher, Rule, rules_for
from .scan import scan
from .snapshot import Item, Kind, Snapshot
from .verdicts import Context

_NAMED = 3
_CUT_OFF = "A session that was cut off, or could not be looked through,"
# The time that the system gives to changes of files lags behind its clock by up to a tick.
_CLOCK_SECONDS = 0.02


class Ground:
    """A project as the guard sees it: its rules, its repository, and how to look through it."""

    def __init__(
        self, project: Project, chosen: Settings, git_config: Iterable[tuple[str, str]] = (), *, forgiving: bool = False
    ) -> None:
        """``git_config`` are the user's own settings of git.

        Raises ConfinedError for a repository that cannot be guarded; if ``forgiving``, it has none then.
        """
        self.project = project
        self.git = chosen.git
        try:
            self.repository: Repository | None = repository.find(project.root)
        except ConfinedError:
            if self.git != "open" and not forgiving:
                raise
            self.repository = None
        common = None if self.repository is None else self.repository.common
        named = repository.named_by_settings(project.root, common, git_config)
        found = (*_invoke_package(project.root), *(_git_rule(path) for path in dict.fromkeys(named)))
        self.matcher = Matcher(rules_for(chosen.protect, chosen.writable, found))

    @property
    def outside(self) -> tuple[Path, ...]:
        """The repository, if it lies outside the project."""
        if self.repository is None or self.project.root in self.repository.common.parents:
            return ()
        return (self.repository.common,)

    def look(self, since: float | None = None) -> Snapshot:
        return scan(self.project.root, self.matcher, self.outside, since=since)

    def compare(self, record: Record, before: Before, held: Iterable[str] = ()) -> list[Finding]:
        """What the session of these records has left, as of now.

        ``held`` are kept paths that have surely been the same file or folder all the time.
        """
        context = Context(
            root=str(self.project.root),
            matcher=self.matcher,
            replaced=frozenset(_lost(self.project.root, record.kept)),
            writable=tuple(record.opened),
            git_directories=frozenset(record.git_folders),
            container_only=() if CONTAINER_HOME.exists() else (f"{CONTAINER_HOME}/",),
        )
        after = self.look(before.since)
        return audit(before.snapshot, after, context, unchanged=held, session=before.session, since=before.since)

    def name(self, path: Path) -> str:
        """A path as in a snapshot."""
        return str(path.relative_to(self.project.root)) if path.is_relative_to(self.project.root) else str(path)


@contextlib.contextmanager
def watched(
    project: Project,
    chosen: Settings,
    host: Host,
    is_running: Callable[[str], bool],
    *,
    key: str,
    prepare: Callable[[], None] = lambda: None,
) -> Iterator[Watch]:
    """A watch over the session ``key`` in ``project``; at the end of the block, however it ends, it reports.

    ``is_running`` and ``prepare`` are as in ``Watch.begin``. Raises ReviewNeeded
    while something red is open, and ConfinedError for what cannot be guarded.
    """
    watch = Watch(Ground(project, chosen, host.git_config), host, key)
    watch.begin(is_running, prepare)
    try:
        yield watch
    except BaseException:
        watch.report(goes_on=is_running(watch.key))
        raise
    watch.report()


class Watch:
    """One session under guard. ``key`` is its label, ``mounts`` what it needs beside its own, ``session`` its name,
    ``found`` what it has left."""

    def __init__(self, ground: Ground, host: Host, key: str) -> None:
        self.key = key
        self.mounts: tuple[Mount, ...] = ()
        self.session = ""
        self.found: list[Finding] = []
        self._ground = ground
        self._host = host
        self._record = Record()
        self._before: Before | None = None
        self._holds = _Holds()
        self._handle = -1

    def begin(self, is_running: Callable[[str], bool], prepare: Callable[[], None] = lambda: None) -> None:
        """Look after sessions that were cut off, and keep what this one may not change.

        ``is_running`` says of a session's key whether its container may still run. ``prepare`` makes what the session
        needs; nobody cleans it away between that and the session's record. Raises ReviewNeeded while something red is
        open, and ConfinedError for what cannot be guarded.
        """
        ground, project = self._ground, self._ground.project
        with records.locked(project, self._host) as kept:
            prepare()
            others = settle(kept, ground, is_running)
            refuse_while_red(kept, ground)
            planned = _planned(ground, others)
            copied = None
            if ground.git == "isolated" and ground.repository is not None:
                from . import isolation

                copied = isolation.copy_for(ground.repository, project, self._host, kept)
            kept.keep_made(dict.fromkeys((*kept.made(), *planned.missing)))
            pins.make_missing(planned.missing, project.root)
            self._record.kept = {ground.name(path): _identity(path) for path in (*planned.kept, *planned.missing)}
            self._holds.take(project.root, self._record.kept)
            self._record.opened = [ground.name(path) for path in planned.opened]
            if ground.repository is not None:
                self._record.git_folders = [ground.name(folder) for folder in ground.repository.git_directories()]
            self._handle = kept.begin(self.key, self._record)
        self.mounts = _mounts(planned, ground, self._host, copied)

    @contextlib.contextmanager
    def looking(self, session: str) -> Iterator[None]:
        """Record what there is while the block prepares a ``session``, which must not start before its end.

        Raises what goes wrong with the look at the end of the block.
        """
        failed: list[Exception] = []

        def look() -> None:
            try:
                since = time.time() - _CLOCK_SECONDS
                self._before = Before(session, since, self._ground.look())
                with records.locked(self._ground.project, self._host) as kept:
                    kept.keep_before(self.key, self._before)
            except Exception as error:  # whatever it is: without a look before there is no session
                failed.append(error)

        thread = threading.Thread(target=look)
        thread.start()
        try:
            yield
        finally:
            thread.join()
        if failed:
            raise failed[0]

    def report(self, *, goes_on: bool = False) -> None:
        """Look at what the session has left, as ``finish`` does, and tell it, also where it cannot be kept."""
        try:
            report.tell(self.finish(goes_on=goes_on))
        except ConfinedError as error:
            report.tell(self.found)
            raise ConfinedError(
                error.message, "Put that right; the next start looks through the project again."
            ) from None

    def finish(self, *, goes_on: bool = False) -> list[Finding]:
        """Look at what the session has left; gives what is new. What was made for it goes with the last one.

        If it ``goes_on`` without this process, the next start looks again.
        """
        findings: list[Finding] = []
        if self._before is not None:
            before = replace(self._before, session=self.session or self._before.session)
            self.found = findings = self._ground.compare(
                self._record, before, self._holds.still(self._ground.project.root)
            )
        with records.locked(self._ground.project, self._host) as kept:
            fresh = add_findings(kept, findings)
            if not goes_on:
                _end(kept, self.key, findings)
            os.close(self._handle)
            self._holds.close()
            tidy(kept, self._ground.project.root)
        return fresh


@dataclass(frozen=True)
class Foreseen:
    """What a session that began now would need: ``mounts``, and before that what is ``missing`` and what is ``copied``.

    The latter is the repository that a session works on a copy of, if that has to be made, at the source of its mount.
    """

    mounts: tuple[Mount, ...]
    missing: tuple[Path, ...] = ()
    copied: Path | None = None


def foresee(project: Project, chosen: Settings, host: Host, is_running: Callable[[str], bool], key: str) -> Foreseen:
    """What ``Watch.begin`` would come to for the session ``key``; nothing is made, changed or kept.

    Raises as that does.
    """
    ground = Ground(project, chosen, host.git_config)
    copied, is_new = None, False
    with records.unwritten(project, host) as kept:
        others: list[Record] = []
        if kept is not None:
            others = settle(kept, ground, is_running, quiet=True)
            refuse_while_red(kept, ground)
        planned = _planned(ground, others)
        if not os.path.lexists(project.scaffold):  # it is made before anything of it is kept
            planned = replace(planned, kept=(project.scaffold, *planned.kept))
        if ground.git == "isolated" and ground.repository is not None:
            from . import isolation

            copied, is_new = isolation.copy_foreseen(ground.repository, project, host, kept, key)
    original = ground.repository.common if is_new and ground.repository is not None else None
    return Foreseen(_mounts(planned, ground, host, copied), planned.missing, original)


def _planned(ground: Ground, others: Iterable[Record]) -> pins.Pins:
    """What to keep while the sessions of the records ``others`` go on."""
    root = ground.project.root
    planned = pins.plan_pins(ground.project, ground.repository if ground.git == "guarded" else None, ground.matcher)
    for other in others:
        planned = planned.among(root / path for path in (*other.kept, *other.opened))
    return planned


def _mounts(planned: pins.Pins, ground: Ground, host: Host, copied: Mount | None) -> tuple[Mount, ...]:
    """What a session needs beside its own mounts; ``copied`` is that of its copy of the repository."""
    outside = ground.repository if copied is None else None
    return (
        *pins.plan_mounts(planned, ground.project, outside, host.data),
        *([copied] if copied is not None else []),
    )


def settle(
    kept: Records, ground: Ground, is_running: Callable[[str], bool], *, quiet: bool = False, whose: str = _CUT_OFF
) -> list[Record]:
    """Look at what sessions have left that were cut off, and tell it; gives the records of those that go on.

    ``whose`` are the words for them in what is told.
    """
    going_on = []
    fresh: list[Finding] = []
    for key, record, alive in list(kept.sessions()):
        if alive:
            going_on.append(record)
            continue
        before = kept.before(key)
        findings = [] if before is None else ground.compare(record, before)
        fresh += add_findings(kept, findings)
        if before is not None and is_running(key):
            going_on.append(record)
        else:
            _end(kept, key, findings)
    for key, record in list(kept.unseen()):
        if (before := kept.before(key)) is not None:
            findings = ground.compare(record, before)
            fresh += add_findings(kept, findings)
            _end(kept, key, findings)
    tidy(kept, ground.project.root)
    if not quiet:
        report.tell(fresh, whose)
    return going_on


def _end(kept: Records, key: str, findings: Iterable[Finding]) -> None:
    """End the record of a session, unless there is something that could not be looked through yet."""
    if any(finding.kind == Kind.UNSEEN for finding in findings):
        kept.keep_unseen(key)
    else:
        kept.end(key)


def tidy(kept: Records, root: Path) -> None:
    """With no session on record any more, take away what was made for them."""
    if any(True for _ in kept.sessions()):
        return
    if made := kept.made():
        pins.remove_made(made, root)
        kept.keep_made(())
    kept.keep_accepted({})


def add_findings(kept: Records, findings: Iterable[Finding]) -> list[Finding]:
    """Add to the open findings; gives those that were not known, or accepted, as they are."""
    found = {finding.key: finding for finding in kept.findings()}
    accepted = kept.accepted()
    fresh = []
    for finding in findings:
        known = found.get(finding.key)
        if finding.digest_after in (accepted.get(finding.key), known and known.digest_after):
            continue
        if known is not None:  # what it was before the first of them is what counts
            finding = replace(  # noqa: PLW2901
                finding,
                before=known.before,
                digest_before=known.digest_before,
                red=known.red or finding.red,
                session=known.session,
                since=known.since,
            )
        found[finding.key] = finding
        fresh.append(finding)
    if fresh:
        kept.keep_findings(sorted(found.values(), key=lambda finding: (not finding.red, finding.path)))
    return fresh


def open_findings(kept: Records, ground: Ground) -> list[Finding]:
    """The open findings, without those that somebody has put right."""
    findings = kept.findings()
    if not findings:
        return []
    now = ground.look(min(finding.since for finding in findings)).items
    still = [finding for finding in findings if not _is_put_right(finding, now.get(finding.key), ground)]
    if len(still) < len(findings):
        kept.keep_findings(still)
    return still


def _is_put_right(finding: Finding, now: Item | None, ground: Ground) -> bool:
    """Whether what was found is gone, or as it was before."""
    if now is not None:
        return now.digest == finding.digest_before
    # A rule that settings brought may be gone with them, and the file still there.
    return finding.kind not in (Kind.FILE, Kind.LINK) or not os.path.lexists(ground.project.root / finding.path)


def refuse_while_red(kept: Records, ground: Ground) -> None:
    """Raise ReviewNeeded if something red is open."""
    if not any(finding.red for finding in kept.findings()):
        return
    red = [finding for finding in open_findings(kept, ground) if finding.red]
    if not red:
        return
    named = ", ".join(escape(finding.path) for finding in red[:_NAMED])
    more = f" and {len(red) - _NAMED} more" if len(red) > _NAMED else ""
    raise ReviewNeeded(
        f"A session has left what would run on this machine by itself: {named}{more}.",
        "See it with `confined-claude review`, which can restore or accept it; nothing starts here before.",
    )


class _Holds:
    """Open handles of what is kept: as long as they are, no other file can have the same identity."""

    def __init__(self) -> None:
        self._handles: dict[str, int] = {}

    def take(self, root: Path, paths: Iterable[str]) -> None:
        flags = getattr(os, "O_PATH", os.O_RDONLY | os.O_NONBLOCK) | os.O_NOFOLLOW | os.O_CLOEXEC
        for path in paths:
            with contextlib.suppress(OSError):
                self._handles[path] = os.open(root / path, flags)

    def still(self, root: Path) -> Iterator[str]:
        """The paths at which the same file or folder stands as when it was taken."""
        for path, handle in self._handles.items():
            status = os.fstat(handle)
            if (status.st_dev, status.st_ino) == _identity(root / path):
                yield path

    def close(self) -> None:
        while self._handles:
            os.close(self._handles.popitem()[1])


def _git_rule(path: str) -> Rule:
    return Rule("git, whose settings name it", True, (f"/{path}", f"/{path}/"))


def _invoke_package(root: Path) -> Iterator[Rule]:
    """The rule for tasks that are a package: only if they are Invoke's, as other things are called so too."""
    if (root / "tasks.py").exists():
        return
    with contextlib.suppress(OSError), safefs.opened(root, "tasks") as folder:
        if b"invoke" in (safefs.read(folder, "__init__.py") or b""):
            yield Rule("inv", True, ("/tasks/",))


def _identity(path: Path) -> tuple[int, int]:
    try:
        status = path.lstat()
    except OSError:
        return (0, 0)
    return (status.st_dev, status.st_ino)


def _lost(root: Path, kept: dict[str, tuple[int, int]]) -> Iterator[str]:
    """What the host replaced while it was kept: from then on the session could change it."""
    return (path for path, identity in kept.items() if _identity(root / path) != tuple(identity))
