"""A start, described completely before the engine is asked for anything. Pure.

``workspace + facts of the host -> Launch``, step by step: network, mounts, privileges, limits, environment, labels,
secrets. The supervisor carries it out; a dry run prints it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from .. import environment
from ..claude import managed
from ..claude.note import note
from ..claude.sign_in import SETTINGS_VARIABLE, VALUE_VARIABLE, Chosen, session_settings
from ..container.egress.networks import SOCKETS
from ..egress import ports
from ..egress.network import HOSTNAME_LENGTH, Egress, plan_egress
from ..egress.ports import Published
from ..engine import labels
from ..engine.mount import FileInside, Mount, bind_value, empty_value
from ..host import USUAL_UMASK, gitconfig_text
from ..image.recipe import ImageChain
from ..project import CONTAINER_HOME, CONTAINER_LINKS
from ..settings import Settings
from ..state.facts import EngineFacts
from ..system import APP
from ..text import repr_without
from ..workspace import Workspace
from . import CLAUDE, SHELL, handover, limits, privileges, remarks
from .host_facts import HostFacts
from .mounts import around_repositories, plan_mounts, relay_mounts

# The entrypoint appends it to /etc/gitconfig. A variable, as copying a file into the container costs the start 60 ms.
GITCONFIG_VARIABLE = "CONFINED_CLAUDE_GITCONFIG"
GITATTRIBUTES_VARIABLE = "CONFINED_CLAUDE_GITATTRIBUTES"
SUDO_VARIABLE = "CONFINED_CLAUDE_SUDO"
UMASK_VARIABLE = "CONFINED_CLAUDE_UMASK"
PLUGIN_SCRIPTS_VARIABLE = "CONFINED_CLAUDE_PLUGIN_SCRIPTS"
# The entrypoint makes files of these, which may hold secrets.
SERVERS_VARIABLE = "CONFINED_CLAUDE_SERVERS"
HOOKS_VARIABLE = "CONFINED_CLAUDE_HOOKS"
JOIN_VARIABLE = "CONFINED_CLAUDE_JOIN"
FORWARD_VARIABLE = "CONFINED_CLAUDE_FORWARD"

# With these Claude prints and ends, so what was printed before it is still in sight.
_PRINTING = frozenset(("-p", "--print", "-v", "--version", "-h", "--help"))


class Launch(NamedTuple):
    """Everything about one start.

    ``key`` is the session's own, random; ``name`` the first one to try for the container: ``-2``, ``-3``, … follow
    while it is taken. Its ``command`` runs as ``user``, a uid:gid, in the project at ``root``. ``secrets`` are
    variables for the entrypoint alone, which is root, ``variables`` those for the session's command, and ``files`` its
    own ones, by their path there. ``privileges`` and ``limits`` are arguments of ``docker create``. ``bound`` has the
    device and inode of what must be at places in the container, or it does not start. ``notes`` are printed at every
    start, ``remarks`` where a person sits at the terminal; ``agent_note`` is told to the agent.
    """

    key: str
    name: str
    image: ImageChain
    user: str
    root: str
    command: tuple[str, ...]
    workdir: str
    mounts: tuple[Mount, ...]
    environment: Mapping[str, str]
    labels: Mapping[str, str]
    privileges: tuple[str, ...]
    limits: tuple[str, ...]
    egress: Egress
    notes: tuple[str, ...]
    remarks: tuple[str, ...]
    terminal: bool
    stdin: bool
    stop_signal: str
    networks: tuple[str, ...]
    agent_note: str
    secrets: Mapping[str, str]
    variables: Mapping[str, str]
    files: Mapping[str, bytes]
    bound: Mapping[str, tuple[int, int]] = MappingProxyType({})

    def __repr__(self) -> str:
        return repr_without(self, "secrets", "variables", "files")

    def with_mounts(self, mounts: Iterable[Mount], bound: Iterable[tuple[str, tuple[int, int]]] = ()) -> Launch:
        """Return this launch with more mounts, after its own, and more that is ``bound``.

        Where they hide the directory in which it starts, it starts at the project's root.
        """
        mounts = tuple(mounts)
        others = (mount for mount in mounts if mount.target != str(mount.source))
        is_hidden = any(f"{self.workdir}/".startswith(f"{mount.target}/") for mount in others)
        workdir = self.root if is_hidden else self.workdir
        return self._replace(mounts=(*self.mounts, *mounts), bound={**self.bound, **dict(bound)}, workdir=workdir)

    def with_credential(self, value: str) -> Launch:
        """Return this launch with the credential that a command of the host has printed."""
        return self._replace(secrets={**self.secrets, VALUE_VARIABLE: value})

    def with_texts(self, change: Callable[[str], str]) -> Launch:
        """Return this launch with ``change`` applied to each text that its container gets, except host paths."""

        def changed(texts: Mapping[str, str]) -> dict[str, str]:
            return {name: change(text) for name, text in texts.items()}

        return self._replace(
            command=tuple(map(change, self.command)),
            environment=changed(self.environment),
            agent_note=change(self.agent_note),
            secrets=changed(self.secrets),
            variables=changed(self.variables),
            files={path: os.fsencode(change(os.fsdecode(content))) for path, content in self.files.items()},
        )

    @property
    def has_claudes_screen(self) -> bool:
        """Whether Claude Code takes the screen, on which what was printed before is gone."""
        return self.terminal and self.command[0] == CLAUDE and not _PRINTING.intersection(self.command)

    def telling(self, announcements: Sequence[str]) -> Launch:
        """Return this launch with what its client shows to the person in its first screen, and tells the agent.

        There are announcements only where Claude Code takes the screen.
        """
        told = managed.variables(announcements if self.has_claudes_screen else (), self.agent_note)
        return self._replace(environment={**self.environment, **told})

    @property
    def private(self) -> tuple[FileInside, ...]:
        """The files that are put into the session's container, as nothing else may show what is in them."""
        return handover.files(self.secrets, self.variables, self.files, self.user)

    def create_arguments(self, name: str) -> list[str]:
        """Return the arguments of ``docker create`` that make this session's container, called ``name``."""
        return [
            *(["--tty"] if self.terminal else []),
            *(["--interactive"] if self.stdin else []),
            *("--stop-signal", self.stop_signal),
            *("--name", name, "--rm", "--pull", "never"),
            *(["--hostname", name[:HOSTNAME_LENGTH].rstrip("-")] if self.egress.hostname else []),
            *(*self.privileges, *self.limits),
            # The terminal is the log; the engine would keep all of it on disk.
            *("--log-driver", "none"),
            *self.egress.arguments,
            *_each("--mount", map(empty_value, around_repositories(self.mounts, Path(self.root), self.files))),
            *_each("--mount", (bind_value(item.source, item.target, read_only=item.read_only) for item in self.mounts)),
            *_each("--label", (f"{key}={value}" for key, value in {**self.labels, labels.NAME: name}.items())),
            *_each("--env", (f"{key}={value}" for key, value in self.environment.items())),
            *("--workdir", self.workdir),
            *(self.image.name, *(["--rules", self.egress.rules] if self.egress.rules else [])),
            *(word for place, ids in self.bound.items() for word in ("--bound", "{}:{}".format(*ids), place)),
            *(self.user, self.root, *self.command),
        ]


