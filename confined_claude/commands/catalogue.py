"""The commands: what each takes, and what it calls.

Both doors derive from this: the Invoke tasks, and the ``confined-claude`` command, which runs most command lines
without Invoke, as importing that takes as long as all else that a start imports. What a command does is imported
when it runs, so that listing and completing stay fast.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import cached_property, wraps
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..host import Host
    from ..settings import Spec

_DRY_RUN = {"dry_run": "print what a start would do, and its docker or podman commands, with secrets masked"}
_DELETE = {"dry_run": "show what would be deleted, and delete nothing", "yes": "delete without asking"}
_SESSION = {"session": "the session's number, or its name"}
_JSON = {"json": "print JSON for programs"}
_HERE = {"here": "take this directory alone as the project, whatever it is a part of"}
_WITHOUT_PROJECT = ("init", "clean-global")
_WITH_SETTINGS = ("run", "shell")


class Command:
    """A command: ``body`` takes the host and the ``flags`` by name, and returns an exit code or None."""

    def __init__(self, name: str, function: Callable[..., int | None], help: Mapping[str, str]) -> None:
        self.name = name
        self.body = _placed(function)
        self._flags: Mapping[str, bool | None] = function.__kwdefaults__ or {}
        self._help = help
        self._here = {} if name in _WITHOUT_PROJECT else _HERE

    @cached_property
    def flags(self) -> Mapping[str, bool | None]:
        """Its flags, with their defaults: False where one takes no value, None where it takes one. Imports settings."""
        settings = {spec.parameter: None for spec in self._settings}
        return {**self._flags, **settings, **dict.fromkeys(self._here, False)}

    @property
    def help(self) -> Mapping[str, str]:
        """What its flags mean."""
        settings = {spec.parameter: spec.explanation for spec in self._settings}
        return {**settings, **self._help, **self._here}

    @property
    def options(self) -> dict[str, str]:
        """The names of the flags, by how they are typed."""
        return {f"--{name.replace('_', '-')}": name for name in self.flags}

    @property
    def repeated(self) -> frozenset[str]:
        """The flags that may be given more than once."""
        return frozenset(spec.parameter for spec in self._settings if spec.is_list)

    @property
    def _settings(self) -> list[Spec]:
        if self.name not in _WITH_SETTINGS:
            return []
        from ..settings import SPECS

        return [spec for spec in SPECS.values() if spec.has_flag]


COMMANDS: dict[str, Command] = {}


def command(name: str | None = None, **help: str) -> Callable[[Callable[..., int | None]], Callable[..., int | None]]:
    """Add a function to the commands, under its own name or ``name``; ``help`` explains its flags.

    Its keyword-only parameters are its flags. Of those that start a session, each setting that has one is a flag as
    well. Commands that concern a project get the flag ``--here``, which their host knows.
    """

    def add(body: Callable[..., int | None]) -> Callable[..., int | None]:
        of_name = name or body.__name__.replace("_", "-")
        COMMANDS[of_name] = Command(of_name, body, help)
        return body

    return add


def _placed(body: Callable[..., int | None]) -> Callable[..., int | None]:
    @wraps(body)
    def placed(host: Host, *, here: bool = False, **flags: str | bool | None) -> int | None:
        from ..state.written import leave_out_of_path

        leave_out_of_path(host)
        return body(host._replace(here=here), **flags)

    return placed


def passthrough(argv: list[str]) -> list[str]:
    """Return what follows the first ``--``, word by word; Invoke itself would join the words."""
    return argv[argv.index("--") + 1 :] if "--" in argv else []


@command(yolo="let Claude act without asking (--dangerously-skip-permissions)", **_DRY_RUN)
def run(host: Host, *, yolo: bool = False, dry_run: bool = False, **settings: str | None) -> int:
    """Run Claude Code, confined, in this project

    Everything after -- goes to claude:
    run -- --continue          continue the last conversation
    run -- --resume            choose a conversation
    run -- -p "what is this?"  print one answer
    confined-claude also takes claude's options without --.
    """
    from ..state.current import ask_git

    ask_git(host)
    from . import run

    return run.run(host, passthrough(sys.argv), settings, yolo=yolo, dry_run=dry_run)


@command(**_DRY_RUN)
def shell(host: Host, *, dry_run: bool = False, **settings: str | None) -> int:
    """Open a shell where Claude Code would run, or run a command there"""
    from ..state.current import ask_git

    ask_git(host)
    from . import run

    return run.shell(host, passthrough(sys.argv), settings, dry_run=dry_run)


@command("exec", **_SESSION)
def exec_(host: Host, *, session: str | None = None) -> int:
    """Join a running session with a shell or a command"""
    from . import execute

    return execute.execute(host, passthrough(sys.argv), session)


@command(all="end every session, of all projects", **_SESSION)
def stop(host: Host, *, session: str | None = None, all: bool = False) -> None:
    """End this project's session; Claude saves its state first"""
    from . import stop

    stop.stop(host, session, all_projects=all)


@command(json="print JSON for programs, see docs/status.schema.json", watch="keep it up to date, until Ctrl-C")
def status(host: Host, *, json: bool = False, watch: bool = False) -> int | None:
    """Show sessions, the disk space in use, and what deletes it"""
    from . import status

    return status.status(host, as_json=json, watch=watch)


