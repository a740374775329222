"""Installs what the plugins of Claude Code need from npm and do not have, before Claude Code starts.

    plugin_deps.py CONFIG

Runs in the session's container as the session's user. All of CONFIG was written by agents, and other sessions use it
at the same time: no link is followed, and everything has an end. What cannot be had is told, and the session goes on.

A start may wait for this only to learn that there is nothing to do, so it imports little before there is.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import signal
import stat
import sys
import time
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

MODULES = "node_modules"
PACKAGE = "package.json"
# In the order in which npm prefers them.
LOCKS = ("npm-shrinkwrap.json", "package-lock.json")
# In a node_modules that was made here, with what it was made for; one without it came with the plugin.
STAMP = ".confined-claude"
# Beside a node_modules that is not whole: what a killed npm leaves looks as if it were.
UNFINISHED = ".confined-claude-npm"
# Claude Code's, in a plugin that is no longer installed; it removes that some days later.
ORPHAN = ".orphaned_at"
TURN = ".confined-claude.lock"

SCRIPTS_VARIABLE = "CONFINED_CLAUDE_PLUGIN_SCRIPTS"
# Not the session's own, which begins with a folder that agents fill.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Against a plugin's .npmrc, which could name a program to run in place of git.
OPTIONS = """
    --prefix=. --omit=dev --no-audit --no-fund --no-progress --loglevel=error --prefer-offline --git=/usr/bin/git
    --fetch-retries=1 --fetch-retry-mintimeout=1000 --fetch-retry-maxtimeout=1000 --fetch-timeout=30000