def plan_launch(
    workspace: Workspace, facts: HostFacts, image: ImageChain, command: Sequence[str], *, key: str
) -> Launch:
    """Return the launch of a session ``key`` that runs ``command`` in ``workspace`` as the calling user."""
    settings = workspace.settings
    uid, gid = _ids(workspace, facts)
    user, is_root = f"{uid}:{gid}", uid == 0
    egress = _egress(workspace, facts, image, key, is_root=is_root)
    sign_in = _sign_in(workspace, facts)
    public, secret = environment.split(sign_in.environ)
    secret = _without(secret, egress.environment)
    given = {} if facts.given is None else _allowed_beside(sign_in, facts.given.variables)
    files = {} if facts.given is None else facts.given.files
    variables = {**given, **secret, **facts.git.secrets}
    terminal = facts.stdin_is_terminal and facts.stdout_is_terminal
    launch = Launch(
        key=key,
        name=f"{APP}-{workspace.project.slug}",
        image=image,
        user=user,
        root=str(workspace.project.root),
        command=tuple(command),
        workdir=str(workspace.workdir),
        mounts=_mounts(workspace, facts, key, egress, files),
        bound={str(mount.target): mount.identity for mount in facts.mounts if facts.shares_kernel},
        environment={**public, **sign_in.inside, **_own_environment(workspace, facts, egress, is_root=is_root)},
        labels={
            **_labels(workspace, key, facts.published),
            labels.USER: user,
            **({labels.VARIABLES: "1"} if variables else {}),
        },
        privileges=tuple(privileges.arguments(settings, facts.engine)),
        limits=tuple(limits.arguments(settings, facts.engine)),
        egress=egress,
        notes=(*egress.notes, *remarks.notes(workspace, facts, command)),
        remarks=(*remarks.remarks(workspace, facts), *ports.out_of_reach(facts.carried.servers, egress.relayed)),
        terminal=terminal,
        # A terminal that is not the session's must not be read either: Claude would wait for its end.
        stdin=terminal or not facts.stdin_is_terminal,
        # A shell at its prompt ignores SIGTERM, but not a terminal that is gone.
        stop_signal="SIGHUP" if terminal and tuple(command) == SHELL else "SIGTERM",
        networks=facts.networks,
        agent_note=note(
            settings,
            workspace.project.root,
            has_repository=facts.has_repository,
            published=[(each.session, each.host) for each in facts.published],
            relayed=egress.relayed,
            mounts=[*map(str, facts.mounts)],
            given=(*given, *files),
        ),
        secrets=_secrets(facts, sign_in, egress, secret),
        variables=variables,
        files=files,
    )
    return launch.with_texts(facts.given.hide_in) if facts.given and facts.given.lent else launch


