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

from .console import open_streams, reader_is_gone
from .errors import ENGINE, INTERRUPTED, READER_GONE, REVIEW, USAGE, ConfinedError, ReviewNeeded

__all__ = [
    "blocked", "build", "clean", "clean_global", "config", "doctor", "exec_", "ns", "rebuild", "review", "run", "shell",
    "status", "stop", "trust_", "update",
]  # fmt: skip

_HELP = {
    "allow": "hosts that an allowlist opens, with commas between them",
    "dry-run": "only print the docker commands, as a script to be pasted into a shell",
    "git": "guarded, isolated or open",
    "host-ports": "ports of this machine that the session reaches",
    "network": "internet, allowlist, none, open, or docker:NAME",
    "ports": "ports of the session that this machine reaches",
    "sudo": "apt, full or off",
}
_YOLO_HELP = {"yolo": "let Claude act without asking (--dangerously-skip-permissions)"}


def passthrough(argv: list[str]) -> list[str]:
    """What stands after the first ``--``, word by word; Invoke itself would join the words."""
    return argv[argv.index("--") + 1 :] if "--" in argv else []


@contextlib.contextmanager
def _reported() -> Iterator[None]:
    """End with a message and an exit code instead of a traceback."""
    open_streams()
    # The command starts with Ctrl-C ending it at once; from here on there is something to clean up.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
        sys.stdout.flush()
    except ConfinedError as error:
        raise Exit(f"confined-claude: {error}", error.exit_code) from None
    except KeyboardInterrupt:
        raise Exit(code=INTERRUPTED) from None
    except BrokenPipeError:
        reader_is_gone()
        raise Exit(code=READER_GONE) from None
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        message = f"confined-claude: {error.strerror or error}{where}.\nCheck what is there, and start again."
        raise Exit(message, USAGE) from None


@task(auto_shortflags=False, help={**_HELP, **_YOLO_HELP})
def run(
    _context: Context,
    *,
    yolo: bool = False,
    dry_run: bool = False,
    network: str | None = None,
    allow: str | None = None,
    host_ports: str | None = None,
    ports: str | None = None,
    sudo: str | None = None,
    git: str | None = None,
) -> None:
    """Run Claude Code, confined, in this project: run [--yolo] [-- ARGS of claude]

    All that stands after -- is for claude. Its own flags take up a conversation again:
    run -- --continue  goes on with the last one of this project
    run -- --resume    lets you choose one
    """
    from .host import Host
    from .session import supervisor as session

    flags = {"network": network, "allow": allow, "host_ports": host_ports, "ports": ports, "sudo": sudo, "git": git}
    with _reported():
        code = session.run(Host.current(), passthrough(sys.argv), flags, yolo=yolo, dry=dry_run)
    raise Exit(code=code)


@task(auto_shortflags=False, help=_HELP)
def shell(
    _context: Context,
    *,
    dry_run: bool = False,
    network: str | None = None,
    allow: str | None = None,
    host_ports: str | None = None,
    ports: str | None = None,
    sudo: str | None = None,
    git: str | None = None,
) -> None:
    """Open a shell where Claude Code would run: shell [-- COMMAND]"""
    from .host import Host
    from .session import supervisor as session

    flags = {"network": network, "allow": allow, "host_ports": host_ports, "ports": ports, "sudo": sudo, "git": git}
    with _reported():
        code = session.shell(Host.current(), passthrough(sys.argv), flags, dry=dry_run)
    raise Exit(code=code)


@task(auto_shortflags=False, name="exec", help={"session": "its number, or its name"})
def exec_(_context: Context, session: str | None = None) -> None:
    """Join a running session with a shell, or a command: exec [--session N] [-- COMMAND]"""
    from .host import Host
    from .session import supervisor as sessions

    with _reported():
        code = sessions.execute(Host.current(), passthrough(sys.argv), session)
    raise Exit(code=code)


@task(
    auto_shortflags=False,
    help={"session": "its number, or its name", "all": "every session, of all projects"},
)
def stop(_context: Context, session: str | None = None, all: bool = False) -> None:
    """End this project's session, which saves its state first: stop [--session N] [--all]"""
    from .host import Host
    from .session import supervisor as sessions

    with _reported():
        names = sessions.stop(Host.current(), session, everything=all)
        print("\n".join(f"Stopped {name}." for name in names) or "No session runs.")


@task(
    auto_shortflags=False,
    help={"json": "for programs, see docs/status.schema.json", "watch": "kept up to date, until Ctrl-C"},
)
def status(_context: Context, json: bool = False, watch: bool = False) -> None:
    """Show what runs, what it takes, and how to get rid of it: status [--json] [--watch]"""
    from .commands.status import view as status_view
    from .commands.status.collector import Looker
    from .host import Host
    from .session import supervisor as session

    with _reported():
        if json and watch:
            raise ConfinedError("--json and --watch do not go together.", "Leave out one of them.")
        host = Host.current()
        looker = Looker(host, lambda: session.current_project(host))
        if watch:
            status_view.watch(looker, host.home)
        elif not status_view.show(looker, host.home, as_json=json):
            raise Exit(code=ENGINE)


@task
def build(_context: Context) -> None:
    """Build the image if it is missing or out of date"""
    _build()


