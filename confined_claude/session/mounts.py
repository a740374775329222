"""Which host folders a session sees, and where. Pure: nothing is made or looked at here."""

from __future__ import annotations

from ..engine.mount import Mount
from ..host import Host
from ..project import CONTAINER_HOME, SCAFFOLD, Project
from ..settings import Settings


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
