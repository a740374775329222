"""The tasks, for ``inv`` in a project and for the ``confined-claude`` command: parse, call, exit.

What a task does is in ``commands``, which is imported when the task runs, so that listing and completing stay fast.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from invoke import Collection, Context, Exit, Task, task

from . import signals
from .console import discard_output, open_streams
from .errors import INTERRUPTED, READER_GONE, USAGE, ConfinedError
from .settings import SPECS

if TYPE_CHECKING:
    from .host import Host

__all__ = [
    "blocked", "build", "clean", "clean_global", "config", "doctor", "exec_", "ns", "rebuild", "review", "run", "shell",
    "status", "stop", "trust", "update",
]  # fmt: skip

_SETTINGS = {spec.name: spec.explanation for spec in SPECS.values() if spec.has_flag}
_DRY_RUN = {"dry_run": "print what a start would do, and its docker commands, with secrets masked"}
_DELETE = {"dry_run": "show what would be deleted, and delete nothing", "yes": "delete without asking"}
_SESSION = {"session": "the session's number, or its name"}
_JSON = {"json": "print JSON for programs"}


def passthrough(argv: list[str]) -> list[str]:
    """Return what follows the first ``--``, word by word; Invoke itself would join the words."""
    return argv[argv.index("--") + 1 :] if "--" in argv else []


@contextlib.contextmanager
def _reported() -> Iterator[None]:
    """End with a message and an exit code instead of a traceback."""
    open_streams()
    # The command starts with Ctrl-C ending it at once; from here on there is something to clean up.
    signals.raise_at_ctrl_c()
    try:
        if "PYTHONPATH" in os.environ and not sys.flags.ignore_environment:  # the shim of an older scaffold allows it
            from .project import refuse_python_path

            refuse_python_path(os.environ)
        yield
        sys.stdout.flush()
    except ConfinedError as error:
        raise Exit(f"confined-claude: {error}", error.exit_code) from None
    except KeyboardInterrupt:
        raise Exit(code=INTERRUPTED) from None
    except BrokenPipeError:
        discard_output()
        raise Exit(code=READER_GONE) from None
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        message = f"confined-claude: {error.strerror or error}{where}.\nCheck what is there, and start again."
        raise Exit(message, USAGE) from None


def command(name: str | None = None, **help: str) -> Callable[[Callable[..., int | None]], Task[Any]]:
    """Make an Invoke task of a function that takes the host and the task's flags, and returns an exit code or None.

    ``help`` explains its flags. A parameter ``**settings`` becomes a flag for each setting that has one.
    """

    def decorate(body: Callable[..., int | None]) -> Task[Any]:
        @functools.wraps(body)
        def run_task(_context: Context, **flags: Any) -> None:
            from .host import Host

            with _reported():
                code = body(Host.current(), **flags)
            if code is not None:
                raise Exit(code=code)

        signature = inspect.signature(body)
        parameters = [item for item in signature.parameters.values() if item.kind is not item.VAR_KEYWORD]
        explained: Mapping[str, str] = help
        if len(parameters) < len(signature.parameters):
            parameters += [inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=None) for key in _SETTINGS]
            explained = _SETTINGS | help
        run_task.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        made: Task[Any] = task(name=name, auto_shortflags=False, help=explained)(run_task)
        return made

    return decorate


@command(yolo="let Claude act without asking (--dangerously-skip-permissions)", **_DRY_RUN)
def run(host: Host, *, yolo: bool = False, dry_run: bool = False, **settings: str | None) -> int:
    """Run Claude Code, confined, in this project

    Everything after -- goes to claude:
    run -- --continue          continue the last conversation
    run -- --resume            choose a conversation
    run -- -p "what is this?"  print one answer
    confined-claude takes claude's options without -- as well.
    """
    from .commands import run

    return run.run(host, passthrough(sys.argv), settings, yolo=yolo, dry_run=dry_run)


@command(**_DRY_RUN)
def shell(host: Host, *, dry_run: bool = False, **settings: str | None) -> int:
    """Open a shell where Claude Code would run, or run a command there"""
    from .commands import run

    return run.shell(host, passthrough(sys.argv), settings, dry_run=dry_run)


@command("exec", **_SESSION)
def exec_(host: Host, session: str | None = None) -> int:
    """Join a running session with a shell or a command"""
    from .commands import execute

    return execute.execute(host, passthrough(sys.argv), session)


@command(all="end every session, of all projects", **_SESSION)
def stop(host: Host, session: str | None = None, all: bool = False) -> None:
    """End this project's session; it saves its state first"""
    from .commands import stop

    stop.stop(host, session, all_projects=all)


