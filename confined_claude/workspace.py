"""The current project with its settings in force, its files and its locations on this host: bound once.

Everything that a start, a review or a command needs to know about "here" comes from a Workspace. Paths are computed
in this module and nowhere else.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from . import project as projects
from .errors import ConfinedError
from .fs.directory import Location
from .host import Host
from .project import SCAFFOLD, Project
from .settings import Settings
from .settings.files import ProjectFiles
from .settings.resolution import resolve
from .settings.specs import GIVEN, PROFILE_NAME
from .state import profiles, trust
from .state.current import current_directory, current_project
from .state.profiles import DEFAULT, Profile
from .state.store import PROJECTS, records_of

if TYPE_CHECKING:
    from .settings.secrets import Secret

Flags = Mapping[str, str | None]

SHARED, PROFILES = "shared", "profiles"
CLAUDE_CONFIG, LENT_CONFIG, CONVERSATIONS = "claude-config", "claude-config-lent", "conversations"
# What package managers have downloaded is in one directory: each mount costs a start some milliseconds. The image has
# links to it where each looks for its own. Projects may share it, as nothing in it is read as settings or run where it
# lies: neither ~/.gradle/init.d nor ~/.cargo/bin, nor npx's programs; those of uvx and Playwright are the project's.
DOWNLOADS = "downloads"
DOWNLOADERS = ("pip", "npm", "pnpm", "cargo", "go", "gradle")
CACHES = (DOWNLOADS, "pip-cache", "npm-cache")  # the latter of earlier versions
CLAUDE_PROJECTS = "projects"  # in a Claude config: the conversations


class Workspace(NamedTuple):
    """A project on this host, with the settings in force there.

    ``files`` are the project's own files that had a say in the settings, ``flags`` the command line's by setting; a
    flag that is None was not given. ``secrets`` are those that the user has defined, whether or not they are given.
    ``host`` is as the ``profile`` sees it, with the Claude config that it copies from.
    ``directory`` is where its sessions start, by default the project's root: where its caller stands in it.
    """

    host: Host
    project: Project
    settings: Settings = Settings()
    files: ProjectFiles = ProjectFiles(Path())
    flags: Flags = MappingProxyType({})
    profile: Profile = Profile(DEFAULT, Path())
    directory: Path | None = None
    secrets: Mapping[str, Secret] = MappingProxyType({})

    @classmethod
    def current(cls, host: Host, flags: Flags | None = None) -> Workspace:
        """Return the workspace of the current directory.

        Raises ConfinedError if there can be no project, or if a file is wrong, and ReviewNeeded while the project's
        files ask for more than the user has allowed.
        """
        project = current_project(host)
        here = current_directory().resolve()
        return cls.load(host, project, flags)._replace(directory=None if here == project.root else here)

    @classmethod
    def load(cls, host: Host, project: Project, flags: Flags | None = None) -> Workspace:
        """Return the workspace of ``project``. Raises as ``current`` does."""
        flags = flags or {}
        files = ProjectFiles.read(project.scaffold)
        trusted = partial(trust.is_trusted, records_of(host, project.id))
        found = resolve(host.user_config_file, files, host.environ, flags, trusted)
        return cls(host, project, found.settings, files, flags, secrets=found.secrets).in_profile()

    @classmethod
    def load_leniently(cls, host: Host, project: Project) -> Workspace:
        """Return the workspace of ``project``, with default settings where those in force cannot be had.

        For what does not depend on settings that are wrong or wait for trust, a review for instance.
        """
        try:
            return cls.load(host, project)
        except ConfinedError:
            return cls(host, project)

    def in_profile(self) -> Workspace:
        """Return the workspace bound to the profile that its settings ask for. Raises ConfinedError."""
        profile = profiles.find(self.host, self.settings.profile)
        host = profile.bind(self.host)
        if host is not self.host:
            projects.check_place(self.project.root, host)
        return self._replace(host=host, profile=profile)

    def reloaded(self) -> Workspace:
        """Return the workspace as its files are by now. Raises as ``current`` does."""
        return self.load(self.host, self.project, self.flags)._replace(directory=self.directory)

    # Locations

    @property
    def workdir(self) -> Path:
        """Where its sessions start: where the caller stands."""
        return self.directory or self.project.root

    @property
    def written(self) -> tuple[Path, ...]:
        """The directories that its sessions write: the project, and what is mounted beside it for that."""
        if not self.settings.mounts:
            return (self.project.root,)
        from .project.mounts import parse

        found = (parse(entry, self.project.root, self.host) for entry in self.settings.mounts)
        return (self.project.root, *(source for source, _, writable in found if writable))

    @property
    def scaffold(self) -> Location:
        """The project's own ``.confined-claude``."""
        return scaffold_of(self.project.root)

    @property
    def data(self) -> Location:
        """What is kept for the project in ``<data>``."""
        return data_of(self.host, self.project.id)

    @property
    def state(self) -> Location:
        """The project's host-only records."""
        return records_of(self.host, self.project.id)

    @property
    def egress(self) -> Location:
        """What the sidecars of its sessions share with the host: their configuration, and what they refused."""
        return self.state.at("egress")

    @property
    def relays(self) -> Location:
        """The sockets by which its sessions reach ports of this machine."""
        return self.state.at("relays")

    @property
    def requests(self) -> Location:
        """What its sessions ask to push, while that waits for an answer."""
        return self.state.at("requests")

    @property
    def agents(self) -> Location:
        """The ssh agents of its sessions."""
        return self.state.at("agents")

    @property
    def claude_config(self) -> Location:
        """The Claude config of its sessions: the profile's, or beside it one without a sign-in."""
        return self.profile_config if self.settings.sign_in == GIVEN else self.lent_config

    @property
    def lent_config(self) -> Location:
        """The Claude config of its sessions that are lent their sign-in."""
        return self.profile_config.parent.at(LENT_CONFIG)

    @property
    def profile_config(self) -> Location:
        """The container's own Claude config in the profile: the one that all projects share, or this project's."""
        if self.settings.claude_config == SHARED:
            return shared_config(self.host, self.profile.name)
        return in_profile(self.data, self.profile.name).at(CLAUDE_CONFIG)

    @property
    def conversations(self) -> Location:
        """Claude's conversations in the project, those of its profile."""
        if self.settings.claude_config == SHARED:
            return in_profile(self.data, self.profile.name).at(CONVERSATIONS)
        return self.profile_config.at(CLAUDE_PROJECTS)

    @property
    def downloads(self) -> Location:
        """What package managers have downloaded: for all projects, or for this one."""
        return (shared_data(self.host) if self.settings.caches == SHARED else self.data).at(DOWNLOADS)


