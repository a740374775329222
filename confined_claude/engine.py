"""The Docker engine: the only module that imports the docker SDK.

Everything is asked for through the SDK, and the docker command is used only to attach a
terminal, which it does right: raw mode, resize, signals.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import tarfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import docker
import docker.errors
from docker.context.config import get_current_context_name
from docker.types import LogConfig
from docker.types import Mount as BindMount
from requests.exceptions import RequestException

from .environment import HOST_GATEWAY, is_loopback
from .errors import ConfinedError, EngineError
from .plan import CAPABILITIES, LABEL, SECRETS_FILE, Plan

INSTALL_HINT = "Install Docker (Debian, Ubuntu: apt-get install docker.io) or run ./install.sh --with-engine."
_REMOTE_SCHEMES = ("tcp:", "http:", "https:", "ssh:")
_STOP_SECONDS = 10
# With the default keys the client would not see Ctrl-P at once, and a session could be left
# running unseen. No terminal that speaks UTF-8 ever sends these bytes, so no key is held back.
_NO_DETACH = os.fsdecode(b"\xff,\xfe,\xff,\xfe")


class Engine:
    """One connected engine."""

    def __init__(self, api: Any) -> None:
        self._api = api

    @classmethod
    def connect(cls, environ: Mapping[str, str]) -> Engine:
        """The engine of the current docker context; ``DOCKER_HOST`` and ``DOCKER_CONTEXT`` are honoured.

        Raises EngineError if there is none, it may not be used, or it runs on another machine.
        """
        folder = Path(environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
        address = environ.get("DOCKER_HOST") or _context_address(environ.get("DOCKER_CONTEXT", ""), folder)
        if address.startswith(_REMOTE_SCHEMES) and not is_loopback(address):
            raise EngineError(
                "The docker context points to an engine on another machine, which cannot mount your files.",
                "Choose a local one with `docker context use`, or unset DOCKER_HOST.",
            )
        try:
            if address and not environ.get("DOCKER_HOST"):
                return cls(docker.APIClient(base_url=address, version="auto"))
            return cls(docker.DockerClient.from_env(environment=dict(environ)).api)
        except Exception as error:  # the SDK lets errors of every layer through
            raise _unreachable(error) from None

    # Images

    def has_image(self, name: str) -> bool:
        return self.image_id(name) is not None

    def image_id(self, name: str) -> str | None:
        """The id of a local image, None if there is none."""
        with _translated("look for an image"):
            try:
                return str(self._api.inspect_image(name)["Id"])
            except docker.errors.ImageNotFound:
                return None

    def pull(self, name: str, tag: str) -> None:
        """Fetch an image from its registry. Raises EngineError if it cannot be had."""
        with _translated(f"pull {name}:{tag}"):
            for record in self._api.pull(name, tag=tag, stream=True, decode=True):
                if "error" in record:
                    raise EngineError(f"Cannot pull {name}:{tag}: {record['error']}")

    def import_image(self, archive: Path, name: str, label: str) -> None:
        """Make an image with one layer from a tar archive of a root file system."""
        repository, _, tag = name.partition(":")
        with _translated(f"import {name}"):
            answer = self._api.import_image_from_file(str(archive), repository, tag, [f"LABEL {label}"])
        if '"error"' in str(answer):
            raise EngineError(f"The engine could not import {name}: {answer}")

    def build(
        self, context: IO[bytes], name: str, arguments: Mapping[str, str], *, fresh: bool, host_network: bool
    ) -> Iterator[str]:
        """Build an image from a tar archive of its context; yields what the builder prints.

        ``fresh`` ignores cached layers. Raises EngineError when the build fails.
        """
        with _translated("build the image"):
            stream = self._api.build(
                fileobj=context,
                custom_context=True,
                tag=name,
                buildargs=dict(arguments),
                nocache=fresh,
                rm=True,
                forcerm=True,
                network_mode="host" if host_network else None,
                decode=True,
            )
            for record in stream:
                if "error" in record:
                    raise EngineError(str(record["error"]).strip())
                if text := record.get("stream"):
                    yield text

    def tag(self, name: str, repository: str, tag: str) -> None:
        with _translated("tag the image"):
            self._api.tag(name, repository, tag)

    def remove_image_if_unused(self, image_id: str) -> None:
        with contextlib.suppress(docker.errors.APIError):
            self._api.remove_image(image_id)

    # Sessions

    def create(self, plan: Plan) -> tuple[str, str]:
        """Create the container of ``plan`` without starting it; gives its (id, name).

        The engine itself decides who gets a name, so two sessions never share one.
        """
        number = 1
        while True:
            name = plan.name if number == 1 else f"{plan.name}-{number}"
            with _translated("create the container"):
                try:
                    container = self._api.create_container_from_config(self._config(plan, name), name)
                except docker.errors.APIError as error:
                    if error.status_code != 409:  # noqa: PLR2004 - HTTP: the name is taken
                        raise
                    number += 1
                    continue
            identity = str(container["Id"])
            if plan.secrets:
                try:
                    with _translated("prepare the container"):
                        self._api.put_archive(identity, "/", _archive(SECRETS_FILE, plan.secrets))
                except BaseException:
                    self.remove(identity)
                    raise
            return identity, name

    def _config(self, plan: Plan, name: str) -> Any:
        host = self._api.create_host_config(
            auto_remove=True,
            cap_drop=["ALL"],
            cap_add=list(CAPABILITIES),
            extra_hosts={HOST_GATEWAY: "host-gateway"} if plan.host_gateway else None,
            # The terminal is the log; the engine would keep all of it on disk.
            log_config=LogConfig(type="none"),
            mounts=[
                BindMount(mount.target, str(mount.source), type="bind", read_only=mount.read_only)
                for mount in plan.mounts
            ],
            network_mode=plan.network,
            security_opt=["no-new-privileges"],
        )
        return self._api.create_container_config(
            plan.image,
            list(plan.command),
            hostname=plan.hostname(name),
            environment=dict(plan.environment),
            labels={**plan.labels, f"{LABEL}.session": name},
            stdin_open=plan.stdin,
            tty=plan.terminal,
            working_dir=plan.workdir,
            host_config=host,
        )

    def attach(self, identity: str, *, stdin: bool, terminal: bool) -> subprocess.Popen[bytes]:
        """Start a created container with this process's terminal or pipes as its own.

        Without a terminal the docker command does not see this process's Ctrl-C: some versions
        leave at once then, and the container running (see ``interrupt``).
        """
        command = shutil.which("docker")
        if command is None:
            raise EngineError("The docker command is missing.", INSTALL_HINT)
        interactive = ["--interactive"] if stdin else []
        return subprocess.Popen(
            [command, "start", "--attach", *interactive, "--detach-keys", _NO_DETACH, identity],
            stdin=None if stdin else subprocess.DEVNULL,
            start_new_session=not terminal,
        )

    def interrupt(self, identity: str) -> bool:
        """Send SIGINT to a container's command; False if there is none that runs."""
        try:
            self._api.kill(identity, signal.SIGINT)
        except (docker.errors.APIError, RequestException):
            return False
        return True

    def was_started(self, identity: str) -> bool:
        """Whether a container, which may be gone by now, got as far as running its command."""
        with _translated("look back at the session"):
            past = self._api.events(since=1, until=int(time.time()) + 1, filters={"container": identity}, decode=True)
            seen = {event.get("Action") for event in past}
        # The engine remembers its last 256 events; what it forgot is long past its start.
        return "start" in seen or "create" not in seen

    def remove(self, identity: str) -> None:
        """End and remove a container: it may save its state first. Returns when it is gone.

        Raises EngineError if the engine cannot be asked any more, or does not do it.
        """
        with _translated("remove the container"):
            with contextlib.suppress(docker.errors.APIError):
                self._api.stop(identity, timeout=_STOP_SECONDS)
            deadline = time.monotonic() + _STOP_SECONDS
            while time.monotonic() < deadline:
                try:
                    self._api.remove_container(identity, force=True, v=True)
                except docker.errors.NotFound:
                    return
                except docker.errors.APIError:
                    time.sleep(0.05)  # its own removal is under way
        raise EngineError(
            "The engine did not remove the session's container.", f"Try: docker rm --force {identity[:12]}"
        )


