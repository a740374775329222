"""The tasks, for ``inv`` in a project and for the ``confined-claude`` command.

Parse, call, render. What a task does is in the modules it calls; they are imported when it
runs, so that listing and completing the tasks stays fast.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator

from invoke import Collection, Context, Exit, task

from .errors import INTERRUPTED, USAGE, ConfinedError

__all__ = ["build", "ns", "rebuild", "run", "shell"]

_HELP = {
    "network": "open, none, or docker:NAME",
    "yolo": "let Claude act without asking (--dangerously-skip-permissions)",
}


def passthrough(argv: list[str]) -> list[str]:
    """What stands after the first ``--``, word by word; Invoke itself would join the words."""
    return argv[argv.index("--") + 1 :] if "--" in argv else []


@contextlib.contextmanager
def _reported() -> Iterator[None]:
    """End with a message and an exit code instead of a traceback."""
    # The command starts with Ctrl-C ending it at once; from here on there is something to clean up.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    except ConfinedError as error:
        raise Exit(f"confined-claude: {error}", error.exit_code) from None
    except KeyboardInterrupt:
        raise Exit(code=INTERRUPTED) from None
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        message = f"confined-claude: {error.strerror or error}{where}.\nCheck what is there, and start again."
        raise Exit(message, USAGE) from None


@task(auto_shortflags=False, help=_HELP)
def run(_context: Context, yolo: bool = False, network: str | None = None) -> None:
    """Run Claude Code, confined, in this project: run [--yolo] [-- ARGS of claude]"""
    from . import session
    from .host import Host

    with _reported():
        code = session.run(Host.current(), passthrough(sys.argv), {"network": network}, yolo=yolo)
    raise Exit(code=code)


@task(auto_shortflags=False, help={"network": _HELP["network"]})
def shell(_context: Context, network: str | None = None) -> None:
    """Open a shell where Claude Code would run: shell [-- COMMAND]"""
    from . import session
    from .host import Host

    with _reported():
        code = session.shell(Host.current(), passthrough(sys.argv), {"network": network})
    raise Exit(code=code)


@task
def build(_context: Context) -> None:
    """Build the image if it is missing or out of date"""
    _build(fresh=False)


@task
def rebuild(_context: Context) -> None:
    """Build the image from scratch, with the newest Claude Code"""
    _build(fresh=True)


def _build(*, fresh: bool) -> None:
    from . import session
    from .host import Host

    with _reported():
        session.build(Host.current(), {}, fresh=fresh)


ns = Collection(run, shell, build, rebuild)
