"""Whether the engine has this machine's files: a container that never runs has one of them, and it is read back."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path

from ..errors import EngineError
from ..text import as_dict, parse_json
from . import api, containers, labels
from .failures import OTHER_FILES, refused

_DOING = "look at this machine's files"
_FILES, _DIRECTORY = "/files", "/directory"
# The label of its image: Podman takes one with each change.
_IMAGE = f"{labels.KIND}.{labels.CHECK}"
# What an image without files is made from; there may be no other image yet.
_EMPTY_ARCHIVE = bytes(10240)


def check(file: Path, content: bytes, directory: Path | None, owner: str) -> None:
    """Raise EngineError unless the engine finds ``content`` in ``file``, and a ``directory`` at its path.

    What it takes for that is labelled as ``owner``'s, and removed; also what an earlier check has left, whose
    engine went away. So the caller sees to it that there is one check at a time.
    """
    mark = {labels.KIND: labels.CHECK, labels.OWNER: owner}
    _remove(mark)
    try:
        # Podman copies nothing out of a file that is mounted by itself.
        binds = [_bind(file.parent, _FILES), *([] if directory is None else [_bind(directory, _DIRECTORY)])]
        body = {
            **{"Image": _import_image(mark), "Cmd": ["-"], "Labels": mark},
            "HostConfig": {"Mounts": binds, "NetworkMode": "none"},
        }
        made = api.ask("POST", "/containers/create", body=body).checked(_DOING).value
        found = api.ask("GET", f"/containers/{made['Id']}/archive", {"path": f"{_FILES}/{file.name}"}).checked(_DOING)
    except BaseException:
        with contextlib.suppress(EngineError):
            _remove(mark)
        raise
    _remove(mark)
    if content not in found.content:
        raise EngineError(f"The engine sees the files of another machine: its {file} is not the one here.", OTHER_FILES)


def _bind(source: Path, target: str) -> dict[str, object]:
    return {"Type": "bind", "Source": str(source), "Target": target, "ReadOnly": True}


def _import_image(mark: Mapping[str, str]) -> str:
    """Make an image without files, and return its id."""
    changes = f"LABEL {_IMAGE}={mark[labels.OWNER]}"
    answer = api.ask("POST", "/images/create", {"fromSrc": "-", "changes": changes}, _EMPTY_ARCHIVE).checked(_DOING)
    last = as_dict(parse_json(answer.content.splitlines()[-1] if answer.content else b""))
    if "status" not in last:
        raise refused(_DOING, str(last.get("error") or "its answer cannot be understood"))
    return str(last["status"])


def _remove(mark: Mapping[str, str]) -> None:
    """Remove the containers with the labels ``mark``, and the images that were made for them."""
    containers.remove(*(found["Id"] for found in containers.containers(mark)))
    filters = {"label": [f"{_IMAGE}={mark[labels.OWNER]}"]}
    for image in api.ask("GET", "/images/json", {"filters": json.dumps(filters)}).checked(_DOING).value or ():
        api.ask("DELETE", f"/images/{image['Id']}", {"force": "1"})