def _egress(workspace: Workspace, facts: HostFacts, image: ImageChain, key: str, *, is_root: bool) -> Egress:
    settings, engine = workspace.settings, facts.engine
    egress = plan_egress(
        workspace,
        key=key,
        image=image.shared,  # no project has a say in what controls its network
        sets_rules=_sets_rules(settings, engine, image, is_root=is_root),
        blocked_networks=facts.networks,
        engine=engine,
        published=facts.published,
        engine_port=facts.engine_port,
        lent=facts.given.hosts if facts.given else (),
    )
    if settings.network == "none" and engine.has_foreign_runtime(settings.runtime):
        return egress._replace(join="none")  # whatever it makes of a network, there must be none
    return egress


def _sign_in(workspace: Workspace, facts: HostFacts) -> Chosen:
    """Return what signs in. Without a network the password of a proxy would be there for nothing."""
    sign_in = facts.sign_in or Chosen("", workspace.host.environ)
    useless = environment.PROXIES if workspace.settings.network == "none" else ()
    return sign_in._replace(environ=_without(sign_in.environ, useless))


def _without(variables: Mapping[str, str], names: Container[str]) -> dict[str, str]:
    return {name: value for name, value in variables.items() if name not in names}


def _allowed_beside(sign_in: Chosen, given: Mapping[str, str]) -> dict[str, str]:
    """Return what is ``given`` without what would change how the session signs in."""
    return {name: value for name, value in given.items() if not handover.is_of_cloud(name, sign_in)}


def _mounts(
    workspace: Workspace, facts: HostFacts, key: str, egress: Egress, files: Iterable[str]
) -> tuple[Mount, ...]:
    """Return the session's mounts. Raises ConfinedError for one at the path of a secret among its own ``files``."""
    ways = (*egress.relayed, *facts.git.pushes, *workspace.settings.ssh_agent)
    mounts = (*plan_mounts(workspace, facts.mounts), *relay_mounts(workspace, key, ways))
    targets = [mount.target for mount in mounts if mount.target != str(CONTAINER_HOME)]
    for path in files:
        handover.refuse_overlap(path, (*targets, *CONTAINER_LINKS), "a directory or file of your machine is there")
    return mounts


