"""The values of the secrets that a session is given: from variables, files, commands and the system's keyring.

Commands run on the host, each once for a start and beside the others: in ``/``, without a terminal, with a PATH on
which no session can write, for a limited time. Imported only where a session has a secret.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import sys
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

from .. import signals
from ..background import Background
from ..claude.host_settings import leads_into, search_path, within
from ..claude.source import Command, Failed
from ..errors import ConfinedError
from ..host import Host
from ..settings import variables
from ..settings.secrets import Secret
from .named_files import read

MOST_BYTES = 1 << 20
_REASON_LENGTH = 200
# The program of a command, after variables that may be secret. In doubt none: any other word may be a part of one.
_QUOTED = r"""'[^']*'|"[^"$`\\]*\""""
_PROGRAM = rf"\s*(?:{variables.NAME}=(?:{_QUOTED}|[\w./:@%+,=-])*\s+)*((?:{_QUOTED}|[\w./~+-])+)(?=[\s;|&<>]|$)"


def values(
    secrets: Iterable[Secret], host: Host, root: Path, places: tuple[Path, ...], *, runs_commands: bool
) -> dict[str, bytes]:
    """Return the value of each of ``secrets`` by its name, for a session in the project at ``root``.

    ``places`` are where sessions can write. Unless it ``runs_commands``, what they would print is empty. Raises
    ConfinedError, without a value, if one cannot be had or is empty.
    """
    environ = {**host.environ, "PATH": search_path(host, places)}
    commands: dict[Secret, Command] = {}
    work: dict[Secret, Background[bytes]] = {}
    found: dict[str, bytes] = {}
    try:
        for secret in secrets:
            if (words := _words(secret, host, places)) and runs_commands:
                commands[secret] = Command()
                work[secret] = Background(partial(_printed, secret, commands[secret], words, environ))
        for secret in secrets:
            if secret in work:
                with signals.interruptible():
                    value = work[secret].result()
            elif secret.source == "file":
                value = read(variables.located(secret.place, root), places, MOST_BYTES)
            elif secret.source == "variable":
                value = os.fsencode(host.environ.get(secret.place, ""))
            else:
                found[secret.name] = b""
                continue
            _check(secret, value)
            found[secret.name] = value
    finally:
        for command in commands.values():
            command.close()
    return found


def _words(secret: Secret, host: Host, places: tuple[Path, ...]) -> tuple[str, ...]:
    """Return the program that prints a secret; nothing if none does. Raises ConfinedError if it may not run."""
    if secret.source == "keyring":
        if importlib.util.find_spec("keyring") is None:
            raise ConfinedError(
                f"The secret {secret.name} is in the system's keyring, and the keyring library is not installed.",
                f"Install it: `{shlex.quote(sys.executable)} -m pip install keyring`, or where pipx has installed this "
                "tool `pipx inject confined-claude keyring`.",
            )
        service, _, username = secret.place.rpartition("/")
        # Not -I without need: it may be among what pip has installed for the user. Nobody else can write in /.
        alone = "-I" if sys.flags.isolated else "-E"
        return (sys.executable, alone, "-m", "keyring", "get", service, username)
    if secret.source != "command":
        return ()
    own = within(host.user_config_file, places)
    if place := own or leads_into(secret.place, host, places):
        what = f"is defined in {host.user_config_file}" if own else f"runs {_name(secret)}"
        raise ConfinedError(
            f"The secret {secret.name} {what}, and sessions can write in {place}: its command is not run.",
            "Move it to a place outside of every project.",
        )
    return ("/bin/sh", "-c", secret.place)


def _printed(secret: Secret, command: Command, words: tuple[str, ...], environ: Mapping[str, str]) -> bytes:
    try:
        return command.run(words, environ, MOST_BYTES)
    except Failed as failed:
        reason = failed.reason
        if secret.source == "keyring":  # a command could print the value there as well
            reason = f"says: {failed.said[:_REASON_LENGTH]}" if failed.said else "has no such entry"
        raise _failure(secret, reason) from None


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
        program = re.match(_PROGRAM, secret.place)
        return f"`{program[1]}`" if program else "its command"
    return {"keyring": "the keyring", "variable": f"the variable {secret.place}", "file": secret.place}[secret.source]


def _failure(secret: Secret, reason: str) -> ConfinedError:
    return ConfinedError(
        f"No session can start without the secret {secret.name}: {_name(secret)} {reason}.",
        "Try that yourself, or leave the secret out, then start again.",
    )
