"""The engine's containers: asked for, created, joined and removed, over its API.

A start goes through this module and not through the docker SDK, whose import alone takes longer than all of this.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ..background import Background
from ..errors import EngineError
from ..text import as_dict, parse_json
from . import api, labels
from .api import MISSING, UNLIMITED, Answer
from .failures import NOT_UNDERSTOOD, SECONDS, SEE_LOG, refused

if TYPE_CHECKING:
    from .mount import FileInside

# The exit code of what SIGKILL ended.
KILLED = 128 + signal.SIGKILL
# What ends a container, and its exit code then.
_ENDING = (signal.SIGHUP, signal.SIGKILL, signal.SIGTERM)
STOPPED = frozenset(128 + number for number in _ENDING)
_ENDED_BY = {"stop", *(f"kill {number.value}" for number in _ENDING)}
_STOP_SECONDS = 10
_POLL_SECONDS = 0.01
_MOST_NAMES = 256
# With the default keys the engine would hold back Ctrl-P, and a session could be detached and left running unnoticed.
# No terminal that speaks UTF-8 ever sends these bytes.
NO_DETACH = os.fsdecode(b"\xff,\xfe,\xff,\xfe")
# Docker and Podman say it so.
_TAKEN, _IN_USE = (409, 500), re.compile("container.* name .*is already in use by")
# Podman's own API has what the one that is Docker's leaves out.
_LIBPOD_INFO = "v4.0.0/libpod/info"
CONTROLLERS = "CgroupControllers"
# By the version of Podman, and of Docker's API. Podman forgot the exit code of a container that goes at its end, see
# https://github.com/containers/podman/pull/18912.
_OLDEST = {
    "Podman": ((4, 6), "Install Podman 4.6 or newer: with older ones, every session ends with exit code 0."),
    "Docker": ((1, 41), "Install Docker 20.10 or newer."),
}

# The engine


def info(seconds: float = SECONDS) -> dict[str, Any]:
    """Return what the engine says of itself. Raises EngineError if there is no answer within ``seconds``.

    Podman's has the cgroup controllers that its containers have, at CONTROLLERS.
    """
    found = _ask("info", seconds)
    if "Rootless" in found:  # Podman's alone
        found[CONTROLLERS] = as_dict(_ask(_LIBPOD_INFO, seconds).get("host")).get("cgroupControllers")
    return found


def version(seconds: float = SECONDS) -> dict[str, Any]:
    """Return the engine's version and its components'. Raises EngineError if there is none within ``seconds``."""
    return _ask("version", seconds)


def is_podman(version: Mapping[str, Any]) -> bool:
    """Return whether the engine that has this ``version`` is Podman's."""
    parts = version.get("Components") or ()
    return any("Podman" in str(part.get("Name")) for part in parts if isinstance(part, Mapping))


def is_desktop(info: Mapping[str, Any]) -> bool:
    """Return whether what an engine says of itself is Docker Desktop's ``info``."""
    return "Docker Desktop" in str(info.get("OperatingSystem"))


def version_numbers(version: Mapping[str, Any], key: str) -> tuple[int, ...]:
    """Return the numbers in the value of ``key`` in an engine's ``version``; none if it does not tell them."""
    return tuple(map(int, re.findall(r"\d+", str(version.get(key)))))


def refuse_too_old(version: Mapping[str, Any]) -> None:
    """Raise EngineError for an engine that sessions do not work with, by its ``version``."""
    name, key = ("Podman", "Version") if is_podman(version) else ("Docker", "ApiVersion")
    numbers = version_numbers(version, key)
    if numbers and numbers < _OLDEST[name][0]:
        raise EngineError(f"This engine is too old: {name} {version.get('Version')}.", _OLDEST[name][1])


def _ask(what: str, seconds: float) -> dict[str, Any]:
    answer = api.ask("GET", f"/{what}", seconds=seconds).checked(f"tell its {what}").json()
    if not isinstance(answer, dict):
        raise refused(f"tell its {what}", NOT_UNDERSTOOD)
    return answer


# Containers that are there


