"""The engine's containers: asked for, created, joined and removed, over its API.

A start goes through this module and not through the docker SDK, whose import alone takes longer than all of this.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..background import Background
from ..errors import EngineError
from ..text import parse_json
from . import api, labels
from .api import Answer
from .context import proxies
from .failures import SECONDS, refused

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
# With the default keys the engine would hold back Ctrl-P, and a session could be detached and left running unnoticed.
# No terminal that speaks UTF-8 ever sends these bytes.
NO_DETACH = os.fsdecode(b"\xff,\xfe,\xff,\xfe")
# For a command in a session they are JSON, so ASCII: Ctrl-^ four times, a key that is hardly ever typed even once.
_NO_EXEC_DETACH = "ctrl-^,ctrl-^,ctrl-^,ctrl-^"
_MISSING, _CONFLICT = 404, 409
_UNLIMITED = None

# The engine


def info(seconds: float = SECONDS) -> dict[str, Any]:
    """Return what the engine says of itself. Raises EngineError if there is no answer within ``seconds``."""
    return _ask("info", seconds)


def version(seconds: float = SECONDS) -> dict[str, Any]:
    """Return the engine's version and its components'. Raises EngineError if there is none within ``seconds``."""
    return _ask("version", seconds)


def _ask(what: str, seconds: float) -> dict[str, Any]:
    answer = api.ask("GET", f"/{what}", seconds=seconds).checked(f"tell its {what}").value
    if not isinstance(answer, dict):
        raise refused(f"tell its {what}", "its answer makes no sense")
    return answer


# Containers that are there


def containers(wanted: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the containers that have the labels ``wanted``, running or not, as the API lists them.

    Raises EngineError if the engine cannot be asked.
    """
    return _listed({"label": [f"{label}={value}" for label, value in wanted.items()]})