def scaffold_of(root: Path) -> Location:
    """Return the location of the scaffold of the project at ``root``."""
    return Location(root, (SCAFFOLD,))


def data_of(host: Host, project_id: str) -> Location:
    """Return the location of what is kept in ``<data>`` for a project."""
    return Location(host.data, (PROJECTS, project_id))


def shared_data(host: Host) -> Location:
    """Return the location of the data that all projects share."""
    return Location(host.data, (SHARED,))


def shared_config(host: Host, profile: str) -> Location:
    """Return the location of the Claude config that all projects share in a profile."""
    base = shared_data(host) if profile == DEFAULT else in_profile(Location(host.data), profile)
    return base.at(CLAUDE_CONFIG)


def profile_data(host: Host) -> list[tuple[str, Location]]:
    """Return the names of the profiles that have data in ``<data>`` of their own, and where those are."""
    location = Location(host.data, (PROFILES,))
    with contextlib.suppress(OSError), location.open() as directory:
        return [(name, location.at(name)) for name in sorted(directory.names()) if re.fullmatch(PROFILE_NAME, name)]
    return []


def profile_names(host: Host) -> tuple[str, ...]:
    """Return the names of the profiles that may have data in ``<data>``, the default one first."""
    return (DEFAULT, *(name for name, _ in profile_data(host)))


def in_profile(location: Location, profile: str) -> Location:
    """Return where a profile's own data are below ``location``; the default one's are there themselves."""
    return location if profile == DEFAULT else location.at(PROFILES, profile)
