"""What is said of what is kept: config files, records in ``<state>``, sessions left behind, findings. Read only."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
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
from .lines import OK, PROBLEM, WARNING, Line

_NAMED = 3
_PROJECTS = "projects"


# Config


def user_config(host: Host) -> Line:
    """Whether the user's file is valid. Raises ConfinedError if it is not."""
    resolve(host.user_config_file, None, {}, {})
    what = (
        str(host.user_config_file) if host.user_config_file.exists() else f"{host.user_config_file} is not there: fine"
    )
    return Line("your config", OK, what)


def variables(environ: Mapping[str, str]) -> Line:
    """Whether the variables that set something are valid. Raises ConfinedError if they are not."""
    found = resolve(None, None, environ, {})
    return Line("variables", OK, ", ".join(name for names in found.sources.values() for name in names) or "none set")


def project_config(here: Project, host: Host) -> Line:
    """Whether the project's files are valid and may have what they ask for. Raises ConfinedError if they are wrong."""
    files = ProjectFiles.read(here.scaffold)
    try:
        resolve(None, files, {}, {}, partial(trust.is_trusted, here, host))
    except ReviewNeeded:
        asked = ", ".join(request.what for request in files.requests())
        cure = "See what it means with `confined-claude trust`, and allow it there; or narrow it."
        return Line("project config", PROBLEM, f"waits for your trust: {asked}", cure)
    is_there = files.config or files.dockerfile
    return Line("project config", OK, str(here.scaffold) if is_there else "the project has none: fine")


# Sessions


def sessions(host: Host) -> Iterator[Line]:
    """Sessions that run, and those whose tool was killed. Raises EngineError if the engine cannot be asked."""
    found = running.sessions(host)
    left = [session for session in found if session.is_left]
    for session in left:
        if session.is_up:
            what = f"{session.name} goes on without its terminal, in {session.path}"
            cure = f"`confined-claude run` there joins it; `confined-claude stop --session {session.name}` ends it."
        else:
            what = f"{session.name} in {session.path} was cut off before it ran, or at its end"
            cure = "`confined-claude stop` there removes it."
        yield Line("sessions", WARNING, what, cure)
    keys = {session.key for session in found}
    if any(key not in keys for key in records.without_owner(host)):
        what = "a session was cut off, and what it left is not looked through yet"
        yield Line(
            "sessions", WARNING, what, "The next start in that project does; `confined-claude review` does it now."
        )
    elif not left:
        yield Line("sessions", OK, f"{len(found)} running, nothing left behind")


# Records


def every_record(host: Host, here: Project | None) -> Iterator[Line]:
    """Whether what is kept of all projects can be read. What cannot keeps its project's sessions from starting."""
    damaged = False
    for project in known.projects(host):
        path = host.state / _PROJECTS / project.id
        is_here = here is not None and project.id == here.id
        try:
            with _folder(host, project.id) as folder:
                lines = list(_damaged(host, project, folder, is_here=is_here))
        except FileNotFoundError:
            continue
        except OSError as error:
            told = safefs.cannot("read", path, error)
            lines = [Line("records", PROBLEM if is_here else WARNING, told.message, told.hint)]
        damaged = damaged or bool(lines)
        yield from lines
    if not damaged:
        yield Line("records", OK, f"all in {host.state} can be read")


def _damaged(host: Host, project: known.Known, folder: int, *, is_here: bool) -> Iterator[Line]:
    path = host.state / _PROJECTS / project.id
    kept = Records(folder, path)
    try:
        known.refuse_newer(project.id, host)
        if project.root is None and safefs.exists(folder, known.FILE):
            what = f"{path / known.FILE} is damaged"
            yield Line("records", WARNING, what, "The next start in that project puts it aside, and makes a new one.")
        for key in (*(key for key, _, _ in kept.sessions()), *(key for key, _ in kept.unseen())):
            kept.before(key)
        for look in (kept.findings, kept.accepted, kept.copies, kept.made):
            look()
    except ConfinedError as error:
        yield Line("records", PROBLEM if is_here else WARNING, error.message, error.hint)


# Findings


class _AsTheyAre(Records):
    """Records that are only looked at."""

    def _save(self, name: str, value: object) -> None:
        pass


def review(host: Host, here: Project | None, look: Callable[[Project], watch.Ground]) -> Iterator[Line]:
    """Whether findings wait for a review, of the project ``here`` or of others; no line if they cannot be read.

    ``look`` gives a project as the guard sees it.
    """
    findings = []
    # What cannot be read is a line of ``every_record``.
    with contextlib.suppress(ConfinedError, PermissionError):
        if here is not None:
            with contextlib.suppress(FileNotFoundError), _folder(host, here.id) as folder:
                findings = watch.open_findings(_AsTheyAre(folder, host.state / _PROJECTS / here.id), look(here))
        yield _waiting(host, here, findings)


def _waiting(host: Host, here: Project | None, findings: list[Finding]) -> Line:
    if any(finding.red for finding in findings):
        cure = "See `confined-claude review`; nothing starts here before."
        return Line("review", PROBLEM, report.summary(findings), cure)
    others = [
        other for other in known.projects(host) if (here is None or other.id != here.id) and _is_red(host, other.id)
    ]
    if others:
        named = ", ".join(str(other.root or other.id) for other in others[:_NAMED])
        more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
        return Line("review", WARNING, f"red findings in {named}{more}", "See `confined-claude review` there.")
    if findings:
        return Line("review", WARNING, report.summary(findings), "See `confined-claude review`.")
    return Line("review", OK, "nothing waits")


def _is_red(host: Host, project_id: str) -> bool:
    # What cannot be read is another line's.
    with (
        contextlib.suppress(OSError, ConfinedError, TypeError, ValueError, LookupError),
        _folder(host, project_id) as folder,
    ):
        return any(finding.red for finding in Records(folder, host.state / _PROJECTS / project_id).findings())
    return False


def _folder(host: Host, project_id: str) -> contextlib.AbstractContextManager[int]:
    return state.opened(host, _PROJECTS, project_id)