def _listed(filters: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    query = {"all": "1", "filters": json.dumps(filters)}
    found = api.ask("GET", "/containers/json", query).checked("list its containers").value
    if not isinstance(found, list):
        raise refused("list its containers", "its answer makes no sense")
    return found


def of_session(key: str) -> list[str]:
    """Return the ids of the containers, running or not, of the session with this key. Raises EngineError."""
    return [found["Id"] for found in containers({labels.KIND: labels.SESSION, labels.KEY: key})]


def may_exist(key: str) -> bool:
    """Return whether the session with this key has a container, running or not; True if the engine does not answer."""
    try:
        return bool(of_session(key))
    except EngineError:
        return True


def names_of(found: Mapping[str, Any]) -> list[str]:
    """Return the names of a listed container, without those that other containers have for it."""
    return [name.removeprefix("/") for name in found.get("Names") or () if "/" not in name[1:]]


def has_terminal(identity: str) -> bool:
    """Return whether a container was created with a terminal of its own."""
    found = api.ask("GET", f"/containers/{identity}/json").value
    return isinstance(found, dict) and found.get("Config", {}).get("Tty") is True


def ran_out_of_memory(identity: str) -> bool:
    """Return whether the kernel killed something in a container, which may be gone by now, at its memory limit."""
    return "oom" in events(identity)


def events(identity: str) -> dict[str, float]:
    """Return the events that the engine remembers of a container, each with its time (seconds since 1970).

    Raises EngineError.
    """
    filters = json.dumps({"container": [identity]})
    query = {"since": "1", "until": str(int(time.time()) + 1), "filters": filters}
    found = api.ask("GET", "/events", query).checked("look back at the session").content
    lines = [line for line in map(parse_json, found.splitlines()) if isinstance(line, dict)]
    return {str(line.get("Action")): line.get("timeNano", 0) / 1e9 for line in lines}


# Creating


def create(name: str, arguments: Callable[[str], Sequence[str]], private: Mapping[str, str]) -> tuple[str, str]:
    """Create a container without starting it, and return its (id, name).

    ``arguments`` returns those of ``docker create`` for a name: ``name``, or while that is taken another that begins
    with it. The engine decides who gets a name, so two containers never share one. ``private`` are files, by path,
    that only the container's root may read. Raises EngineError; then there is a container only if the engine had no
    answer in time.
    """
    chosen, tries = name, 0
    while (made := _create(arguments(chosen))).is_refusal:
        if made.status != _CONFLICT or "is already in use by container" not in made.reason:
            made.checked("create the container")
        chosen = _free_name(name, tries)
        tries += 1
    identity = str(made.value["Id"])
    if private:
        try:
            put(identity, private, 0o600).checked("prepare the container")
        except EngineError:
            remove(identity)
            raise
    return identity, chosen


def _create(arguments: Sequence[str]) -> Answer:
    from .creation import read_arguments  # not for `exec`

    wanted = read_arguments(arguments, proxies(os.environ))
    return api.ask("POST", "/containers/create", {"name": wanted.name}, wanted.body)


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
    return {name for found in _listed({"name": [first]}) for name in names_of(found)}


# Running


def attach(identity: str, *, stdin: bool) -> Answer:
    """Return the stream of a container's input and output, from now on. Raises EngineError."""
    wanted = {"stream": "1", "stdout": "1", "stderr": "1", **({"stdin": "1"} if stdin else {})}
    query = {**wanted, "detachKeys": NO_DETACH}
    return api.begin("POST", f"/containers/{identity}/attach", query, is_stream=True).checked("attach to the session")


def end_of(identity: str) -> Answer:
    """Return the answer that comes once a container has ended and is removed; see ``exit_code``. Raises EngineError."""
    path, query = f"/containers/{identity}/wait", {"condition": "removed"}
    answer = api.begin("POST", path, query).checked("wait for the session")
    answer.socket.settimeout(_UNLIMITED)
    return answer


def exit_code(end: Answer) -> int:
    """Return the exit code in the answer of ``end_of``. Raises EngineError if the engine went away before."""
    value = end.value
    if not isinstance(value, dict) or not isinstance(value.get("StatusCode"), int):
        raise EngineError(
            "The connection to the Docker engine broke, and so the session has ended.", "See its own log."
        )
    return int(value["StatusCode"])


def start(identity: str, name: str) -> None:
    """Start a created container, called ``name``. Raises EngineError with the engine's reason if it does not start."""
    api.ask("POST", f"/containers/{identity}/start", seconds=_UNLIMITED).checked(f"start {name}")


def start_arguments(identity: str, *, stdin: bool) -> list[str]:
    """Return the arguments of the docker command that starts a created container and stays attached to it."""
    interactive = ["--interactive"] if stdin else []
    return ["start", "--attach", *interactive, "--detach-keys", NO_DETACH, identity]


def resize(place: str, size: os.terminal_size) -> bool:
    """Give the terminal of a container (``containers/ID``) or of a command in one (``exec/ID``) this size.

    Return False if there is no such terminal, or not yet. Raises EngineError.
    """
    return not api.ask("POST", f"/{place}/resize", {"h": str(size.lines), "w": str(size.columns)}).is_refusal


def prepare_command(
    identity: str, command: Sequence[str], *, user: str, mark: str, variables: Mapping[str, str], terminal: bool
) -> str:
    """Prepare a command in a container that runs, with ``variables``, and return its id for ``run_command``.

    ``user`` is as for ``_as_user``. ``send_to_marked`` finds it by ``mark``: the engine has no way to signal it.
    Raises EngineError.
    """
    return _prepare(
        identity,
        _as_user(user, *command),
        AttachStdin=True,
        Tty=terminal,
        DetachKeys=_NO_EXEC_DETACH,
        # The engine reports none of them.
        Env=[f"{name}={value}" for name, value in {_MARK: mark, **variables}.items()],
    )


def run_command(identity: str, *, terminal: bool) -> Answer:
    """Run what ``prepare_command`` has prepared, and return the stream of its input and output. Raises EngineError."""
    path, body = f"/exec/{identity}/start", {"Detach": False, "Tty": terminal}
    return api.begin("POST", path, body=body, is_stream=True, seconds=_UNLIMITED).checked("run the command")


def exit_code_of_command(identity: str) -> int | None:
    """Return the exit code of a command in a container; None while it runs. Raises EngineError."""
    answer = api.ask("GET", f"/exec/{identity}/json")
    if answer.status == _MISSING:  # it went with its container
        return KILLED
    found = answer.checked("tell how the command ended").value
    if not isinstance(found, dict):
        raise refused("tell how the command ended", "its answer makes no sense")
    return None if found.get("Running") or found.get("ExitCode") is None else int(found["ExitCode"])


def send_to_marked(identity: str, mark: str, signal: str, *, user: str) -> bool:
    """Send a signal (``INT``) to what ``run_command`` started with this mark. Return False if the container is gone."""
    try:
        _run(identity, ("/bin/sh", "-c", _SIGNAL_SCRIPT, "sh", f"{_MARK}={mark}", signal), user=user)
    except EngineError:
        return False
    return True


def put(identity: str, files: Mapping[str, str], mode: int) -> Answer:
    """Put ``files`` of root's, by path, into a container, with ``mode``; nothing runs there. Raises EngineError."""
    from .archive import archive

    return api.ask("PUT", f"/containers/{identity}/archive", {"path": "/"}, archive(files, mode))


def replace_file(identity: str, path: str, content: str, *, user: str) -> None:
    """Replace a file of ``user``'s in a container that runs, by a pipe. Raises EngineError."""
    words = ("/bin/sh", "-c", _REPLACE, "sh", path)
    code, printed = _run(identity, words, user=user, stdin=content.encode())
    if code:
        raise refused("replace a file in the session", printed)


def _run(identity: str, words: Sequence[str], *, user: str, stdin: bytes = b"") -> tuple[int | None, str]:
    """Run a command in a container to its end; return its exit code and what it prints. Raises EngineError."""
    prepared = _prepare(identity, _as_user(user, *words), AttachStdin=bool(stdin))
    with run_command(prepared, terminal=False) as answer:
        if stdin:
            answer.send(stdin)
        printed = answer.content.decode("utf-8", "replace")
    return exit_code_of_command(prepared), "".join(filter(str.isprintable, printed))


def _prepare(identity: str, options: Mapping[str, Any], **more: Any) -> str:
    body = {"AttachStdout": True, "AttachStderr": True, **options, **more}
    made = api.ask("POST", f"/containers/{identity}/exec", body=body).checked("run the command").value
    return str(made["Id"])


def _as_user(user: str, *command: str) -> dict[str, Any]:
    """Return what makes a command in a container one of ``user`` (uid:gid) without capabilities."""
    # Podman would leave it the container's. By name, as in sessions of 0.1, its root could say who that is.
    words = ["/usr/bin/setpriv", "--inh-caps=-all", "--ambient-caps=-all", "--", *command]
    return {"Cmd": words, **({"User": user} if user else {})}


def interrupt(identity: str) -> bool:
    """Send SIGINT to a container's command. Return False if none runs."""
    return not api.ask("POST", f"/containers/{identity}/kill", {"signal": "INT"}).is_refusal


# Ending


def remove(*names: str, gracefully: bool = False) -> None:
    """Remove containers, by name or id, and return when they are gone; those that are missing do not count.

    If ``gracefully``, they are asked to end first and may save their state for some seconds. Raises EngineError if
    the engine does not answer, or does not remove one of them.
    """
    work = [Background(lambda name=name: _remove(name, gracefully=gracefully)) for name in names[1:]]  # type: ignore[misc]
    if names:
        _remove(names[0], gracefully=gracefully)
    for each in work:
        each.result()


def _remove(name: str, *, gracefully: bool) -> None:
    if gracefully:
        query, seconds = {"t": str(_STOP_SECONDS)}, _STOP_SECONDS + SECONDS
        api.ask("POST", f"/containers/{name}/stop", query, seconds=seconds)
    deadline = time.monotonic() + _STOP_SECONDS
    while (removal := api.ask("DELETE", f"/containers/{name}", {"force": "1", "v": "1"})).is_refusal:
        if removal.status == _MISSING:
            return
        if time.monotonic() > deadline:
            removal.checked(f"remove {name}")
        time.sleep(_POLL_SECONDS)  # the engine may be removing it already, as it ended
