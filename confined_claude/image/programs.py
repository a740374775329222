"""Which programs sessions of an image lack."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..engine.attached import Attached
from ..engine.mount import bind_value
from ..errors import EngineError
from ..project import CONTAINER_HOME

_SECONDS = 30
_SCRIPT = 'for name; do command -v "$name" >/dev/null || echo "$name"; done'


def missing(image: str, wanted: Sequence[str], local_bin: Path) -> frozenset[str]:
    """Return which of the programs ``wanted`` are neither in ``image`` nor in the project's own ``local_bin``.

    Raises EngineError, also where the image is not built yet.
    """
    name = f"confined-claude-look-{os.urandom(8).hex()}"
    mount = bind_value(local_bin, CONTAINER_HOME / ".local/bin", read_only=True)
    arguments = [
        *("--name", name, "--rm", "--pull", "never", "--network", "none", "--cap-drop", "ALL", "--user", "65534:65534"),
        *(("--mount", mount) if local_bin.is_dir() else ()),
        *("--entrypoint", "/bin/sh", image, "-c", _SCRIPT, "sh", *wanted),
    ]
    looking = Attached(name, arguments)
    try:
        looking.wait_until_started()
        if looking.read(_SECONDS):
            raise EngineError("The engine does not answer.", "Try again later.")
    finally:
        looking.remove()
    if looking.errors:
        raise EngineError(f"The engine could not look into {image}.", looking.errors.decode("utf-8", "replace").strip())
    return frozenset(looking.printed.decode().splitlines())
