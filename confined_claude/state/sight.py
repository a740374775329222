"""Whether an engine has this machine's files: tried before the first use of each engine, and recorded in <state>.

A tunnel to another machine looks like an engine of this one. Where that has the same paths, a session would see and
change the files there. Docker refuses to mount a directory that it does not have. Podman makes an empty one, in which
a session's work would be lost: so it is tried with each directory, too.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import signals
from ..engine import containers, sight
from ..errors import system_error
from ..fs.directory import Directory
from ..fs.lock import locked
from ..host import Host
from ..text import parse_json, sha256
from .store import state_of

_RECORD = "engines.json"
# The file that the engine is to find; it is the lock as well.
_FILE = "engine-check"
_KEPT = 256


def check(
    host: Host,
    address: str,
    info: Mapping[str, Any],
    version: Mapping[str, Any],
    directories: Sequence[Path] = (),
    *,
    is_recorded: bool = True,
) -> None:
    """Raise EngineError unless the engine at ``address``, which gave these answers, has this machine's files.

    It is tried with a file in <state> and the paths of ``directories``; an engine of which that is known is not asked,
    if ``is_recorded``. Raises ConfinedError if <state> cannot be written.
    """
    makes_missing = containers.is_podman(version)
    engine = _identity(address, info, version)
    wanted = [engine, *(_hash(engine, str(directory)) for directory in directories if makes_missing)]
    if is_recorded and {*wanted} <= {*_known(host)}:
        return
    with locked(state_of(host), _FILE) as state, signals.held():
        known = _known(host)
        if is_recorded and {*wanted} <= {*known}:  # by another start, meanwhile
            return
        content = os.urandom(32).hex().encode()
        try:
            state.overwrite(_FILE, content)
        except OSError as error:
            raise system_error("write", state.path / _FILE, error) from None
        sight.check(state.path / _FILE, content, directories, host.owner, looks_closer=makes_missing)
        _record(state, [*(each for each in known if each not in wanted), *wanted][-_KEPT:])


def _identity(address: str, info: Mapping[str, Any], version: Mapping[str, Any]) -> str:
    """Return what no other engine has. Copies of a virtual machine have the same id; Podman makes up a new one."""
    names = (info.get(name) for name in ("Name", "DockerRootDir"))
    return _hash(address, *names, containers.is_podman(version) or info.get("ID"))


def _hash(*parts: Any) -> str:
    return sha256(json.dumps(parts).encode())[:16]


def _known(host: Host) -> list[str]:
    """Return the identities of the engines that have this machine's files, the latest last."""
    known: Any = None
    with contextlib.suppress(OSError), state_of(host).open() as state:
        known = parse_json(state.read(_RECORD))
    return known if isinstance(known, list) and all(isinstance(each, str) for each in known) else []


def _record(state: Directory, known: list[str]) -> None:
    with contextlib.suppress(OSError):  # it is tried again
        state.write(_RECORD, json.dumps(known).encode())
