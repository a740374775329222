"""The values of the secrets that a session is given: from variables, files, commands and the system's keyring.

Commands run on the host, each once for a start and beside the others: in ``/``, without a terminal, with a PATH on
which no session can write, for a limited time. Imported only where a session has a secret.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from .. import signals
from ..background import Background
from ..claude.host_settings import leads_into, search_path, within
from ..errors import ConfinedError
from ..host import Host
from ..settings import variables
from ..settings.secrets import Secret
from ..text import escape
from .named_files import read

SECONDS = 30.0
MOST_BYTES = 1 << 20
_REASON_LENGTH = 200


def values(
    secrets: Iterable[Secret], host: Host, root: Path, places: tuple[Path, ...], *, runs_commands: bool
) -> dict[str, bytes]:
    """Return the value of each of ``secrets`` by its name, for a session in the project at ``root``.

    ``places`` are where sessions can write. Unless it ``runs_commands``, what they would print is empty. Raises
    ConfinedError, without a value, if one cannot be had or is empty.
    """
    running: list[subprocess.Popen[bytes]] = []
    found: dict[str, bytes] = {}
    try:
        work = {
            secret: Background(partial(_printed, secret, words, host, places, running) if runs_commands else bytes)
            for secret in secrets
            if (words := _words(secret, host, places))
        }
        for secret in secrets:
            if secret in work:
                with signals.interruptible():
                    value = work[secret].result()
                if not runs_commands:
                    found[secret.name] = value
                    continue
            elif secret.source == "file":
                value = read(variables.located(secret.place, root), places, MOST_BYTES)
            else:
                value = os.fsencode(host.environ.get(secret.place, ""))
            _check(secret, value)
            found[secret.name] = value
    finally:
        for process in tuple(running):
            _kill(process)
    return found


def _words(secret: Secret, host: Host, places: tuple[Path, ...]) -> tuple[str, ...]:
    """Return the program that prints a secret; nothing if none does. Raises ConfinedError if it may not run."""
    if secret.source == "keyring":
        if importlib.util.find_spec("keyring") is None:
            raise ConfinedError(
                f"The secret {secret.name} is in the system's keyring, and the keyring library is not installed.",
                "Install it beside this tool: with pip, or `pipx inject confined-claude keyring`.",
            )
        service, _, username = secret.place.rpartition("/")
        return (sys.executable, "-I", "-m", "keyring", "get", service, username)
    if secret.source != "command":
        return ()
    own = within(host.user_config_file, places)
    if place := own or leads_into(secret.place, host, places):
        what = f"is defined in {host.user_config_file}" if own else f"runs {_name(secret)}"
        raise ConfinedError(
            f"The secret {secret.name} {what}, and sessions can write in {place}: its command is not run.",
            "Have it elsewhere, outside of every project.",
        )
    return ("/bin/sh", "-c", secret.place)


def _printed(
    secret: Secret,
    words: tuple[str, ...],
    host: Host,
    places: tuple[Path, ...],
    running: list[subprocess.Popen[bytes]],
) -> bytes:
    environ = {**host.environ, "PATH": search_path(host, places)}
    pipe = subprocess.PIPE
    try:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, cwd="/", env=environ, start_new_session=True
        )
    except OSError as error:
        raise _failure(secret, error.strerror or str(error)) from None
    running.append(process)
    with process:
        try:
            printed, errors = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            _kill(process)
            raise _failure(secret, f"has not ended after {SECONDS:.0f} s") from None
        finally:
            running.remove(process)
    if process.returncode:
        reason = f"ended with {process.returncode}"
        if secret.source == "keyring":  # a command could print the value there as well
            said = escape(errors.decode("utf-8", "replace").strip().split("\n")[-1])[:_REASON_LENGTH]
            reason = f"says: {said}" if said else "has no such entry"
        raise _failure(secret, reason)
    return printed


def _check(secret: Secret, value: bytes) -> None:
    """Raise ConfinedError for a value that cannot be given."""
    if not value.strip():
        raise _failure(secret, "has nothing" if secret.source in ("variable", "file") else "printed nothing")
    if len(value) > MOST_BYTES:
        raise _failure(secret, f"has more than {MOST_BYTES} bytes")
    if secret.variable and b"\0" in value:
        raise _failure(secret, "has a NUL in its value, which no variable can hold")


def _name(secret: Secret) -> str:
    if secret.source == "command":
        return f"`{(secret.place.split() or [''])[0]}`"
    return {"keyring": "the keyring", "variable": f"the variable {secret.place}", "file": secret.place}[secret.source]


def _failure(secret: Secret, reason: str) -> ConfinedError:
    return ConfinedError(
        f"No session without the secret {secret.name}: {_name(secret)} {reason}.",
        "Try that yourself, or leave the secret out, then start again.",
    )


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End what prints a secret, with all it has started, which may outlive it and hold its output open."""
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
