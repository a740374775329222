"""The docker command: what it is asked, and the containers that it creates, attaches to and removes.

A start goes through this module and not through the docker SDK, whose import alone takes longer than all of this.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .. import signals
from ..errors import EngineError
from ..text import parse_json
from . import labels
from .failures import INSTALL_HINT, SECONDS, is_unreachable, no_answer, refused

# The exit code of what SIGKILL ended.
KILLED = 128 + signal.SIGKILL
_STOP_SECONDS = 10
_POLL_SECONDS = 0.05
_MOST_NAMES = 256
_MARK = "CONFINED_CLAUDE_EXEC"
# Runs as the session's own user, who may signal its own processes. What the command starts inherits the mark.
_SIGNAL_SCRIPT = """
for file in /proc/[0-9]*/environ; do
    tr '\\0' '\\n' <"$file" 2>/dev/null | grep -qxF "$1" || continue
    pid=${file#/proc/}
    kill -s "$2" "${pid%/environ}" 2>/dev/null
done
true
"""
# Runs as the session's own user. No reader ever finds the file missing, or half of it.
_REPLACE = 'PATH=/usr/bin:/bin; umask 277 && rm -f "$1.new" && cat >"$1.new" && mv -f "$1.new" "$1"'
# With the default keys the client would hold back Ctrl-P, and a session could be detached and left running unnoticed.
# No terminal that speaks UTF-8 ever sends these bytes.
NO_DETACH = os.fsdecode(b"\xff,\xfe,\xff,\xfe")
# For `docker exec` the engine takes ASCII only: Ctrl-^ four times, a key that is hardly ever typed even once.
_NO_EXEC_DETACH = "ctrl-^,ctrl-^,ctrl-^,ctrl-^"
# The docker command's words, with various endings, for a container whose first process ended before it became the
# command: "cannot start a stopped process".
_ENDED_EARLY = b"cannot start a"


def program() -> str:
    """Return the path of the docker command. Raises EngineError if it is missing."""
    if found := shutil.which("docker"):
        return found
    raise EngineError("The docker command is missing.", INSTALL_HINT)


def _docker(
    *arguments: str, stdin: bytes = b"", seconds: int = SECONDS, attempts: int = 3
) -> subprocess.CompletedProcess[bytes]:
    """Run the docker command to its end, out of reach of the terminal's Ctrl-C.

    That would end the command, while the engine went on to make a container that nobody knows of. What the terminal
    sends just before the command is out of reach kills it: it is run again, ``attempts`` times in all.
    """
    done = _run([program(), *arguments], stdin, seconds)
    if done.returncode < 0 and attempts > 1:
        return _docker(*arguments, stdin=stdin, seconds=seconds, attempts=attempts - 1)
    return done


def _run(command: list[str], stdin: bytes, seconds: int) -> subprocess.CompletedProcess[bytes]:
    pipe = subprocess.PIPE
    deadline = time.monotonic() + seconds
    with (
        signals.held() as check,
        subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True) as process,
    ):
        unsent: bytes | None = stdin
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    printed, errors = process.communicate(unsent, timeout=_POLL_SECONDS)
                    return subprocess.CompletedProcess(command, process.returncode, printed, errors)
                unsent = None
                check()
                if time.monotonic() > deadline:
                    raise no_answer(seconds)
        finally:
            process.kill()


def _refused(doing: str, command: subprocess.CompletedProcess[bytes]) -> EngineError:
    """Return the error for a docker command that failed, with the line of its output that says why."""
    lines = command.stderr.decode("utf-8", "replace").strip().splitlines()
    lines = [line for line in lines if not line.startswith("WARNING")] or ["it gave no reason"]
    return refused(doing, next((line for line in lines if line.startswith("Error")), lines[0]))


# The engine


def info(seconds: int = SECONDS) -> dict[str, Any]:
    """Return the engine's answer to ``docker info``. Raises EngineError if there is none within ``seconds``."""
    return _ask("info", "{{json .}}", seconds)


def version(seconds: int = SECONDS) -> dict[str, Any]:
    """Return the engine's version and its components'. Raises EngineError if there is none within ``seconds``."""
    return _ask("version", "{{json .Server}}", seconds)


def _ask(what: str, template: str, seconds: int) -> dict[str, Any]:
    asked = _docker(what, "--format", template, seconds=seconds)
    answer = parse_json(asked.stdout)
    if asked.returncode or not isinstance(answer, dict):
        raise _refused(f"tell its {what}", asked)
    if errors := answer.get("ServerErrors"):  # some versions exit with 0 all the same
        raise refused(f"tell its {what}", str(errors[0]))
    return answer


# Containers that are there


def containers(template: str, wanted: Mapping[str, str]) -> list[str]:
    """Return what ``template`` yields for each container that has the labels ``wanted``, running or not.

    Raises EngineError if the engine cannot be asked.
    """
    found = _docker("ps", "--all", "--no-trunc", "--format", template, *_by_labels(wanted))
    if found.returncode:
        raise _refused("list its containers", found)
    return found.stdout.decode("utf-8", "replace").splitlines()


def of_session(key: str) -> list[str]:
    """Return the ids of the containers, running or not, of the session with this key. Raises EngineError."""
    return containers("{{.ID}}", {labels.KIND: labels.SESSION, labels.KEY: key})


def may_exist(key: str) -> bool:
    """Return whether the session with this key has a container, running or not; True if the engine does not answer."""
    try:
        return bool(of_session(key))
    except EngineError:
        return True


def _by_labels(wanted: Mapping[str, str]) -> list[str]:
    return [word for label, value in wanted.items() for word in ("--filter", f"label={label}={value}")]


def has_terminal(identity: str) -> bool:
    """Return whether a container was created with a terminal of its own."""
    return _docker("inspect", "--format", "{{.Config.Tty}}", identity).stdout.strip() == b"true"


def was_started(identity: str) -> bool:
    """Return whether a container, which may be gone by now, got as far as running its command. Raises EngineError."""
    seen = events(identity)
    # The engine remembers its last 256 events; one whose creation it has forgotten started long ago.
    return "start" in seen or "create" not in seen


def ran_out_of_memory(identity: str) -> bool:
    """Return whether the kernel killed something in a container, which may be gone by now, at its memory limit."""
    return "oom" in events(identity)


def events(identity: str) -> dict[str, float]:
    """Return the events that the engine remembers of a container, each with its time (seconds since 1970).

    Raises EngineError.
    """
    period = ("--since", "1", "--until", str(int(time.time()) + 1))
    asked = _docker("events", *period, "--filter", f"container={identity}", "--format", "{{.TimeNano}} {{.Action}}")
    if asked.returncode:
        raise _refused("look back at the session", asked)
    lines = (line.partition(" ") for line in asked.stdout.decode("utf-8", "replace").splitlines())
    return {action: int(moment) / 1e9 for moment, _, action in lines}


# Creating


def create(name: str, arguments: Callable[[str], Sequence[str]], private: Mapping[str, str]) -> tuple[str, str]:
    """Create a container without starting it, and return its (id, name).

    ``arguments`` returns those of ``docker create`` for a name: ``name``, or while that is taken another that begins
    with it. The engine decides who gets a name, so two containers never share one. ``private`` are files, by path,
    that only the container's root may read. Raises EngineError; then there is a container only if the docker command
    was killed, or had no answer in time.
    """
    chosen, tries = name, 0
    # Once: a command that was killed may have made one.
    while (made := _docker("create", *arguments(chosen), attempts=1)).returncode:
        if b"is already in use by container" not in made.stderr:
            raise _refused("create the container", made)
        chosen = _free_name(name, tries)
        tries += 1
    identity = made.stdout.decode().strip()
    if private:
        from .archive import archive

        try:
            copied = _docker("cp", "-", f"{identity}:/", stdin=archive(private))
            if copied.returncode:
                raise _refused("prepare the container", copied)
        except EngineError:
            remove(identity)
            raise
    return identity, chosen


def free_name(first: str) -> str:
    """Return the name that a container would get now; others may take it."""
    return _free_name(first, 0) if first in _taken(first) else first


def _free_name(first: str, tries: int) -> str:
    """Return a name that no container has by now: the first free one, or a later one after ``tries`` that failed.

    Many that start at once would all try the same one again and again.
    """
    taken = _taken(first)
    names = (f"{first}-{number}" for number in itertools.count(2))
    free = itertools.islice((name for name in names if name not in taken), min(1 << tries, _MOST_NAMES))
    return random.choice(list(free))  # noqa: S311 - nothing secret


def _taken(first: str) -> set[str]:
    """Return the names of the containers that begin with ``first``, and maybe others."""
    listed = _docker("ps", "--all", "--format", "{{.Names}}", "--filter", f"name={first}").stdout.decode().split()
    return {word for names in listed for word in names.split(",")}


# Running


def start(identity: str, *, stdin: bool, terminal: bool) -> subprocess.Popen[bytes]:
    """Start a created container with this process's terminal or pipes as its own.

    Without a terminal the docker command does not get this process's Ctrl-C: some versions would leave at once and
    the container running (see ``interrupt``). With one, the docker command's own messages are in its ``stderr``, for
    ``was_interrupted``.
    """
    return subprocess.Popen(
        [program(), *start_arguments(identity, stdin=stdin)],
        stdin=None if stdin else subprocess.DEVNULL,
        stderr=subprocess.PIPE if terminal else None,
        start_new_session=not terminal,
    )


def start_arguments(identity: str, *, stdin: bool) -> list[str]:
    """Return the arguments of the docker command that starts a created container and stays attached to it."""
    interactive = ["--interactive"] if stdin else []
    return ["start", "--attach", *interactive, "--detach-keys", NO_DETACH, identity]


def was_interrupted(messages: bytes) -> bool:
    """Return whether a Ctrl-C ended a container before it started, by the ``messages`` of ``start`` at a terminal.

    The key reaches the container as soon as that is made, and its first process, still the engine's own, dies of it.
    """
    return _ENDED_EARLY in messages


def attach(identity: str) -> subprocess.Popen[bytes]:
    """Attach this process's terminal to a container that runs."""
    return subprocess.Popen([program(), "attach", "--detach-keys", NO_DETACH, identity])


def run(arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    """Run a container in the background, by the arguments of ``docker run``, with pipes for what it prints."""
    words, none, pipe = [program(), "run", *arguments], subprocess.DEVNULL, subprocess.PIPE
    # Unbuffered: nothing that it prints is where no selector sees it.
    return subprocess.Popen(words, stdin=none, stdout=pipe, stderr=pipe, start_new_session=True, bufsize=0)


def execute(
    identity: str, command: Sequence[str], *, user: str, mark: str, variables: Mapping[str, str], terminal: bool
) -> subprocess.Popen[bytes]:
    """Run a command in a container that runs, with this process's terminal or pipes, and with ``variables``.

    ``user`` is as for ``_as_user``. ``send_to_marked`` finds it by ``mark``: the engine has no way to signal it.
    """
    return subprocess.Popen(
        [
            *(program(), "exec", "--interactive", *(["--tty"] if terminal else [])),
            *("--detach-keys", _NO_EXEC_DETACH, "--env", f"{_MARK}={mark}"),
            # By name alone: no value shows in `ps`, and the engine reports none of an exec's.
            *(word for name in variables for word in ("--env", name)),
            *_as_user(identity, user, *command),
        ],
        env={**os.environ, **variables},
        start_new_session=not terminal,
    )


def send_to_marked(identity: str, mark: str, signal: str, *, user: str) -> bool:
    """Send a signal (``INT``) to what ``execute`` started with this mark. Return False if the container is gone."""
    words = ("/bin/sh", "-c", _SIGNAL_SCRIPT, "sh", f"{_MARK}={mark}", signal)
    return _docker("exec", *_as_user(identity, user, *words)).returncode == 0


def replace_file(identity: str, path: str, content: str, *, user: str) -> None:
    """Replace a file of ``user``'s in a container that runs, by a pipe. Raises EngineError."""
    words = _as_user(identity, user, "/bin/sh", "-c", _REPLACE, "sh", path)
    if (done := _docker("exec", "--interactive", *words, stdin=content.encode())).returncode:
        raise _refused("replace a file in the session", done)


def _as_user(identity: str, user: str, *command: str) -> list[str]:
    """Return the last arguments of ``docker exec`` for a command of ``user`` (uid:gid) without capabilities."""
    # Podman would leave it the container's. By name, as in sessions of 0.1, its root could say who that is.
    by_id = ["--user", user] if user else []
    return [*by_id, identity, "/usr/bin/setpriv", "--inh-caps=-all", "--ambient-caps=-all", "--", *command]


def interrupt(identity: str) -> bool:
    """Send SIGINT to a container's command. Return False if none runs."""
    return _docker("kill", "--signal", "INT", identity).returncode == 0


# Ending


def remove(*names: str, gracefully: bool = False) -> None:
    """Remove containers, by name or id, and return when they are gone; those that are missing do not count.

    If ``gracefully``, they are asked to end first and may save their state for some seconds. Raises EngineError if
    the engine does not answer, or does not remove one of them.
    """
    if not names:
        return
    if gracefully:
        _docker("stop", "-t", str(_STOP_SECONDS), *names)
    deadline = time.monotonic() + _STOP_SECONDS
    while (removal := _docker("rm", "--force", "--volumes", *names)).returncode:
        lines = removal.stderr.decode("utf-8", "replace").splitlines()
        errors = [line for line in lines if line and "No such container" not in line and not line.startswith("WARNING")]
        if not errors and removal.returncode > 0:
            return
        reason = errors[0] if errors else "the docker command was killed"
        if is_unreachable(reason) or time.monotonic() > deadline:
            raise refused(f"remove {', '.join(names)}", reason)
        time.sleep(_POLL_SECONDS)  # the engine may be removing it already, as it ended
