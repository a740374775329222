"""What waits for a person: reviewed, restored or accepted."""

from __future__ import annotations

import secrets
import shlex
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from ..errors import ConfinedError, system_error
from ..fs.directory import Directory
from ..text import escape, named, normal_path
from ..workspace import Workspace
from . import commits, isolation, open_findings
from .beside import places
from .findings import Finding, order
from .guarded_project import GuardedProject
from .isolation import Unfetched
from .known_files import branches
from .records import Records, locked
from .recovery import recover_interrupted
from .snapshot import Item, Kind
from .walk import script_digest

_REMOVABLE = (Kind.FILE, Kind.GIT_FILE, Kind.LINK, Kind.GIT_LINK, Kind.POINTER, Kind.PROGRAM, Kind.OPTION)
_LINKS = (Kind.LINK, Kind.GIT_LINK)
_RESTORABLE = (Kind.FILE, Kind.GIT_FILE, Kind.POINTER, Kind.PROGRAM, Kind.REACHED)


class Review(NamedTuple):
    """The open findings, red first, and the copies of the repository with something to fetch.

    ``made`` are the directories of which sessions have made projects of their own.
    """

    findings: list[Finding]
    unfetched: list[Unfetched]
    made: tuple[str, ...] = ()


def review(workspace: Workspace) -> Review:
    """Return what is open in a project and in what its sessions wrote beside it, interrupted ones included."""
    here = _review(GuardedProject(workspace, lenient=True))
    found = (here, *(_review(_beside(place)) for place in places(workspace)))
    return Review(
        sorted((finding for one in found for finding in one.findings), key=order),
        [copy for one in found for copy in one.unfetched],
        here.made,
    )


def _review(project: GuardedProject) -> Review:
    workspace = project.workspace
    with locked(workspace.state) as records:
        recover_interrupted(records, project, who=None)
        findings = project.shown(open_findings.close_put_right(records, project))
        unfetched = isolation.unfetched(project.root, workspace.data.at(isolation.DIRECTORY), records)
        # What it made of the project's root is the project all the same, unless another one is around it.
        made = [name for name in records.boundaries().made if "/" in name or workspace.host.here]
        return Review(findings, unfetched, tuple(sorted({name.rpartition("/")[0] or "." for name in made})))


def _beside(place: Workspace) -> GuardedProject:
    return GuardedProject(place, lenient=True, is_beside=True)


def _place_of(workspace: Workspace, path: str) -> tuple[Workspace, str]:
    """Return the workspace that the finding at a path, as it is shown, is on record in, and its path there."""
    for place in places(workspace):
        inner = path.removeprefix(f"{place.project.root}/")
        with locked(place.state) as records:
            if inner != path and any(inner in _names(finding) for finding in records.findings()):
                return place, inner
    return workspace, path


def _names(finding: Finding) -> tuple[str, str]:
    """Return the path of a finding, and as a person sees it."""
    return finding.path, escape(finding.path)


def refuse_while_red(workspace: Workspace) -> None:
    """Raise ReviewNeeded if something red is open, interrupted sessions included."""
    project = GuardedProject(workspace, lenient=True)
    with locked(workspace.state) as records:
        recover_interrupted(records, project)
        open_findings.refuse_while_red(records, project)


class Branches:
    """The branches of a project's repository as they are now, to be compared with what comes to them."""

    def __init__(self, workspace: Workspace) -> None:
        self._project = GuardedProject(workspace, lenient=True)
        self._known = tuple(branches(self._project.repository).values())

    def changed(self) -> dict[str, list[str]]:
        """Return what acts by itself in branches that are new or changed, by branch; nothing if it cannot be read."""
        repository = self._project.repository
        return {} if repository is None else commits.changed(repository, self._project.matcher, self._known)


def accept(workspace: Workspace, findings: Iterable[Finding]) -> None:
    """Close ``findings``, as ``review`` returns them, as they are: if one changes again, it is open again."""
    by_place: dict[Path, tuple[Workspace, list[Finding]]] = {}
    for finding in findings:
        place, path = _place_of(workspace, finding.path)
        by_place.setdefault(place.project.root, (place, []))[1].append(finding._replace(path=path))
    for place, found in by_place.values():
        _accept(place, found)


def _accept(workspace: Workspace, findings: Sequence[Finding]) -> None:
    with locked(workspace.state) as records:
        digests = {finding.key: finding.digest_after for finding in findings}
        records.save_findings(
            [finding for finding in records.findings() if digests.get(finding.key) != finding.digest_after]
        )
        limits = {finding.key: finding.digest_after for finding in findings if finding.kind == Kind.UNSEEN}
        if limits:
            records.save_accepted_limits(records.accepted_limits() | limits)
        for key, _ in records.unscanned():
            records.end(key)
        if records.sessions():  # they will find it again
            records.save_accepted(records.accepted() | digests)
            records.update_baselines(
                {finding.key: _item(finding, finding.digest_after, finding.after) for finding in findings}
            )


