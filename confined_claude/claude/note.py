"""What the agent is told of where it works: the session's managed memory. Pure.

Without it an agent finds out by failing: packages that are gone the next day, ports that nobody reaches, a refused
`git config`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..environment import HOST_GATEWAY
from ..project import CONTAINER_HOME
from ..settings import Settings
from ..settings.specs import NEVER

_HEAD = (
    "# Where you work: a container of Confined Claude",
    "",
    "This is what its user has set for this session. You cannot change it from inside, but you can ask them.",
    "",
)
_END = (
    "- The user's home, ssh keys and other projects are not here.",
    "- Settings go into the user's `~/.config/confined-claude/config.toml` on their machine, "
    "and take effect at the next start.",
)
# A project may hide what it likes, so only what cannot be a sentence to the agent is quoted.
_PLAIN = r"[\w.*?/+@~\[\]-]{1,60}"
_NETWORKS = {
    "internet": "everything outside, but nothing on the user's machine or in its local networks.",
    "allowlist": (
        "only by http and https, and only allowed hosts. If one is refused that you need, ask the user to see "
        "`confined-claude blocked`, or to set"
    ),
    "none": "none at all.",
    "open": "everything, the user's machine and its local networks included.",
}
_GIT = {
    "guarded": (
        "commit, branch, merge, fetch and push by URL work. What writes `.git/config` or hooks fails: "
        "`git config`, `git remote add`, `git push -u`. Hooks of the repository do not run."
    ),
    "isolated": "this is a copy of the repository, where everything works. The user gets commits with "
    "`confined-claude fetch`; nothing else of `.git` reaches them.",
    "open": "everything works, settings and hooks included; the user is told of changes to those.",
}
_SUDO = {
    "apt": "`sudo apt-get install NAME` works (first `sudo apt-get update`); other uses of sudo do not.",
    "full": "sudo works, as root.",
    "off": "there is no sudo.",
}


def note(
    settings: Settings,
    root: Path,
    *,
    has_repository: bool,
    published: Sequence[tuple[int, int]] = (),
    relayed: Sequence[int] = (),
    mounts: Sequence[str] = (),
    given: Sequence[str] = (),
) -> str:
    """Return the note for the agent of a session in the project at ``root``, in Markdown; empty if it is off.

    ``published`` are the session's ports with those at which the user's machine has them, ``relayed`` are ports of
    that machine which the session reaches. ``mounts`` says what there is beside the project, ``given`` has the names
    of variables and the paths of files that the user gives it.
    """
    if settings.agent_note != "on":
        return ""
    lines = (
        *_HEAD,
        *_lasting(settings, root),
        *_reach(settings, published, relayed),
        *(_git(settings) if has_repository else ()),
        *_of_the_user(settings, root, mounts, given),
        *_END,
    )
    return "\n".join(lines) + "\n"


def _lasting(settings: Settings, root: Path) -> Iterator[str]:
    home = str(CONTAINER_HOME)
    yield (
        f"- What lasts: the project `{root}` (the user's own files), `{home}/venvs`, `{home}/.local/bin` and "
        "`lib`, the caches of package managers. Everything else, Debian packages and /tmp included, is gone at the end."
    )
    yield f'- Debian packages: {_SUDO[settings.sudo]} To keep one, ask the user to set `packages = ["NAME"]`.'
    yield (
        "- Python and Node: what `pip install --user`, `npm install -g` and `mkvenv NAME` (a virtual environment) make "
        "lasts. A `.venv` here is the session's own: the user's is hidden."
    )


def _reach(settings: Settings, published: Sequence[tuple[int, int]], relayed: Sequence[int]) -> Iterator[str]:
    yield f"- Network: {_network(settings)}"
    for port in relayed:
        yield f"- Port {port} of the user's machine is `localhost:{port}` here, and `{HOST_GATEWAY}:{port}`."
    if published:
        served = ", ".join(f"port {port} at localhost:{outside}" for port, outside in published)
        yield f"- The user reaches what you serve, on localhost or all addresses: {served}. No other port is reachable."
    else:
        yield "- Nobody reaches what you serve here. For that, ask the user to set `ports = [PORT]`."


def _git(settings: Settings) -> Iterator[str]:
    yield f"- git: {_GIT[settings.git]}"
    if settings.push != NEVER:
        yield "- `git push` to the repository's remotes asks the user, and waits up to 10 minutes for the answer."


def _of_the_user(settings: Settings, root: Path, mounts: Sequence[str], given: Sequence[str]) -> Iterator[str]:
    if settings.hide:
        plain = [f"`{entry}`" for entry in settings.hide if re.fullmatch(_PLAIN, entry)]
        plain += [f"{len(settings.hide) - len(plain)} more"] * (len(plain) < len(settings.hide))
        yield f"- Empty here, as the user keeps it from sessions: {', '.join(plain)}."
    if mounts:
        yield f"- Also of the user's machine: {', '.join(mounts)}."
    if given:
        named = ", ".join(f"`{name}`" for name in given)
        yield f"- Given to you by the user, as variables or files: {named}. Use them, and never show or store a value."
    yield (
        f"- Read-only: `{root}/.confined-claude`, and files that the user's machine runs by itself, if they exist: "
        "`.envrc`, `.vscode/`, `.mcp.json`, `.claude/settings.json` and others. Say what you want changed there."
    )
    if settings.writable:
        yield f"- The user has opened these: {', '.join(f'`{path}`' for path in settings.writable)}."
    if settings.ssh_agent:
        yield f"- ssh signs in at {', '.join(settings.ssh_agent)} with the user's keys, and nowhere else."


def _network(settings: Settings) -> str:
    if settings.network not in _NETWORKS:
        return f"what is in the Docker network {settings.network.partition(':')[2]}."
    text = _NETWORKS[settings.network]
    if settings.network == "internet" and not settings.host_ports:
        text += " For a port of that machine, ask the user to set `host_ports = [PORT]`."
    return f'{text} `allow = ["HOST"]`.' if settings.network == "allowlist" else text
