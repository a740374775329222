"""The docker command: it creates a session's container and attaches the terminal to it.

A start runs through here and not through the docker SDK, whose import alone takes as long as
all of this. What the command does not say well, ``engine`` finds out.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import json
import os
import random
import shutil
import socket
import subprocess
import tarfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..egress.network import Sidecar
from ..environment import is_loopback
from ..errors import EngineError
from ..session.launch import SECRETS_FILE, Plan
from . import labels

INSTALL_HINT = "Install Docker (Debian, Ubuntu: apt-get install docker.io) or run ./install.sh --with-engine."
DEFAULT_ADDRESS = "unix:///var/run/docker.sock"
_REMOTE_SCHEMES = ("tcp:", "http:", "https:", "ssh:")
_SECONDS = 60
_STOP_SECONDS = 10
_MOST_NAMES = 256
_MARK = "CONFINED_CLAUDE_EXEC"
# For the session's own user, who may signal all that is its own. The mark is inherited by what the command starts.
_SEND = """
for file in /proc/[0-9]*/environ; do
    tr '\\0' '\\n' <"$file" 2>/dev/null | grep -qxF "$1" || continue
    pid=${file#/proc/}
    kill -s "$2" "${pid%/environ}" 2>/dev/null
done
true
"""
# With the default keys the client would not see Ctrl-P at once, and a session could be left
# running unseen. No terminal that speaks UTF-8 ever sends these bytes, so no key is held back.
NO_DETACH = os.fsdecode(b"\xff,\xfe,\xff,\xfe")
# What the docker command says of a container whose first process is gone before it became the command: "cannot
# start a stopped process", and other endings of that.
_GONE_EARLY = b"cannot start a"
# For `docker exec` the engine takes ASCII only: Ctrl-^ four times, a key that is hardly ever typed even once.
_NO_EXEC_DETACH = "ctrl-^,ctrl-^,ctrl-^,ctrl-^"


def engine_address(environ: Mapping[str, str]) -> str:
    """The address of the engine in use, by ``DOCKER_HOST`` or docker context; empty for the default.

    Raises EngineError for a context that is not there or is damaged, and for an engine on another
    machine: that one could not mount this machine's files.
    """
    address = environ.get("DOCKER_HOST") or _context_address(environ)
    if address.startswith(_REMOTE_SCHEMES) and not is_loopback(address):
        raise EngineError(
            "The docker context points to an engine on another machine, which cannot mount your files.",
            "Choose a local one with `docker context use`, or unset DOCKER_HOST.",
        )
    return address


def is_listening(address: str) -> bool:
    """Whether something listens at a local engine's socket; taken for granted at any other address."""
    scheme, _, path = address.partition("://")
    if scheme != "unix":
        return True
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
    return True


def context_name(environ: Mapping[str, str]) -> str:
    """The name of the docker context in use, where ``DOCKER_HOST`` does not stand above it.

    Raises OSError or ValueError where it cannot be told.
    """
    return environ.get("DOCKER_CONTEXT", "") or _current_context(_docker_config(environ) / "config.json")


def _docker_config(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("DOCKER_CONFIG") or Path.home() / ".docker")


def _context_address(environ: Mapping[str, str]) -> str:
    """The address in the docker context in use, from the docker command's own files."""
    folder = _docker_config(environ)
    name = ""
    try:
        name = context_name(environ)
        if name == "default":
            return ""
        file = folder / "contexts/meta" / hashlib.sha256(name.encode()).hexdigest() / "meta.json"
        return str(json.loads(file.read_bytes())["Endpoints"]["docker"]["Host"])
    except FileNotFoundError:
        message = f"There is no docker context called {name}."
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        message = f"The docker context {name or 'in use'} cannot be read."
    raise EngineError(message, "See `docker context ls`, and choose one with `docker context use` or DOCKER_CONTEXT.")


def _current_context(config: Path) -> str:
    try:
        content = json.loads(config.read_bytes())
    except FileNotFoundError:
        return "default"
    return str(content.get("currentContext") or "default") if isinstance(content, dict) else "default"


def create(plan: Plan) -> tuple[str, str]:
    """Create the container of ``plan`` without starting it; gives its (id, name).

    The engine itself decides who gets a name, so two sessions never share one. Raises EngineError
    with the engine's own words; then there is no container.
    """
    name, tries = plan.name, 0
    while (made := _docker("create", *plan.create_arguments(name))).returncode:
        if b"is already in use by container" not in made.stderr:
            raise _refused("create the container", made)
        name = _free_name(plan.name, tries)
        tries += 1
    identity = made.stdout.decode().strip()
    if plan.secrets:
        try:
            put = _docker("cp", "-", f"{identity}:/", given=_archive(SECRETS_FILE, plan.secrets))
            if put.returncode:
                raise _refused("prepare the container", put)
        except BaseException:
            _docker("rm", "--force", identity)
            raise
    return identity, name


def _free_name(first: str, tries: int) -> str:
    """A name that no container has by now: the first one free, and further on with each of ``tries`` that failed.

    Many that start at once would all try the same one again and again.
    """
    taken = _taken(first)
    names = (f"{first}-{number}" for number in itertools.count(2))
    free = itertools.islice((name for name in names if name not in taken), min(1 << tries, _MOST_NAMES))
    return random.choice(list(free))  # noqa: S311 - nothing secret


def free_name(first: str) -> str:
    """The name that a session would get now; others may take it."""
    return _free_name(first, 0) if first in _taken(first) else first


def _taken(first: str) -> set[str]:
    """The names of containers that begin with ``first``, and maybe others."""
    listed = _docker("ps", "--all", "--format", "{{.Names}}", "--filter", f"name={first}").stdout.decode().split()
    return {word for names in listed for word in names.split(",")}


def has_image(name: str) -> bool:
    """Whether the engine has an image of that name."""
    return _docker("image", "inspect", "--format", "{{.Id}}", name).returncode == 0


def attach(identity: str, *, stdin: bool, terminal: bool) -> subprocess.Popen[bytes]:
    """Start a created container with this process's terminal or pipes as its own.

    Without a terminal the docker command does not see this process's Ctrl-C: some versions
    leave at once then, and the container running (see ``Engine.interrupt``).
    With one, what the docker command itself has to say is in its ``stderr``, for ``was_interrupted``.
    """
    interactive = ["--interactive"] if stdin else []
    return subprocess.Popen(
        [_program(), "start", "--attach", *interactive, "--detach-keys", NO_DETACH, identity],
        stdin=None if stdin else subprocess.DEVNULL,
        stderr=subprocess.PIPE if terminal else None,
        start_new_session=not terminal,
    )


def was_interrupted(said: bytes) -> bool:
    """Whether a Ctrl-C ended a container that was not started, by what ``attach`` has said at a terminal.

    The key is the container's as soon as it is made, and its first process, still the engine's own, dies of it.
    """
    return _GONE_EARLY in said


def attach_again(identity: str) -> subprocess.Popen[bytes]:
    """Take this process's terminal to a container that runs."""
    return subprocess.Popen([_program(), "attach", "--detach-keys", NO_DETACH, identity])


def execute(
    identity: str, command: Sequence[str], *, mark: str, variables: Mapping[str, str], terminal: bool
) -> subprocess.Popen[bytes]:
    """Run a command in a container that runs, with this process's terminal or pipes, and with ``variables``.

    ``mark`` is what ``send_to_marked`` finds it by: the engine has no other way to reach it again.
    """
    return subprocess.Popen(
        [
            *(_program(), "exec", "--interactive", *(["--tty"] if terminal else [])),
            *("--detach-keys", _NO_EXEC_DETACH, "--env", f"{_MARK}={mark}"),
            # By name alone: no value shows in `ps`, and the engine tells none of an exec's.
            *(word for name in variables for word in ("--env", name)),
            *(identity, *command),
        ],
        env={**os.environ, **variables},
        start_new_session=not terminal,
    )


def send_to_marked(identity: str, mark: str, signal: str) -> bool:
    """Send a signal (``INT``) to what ``execute`` has started with this mark; False if the container is gone."""
    return _docker("exec", identity, "sh", "-c", _SEND, "sh", f"{_MARK}={mark}", signal).returncode == 0


def has_terminal(identity: str) -> bool:
    """Whether a container was made with a terminal of its own."""
    return _docker("inspect", "--format", "{{.Config.Tty}}", identity).stdout.strip() == b"true"


def stop(identities: Sequence[str]) -> None:
    """End containers that go when they end; they may save their state first. Return when they are gone."""
    _docker("stop", "-t", str(_STOP_SECONDS), *identities)
    deadline = time.monotonic() + _STOP_SECONDS
    while time.monotonic() < deadline:
        if _docker("inspect", "--format", "{{.ID}}", *identities).stdout.strip() == b"":
            return
        time.sleep(0.05)


def info() -> dict[str, Any]:
    """The engine's answer to ``docker info``. Raises EngineError if there is none."""
    asked = _docker("info", "--format", "{{json .}}")
    try:
        answer = json.loads(asked.stdout)
    except ValueError:
        answer = None
    if asked.returncode or not isinstance(answer, dict):
        raise _refused("describe itself", asked)
    return answer


def start_sidecar(sidecar: Sidecar) -> subprocess.Popen[bytes]:
    """Start a sidecar in the background, with pipes. It ends by itself with its session, or if none comes."""
    process = subprocess.Popen(
        [_program(), "run", *sidecar.arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError), process.stdin:
            process.stdin.write(sidecar.given.encode())
    return process


def remove(*names: str) -> None:
    """Remove containers at once, by name or id; those that there are."""
    if names:
        _docker("rm", "--force", "--volumes", *names)


def of_session(key: str) -> list[str]:
    """The ids of the containers, running or not, of the session with this key. Raises EngineError."""
    return containers("{{.ID}}", {labels.KIND: labels.SESSION, labels.KEY: key})


def containers(template: str, wanted: Mapping[str, str]) -> list[str]:
    """What ``template`` gives for each container that has the labels ``wanted``, running or not.

    Raises EngineError if the engine cannot be asked.
    """
    filters = [word for label, value in wanted.items() for word in ("--filter", f"label={label}={value}")]
    found = _docker("ps", "--all", "--no-trunc", "--format", template, *filters)
    if found.returncode:
        raise _refused("list its containers", found)
    return found.stdout.decode("utf-8", "replace").splitlines()


def is_running(key: str) -> bool:
    """Whether the container of the session with this key may still run: so it does if the engine cannot say."""
    try:
        kind = f"label={labels.KIND}={labels.SESSION}"
        found = _docker("ps", "--quiet", "--filter", kind, "--filter", f"label={labels.KEY}={key}")
    except EngineError:
        return True
    return found.returncode != 0 or bool(found.stdout.strip())


def _docker(*arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run the docker command to its end, out of reach of the terminal's Ctrl-C.

    The command would leave at that, and the engine go on to make a container nobody knows of.
    """
    command = [_program(), *arguments]
    try:
        return subprocess.run(
            command, input=given, capture_output=True, timeout=_SECONDS, check=False, start_new_session=True
        )
    except subprocess.TimeoutExpired:
        raise EngineError(
            f"The engine did not answer within {_SECONDS} s.", "See its own log, or restart it."
        ) from None


def _refused(doing: str, command: subprocess.CompletedProcess[bytes]) -> EngineError:
    """The error for a failed docker command, with the line of its output that says why."""
    lines = command.stderr.decode("utf-8", "replace").strip().splitlines() or ["it gave no reason"]
    reason = next((line for line in lines if line.startswith("Error")), lines[0])
    return EngineError(f"The engine could not {doing}: {reason}", "See the engine's own log for more.")


def _program() -> str:
    if program := shutil.which("docker"):
        return program
    raise EngineError("The docker command is missing.", INSTALL_HINT)


def _archive(path: str, text: str) -> bytes:
    """A tar archive of one file, for the container's root alone."""
    content = text.encode("utf-8", "surrogateescape")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo(path)
        entry.size, entry.mode = len(content), 0o600
        archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
