"""Which host folders a session sees, and where. Pure: nothing is made or looked at here."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from ..host import Host
from ..project import CONTAINER_HOME, SCAFFOLD, Project
from ..settings import Settings


@dataclass(frozen=True)
class Mount:
    """The host folder ``base/parts...`` at ``target`` in the container.

    ``base`` is trusted; ``parts`` are folders made if missing, and none of them may be a link. A
    ``pin`` stands already, as a file or a folder, and is mounted where it is anyway: it cannot be
    renamed or removed then, nor changed if ``read_only``.
    """

    base: Path
    parts: tuple[str, ...]
    target: str
    read_only: bool = False
    pin: bool = False

    @property
    def source(self) -> Path:
        return self.base.joinpath(*self.parts)


def bind_value(source: Path, target: Path | str, *, read_only: bool = False) -> str:
    """The value of ``--mount``: a CSV record, so that a path may hold commas, quotes and newlines."""
    record = io.StringIO()
    fields = ["type=bind", f"source={source}", f"target={target}", *["readonly"] * read_only]
    csv.writer(record, quoting=csv.QUOTE_ALL, lineterminator="").writerow(fields)
    return record.getvalue()


def claude_config(project: Project, host: Host, settings: Settings) -> Mount:
    """The container's own Claude config: shared by all projects, or this one's."""
    return _kept("claude-config", f"{CONTAINER_HOME}/.claude", settings.claude_config, project, host)


def plan_mounts(project: Project, host: Host, settings: Settings) -> tuple[Mount, ...]:
    """Every mount of a session, the project first.

    ``local-bin/.lib`` holds what pip and npm install for the user beside the commands in
    ``local-bin``, so that both outlive the session. Where it lies it is a mount point as well: a
    session that could put a link in its place would choose what the next one mounts.
    """
    home = str(CONTAINER_HOME)
    return (
        Mount(project.root, (), str(project.root)),
        Mount(project.root, (SCAFFOLD, "venvs"), f"{home}/venvs"),
        Mount(project.root, (SCAFFOLD, "local-bin"), f"{home}/.local/bin"),
        Mount(project.root, (SCAFFOLD, "local-bin", ".lib"), f"{home}/.local/lib"),
        Mount(project.root, (SCAFFOLD, "local-bin", ".lib"), f"{home}/.local/bin/.lib"),
        claude_config(project, host, settings),
        _kept("pip-cache", f"{home}/.cache/pip", settings.caches, project, host),
        _kept("npm-cache", f"{home}/.cache/npm", settings.caches, project, host),
    )


def _kept(name: str, target: str, scope: str, project: Project, host: Host) -> Mount:
    parts = ("shared", name) if scope == "shared" else ("projects", project.id, name)
    return Mount(host.data, parts, target)
