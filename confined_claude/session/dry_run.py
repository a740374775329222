"""A start that is only printed: its launch, and the commands of docker or podman that the supervisor would run.

What is printed can be pasted into bash or zsh, once the secrets, which are masked, are filled in. It never has a
control character but line breaks: the name of a directory must not steer the terminal.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..claude.source import Source
from ..egress.endpoints import mask_config
from ..egress.network import CONFIG, SidecarPlan
from ..egress.ports import Reservation
from ..engine import containers
from ..engine.images import Images
from ..guard import enclosing
from ..guard.guard import GuardPlan, plan_dry_run
from ..guard.pins import FILES
from ..settings.specs import LENT
from ..text import escape
from ..workspace import CLAUDE_PROJECTS, DOWNLOADERS, Workspace
from .handover import names_in
from .launch import Launch
from .planning import in_groups, listening_engine, plan_start

MASK = "***"


def dry_run(workspace: Workspace, command: Sequence[str]) -> Iterator[str]:
    """Yield the lines that describe a start of ``command`` in ``workspace``. Nothing is made or changed.

    Raises ConfinedError where a start would be refused.
    """
    enclosing.refuse_while_red(workspace)
    address = listening_engine(workspace.host)
    with Reservation() as reservation:
        workspace, launch, facts, sign_in, writable = plan_start(workspace, command, address, reservation, dry_run=True)
    guarded = [plan_dry_run(workspace, launch.key)]
    mounts = {mount.target: mount for mount in guarded[0].mounts}
    for place in writable:
        guarded.append(plan_dry_run(place.workspace, launch.key, is_beside=True))
        mounts = {mount.target: mount for mount in map(place.placed, guarded[-1].mounts)} | mounts
    launch = in_groups(workspace, launch.with_mounts(mounts.values())).telling((*launch.notes, *launch.remarks))
    name = containers.free_name(launch.name)
    program = f"podman --url {quote(address)}" if facts.engine.podman else "docker"
    has_image = Images().image(launch.image.name) is not None
    lends = facts.given is not None and facts.given.lends_sign_in
    yield from map(_comment, _summary(workspace, launch, sign_in.source, has_image=has_image, lends_sign_in=lends))
    yield from _prepare(workspace, launch, guarded)
    if launch.egress.sidecar is not None:
        yield from _sidecar(launch.egress.sidecar, program)
    yield from ("", "# The session.")
    yield _command(program, "create", launch.create_arguments(name), launch.image.name)
    if launch.private:
        yield "# secrets.tar has these files; each entry of variables has a NUL at its end, and no line break:"
        for file in launch.private:
            yield _comment(f"{file.path}, with mode {file.mode:o}, of {file.uid}:{file.gid}:")
            yield from (_comment(f"{name}{MASK}") for name in names_in(file))
        yield f"{program} cp - {name}:/ <secrets.tar"
    yield " ".join([program, *map(quote, containers.start_arguments(name, stdin=launch.stdin))])


def _summary(
    workspace: Workspace, launch: Launch, source: Source | None, *, has_image: bool, lends_sign_in: bool
) -> Iterator[str]:
    sidecar = launch.egress.sidecar
    command = f"{shlex.join(launch.command)}, as {launch.user}"
    read_only = [str(mount.source) for mount in launch.mounts if mount.read_only]
    yield f"What a start in {workspace.project.root} would do now; nothing is made or changed."
    yield f"command:   {command}, with{'' if launch.terminal else 'out'} a terminal"
    yield f"image:     {launch.image.name}{'' if has_image else ', which a start builds first: it is missing'}"
    yield f"network:   {workspace.settings.network}{'' if sidecar is None else f', by the sidecar {sidecar.name}'}"
    is_lent = workspace.settings.sign_in == LENT
    yield f"sign-in:   {'none, so nothing is lent' if is_lent and not lends_sign_in else workspace.settings.sign_in}"
    yield f"limits:    {' '.join(launch.limits)}"
    yield f"read-only: {', '.join(read_only)}"
    yield f"secrets:   {', '.join({**launch.variables, **launch.secrets})}"
    yield from (*launch.notes, *launch.remarks)
    if source is not None:
        yield f"A start runs {source.name} for the credential of the sign-in; these commands have none."
    copies = "" if is_lent else ", and copies your sign-in"
    yield f"Only a start guards the project: it looks through it before and after{copies}."


def _prepare(workspace: Workspace, launch: Launch, guarded: Sequence[GuardPlan]) -> Iterator[str]:
    """Yield the commands that make what is mounted and missing."""
    copies = [plan.copy for plan in guarded if plan.copy is not None and plan.copy.is_new]
    copied = [copy.mount.source for copy in copies]
    sources = [mount.source for mount in launch.mounts if not mount.pin and mount.source not in copied]
    sources.append(workspace.claude_config.at(CLAUDE_PROJECTS).path)  # something is mounted there
    sources += (workspace.downloads.at(name).path for name in DOWNLOADERS)
    sources += [path for plan in guarded for path in plan.pins.missing]
    if any(plan.hidden is not None for plan in guarded):
        yield from _stand_ins(workspace)
    missing = [path for path in dict.fromkeys(sources) if not os.path.lexists(path)]
    files = [path for path in missing if path.name in FILES]
    directories = [path for path in missing if path.name not in FILES]
    if missing or copies:
        yield from ("", "# Placeholders for what is mounted but missing; a start removes them at its end.")
    if directories:
        yield _make(*directories)
    for path in files:
        yield f"printf %s {quote(FILES[path.name].decode())} >{quote(str(path))}"
    for copy in copies:
        yield _make(copy.mount.source.parent)
        yield f"cp -R -P -p {quote(str(copy.original))} {quote(str(copy.mount.source))}"


def _stand_ins(workspace: Workspace) -> Iterator[str]:
    """Yield the commands that make what is mounted over what is hidden, if it is missing."""
    from ..guard import hiding

    place = workspace.host.data / hiding.STAND_INS
    if not place.exists():
        yield from ("", "# What is mounted over what is hidden.")
        yield f"{_make(place)} && mkdir -m 555 {quote(str(place / hiding.DIRECTORY))}"
        yield f"install -m 444 /dev/null {quote(str(place / hiding.FILE))}"


def _sidecar(plan: SidecarPlan, program: str) -> Iterator[str]:
    yield from (
        "",
        "# The sidecar, which controls the network. It ends with the session, or after a minute without one.",
    )
    if plan.directory is not None:
        yield _make(plan.directory.path)
        yield f"printf %s {quote(mask_config(plan.config, MASK))} >{quote(str(plan.directory.path))}/{CONFIG}"
    if "--interactive" in plan.arguments:
        yield "# A start tells it by its standard input what it lends; here that is nothing."
    yield f"{_command(program, 'run', plan.arguments, plan.image)} </dev/null &"
    running = f"{program} inspect --format '{{{{.State.Status}}}}' {plan.name} 2>&1 | grep -q running"
    yield f"until {running}; do sleep 0.1; done"


def _make(*directories: Path) -> str:
    return f"mkdir -m 700 -p {' '.join(quote(str(path)) for path in directories)}"


def _command(program: str, verb: str, arguments: Sequence[str], image: str) -> str:
    """Return a command of docker or podman that ends with the image and its command, one option a line."""
    end = list(arguments).index(image)
    options = [f" \\\n    {quote(word)}" if word.startswith("--") else f" {quote(word)}" for word in arguments[:end]]
    return f"{program} {verb}{''.join(options)} \\\n    {' '.join(map(quote, arguments[end:]))}"


def quote(word: str) -> str:
    """Return ``word`` for bash or zsh, in printable characters alone."""
    if word.isprintable():
        return shlex.quote(word)
    return "$'" + "".join(map(_escape, word)) + "'"


def _escape(character: str) -> str:
    if character.isprintable():
        return f"\\{character}" if character in "\\'" else character
    if character == "\n":
        return "\\n"
    return "".join(f"\\{byte:03o}" for byte in os.fsencode(character))


def _comment(text: str) -> str:
    return f"# {escape(text)}"
