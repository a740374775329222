"""The docker command: where it is, and the containers that stay its own."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence

from ..errors import EngineError
from .failures import INSTALL_HINT


def program() -> str:
    """Return the path of the docker command. Raises EngineError if it is missing."""
    if found := shutil.which("docker"):
        return found
    raise EngineError("The docker command is missing.", INSTALL_HINT)


def run(arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    """Run a container in the background, by the arguments of ``docker run``, with pipes for what it prints."""
    words, none, pipe = [program(), "run", *arguments], subprocess.DEVNULL, subprocess.PIPE
    # Unbuffered: nothing that it prints is where no selector sees it.
    return subprocess.Popen(words, stdin=none, stdout=pipe, stderr=pipe, start_new_session=True, bufsize=0)
