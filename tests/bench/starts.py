"""How long a start, an ``exec`` and the end of a session take, each beside what it is made of."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from .figures import Figure, ratio
from .place import Place, finish, inv, own

Measured = TypeVar("Measured")
VERSION = ("--", "--version")
# The last thing that the command does is to print the time.
PRINT_TIME = ("date", "+%s.%N")


def in_turn(runs: int, calls: Mapping[str, Callable[[], Measured]]) -> dict[str, list[Measured]]:
    """Call each in turn, again and again, and return what each has returned; the first round fills caches.

    Every other round goes backwards: so none always comes after the same one.
    """
    for call in calls.values():
        call()
    found: dict[str, list[Measured]] = {name: [] for name in calls}
    for number in range(runs):
        for name in list(calls)[:: -1 if number % 2 else 1]:
            found[name].append(calls[name]())
    return found


def repeat(runs: int, call: Callable[[], float]) -> list[float]:
    """Call again and again, and return what each call has returned, but for the first, which fills caches."""
    return in_turn(runs, {"": call})[""]


def docker_run(place: Place, *words: str) -> list[str]:
    """Return the command line of a bare ``docker run`` in the project."""
    mount = f"type=bind,source={place.project},target={place.project}"
    return ["docker", "run", "--rm", "--mount", mount, "--entrypoint", words[0], place.image, *words[1:]]


def starts(place: Place, runs: int, networks: Sequence[str]) -> Iterator[Figure]:
    """Measure starts in the default network and in these, and by ``inv``."""
    commands = {
        "docker run": docker_run(place, "claude", "--version"),
        "internet": own("run", *VERSION),
        **{name: own("run", "--network", name, *VERSION) for name in networks},
        "inv": inv("run", *VERSION),
        "ways": ["env", "CONFINED_CLAUDE_HIDE=.env*", *own("run", "--mount", f"{place.bare}:rw", *VERSION)],
        "given": ["env", f"XDG_CONFIG_HOME={place.home}/given", *own("run", "--env", "GIVEN=value", *VERSION)],
    }
    _define_a_secret(place)
    times = in_turn(runs, {name: lambda line=line: place.seconds(line) for name, line in commands.items()})  # type: ignore[misc]
    bare = times["docker run"]
    yield ratio("run / docker run", times["internet"], bare, 1.5, 1.35)
    for name in networks:
        limit, goal = (2.0, 1.8) if name == "allowlist" else (1.4, 1.3)
        yield ratio(f"run, network {name} / docker run", times[name], bare, limit, goal)
    yield ratio("inv run / confined-claude run", times["inv"], times["internet"], 1.15, 1.1)
    yield ratio("run with a writable mount and hidden names / run", times["ways"], times["internet"], None, None)
    yield ratio("run with a variable and a secret from a command / run", times["given"], times["internet"], None, None)
    yield Figure("docker run", tuple(bare), "s")


def _define_a_secret(place: Place) -> None:
    """Write a config of the user's with a secret that a command prints."""
    config = place.home / "given/confined-claude/config.toml"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text('[secrets.MADE_UP]\ncommand = "echo made-up"\nalways = true\n')
    place.give()


def listing(place: Place, runs: int) -> Iterator[Figure]:
    """Measure ``inv --list`` beside bare Invoke's."""
    places = {"own": place.project, "bare": place.bare}
    times = in_turn(runs, {name: lambda at=at: place.seconds(inv("--list"), at) for name, at in places.items()})  # type: ignore[misc]
    yield ratio("inv --list / bare Invoke", times["own"], times["bare"], 1.1, 1.05)


def ends(place: Place, runs: int) -> Iterator[Figure]:
    """Measure from the end of a session's command to the end of the tool, and the same for ``docker run``."""

    def after(command: list[str]) -> float:
        printed = place.run(command)
        return time.time() - float(printed)

    lines = {"own": own("shell", "--", *PRINT_TIME), "docker run": docker_run(place, *PRINT_TIME)}
    times = in_turn(runs, {name: lambda line=line: after(line) for name, line in lines.items()})  # type: ignore[misc]
    yield Figure("prompt back after the session's end", tuple(times["own"]), "s", goal=0.15)
    yield Figure("prompt back after docker run's end", tuple(times["docker run"]), "s")


def joins(place: Place, runs: int) -> Iterator[Figure]:
    """Measure ``exec`` beside ``docker exec``."""
    with waiting(place) as (name, _):
        lines = {"own": own("exec", "--", "true"), "docker": ["docker", "exec", name, "true"]}
        times = in_turn(runs, {name: lambda line=line: place.seconds(line) for name, line in lines.items()})  # type: ignore[misc]
    yield ratio("exec / docker exec", times["own"], times["docker"], 1.5, 1.3)


@contextlib.contextmanager
def waiting(place: Place, *flags: str, **variables: str) -> Iterator[tuple[str, int]]:
    """Have a session wait during the block; yield its container's name and the tool's process id."""
    before = _sessions(place)
    process = place.start(own("shell", *flags, "--", "sh", "-c", "echo up; exec sleep 3600"), variables=variables)
    try:
        assert process.stdout is not None
        if process.stdout.readline() != b"up\n":
            raise RuntimeError(f"the session has not started: {finish(process)!r}")
        (name,) = _sessions(place) - before
        yield name, process.pid
    finally:
        process.terminate()
        process.communicate()


def _sessions(place: Place) -> set[str]:
    """Return the names of the containers of the project's sessions."""
    label = f"label=confined-claude.path={place.project}"
    return set(place.run(["docker", "ps", "--filter", label, "--format", "{{.Names}}"]).decode().split())
