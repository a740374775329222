"""A workspace as the guard sees it: its rules, its repository, and how to scan it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..errors import ConfinedError
from ..fs.directory import Location
from ..host import Host
from ..project import CONTAINER_HOME, refusal
from ..project.places import claude_links, start_up_links
from ..state.boundaries import Boundaries
from ..workspace import Workspace
from . import pins, programs, repository
from .findings import Finding, audit, order, without_later_contents
from .gitsettings import is_in_git, named_files, places
from .records import Before, Identity, Record
from .repository import Repository
from .rule_table import Rule
from .rules import Matcher, rules_for
from .snapshot import Kind, Snapshot

if TYPE_CHECKING:
    from .verdicts import Context


class Left(NamedTuple):
    """What a session has left: findings, and the repositories and scaffolds by now, and by its baseline."""

    findings: list[Finding]
    boundaries: Collection[str]
    boundaries_before: Collection[str]

    def boundaries_known(self, known: Boundaries, root: Path) -> Boundaries:
        """Return what is known of these in the project at ``root``, where before it was ``known``."""
        return known.after(self.boundaries_before, self.boundaries, root)


class GuardedProject:
    """The project of a ``workspace``, or what ``is_beside`` it: its paths are shown after its ``prefix``."""

    def __init__(self, workspace: Workspace, *, lenient: bool = False, is_beside: bool = False) -> None:
        """Read the rules and find the repository.

        Raises ConfinedError for a repository that cannot be guarded; a ``lenient`` one, or one whose git is open, has
        no repository then.
        """
        self.workspace = workspace
        self.root = workspace.project.root
        self.is_beside = is_beside
        self.prefix = f"{self.root}/" if is_beside else ""
        self.repository: Repository | None = None
        try:
            own = repository.find(self.root)
            if own is not None and self.root not in own.common.parents:
                _refuse_private(own.common, workspace.host)
            self.repository = own
        except ConfinedError:
            if workspace.settings.git != "open" and not lenient:
                raise
        host = workspace.host
        settings = (*host.git_config, *host.git_environment)
        self.named = named_files(self.root, self.repository, settings, host.git_files)
        named = (*(f"/{path}" for path in self.named.in_tree), *self.named.anywhere)
        configs = dict.fromkeys((host.home / ".claude", host.claude_config))
        links = (*start_up_links(host.home), *(link for config in configs for link in claude_links(config)))
        linked = tuple(_linked(self.root, links))
        found = (*_invoke_package(self.root), *map(_git_rule, named), *map(_link_rule, linked))
        self.matcher = Matcher(rules_for(workspace.settings.protect, workspace.settings.writable, found))
        hidden: frozenset[str] = frozenset()
        with contextlib.suppress(ConfinedError):  # the scan reports it
            hidden = frozenset(pins.virtual_environments(self.root))
        self.programs = tuple(dict.fromkeys(programs.directories(workspace.host.path, self.root, hidden)))

    @property
    def outside(self) -> tuple[Path, ...]:
        """The repository, if it is outside the project."""
        if self.repository is None or self.root in self.repository.common.parents:
            return ()
        return (self.repository.common,)

    def _red_files(self, snapshot: Snapshot) -> Iterator[str]:
        """Yield the paths of files that act by themselves."""
        for path, item in snapshot.items.items():
            rule = self.matcher.rule_of(path.split("/")) if item.kind == Kind.FILE else None
            if rule is not None and rule.red:
                yield path

    def repository_now(self) -> Repository | None:
        """Return the repository, also if a session has made it."""
        if self.repository is None:
            with contextlib.suppress(ConfinedError):
                return repository.find(self.root)
        return self.repository

    @property
    def _separate_repository(self) -> tuple[Path, ...]:
        """The repository, if its directory is not the project's ``.git``."""
        if self.repository is None or self.repository.common == self.root / ".git":
            return ()
        return (self.repository.common,)

    def scan(
        self,
        since: float | None = None,
        known_programs: Iterable[str] | None = None,
        known_packages: Collection[str] | None = (),
    ) -> Snapshot:
        """Scan the project. ``since`` is as for ``scan.scan``.

        ``known_programs`` are the directories of programs in the snapshot that this one is compared with, by default
        all that the caller's PATH has now. Of others only what changed since then is noted. ``known_packages`` are the
        directories of packages in that snapshot; None if it has none for being of version 0.1.
        """
        from .scan import scan  # beside the engine's work

        known = dict.fromkeys(self.programs if known_programs is None else known_programs, False)
        directories = {**dict.fromkeys(self.programs, True), **known}
        return scan(
            self.root,
            self.matcher,
            self._separate_repository,
            self.named.in_git,
            self.named.commands,
            since=since,
            programs=directories,
            packages=known_packages,
        )

    def compare(self, record: Record, before: Before, unchanged: Iterable[str] = ()) -> Left:
        """Return what the session with these records has left, as of now.

        ``unchanged`` are pinned paths that have been the same file or directory all the time.
        """
        context = self._context(record)
        items = before.snapshot.items
        known_packages = {key.partition("\0")[0] for key, item in items.items() if item.kind == Kind.PACKAGES}
        after = self.scan(before.since, before.programs, known_packages if before.has_packages else None)
        found = audit(
            before.snapshot,
            after,
            context,
            unchanged=unchanged,
            is_directory=self._is_directory,
            session=before.session,
            since=before.since,
        )
        found = self._without_known(found, before, after, context)
        committed = self._committed(before, after)
        found += [finding._replace(session=before.session, since=before.since) for finding in committed]
        # Baselines of earlier versions have no others.
        known_before = [key for key in items if f"/{key}".endswith("/.git")]
        return Left(without_later_contents(sorted(found, key=order)), after.boundaries, known_before)

    def _context(self, record: Record) -> Context:
        """Return what findings of the session with this record are judged by."""
        from .verdicts import Context  # not before the end of a session

        container_only = () if CONTAINER_HOME.exists() else (f"{CONTAINER_HOME}/",)
        return Context(
            root=str(self.root),
            matcher=self.matcher,
            replaced=frozenset(_replaced(self.root, record)),
            writable=record.writable,
            git_directories=frozenset(record.git_directories),
            container_only=container_only,
            seen=(*map(str, (self.root, *self.outside)), *record.seen, *map(os.path.realpath, container_only)),
            hidden=tuple(str(self.root / path) for path in record.hidden),
        )

    def _without_known(self, found: list[Finding], before: Before, after: Snapshot, context: Context) -> list[Finding]:
        """Return the findings without files that the repository had already, in the project and in its worktrees."""
        if self.repository is None or not found:
            return found
        from .known_files import KnownFiles  # not before the end of a session
        from .verdicts import pointers

        place = f"{self.name(self.repository.common)}/worktrees/"
        context = context._replace(scanned=frozenset(after.git_directories))
        trees = {
            path.removesuffix("/.git"): self.root / named
            for path, named in pointers(after, context)
            if named.startswith(place)
        }
        return KnownFiles(self.root, self.repository, before, self.matcher).without_known(found, after, trees)

    def _committed(self, before: Before, after: Snapshot) -> Iterator[Finding]:
        """Yield what the session has left in commits; nothing if the baseline is of version 0.1."""
        own = self.repository_now()
        if own is None or not before.has_packages:
            return
        from . import commits  # not before the end of a session

        known = (*before.tips, *before.made)
        yield from commits.findings(own, self.matcher, known, (before.snapshot, after), after.reached)
        yield from commits.forged(own, list(self._red_files(before.snapshot)))

    def shown(self, findings: Iterable[Finding]) -> list[Finding]:
        """Return the findings with their paths as they are shown."""
        found = list(findings)
        return [one._replace(path=self.shown_path(one.path)) for one in found] if self.prefix else found

    def shown_path(self, path: str) -> str:
        """Return a path of a snapshot as it is shown."""
        return path if path.startswith("/") else self.prefix + path

    def has_place(self, path: str) -> bool:
        """Return whether the directory for which the file at ``path`` acts, by its rule, is there."""
        return self._is_directory("/".join(self.matcher.place_of(path.split("/"))))

    def _is_directory(self, path: str) -> bool:
        with contextlib.suppress(OSError), Location(self.root, tuple(filter(None, path.split("/")))).open():
            return True
        return False

    def name(self, path: Path) -> str:
        """Return a path as in a snapshot."""
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)

    def parent_of(self, path: str) -> Location:
        """Return the directory that holds a path from a snapshot. No link between it and the project is followed."""
        absolute = self.root / path
        base = next(base for base in (self.root, *self.outside, Path("/")) if absolute.is_relative_to(base))
        return Location(base, absolute.relative_to(base).parts[:-1])


