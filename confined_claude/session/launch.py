"""A session, described completely before any engine call. Pure.

``settings + project + host facts -> Plan``; ``session`` carries it out through ``client``.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from .. import environment
from ..egress.network import Egress
from ..engine import labels
from ..engine.mount import Mount, bind_value
from ..host import Host, gitconfig_text
from ..project import Project
from ..settings import Settings
from ..state.facts import EngineFacts
from . import limits
from .mounts import plan_mounts

NAME = "confined-claude"
SHELL = ("bash",)

# CHOWN, SETUID and SETGID let the entrypoint prepare HOME and drop to the caller; with the other two the package
# helper installs packages, and a host root's session works in folders of other users. No other uid holds any.
CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID")
# What the real sudo takes beyond them.
SUDO_CAPABILITIES = ("AUDIT_WRITE",)

SECRETS_FILE = "run/confined-claude/secrets"
# The entrypoint makes it /etc/gitconfig. A variable, as putting a file in costs the start 60 ms.
GITCONFIG_VARIABLE = "CONFINED_CLAUDE_GITCONFIG"
SUDO_VARIABLE = "CONFINED_CLAUDE_SUDO"
PLUGIN_SCRIPTS_VARIABLE = "CONFINED_CLAUDE_PLUGIN_SCRIPTS"
JOIN_VARIABLE = "CONFINED_CLAUDE_JOIN"
_HOSTNAME_LENGTH = 63
_REAL_SUDO = "sudo is real in this session: its root can leave files in the project that run as root on this machine."
_ANY_ENGINE = EngineFacts()
_NO_NETWORK = Egress(("--network", "none"))
# The project's hooks are made for the host: they name its paths and programs.
_NO_GIT_HOOKS = {
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "core.hooksPath",
    "GIT_CONFIG_VALUE_0": "/dev/null",
}


@dataclass(frozen=True)
class Plan:
    """Everything the engine needs to know of one session.

    ``name`` is the first one to try; ``-2``, ``-3``, … follow while it is taken. ``secrets`` is
    a shell script of exports, for the entrypoint alone to read; ``secret_names`` are what it sets.
    """

    name: str
    image: str
    command: tuple[str, ...]
    workdir: str
    mounts: tuple[Mount, ...]
    environment: Mapping[str, str]
    secrets: str
    labels: Mapping[str, str]
    privileges: tuple[str, ...]
    limits: tuple[str, ...]
    egress: Egress
    notes: tuple[str, ...]
    terminal: bool
    stdin: bool
    stop_signal: str = "SIGTERM"
    secret_names: tuple[str, ...] = ()

    def create_arguments(self, name: str) -> list[str]:
        """The arguments of ``docker create`` that make this session's container, called ``name``."""
        return [*self.stream_arguments(), *self.arguments_anywhere(name)]

    def stream_arguments(self) -> list[str]:
        """Those of them that depend on where the session's input and output lead."""
        return [
            *(["--tty"] if self.terminal else []),
            *(["--interactive"] if self.stdin else []),
            *("--stop-signal", self.stop_signal),
        ]

    def arguments_anywhere(self, name: str) -> list[str]:
        """Those of them that do not."""
        return [
            *("--name", name, "--rm", "--pull", "never"),
            *(["--hostname", name[:_HOSTNAME_LENGTH].rstrip("-")] if self.egress.hostname else []),
            *(*self.privileges, *self.limits),
            # The terminal is the log; the engine would keep all of it on disk.
            *("--log-driver", "none"),
            *self.egress.arguments,
            *_each("--mount", (bind_value(item.source, item.target, read_only=item.read_only) for item in self.mounts)),
            *_each("--label", (f"{key}={value}" for key, value in {**self.labels, labels.NAME: name}.items())),
            *_each("--env", (f"{key}={value}" for key, value in self.environment.items())),
            *("--workdir", self.workdir),
            *(self.image, *self.command),
        ]


def _each(flag: str, values: Iterable[str]) -> list[str]:
    return [word for value in values for word in (flag, value)]


def plan_session(
    project: Project,
    host: Host,
    settings: Settings,
    *,
    image: str,
    command: Sequence[str],
    stdin_is_terminal: bool,
    stdout_is_terminal: bool,
    git_settings: tuple[tuple[str, str], ...] = (),
    guard_mounts: Sequence[Mount] = (),
    guard_key: str = "",
    egress: Egress = _NO_NETWORK,
    facts: EngineFacts = _ANY_ENGINE,
) -> Plan:
    """The plan of a session that runs ``command`` in ``project`` as the calling user.

    ``guard_mounts`` are what the guard keeps, ``guard_key`` is its name for the session; ``egress`` is its
    network, ``facts`` are those of the engine.
    """
    public, secret = environment.split(host.environ)
    terminal = stdin_is_terminal and stdout_is_terminal
    secret = {name: value for name, value in secret.items() if name not in egress.environment}
    # With a rootless engine it is the container's root who is the caller on the host.
    uid, gid = (0, 0) if facts.rootless else (host.uid, host.gid)
    if uid == 0:
        # Claude Code refuses to skip permissions as root unless told that it is contained.
        public["IS_SANDBOX"] = "1"
    if settings.git != "open":
        public |= _NO_GIT_HOOKS
    public |= egress.environment
    public[GITCONFIG_VARIABLE] = gitconfig_text(git_settings)
    public[SUDO_VARIABLE] = settings.sudo
    public[PLUGIN_SCRIPTS_VARIABLE] = settings.plugin_scripts
    public[JOIN_VARIABLE] = egress.join
    secrets = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in secret.items())
    return Plan(
        name=f"{NAME}-{project.slug}",
        image=image,
        command=(f"{uid}:{gid}", str(project.root), *command),
        workdir=str(project.root),
        mounts=(*plan_mounts(project, host, settings), *guard_mounts),
        environment=public,
        secrets=secrets,
        labels={
            labels.KIND: labels.SESSION,
            labels.PROJECT: project.id,
            labels.PATH: str(project.root),
            labels.KEY: guard_key,
            labels.OWNER: host.owner,
        },
        privileges=(*_privileges(settings), *facts.namespaces),
        limits=tuple(limits.arguments(settings, facts)),
        egress=egress,
        notes=(*egress.notes, *([_REAL_SUDO] if settings.sudo == "full" else [])),
        terminal=terminal,
        # A terminal that is not handed over must not be read either: Claude would wait for its end.
        stdin=terminal or not stdin_is_terminal,
        # A shell at its prompt does not heed SIGTERM, but a terminal that is gone.
        stop_signal="SIGHUP" if terminal and tuple(command) == SHELL else "SIGTERM",
        secret_names=tuple(secret),
    )


def _privileges(settings: Settings) -> Iterator[str]:
    """What the container's root may do; nobody else in it ever gets more than nothing."""
    yield from ("--cap-drop", "ALL", *_each("--cap-add", CAPABILITIES))
    if settings.sudo == "full":
        yield from _each("--cap-add", SUDO_CAPABILITIES)
    else:
        yield from ("--security-opt", "no-new-privileges")
