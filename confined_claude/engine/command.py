"""The docker command: where it is, and what stays its own: sidecars, and the way to an engine behind no unix socket."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Sequence

from ..errors import EngineError
from .failures import INSTALL_HINT

_ENDING_SECONDS = 5
# Where the engine is, is the user's to say; what the docker command does there is not. A builder of the user's own
# would not leave the image in the engine.
_CHANGING = frozenset(
    "BUILDX_BUILDER DOCKER_API_VERSION DOCKER_CONTENT_TRUST DOCKER_CONTENT_TRUST_SERVER DOCKER_DEFAULT_PLATFORM".split()
)


def program() -> str:
    """Return the path of the docker command. Raises EngineError if it is missing."""
    if found := shutil.which("docker"):
        return found
    raise EngineError("The docker command is missing.", INSTALL_HINT)


def environment() -> dict[str, str]:
    """Return this process's environment without what would change the work of the docker command."""
    return {name: value for name, value in os.environ.items() if name not in _CHANGING}


def run(arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    """Run a container in the background, by the arguments of ``docker run``, with pipes for what it prints."""
    words, none, pipe = [program(), "run", *arguments], subprocess.DEVNULL, subprocess.PIPE
    # Unbuffered: nothing that it prints is where no selector sees it.
    return subprocess.Popen(
        words, stdin=none, stdout=pipe, stderr=pipe, env=environment(), start_new_session=True, bufsize=0
    )


def forward(connection: int) -> subprocess.Popen[bytes]:
    """Have the docker command connect the file descriptor ``connection`` with the engine."""
    words, pipe = [program(), "system", "dial-stdio"], subprocess.PIPE
    return subprocess.Popen(
        words, stdin=connection, stdout=connection, stderr=pipe, env=environment(), start_new_session=True
    )


def reason_of(process: subprocess.Popen[bytes]) -> str:
    """Return what a docker command that is about to end has printed about that."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_ENDING_SECONDS)
    process.kill()
    return process.stderr.read().decode("utf-8", "replace").strip() if process.stderr else ""
