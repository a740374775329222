"""The engine's command: where it is, and what only it does: builds, and the way to an engine without a unix socket.

It is the docker command, or podman for Podman's engine: docker knows nothing of its images, nor podman of those of
Docker.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from pathlib import Path

from ..errors import EngineError
from ..host import clean_path, missing
from ..text import escape
from .context import address_in_use, port_of
from .failures import INSTALL_HINT, PODMAN_HINT

_TWO_ENGINES = (
    "Install Docker's own (Debian, Ubuntu: apt-get install docker-cli, in place of podman-docker), or use Podman's "
    f"engine: {PODMAN_HINT}"
)
_OTHER_ADDRESS = (
    "Install it (Debian, Ubuntu: apt-get install docker-cli), or choose an engine at a unix socket of your machine. "
    f"Podman's: {PODMAN_HINT}"
)
_WITH_TLS = ("DOCKER_TLS_VERIFY", "DOCKER_TLS")
_ENDING_SECONDS = 5
_SCRIPT_BYTES = 1 << 12
# The user says where the engine is, and not what the docker command does there. A builder of the user's own
# would not leave the image in the engine.
_CHANGING = frozenset(
    "BUILDX_BUILDER DOCKER_API_VERSION DOCKER_CONTENT_TRUST DOCKER_CONTENT_TRUST_SERVER DOCKER_DEFAULT_PLATFORM".split()
)


def program() -> str:
    """Return the path of the docker command. Raises EngineError if it is missing, or Podman's by that name."""
    if (found := _which("docker")) is None:
        raise EngineError(f"{missing('The docker command', 'docker')}.", INSTALL_HINT)
    if _is_podmans(found):
        raise EngineError(f"The docker command, {found}, is Podman's, but the engine in use is Docker's.", _TWO_ENGINES)
    return found


def _which(name: str) -> str | None:
    import shutil  # with three libraries for compression, and most starts look for no command

    clean_path()
    return shutil.which(name)


def _is_podmans(program: str) -> bool:
    """Return whether a docker command is Podman by another name: a link to it, or the script of podman-docker."""
    path = Path(program).resolve()
    if path.name == "podman":
        return True
    try:
        with path.open("rb") as file:
            begin = file.read(_SCRIPT_BYTES)
    except OSError:
        return False
    return begin.startswith(b"#!") and re.search(rb"\bexec\b.*\bpodman\b", begin) is not None


def words(*, podman: bool) -> list[str]:
    """Return the words with which every command to the engine begins, by whether that is Podman's.

    Raises EngineError if the command is missing.
    """
    if not podman:
        return [program()]
    if found := _which("podman"):
        return [found, "--url", address_in_use(os.environ)]
    raise EngineError(
        f"{missing('The podman command', 'podman')}; the engine in use is Podman's.",
        "Install it (Debian, Ubuntu: apt-get install podman).",
    )


def environment() -> dict[str, str]:
    """Return this process's environment without what would change the work of the docker command.

    An engine at a unix socket has no TLS: there the variables for that only have the docker command look for
    certificates. Raises EngineError as ``address_in_use`` does.
    """
    changing = _CHANGING.union(_WITH_TLS if address_in_use(os.environ).startswith("unix:") else ())
    return {name: value for name, value in os.environ.items() if name not in changing}


def plain_place(address: str) -> tuple[str, int] | None:
    """Return the host and the port of an engine's ``address`` that takes connections as they are; None for others.

    Whether certificates belong to a docker context is the docker command's to know.
    """
    if not os.environ.get("DOCKER_HOST") or any(map(os.environ.get, _WITH_TLS)):
        return None
    from urllib.parse import urlsplit

    parts, port = urlsplit(address), port_of(address)
    is_plain = parts.scheme in ("tcp", "http") and not parts.path.strip("/")
    return (parts.hostname, port) if is_plain and parts.hostname and port else None


def forward(connection: int) -> subprocess.Popen[bytes]:
    """Have Docker's docker command connect the file descriptor ``connection`` with the engine.

    Raises EngineError if it is missing: Podman's does not know how.
    """
    found = _which("docker")
    if found is None or _is_podmans(found):
        scheme = escape(address_in_use(os.environ).partition("://")[0])
        raise EngineError(
            f"The engine's address begins with {scheme}://. Only Docker's own docker command reaches it, and "
            f"{missing('that', 'docker') if found is None else f'{found} is Podman'}.",
            _OTHER_ADDRESS,
        )
    return subprocess.Popen(
        [found, "system", "dial-stdio"],
        stdin=connection, stdout=connection, stderr=subprocess.PIPE, env=environment(), start_new_session=True,
    )  # fmt: skip


def reason_of(process: subprocess.Popen[bytes]) -> str:
    """Return what a docker command that is about to end has printed about that."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_ENDING_SECONDS)
    process.kill()
    return process.stderr.read().decode("utf-8", "replace").strip() if process.stderr else ""