def _refuse_private(common: Path, host: Host) -> None:
    """Raise ConfinedError for a repository outside the project where no project may be: all of it would be mounted."""
    if reason := refusal(common, host):
        raise ConfinedError(
            f"The repository of this project is at {common}, which no session may see: {reason}.",
            'Move it elsewhere, or set git = "open" in your own config file: sessions then start, but without git.',
        )


def identity(path: Path) -> Identity:
    """Return the device and inode of a file; zeros if it is missing."""
    try:
        status = path.lstat()
    except OSError:
        return (0, 0)
    return (status.st_dev, status.st_ino)


def _replaced(root: Path, record: Record) -> Iterator[str]:
    """Yield what the host has replaced while it was pinned: from then on the session could change it."""
    return (path for path, pinned in record.pinned.items() if identity(root / path) != pinned)


def _git_rule(path: str) -> Rule:
    return Rule("git, whose settings name it", True, (path, f"{path}/"))


def _link_rule(path: str) -> Rule:
    return Rule("a program of yours, through a link in your home directory", True, (path, f"{path}/"))


def _linked(root: Path, links: Iterable[str]) -> Iterator[str]:
    """Yield what in the project programs read under the name of one of ``links``, and other links on the way there."""
    for link in links:
        if not os.path.realpath(link).startswith(f"{root}/"):
            continue
        for place in places(Path(link)):
            if place != root and place.is_relative_to(root) and not is_in_git(place, root):
                yield f"/{place.relative_to(root)}"


def _invoke_package(root: Path) -> Iterator[Rule]:
    """Yield the rule for tasks that are a package, if they are Invoke's: other things have that name too."""
    if not (root / "tasks.py").exists() and b"invoke" in (Location(root, ("tasks",)).read("__init__.py") or b""):
        yield Rule("inv", True, ("/tasks/",))
