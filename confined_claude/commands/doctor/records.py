"""Checks of config files, records in ``<state>``, orphaned sessions and findings. Nothing is written."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from functools import partial

from ...errors import ConfinedError, ReviewNeeded
from ...fs import safefs
from ...guard import guard as watch
from ...guard import records, report
from ...guard.findings import Finding
from ...guard.records import Records
from ...host import Host
from ...project import Project
from ...session import listing as running
from ...settings.files import ProjectFiles
from ...settings.resolution import resolve
from ...state import projects as known
from ...state import store as state
from ...state import trust
from ..review import guarded
from .results import Result, ok, problem, warning

_NAMED = 3
_PROJECTS = "projects"


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
        resolve(None, files, {}, {}, partial(trust.is_trusted, here, host))
    except ReviewNeeded:
        what = f"waits for your trust: {', '.join(request.what for request in files.requests())}"
        return problem(what, "See what it means with `confined-claude trust`, and allow it there; or narrow it.")
    return ok(str(here.scaffold) if files.config or files.dockerfile else "the project has none: fine")


def sessions(host: Host) -> Iterator[Result]:
    """Check for sessions whose tool was killed. Raises EngineError if the engine cannot be asked."""
    found = running.sessions(host)
    orphans = [session for session in found if session.is_left]
    for session in orphans:
        if session.is_up:
            what = f"{session.name} goes on without its terminal, in {session.path}"
            hint = f"`confined-claude run` there joins it; `confined-claude stop --session {session.name}` ends it."
        else:
            what = f"{session.name} in {session.path} was cut off before it ran, or at its end"
            hint = "`confined-claude stop` there removes it."
        yield warning(what, hint)
    keys = {session.key for session in found}
    if any(key not in keys for key in records.without_owner(host)):
        what = "a session was cut off, and what it left is not looked through yet"
        yield warning(what, "The next start in that project does that; `confined-claude review` does it now.")
    elif not orphans:
        yield ok(f"{len(found)} running, nothing left behind")


def every_record(host: Host, here: Project | None) -> Iterator[Result]:
    """Check that the records of all projects can be read: damaged ones keep their project's sessions from starting."""
    damaged = False
    for project in known.projects(host):
        path = host.state / _PROJECTS / project.id
        is_here = here is not None and project.id == here.id
        try:
            with _open(host, project.id) as folder:
                found = list(_damaged(host, project, folder, is_here=is_here))
        except FileNotFoundError:
            continue
        except OSError as system_error:
            error = safefs.cannot("read", path, system_error)
            found = [(problem if is_here else warning)(error.message, error.hint)]
        damaged = damaged or bool(found)
        yield from found
    if not damaged:
        yield ok(f"all in {host.state} can be read")


def _damaged(host: Host, project: known.Known, folder: int, *, is_here: bool) -> Iterator[Result]:
    path = host.state / _PROJECTS / project.id
    kept = Records(folder, path)
    try:
        known.refuse_newer(project.id, host)
        if project.root is None and safefs.exists(folder, known.FILE):
            what = f"{path / known.FILE} is damaged"
            yield warning(what, "The next start in that project moves it away, and makes a new one.")
        for key in (*(key for key, _, _ in kept.sessions()), *(key for key, _ in kept.unseen())):
            kept.before(key)
        for look in (kept.findings, kept.accepted, kept.copies, kept.made):
            look()
    except ConfinedError as error:
        yield (problem if is_here else warning)(error.message, error.hint)


class _AsTheyAre(Records):
    """Records that are only looked at."""

    def _save(self, name: str, value: object) -> None:
        pass


def review(host: Host, here: Project | None) -> Iterator[Result]:
    """Check for findings that wait for a review, here or in other projects; yield nothing if they cannot be read."""
    findings = []
    # ``every_record`` reports what cannot be read.
    with contextlib.suppress(ConfinedError, PermissionError):
        if here is not None:
            with contextlib.suppress(FileNotFoundError), _open(host, here.id) as folder:
                kept = _AsTheyAre(folder, host.state / _PROJECTS / here.id)
                findings = watch.open_findings(kept, guarded(host, here))
        yield _waiting(host, here, findings)


def _waiting(host: Host, here: Project | None, findings: list[Finding]) -> Result:
    if any(finding.red for finding in findings):
        return problem(report.summary(findings), "See `confined-claude review`; nothing starts here before.")
    others = [
        other for other in known.projects(host) if (here is None or other.id != here.id) and _is_red(host, other.id)
    ]
    if others:
        named = ", ".join(str(other.root or other.id) for other in others[:_NAMED])
        more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
        return warning(f"red findings in {named}{more}", "See `confined-claude review` there.")
    if findings:
        return warning(report.summary(findings), "See `confined-claude review`.")
    return ok("nothing waits")


def _is_red(host: Host, project_id: str) -> bool:
    # ``every_record`` reports what cannot be read.
    unreadable = contextlib.suppress(OSError, ConfinedError, TypeError, ValueError, LookupError)
    with unreadable, _open(host, project_id) as folder:
        return any(finding.red for finding in Records(folder, host.state / _PROJECTS / project_id).findings())
    return False


def _open(host: Host, project_id: str) -> contextlib.AbstractContextManager[int]:
    return state.opened(host, _PROJECTS, project_id)
