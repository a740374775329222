"""A launch as a devcontainer.json, for editors that start the container themselves. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..engine.mount import Mount
from ..errors import ConfinedError
from ..text import escape
from .launch import FORWARD_VARIABLE, JOIN_VARIABLE, Launch

DIRECTORY, FILE = ".devcontainer", "devcontainer.json"
# What the entrypoint takes in place of arguments.
_USER, _PROJECT, _RULES = (f"CONFINED_CLAUDE_{name}" for name in ("USER", "PROJECT", "RULES"))
_NO_SIGN_IN = (
    'a sign-in to Claude: sign_in = "lent" needs a sidecar; CONFINED_CLAUDE_SIGN_IN=given at the export gives that of '
    "sessions"
)


def describe(launch: Launch) -> dict[str, Any]:
    """Return the content of a devcontainer.json that starts a container as ``launch`` does, without its guard.

    Raises ConfinedError for a network that needs a sidecar, which no editor starts, and for a path it cannot name.
    """
    if launch.egress.sidecar is not None or launch.egress.join:
        raise ConfinedError(
            "The network of these sessions needs a sidecar or a proof, which no editor starts.",
            'Choose network = "none" or "open"; "internet" needs none for a user other than root, with sudo = "apt".',
        )
    project, *others = launch.mounts
    told = {_USER: launch.user, _PROJECT: launch.root, _RULES: launch.egress.rules}
    own = Path(launch.root, DIRECTORY)
    return {
        "name": launch.name,
        "image": launch.image.name,
        "workspaceFolder": launch.workdir,
        "workspaceMount": _value(project),
        "mounts": [*map(_value, others), _value(Mount(own, (), str(own), read_only=True))],
        "runArgs": [*launch.privileges, *launch.limits, *launch.egress.arguments],
        "containerEnv": dict(_variables(launch, told)),
        # Not by name: until the entrypoint has run, that is root.
        "remoteUser": launch.user,
        "overrideCommand": False,
        "updateRemoteUserUID": False,
    }


ADDED = (
    "The editor adds its own: it forwards your SSH agent, git's credentials and ports unless you turn that off. It "
    "runs its server and extensions in the container, and a devcontainer.json's commands on your machine."
)


def lost(*, is_lent: bool) -> tuple[str, ...]:
    """Return what a session has and a container that an editor starts has not; ``is_lent`` is said of the sign-in."""
    return (
        *([_NO_SIGN_IN] if is_lent else []),
        "the guard: git's settings and hooks, and what your machine runs, can be changed, and nothing is reported",
        'what `hide` and git = "isolated" do',
        "ports, secrets and variables by name, and a sign-in that is kept up to date",
        "the networks that your machine joins later: only those that it is in now are closed",
    )


def _value(mount: Mount) -> str:
    """Return a mount as it is written there, where nothing can be quoted."""
    places = (str(mount.source), mount.target)
    if any(character in place for place in places for character in ',"$'):
        raise ConfinedError(
            f"A devcontainer.json cannot name {escape(places[0])}: it has a comma, a quote or a dollar sign.",
            "Rename that directory.",
        )
    return f"type=bind,source={places[0]},target={places[1]}{',readonly' * mount.read_only}"


def _variables(launch: Launch, own: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, value in {**launch.environment, **own}.items():
        if value and name not in (FORWARD_VARIABLE, JOIN_VARIABLE):
            yield name, value
