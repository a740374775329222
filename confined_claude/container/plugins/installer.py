"""Installs what Claude Code's plugins need from npm and do not have, before Claude Code starts.

    plugins.installer CONFIG

Runs in the session's container as the session's user. Agents can write all of CONFIG, and other sessions use it at the
same time: no link is followed, and everything has an end. What cannot be had is reported, and the session goes on.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import signal
import stat
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

PACKAGE = Path("package.json")
# In the order in which npm prefers them.
LOCKS = (Path("npm-shrinkwrap.json"), Path("package-lock.json"))
MODULES = Path("node_modules")
# In a node_modules that was made here, as old as what it was made for; one without it came with the plugin.
STAMP = MODULES / ".confined-claude"
# Beside an incomplete node_modules: what a killed npm leaves behind looks complete.
UNFINISHED = Path(".confined-claude-npm")
# Claude Code's, in a plugin that is no longer installed; it removes that some days later.
ORPHAN = ".orphaned_at"

# Not the session's own, which begins with a directory that agents fill.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Against a plugin's .npmrc, which could name a program to run in place of git.
OPTIONS = """
    --prefix=. --omit=dev --no-audit --no-fund --no-progress --loglevel=error --prefer-offline --git=/usr/bin/git
    --fetch-retries=1 --fetch-retry-mintimeout=1000 --fetch-retry-maxtimeout=1000 --fetch-timeout=30000
""".split()
PLUGIN_SECONDS = 120.0
TOTAL_SECONDS = 300.0
MOST_PLUGINS = 1000

_FAILED = b"failed\n"
_MOST_BYTES = 32 << 20
_REASON = re.compile(r"^npm (?:error|ERR!) +(?!(?:code|errno|syscall|path|dest) |A complete log )(\S.*)", re.MULTILINE)
_LOG = re.compile(r"^npm (?:error|ERR!) A complete log .*?: *(\S.*)", re.MULTILINE)


class Failed(Exception):
    """Why something could not be done, in words."""


def main(arguments: Sequence[str]) -> int:
    """Install what is missing below a config; return the exit code."""
    config, started = Path(arguments[0]), time.time_ns()
    try:
        if found := plugins(config):
            with turn(config / "plugins"):
                deadline = time.monotonic() + TOTAL_SECONDS
                for directory, name in found:
                    supply(directory, name, started, deadline)
    except (Failed, OSError) as error:
        say(f"The npm packages that plugins need are not installed: {reason_of(error)}.")
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


def plugins(config: Path) -> list[tuple[Path, str]]:
    """Return the directories of the installed plugins in ``config``, each with the plugin's name."""
    local, found = local_plugins(config), dict[Path, str]()
    for path in sorted(config.glob("plugins/cache/*/*/*")):
        market, name, _version = path.parts[-3:]
        directory = local.get((market, name), path)
        if directory and not os.path.lexists(path / ORPHAN):
            found.setdefault(directory, f"{name}@{market}")
    return list(found.items())[:MOST_PLUGINS]


def local_plugins(config: Path) -> dict[tuple[str, str], Path | None]:
    """Return by marketplace and name the plugins that run in the directory of their marketplace.

    The directory is None for a plugin outside ``config``.
    """
    found = {}
    for market, known in table(config / "plugins/known_marketplaces.json").items():
        with contextlib.suppress(Failed, LookupError, TypeError, ValueError):
            source = known["source"]
            if source["source"] == "directory":
                for plugin in table(Path(source["path"], ".claude-plugin/marketplace.json"))["plugins"]:
                    with contextlib.suppress(LookupError, TypeError):  # another kind of source
                        directory = Path(os.path.normpath(Path(source["path"], plugin["source"])))
                        found[market, plugin["name"]] = directory if config in directory.parents else None
    return found


@contextlib.contextmanager
def turn(directory: Path) -> Iterator[None]:
    """Lock ``directory`` once no other session has it locked. Raises Failed if that takes too long."""

    def give_up(_number: int, _frame: object) -> NoReturn:
        raise Failed("another session has not finished installing it")

    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Waiting for another session, which is installing npm packages for plugins.")
            signal.signal(signal.SIGALRM, give_up)
            signal.setitimer(signal.ITIMER_REAL, TOTAL_SECONDS)
            fcntl.flock(fd, fcntl.LOCK_EX)
            signal.setitimer(signal.ITIMER_REAL, 0)
        yield
    finally:
        os.close(fd)


def supply(directory: Path, name: str, started: int, deadline: float) -> None:
    """Install by ``deadline`` what a plugin lacks, unless another session has failed since this one ``started``.

    Reports what it does, and what it cannot do.
    """
    with contextlib.suppress(OSError, ValueError):  # it has gone, or its path is none
        os.chdir(directory)
    # A link leads there otherwise. From here on nobody can put another directory in its place.
    if Path.cwd() != directory:
        return
    try:
        if not lacks():
            return
        if read(UNFINISHED) == _FAILED and changed_at(UNFINISHED) >= started:
            raise Failed("another session just tried and failed")
        seconds = min(PLUGIN_SECONDS, deadline - time.monotonic())
        if seconds <= 0:
            raise Failed("the others took too long")
        say(f"Installing the npm packages that the plugin {printable(name)} needs.")
        install(seconds)
    except (Failed, OSError) as error:
        say(f"The npm packages that the plugin {printable(name)} needs are not installed: {reason_of(error)}.")
        say("The session goes on without them; the next session tries again.")