def containers(wanted: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the containers that have the labels ``wanted``, running or not, as the API lists them.

    Raises EngineError if the engine cannot be asked.
    """
    return _listed({"label": [f"{label}={value}" for label, value in wanted.items()]})


def _listed(filters: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    query = {"all": "1", "filters": json.dumps(filters)}
    found = api.ask("GET", "/containers/json", query).checked("list its containers").json()
    if not isinstance(found, list):
        raise refused("list its containers", NOT_UNDERSTOOD)
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


def exists(name: str) -> bool:
    """Return whether there is a container of this name or id, running or not. Raises EngineError."""
    answer = api.ask("GET", f"/containers/{name}/json")
    if answer.status != MISSING:
        answer.checked("look for a container")
    return not answer.is_refusal


def names_of(found: Mapping[str, Any]) -> list[str]:
    """Return the names of a listed container, without those that other containers have for it."""
    return [name.removeprefix("/") for name in found.get("Names") or () if "/" not in name[1:]]


def has_terminal(identity: str) -> bool:
    """Return whether a container was created with a terminal of its own."""
    return as_dict(api.ask("GET", f"/containers/{identity}/json").json()).get("Config", {}).get("Tty") is True


def ran_out_of_memory(identity: str) -> bool:
    """Return whether the kernel killed something in a container, which may be gone by now, at its memory limit."""
    return "oom" in events(identity)


def was_stopped(identity: str) -> bool:
    """Return whether the engine was asked to end a container, which may be gone by now."""
    return not _ENDED_BY.isdisjoint(events(identity))


def events(identity: str) -> dict[str, float]:
    """Return the events that the engine remembers of a container, each with its time (seconds since 1970).

    A signal that was sent has its number with it (``kill 15``). Raises EngineError.
    """
    filters = json.dumps({"container": [identity]})
    query = {"since": "1", "until": str(int(time.time()) + 1), "filters": filters}
    found = api.ask("GET", "/events", query).checked("list the events of the session").read_all()
    lines = [line for line in map(parse_json, found.splitlines()) if isinstance(line, dict)]
    return {_action(line): line.get("timeNano", 0) / 1e9 for line in lines}


def _action(event: Mapping[str, Any]) -> str:
    action, attributes = str(event.get("Action")), as_dict(as_dict(event.get("Actor")).get("Attributes"))
    return f"{action} {attributes.get('signal')}" if action == "kill" else action


# Creating


def create(name: str, arguments: Callable[[str], Sequence[str]], private: Sequence[FileInside]) -> tuple[str, str]:
    """Create a container without starting it, and return its (id, name).

    ``arguments`` returns those of ``docker create`` for a name: ``name``, or while that is taken another that begins
    with it. The engine decides who gets a name, so two containers never share one. ``private`` are files that are put
    into it. Raises EngineError; then there is a container only if the engine had no answer in time.
    """
    chosen, tries = name, 0
    while _is_taken(made := _create(arguments(chosen))):
        chosen = _free_name(name, tries)
        tries += 1
    identity = _id_of(made)
    if private:
        try:
            put(identity, *private).checked("prepare the container")
        except EngineError:
            remove(identity)
            raise
    return identity, chosen


def create_anew(name: str, arguments: Sequence[str]) -> str:
    """Create a container that alone may be called ``name``, without starting it, and return its id.

    One of that name goes: the engine has made it when nobody waited for it any more. Raises EngineError as ``create``
    does, and if the name stays taken.
    """
    if _is_taken(made := _create(arguments)):
        remove(name)
        made = _create(arguments)
    return _id_of(made)


def put(identity: str, *files: FileInside) -> Answer:
    """Put ``files`` into a container; nothing runs there. Raises EngineError."""
    import io
    import tarfile  # where there are any

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for file in files:
            entry = tarfile.TarInfo(file.path)
            entry.size, entry.mode, entry.uid, entry.gid = len(file.content), file.mode, file.uid, file.gid
            if file.path.endswith("/"):
                entry.type = tarfile.DIRTYPE
            archive.addfile(entry, io.BytesIO(file.content))
    return api.ask("PUT", f"/containers/{identity}/archive", {"path": "/"}, buffer.getvalue())


def _create(arguments: Sequence[str]) -> Answer:
    from .creation import read_arguments  # not for `exec`

    wanted = read_arguments(arguments)
    return api.ask("POST", "/containers/create", {"name": wanted.name}, wanted.body)


def _is_taken(made: Answer) -> bool:
    """Return whether the engine has refused to create a container as another one has its name."""
    return made.status in _TAKEN and _IN_USE.search(made.refusal()) is not None


def _id_of(made: Answer) -> str:
    """Return the id of the container that was ``made``. Raises EngineError if it was not."""
    return str(made.checked("create the container").json()["Id"])


def free_name(first: str) -> str:
    """Return the name that a container would get now; others may take it."""
    return _free_name(first, 0) if first in _taken(first) else first


def _free_name(first: str, tries: int) -> str:
    """Return a name that no container has by now: the first free one, or a later one after ``tries`` that failed.

    Many that start at once would all try the same one again and again.
    """
    import random  # most names are free

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
    answer.socket.settimeout(UNLIMITED)
    return answer


def exit_code(end: Answer) -> int:
    """Return the exit code in the answer of ``end_of``. Raises EngineError if the engine went away before."""
    code = as_dict(end.json()).get("StatusCode")
    if not isinstance(code, int):
        raise EngineError("The connection to the engine broke, so the session has ended.", SEE_LOG)
    return code


def start(identity: str, name: str) -> None:
    """Start a created container, called ``name``. Raises EngineError with the engine's reason if it does not start."""
    api.ask("POST", f"/containers/{identity}/start", seconds=UNLIMITED).checked(f"start {name}")


def start_arguments(identity: str, *, stdin: bool) -> list[str]:
    """Return the arguments of the docker command that starts a created container and stays attached to it."""
    interactive = ["--interactive"] if stdin else []
    return ["start", "--attach", *interactive, "--detach-keys", NO_DETACH, identity]


def resize(place: str, size: os.terminal_size) -> bool:
    """Give the terminal of a container (``containers/ID``) or of a command in one (``exec/ID``) this size.

    Return False if there is no such terminal, or not yet. Raises EngineError.
    """
    return not api.ask("POST", f"/{place}/resize", {"h": str(size.lines), "w": str(size.columns)}).is_refusal


def interrupt(identity: str) -> bool:
    """Send SIGINT to a container's command. Return False if none runs."""
    return not api.ask("POST", f"/containers/{identity}/kill", {"signal": "INT"}).is_refusal


# Ending


def remove(*names: str, gracefully: bool = False) -> None:
    """Remove containers, by name or id, and return when they are gone; those that are missing do not count.

    If ``gracefully``, they are asked to end first and may save their state for some seconds. Raises EngineError if
    the engine does not answer, or does not remove one of them.
    """
    work = [Background(partial(_remove, name, gracefully=gracefully)) for name in names[1:]]
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
        if removal.status == MISSING:
            return
        if time.monotonic() > deadline:
            removal.checked(f"remove {name}")
        time.sleep(_POLL_SECONDS)  # the engine may be removing it already, as it ended