@command(
    token="store a long-lived token, made by `claude setup-token` or read from the input",  # noqa: S106
    from_host="delete the token, and return to your machine's sign-in",
)
def login(host: Host, *, token: bool = False, from_host: bool = False) -> int:
    """Give sessions a sign-in of their own, independent of your machine's"""
    from . import login

    return login.login(host, token=token, from_host=from_host)


@command()
def build(host: Host) -> None:
    """Build the image if it is missing or out of date"""
    from . import build

    build.build(host)


@command(
    pull="fetch the base image again", claude="replace only Claude Code, with this version or latest; it takes seconds"
)
def rebuild(host: Host, *, pull: bool = False, claude: str | None = None) -> None:
    """Build the image from scratch, or with another Claude Code"""
    from . import build

    build.rebuild(host, pull=pull, claude=claude)


@command(
    accept="accept these paths as they are now; without paths, all that is shown in full",
    restore="put these paths back as they were before the session",
    all="show older yellow findings too",
)
def review(
    host: Host, *, accept: str | bool | None = None, restore: str | None = None, all: bool = False
) -> int | None:
    """Show what sessions left that your machine could run

    At a terminal it asks about each finding in turn. Without
    one it lists them; --accept and --restore take paths.
    Once three more sessions have ended, it only counts
    yellow findings; --all shows them.
    """
    from ..settings import SEPARATOR
    from . import review

    closed = accept.split(SEPARATOR) if isinstance(accept, str) else []
    restored = restore.split(SEPARATOR) if restore else []
    return review.review(host, accept=closed, restore=restored, accept_shown=accept is True, show_all=all)


@command()
def fetch(host: Host) -> None:
    """Get the commits that sessions made in a copy of the repository

    With git = "isolated", sessions work on a copy. This fetches their
    branches as confined/NAME; yours change only when you merge them.
    """
    from . import fetch

    fetch.fetch(host)


@command(hash="allow the content with this hash, without a question")
def trust(host: Host, *, hash: str | None = None) -> None:
    """Show what this project's files ask for, and allow it"""
    from . import trust

    trust.trust(host, hash)


@command(
    allow="let this hook or MCP server into sessions; several names with commas between them, or all",
    refuse="keep this hook or MCP server out of sessions",
    refresh="show how the sessions' settings differ from yours, and copy yours again",
    note="print what the agent is told about where it works",
    yes="copy without asking",
)
def setup(
    host: Host,
    *,
    allow: str | None = None,
    refuse: str | None = None,
    refresh: bool = False,
    note: bool = False,
    yes: bool = False,
) -> None:
    """Show which parts of your own Claude setup sessions have

    CLAUDE.md, skills, agents, commands and the like are copied without
    a question. Each hook and MCP server waits until you allow it: at a
    terminal this asks about each in turn.
    """
    from . import setup

    names = [name.split(",") if name else [] for name in (allow, refuse)]
    setup.setup(host, allow=names[0], refuse=names[1], refresh=refresh, shows_note=note, sure=yes)


@command(**_JSON)
def config(host: Host, *, json: bool = False) -> None:
    """Show the settings in force here, and where each comes from"""
    from . import config

    config.config(host, as_json=json)


@command(**_JSON)
def doctor(host: Host, *, json: bool = False) -> int:
    """Check what a session needs, and say how to get what is missing"""
    from . import doctor

    return doctor.doctor(host, as_json=json)


@command(directory="a new or an existing directory; by default the current one", defaults="ask no questions")
def init(host: Host, *, directory: str | None = None, defaults: bool = False) -> None:
    """Add the scaffold to a directory: the tasks for inv, and the settings"""
    from . import init

    init.init(host, directory, defaults=defaults)


@command()
def update(host: Host) -> None:
    """Bring the project's scaffold up to date"""
    from . import update

    update.update(host)


@command(to="what to write: devcontainer", force="replace what is there")
def export(host: Host, *, to: str | None = None, force: bool = False) -> None:
    """Write a devcontainer.json for editors, with the same image, mounts and limits"""
    from . import export

    export.export(host, to, force=force)


@command()
def requests(host: Host) -> None:
    """Show the pushes that sessions ask for, and make those that you agree to

    With push = "ask", a session's git push waits for your answer.
    Run this in another terminal; your machine pushes, as you.
    """
    from . import requests

    requests.requests(host)


@command()
def blocked(host: Host) -> None:
    """Show what an allowlist refused, and the line that allows it"""
    from . import blocked

    blocked.blocked(host)


@command(
    all="also delete Claude's history of the project, its settings, records and findings",
    project="clean another known project, by its directory or id, even if it is gone",
    **_DELETE,
)
def clean(
    host: Host, *, all: bool = False, project: str | None = None, dry_run: bool = False, yes: bool = False
) -> None:
    """Delete what sessions have installed in this project"""
    from . import clean

    clean.clean(host, project, clean.Options(everything=all, dry_run=dry_run, sure=yes))


@command(
    all="also delete Claude's own config of all profiles: sign-in, settings, plugins, prompts",
    **_DELETE,
)
def clean_global(host: Host, *, all: bool = False, dry_run: bool = False, yes: bool = False) -> None:
    """Delete the caches that projects share, build logs and unused images"""
    from . import clean

    clean.clean_global(host, clean.Options(everything=all, dry_run=dry_run, sure=yes))


@command(**_DELETE)
def eject(host: Host, *, dry_run: bool = False, yes: bool = False) -> None:
    """Remove the scaffold from this project, and all that is kept about it"""
    from . import clean, eject

    eject.eject(host, clean.Options(everything=True, dry_run=dry_run, sure=yes))