""".split()
PLUGIN_SECONDS = 120.0
TOTAL_SECONDS = 300.0
MOST_PLUGINS = 1000
FILE_BYTES = 32 << 20
JSON_BYTES = 1 << 20

_FAILED = b"failed\n"
_PATIENCE_SECONDS = 1.0
_POLL_SECONDS = 0.1
_OUTPUT_BYTES = 1 << 20
_TEXT_LENGTH = 300
_INTERRUPTED = 130
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_REASON = re.compile(r"^npm (?:error|ERR!) +(?!(?:code|errno|syscall|path|dest) |A complete log )(\S.*)", re.MULTILINE)
_LOG = re.compile(r"^npm (?:error|ERR!) A complete log .*?: *(\S.*)", re.MULTILINE)


class Failed(Exception):
    """Why something could not be done, in words."""


class Plugin(NamedTuple):
    """An installed plugin; ``parts`` are the names that lead from the config to its folder."""

    name: str
    parts: tuple[str, ...]


def main(config: str) -> int:
    """Install what is missing below ``config``; gives the exit code."""
    started = time.time()
    try:
        lacking = [plugin for plugin in islice(plugins(config), MOST_PLUGINS) if is_lacking(config, plugin)]
        if lacking:
            with turn(config):
                deadline = time.monotonic() + TOTAL_SECONDS
                for plugin in lacking:
                    supply(config, plugin, started, deadline)
    except (Failed, OSError) as error:
        say(f"What plugins need from npm is not installed: {words_of(error)}.")
    except KeyboardInterrupt:
        return _INTERRUPTED
    return 0


# Which plugins there are


def plugins(config: str) -> Iterator[Plugin]:
    """The installed plugins that Claude Code runs in the config."""
    places = live(config)
    cache = ("plugins", "cache")
    told = set()
    for market in folders(config, cache):
        for name in folders(config, (*cache, market)):
            for version in folders(config, (*cache, market, name)):
                parts = (*cache, market, name, version)
                place = places.get((market, name), parts)
                if place and place not in told and not has(config, parts, ORPHAN):
                    told.add(place)
                    yield Plugin(f"{name}@{market}", place)


def live(config: str) -> dict[tuple[str, str], tuple[str, ...]]:
    """Where the plugins are, by marketplace and name, that are run in a marketplace that is a folder.

    What is not in the config has no place.
    """
    places = {}
    for market, known in table(read_table(config, ("plugins",), "known_marketplaces.json")).items():
        source = table(table(known).get("source"))
        root = source.get("path")
        if source.get("source") != "directory" or not isinstance(root, str) or "\0" in root:
            continue
        listed = read_table(root, (".claude-plugin",), "marketplace.json").get("plugins")
        for plugin in map(table, listed if isinstance(listed, list) else ()):
            name, where = plugin.get("name"), plugin.get("source")
            if isinstance(name, str) and isinstance(where, str):
                folder = os.path.normpath(f"{root}/{where}")
                is_inside = folder.startswith(f"{config}/") and "\0" not in folder
                places[market, name] = tuple(folder.removeprefix(f"{config}/").split("/")) if is_inside else ()
    return places


def is_lacking(config: str, plugin: Plugin) -> bool:
    """Whether something is to be installed for ``plugin``. Says so where that cannot be told."""
    try:
        with opened(config, plugin.parts) as folder:
            return lacks(folder)
    except Failed as failure:
        give_up(plugin, failure)
    except OSError:  # a link, or gone
        pass
    return False


def lacks(folder: int) -> bool:
    """Whether the plugin in ``folder`` needs something that is not there, or no longer what it needs.

    Raises Failed if its files are none that one can read.
    """
    if not table(parsed(read(folder, PACKAGE, JSON_BYTES))).get("dependencies"):
        return False
    modules = mode(folder, MODULES)
    if modules is None:
        return True
    if not stat.S_ISDIR(modules):  # a link of a developer's, say
        return False
    if mode(folder, UNFINISHED) is not None:
        return True
    with opened(folder, (MODULES,)) as made:
        stamp = read(made, STAMP)
    return stamp is not None and stamp != digest(folder)


def digest(folder: int) -> bytes:
    """Of all that says what has to be there."""
    parts = ((name, read(folder, name)) for name in (PACKAGE, *LOCKS))
    found = hashlib.sha256()
    for name, content in parts:
        if content is not None:
            found.update(f"{name}\0{len(content)}\0".encode() + content)
    return found.hexdigest().encode() + b"\n"


# Installing


@contextlib.contextmanager
def turn(config: str) -> Iterator[None]:
    """The one turn that all sessions share. Raises Failed if others keep it for too long."""
    with opened(config, ("plugins",)) as folder:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        lock = os.open(TURN, flags, 0o600, dir_fd=folder)
    try:
        began, told = time.monotonic(), False
        while not locked(lock):
            waited = time.monotonic() - began
            if waited > TOTAL_SECONDS:
                raise Failed("another session does not come to an end with it")
            if waited > _PATIENCE_SECONDS and not told:
                say("Another session is installing what plugins need from npm; waiting for it.")
                told = True
            time.sleep(_POLL_SECONDS)
        yield
    finally:
        os.close(lock)


def locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def supply(config: str, plugin: Plugin, started: float, deadline: float) -> None:
    """Install what ``plugin`` lacks, unless another session has done or tried that since this one ``started``.

    Says what it does, and where it does not succeed by ``deadline``.
    """
    try:
        with opened(config, plugin.parts) as folder:
            if not lacks(folder):
                return
            if has_failed_since(folder, started):
                raise Failed("another session has just tried in vain")
            seconds = min(PLUGIN_SECONDS, deadline - time.monotonic())
            if seconds <= 0:
                raise Failed("the others took too long")
            say(f"Installing what the plugin {shown(plugin.name)} needs from npm.")
            install(folder, seconds)
    except (Failed, OSError) as error:
        give_up(plugin, error)


def has_failed_since(folder: int, started: float) -> bool:
    failed_at = os.stat(UNFINISHED, dir_fd=folder, follow_symlinks=False).st_mtime if mode(folder, UNFINISHED) else 0
    return failed_at >= started and read(folder, UNFINISHED) == _FAILED


def install(folder: int, seconds: float) -> None:
    """Make node_modules in ``folder`` anew, or bring it up to date. Raises Failed or OSError."""
    made_for = digest(folder)
    read(folder, ".npmrc")  # that it can be
    if mode(folder, UNFINISHED) is not None:
        run(folder, ["rm", "-rf", MODULES], seconds)
    write(folder, UNFINISHED, b"")
    try:
        is_locked = any(mode(folder, name) is not None for name in LOCKS)
        scripts = os.environ.get(SCRIPTS_VARIABLE) == "on"
        run(
            folder,
            [
                *("npm", *(["ci"] if is_locked else ["install", "--no-package-lock"]), *OPTIONS),
                f"--ignore-scripts={str(not scripts).lower()}",
                *(["--offline"] if is_offline() else []),
            ],
            seconds,
        )
        if mode(folder, MODULES) is None:
            raise Failed("npm installed nothing")
        with opened(folder, (MODULES,)) as made:
            write(made, STAMP, made_for)
    except (Failed, OSError):
        write(folder, UNFINISHED, _FAILED)
        raise
    os.unlink(UNFINISHED, dir_fd=folder)


def is_offline() -> bool:
    """Whether this session has no network at all, nor a proxy: npm would try for long."""
    proxies = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy")
    return not any(map(os.environ.get, proxies)) and os.listdir("/sys/class/net") == ["lo"]


def run(folder: int, command: list[str], seconds: float) -> None:
    """Run ``command`` in ``folder``, out of reach of the terminal. Raises Failed with its reason if it fails."""
    import subprocess
    import tempfile

    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command,
            cwd=f"/proc/self/fd/{folder}",
            env={**os.environ, "PATH": PATH},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Failed(f"{command[0]} took longer than {seconds:.0f} seconds") from None
        finally:
            # With all that it has started and not ended.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if code:
            output.seek(0)
            text = output.read(_OUTPUT_BYTES).decode("utf-8", "replace")
            reason, log = _REASON.search(text), _LOG.search(text)
            words = shown(reason[1]).rstrip(".") if reason else f"{command[0]} ended with exit code {code}"
            raise Failed(f"{words} (npm's log is {shown(log[1])})" if log else words)


# Telling


def say(line: str) -> None:
    print(f"confined-claude: {line}", file=sys.stderr, flush=True)


def give_up(plugin: Plugin, error: Failed | OSError) -> None:
    say(f"What the plugin {shown(plugin.name)} needs from npm is not installed: {words_of(error)}.")
    say("The session goes on without it; the next one tries again.")


def words_of(error: Failed | OSError) -> str:
    return error.strerror or "unknown error" if isinstance(error, OSError) else str(error)


def shown(text: str) -> str:
    """``text`` as a terminal can take it."""
    return "".join(char if char.isprintable() else "?" for char in text[:_TEXT_LENGTH])


# Files that others have written


@contextlib.contextmanager
def opened(start: str | int, parts: tuple[str, ...]) -> Iterator[int]:
    """A handle of the folder that ``parts`` lead to. Raises OSError if there is none, or a link on the way."""
    handle = os.open(start, _FOLDER) if isinstance(start, str) else os.dup(start)
    try:
        for part in parts:
            below = os.open(part, _FOLDER, dir_fd=handle)
            os.close(handle)
            handle = below
        yield handle
    finally:
        os.close(handle)


def folders(config: str, parts: tuple[str, ...]) -> list[str]:
    """The names of the folders in a folder, in their order; none if there is no such folder."""
    try:
        with opened(config, parts) as folder, os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        return []


def mode(folder: int, name: str) -> int | None:
    """The mode of what has this name, a link's own; None if there is nothing."""
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return None