def lacks() -> bool:
    """Return whether the plugin in the current directory needs something that is missing, or outdated.

    Raises Failed if its package.json cannot be read.
    """
    if not table(PACKAGE).get("dependencies"):
        return False
    if not os.path.lexists(MODULES):
        return True
    if MODULES.is_symlink() or not MODULES.is_dir():  # a developer's link, for instance
        return False
    return os.path.lexists(UNFINISHED) or 0 < changed_at(STAMP) < made_for()


def made_for() -> int:
    """Return when it was last changed what has to be installed."""
    return max(map(changed_at, (PACKAGE, *LOCKS)))


def install(seconds: float) -> None:
    """Make node_modules in the current directory, or bring it up to date. Raises Failed or OSError."""
    newest = made_for()
    for path in (PACKAGE, *LOCKS, Path(".npmrc")):
        read(path)  # fails unless npm can read it
    if os.path.lexists(UNFINISHED):
        run(["rm", "-rf", str(MODULES)], seconds)
    write(UNFINISHED, b"")
    try:
        words = ["ci"] if any(map(os.path.lexists, LOCKS)) else ["install", "--no-package-lock"]
        ignored = "false" if os.environ.get("CONFINED_CLAUDE_PLUGIN_SCRIPTS") == "on" else "true"
        run(["npm", *words, *OPTIONS, f"--ignore-scripts={ignored}", *["--offline"] * is_offline()], seconds)
        if MODULES.is_symlink() or not MODULES.is_dir():
            raise Failed("npm installed nothing")
        write(STAMP, b"")
        os.utime(STAMP, ns=(newest, newest))
    except (Failed, OSError):
        write(UNFINISHED, _FAILED)
        raise
    UNFINISHED.unlink()


def is_offline() -> bool:
    """Return whether this session has neither a network nor a proxy: npm would try for long."""
    proxies = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy")
    return not any(map(os.environ.get, proxies)) and os.listdir("/sys/class/net") == ["lo"]


def run(command: list[str], seconds: float) -> None:
    """Run ``command``, out of reach of the terminal. Raises Failed with its reason if it fails."""
    import subprocess
    import tempfile

    # On time it kills itself too, and all that the command has started.
    limited = ["timeout", "--signal=KILL", str(seconds), *command]
    with tempfile.TemporaryFile() as output:
        environ, devnull = {**os.environ, "PATH": PATH}, subprocess.DEVNULL
        done = subprocess.run(
            limited, check=False, env=environ, stdin=devnull, stdout=output, stderr=output, start_new_session=True
        )
        output.seek(0)
        text = output.read(_MOST_BYTES).decode("utf-8", "replace")
    if done.returncode == -signal.SIGKILL:
        raise Failed(f"{command[0]} took longer than {seconds:.0f} seconds")
    if code := done.returncode:
        reason, log = _REASON.search(text), _LOG.search(text)
        words = printable(reason[1]).rstrip(".") if reason else f"{command[0]} ended with exit code {code}"
        raise Failed(f"{words} (npm's log is {printable(log[1])})" if log else words)


# Files that others have written


def read(path: Path) -> bytes | None:
    """Return the content of a file, None if it is missing. Raises Failed if it is no file, or too large."""
    try:
        with open(path, "rb", opener=_open) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise Failed(f"its {path.name} is no file")
            content = file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Failed(f"its {path.name} cannot be read ({error.strerror})") from None
    if len(content) > _MOST_BYTES:
        raise Failed(f"its {path.name} is too large")
    return content


def _open(path: str, flags: int) -> int:
    """Open a file without following a link, or waiting for whoever writes to a pipe."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def write(path: Path, content: bytes) -> None:
    """Write a new file in place of whatever is there. Raises OSError."""
    path.unlink(missing_ok=True)
    with path.open("xb") as file:
        file.write(content)


def changed_at(path: Path) -> int:
    """Return when a file or link was changed, in nanoseconds; 0 if it is missing."""
    return path.lstat().st_mtime_ns if os.path.lexists(path) else 0


def table(path: Path) -> Mapping[str, Any]:
    """Return the table in a JSON file; empty if there is none. Raises Failed if the file cannot be read."""
    try:
        value = json.loads(read(path) or b"null")
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


# What is said


def say(line: str) -> None:
    """Print a line to stderr."""
    print(f"confined-claude: {line}", file=sys.stderr, flush=True)


def reason_of(error: Failed | OSError) -> str:
    """Return in words why something failed."""
    return error.strerror or "unknown error" if isinstance(error, OSError) else str(error)


def printable(text: str) -> str:
    """Return ``text`` as a terminal can take it, if need be shortened."""
    return "".join(char if char.isprintable() else "?" for char in text[:300])