def _secrets(facts: HostFacts, sign_in: Chosen, egress: Egress, secret: Mapping[str, str]) -> dict[str, str]:
    """Return the variables for the entrypoint.

    Of the ``secret`` ones it needs the proxies alone: what it starts as root fetches packages.
    """
    files = {
        SETTINGS_VARIABLE: session_settings(sign_in, facts.set_inside, egress.environment),
        SERVERS_VARIABLE: facts.carried.servers,
        HOOKS_VARIABLE: facts.carried.hooks,
    }
    return {
        **{name: secret[name] for name in environment.PROXIES if name in secret},
        **{name: text for name, text in files.items() if text},
    }


def _ids(workspace: Workspace, facts: HostFacts) -> tuple[int, int]:
    """Return the uid and gid of the session. With rootless Docker the container's root is the caller on the host."""
    return (0, 0) if facts.engine.maps_caller_to_root else (workspace.host.uid, workspace.host.gid)


def _sets_rules(settings: Settings, engine: EngineFacts, image: ImageChain, *, is_root: bool) -> bool:
    """Return whether a session's entrypoint can be trusted with the rules of its network.

    It sets them with a capability and gives that up. The container keeps it in its configuration, from where `docker
    exec` gives it to uid 0, so no session may be or become uid 0. An image that a project has a say in could keep it.
    """
    may_be_root = is_root or settings.sudo == "full"
    is_foreign = engine.has_foreign_runtime(settings.runtime)
    may_differ = engine.podman or engine.rootless or engine.remaps_users or is_foreign
    return not (may_be_root or image.is_custom or may_differ)


def _own_environment(workspace: Workspace, facts: HostFacts, egress: Egress, *, is_root: bool) -> dict[str, str]:
    """Return the variables that are the tool's own."""
    settings, host = workspace.settings, workspace.host
    return {
        # Claude Code refuses to skip permissions as root unless it knows that it is contained.
        **({"IS_SANDBOX": "1"} if is_root else {}),
        **facts.git.variables,
        **egress.environment,
        **({"TZ": facts.time_zone} if facts.time_zone else {}),
        **({"SSH_AUTH_SOCK": f"{SOCKETS}/agent"} if settings.ssh_agent else {}),
        **({UMASK_VARIABLE: f"{host.umask:03o}"} if host.umask != USUAL_UMASK else {}),
        GITCONFIG_VARIABLE: gitconfig_text(facts.git.settings + (facts.given.git_settings if facts.given else ())),
        **({GITATTRIBUTES_VARIABLE: facts.git.attributes} if facts.git.attributes else {}),
        SUDO_VARIABLE: settings.sudo,
        PLUGIN_SCRIPTS_VARIABLE: settings.plugin_scripts,
        JOIN_VARIABLE: _join(egress, settings, facts.engine),
        **({FORWARD_VARIABLE: egress.forward} if egress.forward else {}),
    }


def _join(egress: Egress, settings: Settings, engine: EngineFacts) -> str:
    """Return what the entrypoint is told of the session's network, and by which kernel that can be."""
    if not egress.join or not engine.has_foreign_runtime(settings.runtime) or not engine.kernel:
        return egress.join
    return f"{egress.join} kernel={engine.kernel}"


def _labels(workspace: Workspace, key: str, published: Iterable[Published]) -> dict[str, str]:
    return {
        labels.KIND: labels.SESSION,
        labels.PROJECT: workspace.project.id,
        labels.PATH: str(workspace.project.root),
        labels.KEY: key,
        labels.OWNER: workspace.host.owner,
        labels.NETWORK: workspace.settings.network,
        labels.PORTS: ",".join(f"{each.host}:{each.session}" for each in published),
        labels.PROFILE: workspace.profile.name,
        labels.SIGN_IN: workspace.settings.sign_in,
        labels.ENTER: "1",
    }


def _each(flag: str, values: Iterable[str]) -> list[str]:
    return [word for value in values for word in (flag, value)]
