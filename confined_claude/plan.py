"""A session, described completely before any engine call. Pure.

``settings + project + host facts -> Plan``; ``session`` carries it out through ``client``.
"""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from . import environment
from .environment import HOST_GATEWAY
from .host import Host, gitconfig_text
from .mounts import Mount, plan_mounts
from .project import Project
from .settings import Settings

LABEL = "confined-claude"
KEY_LABEL = f"{LABEL}.key"

# CHOWN, SETUID and SETGID let the entrypoint prepare HOME and drop to the caller. The other
# two let a host root's session work in folders of other users. No other uid holds any of them.
CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID")

SECRETS_FILE = "run/confined-claude/secrets"
# The entrypoint makes it /etc/gitconfig. A variable, as putting a file in costs the start 60 ms.
GITCONFIG_VARIABLE = "CONFINED_CLAUDE_GITCONFIG"
_HOSTNAME_LENGTH = 63
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
    a shell script of exports, for the entrypoint alone to read.
    """

    name: str
    image: str
    command: tuple[str, ...]
    workdir: str
    mounts: tuple[Mount, ...]
    environment: Mapping[str, str]
    secrets: str
    labels: Mapping[str, str]
    network: str
    host_gateway: bool
    terminal: bool
    stdin: bool

    def create_arguments(self, name: str) -> list[str]:
        """The arguments of ``docker create`` that make this session's container, called ``name``."""
        return [
            *("--name", name, "--hostname", name[:_HOSTNAME_LENGTH].rstrip("-")),
            *("--rm", "--pull", "never"),
            *("--cap-drop", "ALL", *_each("--cap-add", CAPABILITIES), "--security-opt", "no-new-privileges"),
            # The terminal is the log; the engine would keep all of it on disk.
            *("--log-driver", "none"),
            *("--network", self.network),
            *(["--add-host", f"{HOST_GATEWAY}:host-gateway"] if self.host_gateway else []),
            *_each("--mount", map(_mount_value, self.mounts)),
            *_each("--label", (f"{key}={value}" for key, value in {**self.labels, f"{LABEL}.session": name}.items())),
            *_each("--env", (f"{key}={value}" for key, value in self.environment.items())),
            *(["--tty"] if self.terminal else []),
            *(["--interactive"] if self.stdin else []),
            *("--workdir", self.workdir),
            *(self.image, *self.command),
        ]


def _each(flag: str, values: Iterable[str]) -> list[str]:
    return [word for value in values for word in (flag, value)]


def _mount_value(mount: Mount) -> str:
    """The value of ``--mount``: a CSV record, so that a path may hold commas, quotes and newlines."""
    fields = ["type=bind", f"source={mount.source}", f"target={mount.target}", *["readonly"] * mount.read_only]
    record = io.StringIO()
    csv.writer(record, quoting=csv.QUOTE_ALL, lineterminator="").writerow(fields)
    return record.getvalue()


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
) -> Plan:
    """The plan of a session that runs ``command`` in ``project`` as the calling user.

    ``guard_mounts`` are what the guard keeps, ``guard_key`` is its name for the session.
    """
    public, secret = environment.split(host.environ)
    terminal = stdin_is_terminal and stdout_is_terminal
    if host.uid == 0:
        # Claude Code refuses to skip permissions as root unless told that it is contained.
        public["IS_SANDBOX"] = "1"
    if settings.git != "open":
        public |= _NO_GIT_HOOKS
    public[GITCONFIG_VARIABLE] = gitconfig_text(git_settings)
    secrets = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in secret.items())
    return Plan(
        name=f"{LABEL}-{project.slug}",
        image=image,
        command=(f"{host.uid}:{host.gid}", str(project.root), *command),
        workdir=str(project.root),
        mounts=(*plan_mounts(project, host, settings), *guard_mounts),
        environment=public,
        secrets=secrets,
        labels={
            LABEL: "session",
            f"{LABEL}.project": project.id,
            f"{LABEL}.path": str(project.root),
            KEY_LABEL: guard_key,
        },
        network={"open": "bridge"}.get(settings.network, settings.network.removeprefix("docker:")),
        host_gateway=any(HOST_GATEWAY in value for value in secret.values()),
        terminal=terminal,
        # A terminal that is not handed over must not be read either: Claude would wait for its end.
        stdin=terminal or not stdin_is_terminal,
    )