def has(config: str, parts: tuple[str, ...], name: str) -> bool:
    try:
        with opened(config, parts) as folder:
            return mode(folder, name) is not None
    except OSError:
        return False


def read(folder: int, name: str, most: int = FILE_BYTES) -> bytes | None:
    """The content of a file of at most so many bytes; None if there is none. Raises Failed if it is no such file."""
    try:
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Failed(f"its {name} cannot be read ({error.strerror})") from None
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise Failed(f"its {name} is no file")
        with open(handle, "rb", closefd=False) as file:
            content = file.read(most + 1)
    finally:
        os.close(handle)
    if len(content) > most:
        raise Failed(f"its {name} is too large")
    return content


def write(folder: int, name: str, content: bytes) -> None:
    """A new file in place of whatever has this name. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(name, flags, 0o600, dir_fd=folder), "wb") as file:
        file.write(content)


def parsed(content: bytes | None) -> Any:
    """``content`` as JSON; None where it is none: then it is not for npm either."""
    try:
        return json.loads(content or b"null")
    except (ValueError, RecursionError):
        return None


def table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def read_table(start: str, parts: tuple[str, ...], name: str) -> Mapping[str, Any]:
    """The table in a file; empty if it has none."""
    try:
        with opened(start, parts) as folder:
            return table(parsed(read(folder, name, JSON_BYTES)))
    except (Failed, OSError):
        return {}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