@command(json="print JSON for programs, see docs/status.schema.json", watch="keep it up to date, until Ctrl-C")
def status(host: Host, json: bool = False, watch: bool = False) -> int | None:
    """Show sessions, the disk space in use, and what deletes it"""
    from .commands import status

    return status.status(host, as_json=json, watch=watch)


@command()
def build(host: Host) -> None:
    """Build the image if it is missing or out of date"""
    from .commands import build

    build.build(host)


@command(
    pull="fetch the base image again", claude="replace only Claude Code: by this version, or latest; takes seconds"
)
def rebuild(host: Host, pull: bool = False, claude: str | None = None) -> None:
    """Build the image from scratch, or with another Claude Code"""
    from .commands import build

    build.rebuild(host, pull=pull, claude=claude)


@command(
    accept="close everything that is open, as it is now",
    restore="put this path back as it was before the session",
)
def review(host: Host, accept: bool = False, restore: str | None = None) -> int | None:
    """Show what sessions left that this machine could run"""
    from .commands import review

    return review.review(host, accept=accept, restore=restore)


@command(hash="allow the content with this hash, without a question")
def trust(host: Host, hash: str | None = None) -> None:
    """Allow what this project's files ask for beyond the defaults"""
    from .commands import trust

    trust.trust(host, hash)


@command(**_JSON)
def config(host: Host, json: bool = False) -> None:
    """Show the settings in force here, and where each comes from"""
    from .commands import config

    config.config(host, as_json=json)


@command(**_JSON)
def doctor(host: Host, json: bool = False) -> int:
    """Check everything that a session needs, with hints on what is missing"""
    from .commands import doctor

    return doctor.doctor(host, as_json=json)


@command()
def update(host: Host) -> None:
    """Bring the scaffold up to date with its template"""
    from .commands import update

    update.update(host)


@command()
def blocked(host: Host) -> None:
    """Show what an allowlist refused, and the line that allows it"""
    from .commands import blocked

    blocked.blocked(host)


@command(
    all="also delete Claude's history of the project, its settings, records and findings",
    project="clean another known project, by its directory or id; it may be gone",
    **_DELETE,
)
def clean(host: Host, all: bool = False, project: str | None = None, dry_run: bool = False, yes: bool = False) -> None:
    """Delete what sessions have installed in this project"""
    from .commands import clean

    clean.clean(host, project, clean.Options(everything=all, dry_run=dry_run, sure=yes))


@command(all="also delete Claude's own config: sign-in, settings, plugins, every project's history", **_DELETE)
def clean_global(host: Host, all: bool = False, dry_run: bool = False, yes: bool = False) -> None:
    """Delete the caches that projects share, build logs and unused images"""
    from .commands import clean

    clean.clean_global(host, clean.Options(everything=all, dry_run=dry_run, sure=yes))


# What follows the options of a task, for its help.
ARGUMENTS = {"run": "[ARGUMENTS of claude]", "shell": "[-- COMMAND]", "exec": "[-- COMMAND]"}
# The tasks as help lists them.
GROUPS = {
    "Daily work": ("run", "shell", "exec", "status", "stop"),
    "Safety": ("review", "trust", "blocked", "config"),
    "Housekeeping": ("doctor", "build", "rebuild", "update", "clean", "clean-global"),
}

ns = Collection(
    run, shell, exec_, status, stop, clean, clean_global, build, rebuild, review, trust, blocked, config, doctor,
    update,
)  # fmt: skip
