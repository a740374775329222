"""Whether the engine has this machine's files: a container that never runs has one of them, and it is read back."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from ..errors import EngineError, system_error
from ..text import as_dict, parse_json
from . import api, containers, labels
from .api import MISSING
from .failures import NOT_UNDERSTOOD, OTHER_FILES, refused

_DOING = "look at your machine's files"
_FILES, _DIRECTORY = "/files", "/directory"
# The label of its image: Podman takes one with each change.
_IMAGE = f"{labels.KIND}.{labels.CHECK}"
# What an image without files is made from; there may be no other image yet.
_EMPTY_ARCHIVE = bytes(10240)
_STATUS = "X-Docker-Container-Path-Stat"
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?\d*(Z|[+-]\d\d:\d\d)")
# What file systems, and what shares them with a virtual machine, keep of a time: nanoseconds and more.
_UNITS = tuple(10**digits for digits in (0, 2, 3, 6, 9))
# By which files have their times.
_CLOCK = getattr(time, "CLOCK_REALTIME_COARSE", time.CLOCK_REALTIME)
# How long another view of a directory may be behind.
_SETTLING_SECONDS, _POLL_SECONDS = 2.0, 0.1


def check(file: Path, content: bytes, directories: Sequence[Path], owner: str, *, looks_closer: bool = False) -> None:
    """Raise EngineError unless the engine finds ``content`` in ``file``, and has the ``directories`` at their paths.

    If it ``looks_closer``, these are to be the same ones, as their time of change tells: nothing is written to them.
    What it takes for that is labelled as ``owner``'s, and removed; also what an earlier check has left, whose
    engine went away. So the caller sees to it that there is one check at a time.
    """
    mark = {labels.KIND: labels.CHECK, labels.OWNER: owner}
    _remove(mark)
    targets = {f"{_DIRECTORY}{number}": directory for number, directory in enumerate(directories)}
    try:
        # Podman copies nothing out of a file that is mounted by itself.
        binds = [_bind(file.parent, _FILES), *(_bind(directory, target) for target, directory in targets.items())]
        body = {
            **{"Image": _import_image(mark), "Cmd": ["-"], "Labels": mark},
            "HostConfig": {"Mounts": binds, "NetworkMode": "none"},
        }
        made = str(api.ask("POST", "/containers/create", body=body).checked(_DOING).json()["Id"])
        found = api.ask("GET", f"/containers/{made}/archive", {"path": f"{_FILES}/{file.name}"})
        if found.status != MISSING or not containers.exists(made):
            found.checked(_DOING)
        is_ours = not found.is_refusal and content in found.read_all()
        looked_at = targets.items() if is_ours and looks_closer else ()
        others = [directory for target, directory in looked_at if not _is_same(made, target, directory)]
    except BaseException:
        with contextlib.suppress(EngineError):
            _remove(mark)
        raise
    _remove(mark)
    if others or not is_ours:
        other = others[0] if others else file
        what = f"The engine sees the files of another machine: its {other} is not the one here."
        raise EngineError(what, OTHER_FILES)


def _is_same(container: str, target: str, directory: Path) -> bool:
    """Return whether the engine has the ``directory`` at ``target``: one that it has made now is younger.

    It may change meanwhile, again and again: what the engine tells of is then any time since the question.
    """
    deadline = time.monotonic() + _SETTLING_SECONDS
    while True:
        asked = time.clock_gettime_ns(_CLOCK)
        before = _changed(directory)
        answer = api.ask("HEAD", f"/containers/{container}/archive", {"path": target}).checked(_DOING)
        told = _time_in(answer.header(_STATUS))
        after = _changed(directory)
        if told is not None and any(_is_between(told, before, max(asked, before), after, unit) for unit in _UNITS):
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)


def _is_between(told: int, before: int, asked: int, after: int, unit: int) -> bool:
    """Return whether ``told``, in whole units, is one of the outer times, or one since ``asked``."""
    before, asked, after = (at - at % unit for at in (before, asked, after))
    return told in (before, after) or (asked <= told <= after and told % unit == 0)


def _changed(directory: Path) -> int:
    try:
        return directory.stat().st_mtime_ns
    except OSError as error:
        raise system_error("read", directory, error) from None


def _time_in(status: str) -> int | None:
    """Return the time of change (ns since 1970) in what an engine tells of a path; None if there is none."""
    with contextlib.suppress(ValueError):
        found = _TIME.fullmatch(str(as_dict(parse_json(base64.b64decode(status))).get("mtime")))
        if found:
            zone = found[3].replace("Z", "+00:00")
            seconds = int(datetime.fromisoformat(f"{found[1]}{zone}").timestamp())
            return seconds * 10**9 + int((found[2] or "").ljust(9, "0"))
    return None


def _bind(source: Path, target: str) -> dict[str, object]:
    return {"Type": "bind", "Source": str(source), "Target": target, "ReadOnly": True}


def _import_image(mark: Mapping[str, str]) -> str:
    """Make an image without files, and return its id."""
    changes = f"LABEL {_IMAGE}={mark[labels.OWNER]}"
    answer = api.ask("POST", "/images/create", {"fromSrc": "-", "changes": changes}, _EMPTY_ARCHIVE).checked(_DOING)
    last = as_dict(parse_json(content.splitlines()[-1] if (content := answer.read_all()) else b""))
    if "status" not in last:
        raise refused(_DOING, str(last.get("error") or NOT_UNDERSTOOD))
    return str(last["status"])


def _remove(mark: Mapping[str, str]) -> None:
    """Remove the containers with the labels ``mark``, and the images that were made for them."""
    containers.remove(*(found["Id"] for found in containers.containers(mark)))
    filters = {"label": [f"{_IMAGE}={mark[labels.OWNER]}"]}
    for image in api.ask("GET", "/images/json", {"filters": json.dumps(filters)}).checked(_DOING).json() or ():
        api.ask("DELETE", f"/images/{image['Id']}", {"force": "1"})
