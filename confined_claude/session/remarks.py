"""What is said of a session when it starts. Pure."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence

from .. import environment
from ..claude.sign_in import Chosen, not_counted
from ..egress import endpoints
from ..settings import openings
from ..settings.specs import NEVER
from ..text import escape, named
from ..workspace import Workspace
from . import CLAUDE, handover, limits
from .host_facts import HostFacts

_REAL_SUDO = "sudo is real in this session: its root can leave files in the project that run as root on your machine."
_NO_NETWORK = "This session has no network: Claude Code cannot reach its model and answers nothing; commands work."
_NO_REPOSITORY = "There is no git repository here. With one (`git init`) you can see what Claude changes, and undo it."
_ROOTLESS = "This engine is rootless: in the session you are uid 0, which is you on your machine."
_MOST_NAMED = 3
_URL = r"(?i)(?=(https?://[^\s'\"]{1,2000}))"  # one may stand right behind another
_MACHINE = r"(?m)^[ \t]*machine\s+([A-Za-z0-9.-]+)"
_ROOT = "You are root, so this session is uid 0 in its container: see SECURITY.md."


def notes(workspace: Workspace, facts: HostFacts, command: Sequence[str]) -> Iterator[str]:
    """Yield what must be said of this session in any case."""
    settings = workspace.settings
    yield from _missing_objects(workspace, facts)
    if settings.network == "none" and command[0] == CLAUDE:
        yield _NO_NETWORK
    if settings.sudo == "full":
        yield _REAL_SUDO
    if settings.ssh_agent and settings.network in ("none", "allowlist"):
        yield f"ssh does not get through the network {settings.network}: `ssh_agent` has no use in this session."
    if settings.push != NEVER and facts.has_repository and not facts.git.pushes:
        yield "No remote of this repository is on another machine: `push` has no use in this session."


def _missing_objects(workspace: Workspace, facts: HostFacts) -> Iterator[str]:
    """Yield a line on a repository that takes objects from where the session sees none."""
    seen = [mount.source for mount in facts.mounts if mount.source == mount.target]
    file, directories = facts.alternates
    missing = [str(path) for path in directories if not any(path.is_relative_to(place) for place in seen)]
    if missing:
        root = shlex.quote(escape(str(workspace.project.root)))
        yield (
            f"git lacks objects in this session: the repository takes some from {escape(', '.join(missing))}. "
            f"`mounts = {json.dumps(missing)}` in your own config file shows them, or "
            f"`git -C {root} repack -a -d && rm {shlex.quote(escape(str(file)))}` copies them into the repository."
        )


def remarks(workspace: Workspace, facts: HostFacts) -> Iterator[str]:
    """Yield what a person should know of this session; a program need not."""
    yield from _which_project(workspace, facts)
    if opened := openings.line(workspace.settings):
        yield opened
    if sockets := [path for mount in facts.mounts for path in mount.sockets]:
        yield f"Programs on your machine listen in what is mounted, and the session can reach them: {_few(sockets)}."
    if facts.given:
        yield from facts.given.remarks
        yield from _left_out(facts.given.variables, facts.sign_in)
        if workspace.settings.network == "allowlist":
            yield from hosts_to_allow(facts.given.variables, facts.given.files, workspace.settings.allow)
    yield from not_counted(facts.set_inside, workspace.project.root, environment.cloud_in(workspace.host.environ))
    yield from facts.git.remarks
    if facts.engine.maps_caller_to_root:
        yield _ROOTLESS
    elif workspace.host.uid == 0:
        yield _ROOT
    if missing := limits.missing(workspace.settings, facts.engine):
        yield f"This engine's kernel cannot limit {' and '.join(missing)}: sessions can use all of it."
    if waiting := facts.carried.waiting:
        yield f"{waiting} of your hooks and MCP servers wait for a decision: `confined-claude setup` shows them."
    if above := facts.repository_above:
        yield (
            f"This directory is part of the repository at {above}, which the session does not see: "
            "git does not work here."
        )
    elif not (facts.has_repository or facts.is_versioned):
        yield _NO_REPOSITORY


def _left_out(given: Iterable[str], sign_in: Chosen | None) -> Iterator[str]:
    """Yield a line on the variables that the session does not have because of its sign-in."""
    if sign_in and (names := [name for name in given if handover.is_of_cloud(name, sign_in)]):
        yield f"{', '.join(names)} would conflict with the session's sign-in by {sign_in.kind}, and is left out."


def hosts_to_allow(given: Mapping[str, str], own: Mapping[str, bytes], allow: Iterable[str]) -> Iterator[str]:
    """Yield the lines that propose hosts, which variables and files name in URLs or as a netrc, for an allowlist."""
    entries = tuple(allow)
    texts = {**given, **{path: os.fsdecode(content) for path, content in own.items()}}
    for name, text in texts.items():
        of_urls = filter(None, map(endpoints.host_of, re.findall(_URL, text)))
        for host in sorted({*of_urls, *map(str.lower, re.findall(_MACHINE, text))}):
            if not endpoints.is_allowed(host, entries):
                yield f'{name} names {host}. If this allowlist is to have it: allow = ["{host}"]'


def _few(paths: Sequence[str]) -> str:
    return escape(named(paths, _MOST_NAMED))


def _which_project(workspace: Workspace, facts: HostFacts) -> Iterator[str]:
    """Yield a line on the project if that is not the caller's directory."""
    root = workspace.project.root
    if (inner := facts.passed_over) is not None:
        name = shlex.quote(escape(str(inner.relative_to(root))))
        yield (
            f"The project is {root}. A session made {name} a project of its own. It counts as one only "
            f"after `confined-claude review --accept {name}`."
        )
    elif workspace.directory == root:
        yield f"The conversation continues at the root of the project, where it began: {root}."
    elif workspace.workdir != root:
        yield f"The project is {root}, which this directory is a part of; `--here` takes this directory alone."
    if (former := facts.former) is not None:
        where = "" if former == workspace.workdir else f" in {escape(str(former))}"
        yield f"`--here`{where} goes on with the environments and conversations of earlier sessions there."
