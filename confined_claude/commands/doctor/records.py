"""Checks of config files, records in ``<state>``, orphaned sessions and findings. Nothing is written."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from functools import partial

from ...errors import ConfinedError, ReviewNeeded, system_error
from ...fs.directory import Directory
from ...guard import report
from ...guard.findings import Finding
from ...guard.guarded_project import GuardedProject
from ...guard.open_findings import still_open
from ...guard.records import ReadOnlyRecords
from ...host import Host
from ...project import Project
from ...session import listing, strays
from ...settings.files import ProjectFiles
from ...settings.resolution import resolve
from ...state import liveness, projects, trust
from ...state.store import records_of, state_of
from ...text import counted, named
from ...workspace import Workspace
from .results import Result, ok, problem, warning

_NAMED = 3


def user_config(host: Host) -> Result:
    """Check the user's config file. Raises ConfinedError if it is invalid."""
    resolve(host.user_config_file, None, {}, {})
    file = host.user_config_file
    return ok(str(file) if file.exists() else f"{file} is not there: fine")


def variables(environ: Mapping[str, str]) -> Result:
    """Check the environment variables of the settings. Raises ConfinedError if one is invalid."""
    found = resolve(None, None, environ, {})
    return ok(", ".join(name for names in found.sources.values() for name in names) or "none set")


def project_config(here: Project, host: Host) -> Result:
    """Check that the project's files are valid, which raises ConfinedError, and trusted if they must be."""
    files = ProjectFiles.read(here.scaffold)
    try:
        resolve(None, files, {}, {}, partial(trust.is_trusted, records_of(host, here.id)))
    except ReviewNeeded as error:
        return problem(f"waits for your trust: {', '.join(request.what for request in files.requests())}", error.hint)
    return ok(str(here.scaffold) if files.config or files.dockerfile else "the project has none: fine")


def sessions(host: Host) -> Iterator[Result]:
    """Check for sessions whose tool was killed. Raises EngineError if the engine cannot be asked."""
    found = listing.sessions(host)
    orphans = [session for session in found if session.is_orphaned]
    for session in orphans:
        if session.is_up:
            what = f"{session.name} in {session.path} is still running, but its terminal is gone"
            hint = f"`confined-claude run` there joins it; `confined-claude stop --session {session.name}` ends it."
        else:
            what = f"{session.name} in {session.path} was interrupted before it ran, or while it ended"
            hint = "`confined-claude stop` there removes it."
        yield warning(what, hint)
    if left := strays.sidecars(host):
        hint = "Each session removes it after a minute, and so does `confined-claude clean-global`."
        yield warning(f"{counted(len(left), 'sidecar')} that never started", hint)
    keys = {session.key for session in found}
    if any(key not in keys for key in liveness.keys_without_owner(state_of(host))):
        what = "a session was interrupted, and what it left is not scanned yet"
        yield warning(what, "The next start in that project scans it; `confined-claude review` there does so now.")
    elif not (orphans or left):
        yield ok(f"{len(found)} running, nothing left behind")


def every_record(host: Host, here: Project | None) -> Iterator[Result]:
    """Check that the records of all projects can be read: damaged ones keep their project's sessions from starting."""
    damaged = False
    for project in projects.projects(state_of(host)):
        location = records_of(host, project.id)
        is_here = here is not None and project.id == here.id
        try:
            with location.open() as directory:
                found = list(_damaged(project, directory, is_here=is_here))
        except FileNotFoundError:
            continue
        except OSError as error:
            refused = system_error("read", location.path, error)
            found = [(problem if is_here else warning)(refused.message, refused.hint)]
        damaged = damaged or bool(found)
        yield from found
    if not damaged:
        yield ok(f"all in {host.state} can be read")


def _damaged(project: projects.Known, directory: Directory, *, is_here: bool) -> Iterator[Result]:
    kept = ReadOnlyRecords(directory)
    try:
        projects.refuse_newer(directory)
        if project.root is None and directory.exists(projects.FILE):
            what = f"{directory.path / projects.FILE} is damaged"
            yield warning(what, "The next start in that project moves it away, and makes a new one.")
        for key in (*(session.key for session in kept.sessions()), *(key for key, _ in kept.unscanned())):
            kept.before(key)
        for read in (kept.findings, kept.accepted, kept.accepted_limits, kept.copies, kept.made):
            read()
    except ConfinedError as error:
        yield (problem if is_here else warning)(error.message, error.hint)


def review(host: Host, here: Project | None) -> Iterator[Result]:
    """Check for findings that wait for a review, here or in other projects; yield nothing if they cannot be read."""
    findings = []
    # ``every_record`` reports what cannot be read.
    with contextlib.suppress(ConfinedError, PermissionError):
        if here is not None:
            with contextlib.suppress(FileNotFoundError), records_of(host, here.id).open() as directory:
                project = GuardedProject(Workspace.load_leniently(host, here), lenient=True)
                findings = still_open(ReadOnlyRecords(directory).findings(), project)
        yield _waiting(host, here, findings)


def _waiting(host: Host, here: Project | None, findings: list[Finding]) -> Result:
    if any(finding.red for finding in findings):
        return problem(report.summarize(findings), "See `confined-claude review`; no session starts here until then.")
    found = projects.projects(state_of(host))
    others = [other for other in found if (here is None or other.id != here.id) and _is_red(host, other.id)]
    if others:
        where = named([str(other.root or other.id) for other in others], _NAMED)
        return warning(f"red findings in {where}", "See `confined-claude review` there.")
    if findings:
        return warning(report.summarize(findings), "See `confined-claude review`.")
    return ok("nothing waits")


def _is_red(host: Host, project_id: str) -> bool:
    # ``every_record`` reports what cannot be read.
    with contextlib.suppress(OSError, ConfinedError), records_of(host, project_id).open() as directory:
        return any(finding.red for finding in ReadOnlyRecords(directory).findings())
    return False