@task(
    auto_shortflags=False,
    help={
        "pull": "on a newer base",
        "claude": "only Claude Code, in this version, or latest: that takes seconds",
    },
)
def rebuild(_context: Context, pull: bool = False, claude: str | None = None) -> None:
    """Build the image from scratch: rebuild [--pull] [--claude VERSION]"""
    _build(everything=claude is None, base=pull, claude=claude)


def _build(*, everything: bool = False, base: bool = False, claude: str | None = None) -> None:
    from .host import Host
    from .image.build import Again
    from .session import supervisor as session

    with _reported():
        session.build(Host.current(), {}, again=Again(everything, base, claude))


@task(
    auto_shortflags=False,
    help={
        "accept": "close everything that is open, as it is now",
        "restore": "a path to put back as it was before the session",
    },
)
def review(_context: Context, accept: bool = False, restore: str | None = None) -> None:
    """Show what sessions left that this machine could run: review [--restore PATH] [--accept]"""
    from .engine import command as client
    from .guard import report
    from .guard import review as guard
    from .host import Host
    from .session import supervisor as session

    with _reported():
        host = Host.current()
        ground = session.ground(host)
        if restore is not None:
            print(f"{guard.restore(ground, host, restore)}.")
        found = guard.look(ground, host, client.is_running)
        print("\n".join(report.review(found)))
        if accept and found.findings:
            guard.accept(ground, host, found.findings)
            print("All of it is accepted, as it is now.")
        elif found.is_red:
            raise Exit(code=REVIEW)


@task(auto_shortflags=False, name="trust", help={"hash": "allow the content with this hash, without asking"})
def trust_(_context: Context, hash: str | None = None) -> None:
    """Allow what this project's files ask for beyond the defaults"""
    from .host import Host
    from .session import supervisor as session
    from .state import trust

    with _reported():
        host = Host.current()
        here = session.current_project(host)
        digest, lines = trust.explain(here, host)
        print("\n".join(lines) or "This project's files ask for nothing that needs your trust.")
        if lines:
            trust.allow(here, host, hash or _asked(digest))
            print("Allowed, as long as they stay as they are.")


def _asked(digest: str) -> str:
    """``digest``, if the person at the terminal says yes. Raises ReviewNeeded."""
    if not sys.stdin.isatty():
        raise ReviewNeeded("Nothing is allowed: there is no terminal to ask on.", f"Say it with --hash {digest}")
    if input("Allow this? [y/N] ").strip().lower() not in ("y", "yes"):
        raise ReviewNeeded("Nothing is allowed.", "Narrow the file, or set what you want in your own config file.")
    return digest


@task(auto_shortflags=False, help={"json": "for programs"})
def config(_context: Context, json: bool = False) -> None:
    """Show the settings in force here, and where each comes from: config [--json]"""
    from json import dumps

    from .commands import config
    from .console import say
    from .host import Host
    from .session import supervisor as session

    with _reported():
        resolved, notes = session.resolved(Host.current())
        print(dumps(config.as_json(resolved), indent=2) if json else "\n".join(config.told(resolved)))
        for note in notes:
            say(note)


@task(auto_shortflags=False, help={"json": "for programs"})
def doctor(_context: Context, json: bool = False) -> None:
    """Check all that a session needs, and say what to do about what is missing: doctor [--json]"""
    from .commands.doctor import examination, lines
    from .host import Host

    with _reported():
        found = examination.examine(Host.current())
        print(lines.as_json(found) if json else "\n".join(lines.as_text(found)))
    raise Exit(code=lines.exit_code(found))


@task
def update(_context: Context) -> None:
    """Bring the scaffold up to date with its template"""
    from .commands import update
    from .host import Host
    from .session import supervisor as session

    with _reported():
        host = Host.current()
        update.update(session.ground(host), host)


@task
def blocked(_context: Context) -> None:
    """Show what an allowlist has refused to this project's sessions, and what would open it"""
    from .egress import blocked as egress
    from .host import Host
    from .session import supervisor as session

    with _reported():
        host = Host.current()
        print("\n".join(egress.told(egress.blocked(session.current_project(host), host), host.user_config_file)))


_CLEAN_HELP = {
    "dry-run": "show what would be deleted, and delete nothing",
    "yes": "delete without asking",
}


@task(
    auto_shortflags=False,
    help={
        **_CLEAN_HELP,
        "all": "also forget what is remembered: Claude's history of the project, its settings, records and findings",
        "project": "another known project, by its folder or id; it may be gone",
    },
)
def clean(
    _context: Context, all: bool = False, project: str | None = None, dry_run: bool = False, yes: bool = False
) -> None:
    """Delete what sessions have installed in this project: clean [--all] [--dry-run] [--yes]"""
    from .commands import clean
    from .host import Host

    with _reported():
        clean.clean(Host.current(), project, clean.Options(everything=all, dry_run=dry_run, sure=yes))


@task(
    auto_shortflags=False,
    help={**_CLEAN_HELP, "all": "also Claude's own config: sign-in, settings, plugins, every project's history"},
)
def clean_global(_context: Context, all: bool = False, dry_run: bool = False, yes: bool = False) -> None:
    """Delete the caches that projects share, build logs and unused images: clean-global [--all] [--dry-run] [--yes]"""
    from .commands import clean
    from .host import Host

    with _reported():
        clean.clean_global(Host.current(), clean.Options(everything=all, dry_run=dry_run, sure=yes))


ns = Collection(
    run, shell, exec_, status, stop, clean, clean_global, build, rebuild, review, trust_, blocked, config, doctor,
    update,
)  # fmt: skip