def _context_address(name: str, folder: Path) -> str:
    """The engine's address in the docker context ``name``, or the current one; empty for the default.

    Raises EngineError for a context that is not there or is damaged: the SDK would silently take
    the local engine instead. The layout of ``folder`` is that of the docker command, which the
    SDK finds only beside a config.json.
    """
    try:
        name = name or get_current_context_name()
        if name == "default":
            return ""
        file = folder / "contexts/meta" / hashlib.sha256(name.encode()).hexdigest() / "meta.json"
        return str(json.loads(file.read_bytes())["Endpoints"]["docker"]["Host"])
    except FileNotFoundError:
        message = f"There is no docker context called {name}."
    except Exception:  # a damaged file shows in many ways, in the SDK as a bare Exception
        message = f"The docker context {name or 'in use'} cannot be read."
    raise EngineError(message, "See `docker context ls`, and choose one with `docker context use` or DOCKER_CONTEXT.")


def _archive(path: str, text: str) -> bytes:
    """A tar archive of one file, for the container's root alone."""
    content = text.encode("utf-8", "surrogateescape")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo(path)
        entry.size, entry.mode = len(content), 0o600
        archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


@contextlib.contextmanager
def _translated(doing: str) -> Iterator[None]:
    """Turn the SDK's exceptions into EngineError."""
    try:
        yield
    except docker.errors.APIError as error:
        reason = (error.explanation or str(error)).strip()
        raise EngineError(f"The engine could not {doing}: {reason}.", _cure(reason)) from None
    except (docker.errors.DockerException, RequestException, OSError) as error:
        raise EngineError(
            f"The connection to the engine broke, trying to {doing}: {error}.", "Is it still running?"
        ) from None


def _cure(reason: str) -> str:
    if "no space left" in reason:
        return "Free some disk space on the engine's disk and start again."
    if "network" in reason and "not found" in reason:
        return "See `docker network ls` for the networks there are."
    return "See the engine's own log for more, and start again."


def _unreachable(error: BaseException) -> ConfinedError:
    causes: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in causes:
        causes.append(link)
        causes += [item for item in link.args if isinstance(item, BaseException)]
        link = link.__cause__ or link.__context__
    text = str(error)
    if any(isinstance(item, PermissionError) for item in causes) or "Permission denied" in text:
        return EngineError(
            "You may not use the Docker engine: no permission on its socket.",
            f"Run `sudo usermod -aG docker {os.environ.get('USER') or '$USER'}`, log out and in again.",
        )
    if shutil.which("docker") is None:
        return EngineError("There is no Docker engine on this machine.", INSTALL_HINT)
    return EngineError(
        "The Docker engine does not answer.",
        "Start it (`sudo systemctl start docker`, or `sudo service docker start`) and check `docker context ls`.",
    )