def accept_path(workspace: Workspace, path: str) -> str:
    """Accept what is open at ``path``, as it is on record; return the path. Raises ConfinedError if nothing is.

    A project that sessions have made there is accepted too.
    """
    place, inner = _place_of(workspace, path)
    made = place is workspace and accept_made(workspace, [path])
    with locked(place.state) as records:
        try:
            found = _named(records, inner)
        except ConfinedError:
            if not made:
                raise
            found = []
    _accept(place, found)
    return escape(found[0].path if found and place is workspace else path)


def accept_made(workspace: Workspace, directories: Sequence[str]) -> bool:
    """Let the ``directories`` of which sessions have made projects count as such; return whether any was one."""
    wanted = {normal_path(directory) for directory in directories}
    with locked(workspace.state) as records:
        known = records.boundaries()
        names = [name for name in known.made if not wanted.isdisjoint((name, name.rpartition("/")[0] or "."))]
        records.save_boundaries(known.accept(names))
    return bool(names)


def _named(records: Records, path: str) -> list[Finding]:
    """Return the open findings at a path, as a person writes it. Raises ConfinedError if there are none."""
    wanted = path.removeprefix("./").rstrip("/")
    findings = records.findings()
    found = [finding for finding in findings if wanted in _names(finding)]
    if not found:
        inside = [escape(finding.path) for finding in findings if finding.path.startswith(f"{wanted}/")]
        hint = f"Name what is in it: {named(inside, 3)}." if inside else "`confined-claude review` lists them."
        raise ConfinedError(f"{escape(path)} is not among the findings.", hint)
    return found


def restore(workspace: Workspace, path: str) -> str:
    """Restore ``path`` as it was before the session that changed it; return what was done, in words.

    What did not exist before is removed from the project, and kept in ``<state>``. Raises ConfinedError for what is not
    open, or of which too little is known.
    """
    place, path = _place_of(workspace, path)
    project = GuardedProject(workspace, lenient=True) if place is workspace else _beside(place)
    with locked(place.state) as records:
        found = _named(records, path)
        done = [_restore(finding, project, records) for finding in found]
        records.update_baselines(
            {finding.key: _item(finding, finding.digest_before, finding.before) for finding in found}
        )
        open_findings.close_put_right(records, project)
    return "; ".join(done)


def removes(finding: Finding) -> bool:
    """Return whether ``restore`` removes what was found, as it is new."""
    return not finding.digest_before and finding.kind in _REMOVABLE


def _item(finding: Finding, digest: str, content: bytes | None) -> Item | None:
    """Return what a finding says that there is, or was, as in a snapshot."""
    return Item(finding.kind, digest, content) if digest else None


def _restore(finding: Finding, project: GuardedProject, records: Records) -> str:
    """Put what was found right, and return what was done. Raises ConfinedError where that cannot be."""
    path = escape(project.shown_path(finding.path))
    if finding.kind == Kind.COMMITTED:
        message = f"{path} is in a commit, which `review` does not change."
        raise _refusal(message, "Change the branch with git", path)
    name = finding.path.rpartition("/")[2]
    try:
        parent = project.parent_of(finding.path)
        # What is removed may have gone with its directory.
        with parent.open() if finding.digest_after else parent.make(0o755) as directory:
            if finding.kind == Kind.SETID:
                directory.change_mode(name, off=stat.S_ISUID | stat.S_ISGID)
                return f"{path} no longer has setuid or setgid"
            if removes(finding):
                return f"{path} is removed, and kept in {_remove(finding, directory, path, records)}"
            if _put_back(finding, directory):
                return f"{path} is as it was before"
    except OSError as error:
        raise system_error("restore", project.root / finding.path, error) from None
    message = f"{path} cannot be restored: not enough of its earlier state was kept."
    raise _refusal(message, "Put it right yourself", path)


def _refusal(message: str, advice: str, path: str) -> ConfinedError:
    accept = f"confined-claude review --accept {shlex.quote(path)}"
    return ConfinedError(message, f"{advice}, or accept it with `{accept}`.")


def _remove(finding: Finding, directory: Directory, path: str, records: Records) -> Path:
    """Remove what was found in ``directory``, and return where it is kept. ``path`` is its path as it is shown."""
    name = finding.path.rpartition("/")[2]
    content = directory.read(name)
    if content is None and directory.is_file(name):
        message = f"{path} is not removed: it is too large to keep a copy of."
        raise _refusal(message, "Remove it yourself", path)
    where = records.save_removed(f"{name[-100:]}.{secrets.token_hex(4)}", content or finding.after or b"")
    directory.unlink(name)
    return where


def _put_back(finding: Finding, directory: Directory) -> bool:
    """Give a file or link in ``directory`` the content that it had before; return False if that is not known."""
    name, before = finding.path.rpartition("/")[2], finding.before
    if before is None:
        return False
    if finding.digest_before and finding.kind in _RESTORABLE:
        # Sessions that go on have the file pinned by its inode. A removed one was a program, by its content.
        is_script = before.startswith(b"#!")
        directory.overwrite(name, before, mode=0o755 if is_script else 0o644)
        if is_script and finding.kind != Kind.REACHED:
            was_executable = finding.digest_before == script_digest(before, 0o111)
            directory.change_mode(name, **{"on" if was_executable else "off": 0o111})
        return True
    if finding.kind in _LINKS:
        directory.replace_link(name, before.partition(b"\0")[0])
        return True
    return False
