"""The Docker engine, asked through the docker SDK: the only module that imports it.

Images, and what becomes of containers. Creating and attaching them is ``client``'s.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any

import docker
import docker.errors
from requests.exceptions import RequestException

from ..errors import ConfinedError, EngineError
from ..image.inventory import Image, chains_of, layers_of
from . import labels, usage
from .command import INSTALL_HINT, engine_address
from .usage import Usage

_SECONDS = 60  # as the SDK's own
_STOP_SECONDS = 10
_MOST_BYTES = 16 << 20
_MOST_AT_ONCE = 32


class Engine:
    """One connected engine."""

    def __init__(self, api: Any) -> None:
        self._api = api

    @classmethod
    def connect(cls, environ: Mapping[str, str], seconds: int = _SECONDS) -> Engine:
        """The engine of the current docker context; ``DOCKER_HOST`` and ``DOCKER_CONTEXT`` are honoured.

        It has so many ``seconds`` for each answer.
        Raises EngineError if there is none, it may not be used, or it runs on another machine.
        """
        address = engine_address(environ)
        try:
            if address and not environ.get("DOCKER_HOST"):
                return cls(docker.APIClient(base_url=address, version="auto", timeout=seconds))
            return cls(docker.DockerClient.from_env(environment=dict(environ), timeout=seconds).api)
        except Exception as error:  # the SDK lets errors of every layer through
            raise _unreachable(error) from None

    def version(self) -> dict[str, Any]:
        """The engine's answer to ``docker version``: its own and its components'."""
        with _translated("tell its version"):
            return dict(self._api.version())

    def info(self) -> dict[str, Any]:
        """The engine's answer to ``docker info``."""
        with _translated("describe itself"):
            return dict(self._api.info())

    # Images

    def has_image(self, name: str) -> bool:
        return self.image_id(name) is not None

    def image(self, name: str) -> dict[str, Any] | None:
        """What the engine knows of a local image, None if there is none."""
        with _translated("look for an image"):
            try:
                return dict(self._api.inspect_image(name))
            except docker.errors.ImageNotFound:
                return None

    def image_id(self, name: str) -> str | None:
        """The id of a local image, None if there is none."""
        found = self.image(name)
        return None if found is None else str(found["Id"])

    def pull(self, name: str) -> None:
        """Fetch an image from its registry. Raises EngineError if it cannot be had."""
        with _translated(f"pull {name}"):
            for record in self._api.pull(name, stream=True, decode=True):
                if "error" in record:
                    raise EngineError(f"Cannot pull {name}: {record['error']}")

    def build(
        self,
        context: IO[bytes],
        name: str,
        arguments: Mapping[str, str],
        *,
        marks: Mapping[str, str],
        fresh: bool,
        host_network: bool,
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
                labels=dict(marks),
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

    def tool_images(self) -> list[Image]:
        """The images that the tool has built, by their labels: anyone's, and what others have made from them."""
        with _translated("look for images"):
            wanted = {"label": f"{labels.KIND}={labels.IMAGE}"}
            used = {container["ImageID"] for container in self._api.containers(all=True)}
            found = [self._image(entry, entry["Id"] in used) for entry in self._api.images(filters=wanted)]
            return [image for image in found if image is not None]

    def layers_beside(self, images: Sequence[Image]) -> set[str]:
        """The layers, each as in ``Image.layers``, that other images of any owner have."""
        own = {image.id for image in images}
        chains: set[str] = set()
        with _translated("look for images"):
            for entry in self._api.images():
                with contextlib.suppress(docker.errors.ImageNotFound):
                    if entry["Id"] not in own:
                        chains.update(chains_of(self._api.inspect_image(entry["Id"])["RootFS"].get("Layers") or ()))
        return chains

    def _image(self, found: Mapping[str, Any], is_used: bool) -> Image | None:
        """The image in an entry of the engine's list; None if it is gone since."""
        try:
            history = self._api.history(found["Id"])
        except docker.errors.ImageNotFound:
            return None
        steps = [(int(step["Size"]), "#(nop)" in step["CreatedBy"]) for step in history]
        digests = self._api.inspect_image(found["Id"])["RootFS"].get("Layers") or ()
        names = tuple(name for name in found["RepoTags"] or () if name != "<none>:<none>")
        layers = layers_of(digests, steps)
        return Image(found["Id"], names, dict(found["Labels"] or {}), float(found["Created"]), layers, is_used)

    def image_labels(self, name: str) -> dict[str, str]:
        """The labels of an image; none if there is no such image."""
        with _translated("look at an image"):
            try:
                return dict(self._api.inspect_image(name)["Config"]["Labels"] or {})
            except docker.errors.ImageNotFound:
                return {}

    def file_in_image(self, identity: str, path: str) -> bytes | None:
        """The content of a file in an image; None if there is none. Nothing of the image runs for it."""
        with _translated("look into an image"):
            made = self._api.create_container(identity, ["true"], entrypoint=["true"])["Id"]
            try:
                stream, status = self._api.get_archive(made, path)
                if status["size"] > _MOST_BYTES:
                    return None
                archive = io.BytesIO(b"".join(stream))
            except docker.errors.NotFound:
                return None
            finally:
                self._api.remove_container(made, force=True, v=True)
        with contextlib.suppress(tarfile.TarError, LookupError), tarfile.open(fileobj=archive) as opened:
            file = opened.extractfile(opened.getmembers()[0])
            return None if file is None else file.read()
        return None

    def remove_image(self, name: str) -> None:
        """Take an image's name away, and the image itself if that was its last and no container uses it."""
        with _translated("remove an image"), contextlib.suppress(docker.errors.APIError):
            self._api.remove_image(name)

    def remove_names(self, repository: str, label: str) -> None:
        """Take their names of ``repository`` from the images with this label; what uses one keeps it."""
        with _translated("look for images"):
            found = self._api.images(repository, filters={"label": label})
        for name in (name for image in found for name in image["RepoTags"] or ()):
            with contextlib.suppress(docker.errors.APIError):
                self._api.remove_image(name, force=True)

    # Sessions

    def interrupt(self, identity: str) -> bool:
        """Send SIGINT to a container's command; False if there is none that runs."""
        try:
            self._api.kill(identity, signal.SIGINT)
        except (docker.errors.APIError, RequestException):
            return False
        return True

    def was_started(self, identity: str) -> bool:
        """Whether a container, which may be gone by now, got as far as running its command."""
        seen = self._past(identity)
        # The engine remembers its last 256 events; what it forgot is long past its start.
        return "start" in seen or "create" not in seen

    def ran_out_of_memory(self, identity: str) -> bool:
        """Whether the kernel killed something in a container, which may be gone by now, at its limit of memory."""
        return "oom" in self._past(identity)

    def _past(self, identity: str) -> set[str]:
        """What the engine remembers that happened to a container."""
        with _translated("look back at the session"):
            past = self._api.events(since=1, until=int(time.time()) + 1, filters={"container": identity}, decode=True)
            return {str(event.get("Action")) for event in past}

    def usage(self, identities: Sequence[str]) -> dict[str, Usage]:
        """What running containers take, asked all at once: an engine may take a second for each.

        Those that have ended, or that it says nothing of, are left out.
        """
        if not identities:
            return {}
        with ThreadPoolExecutor(min(_MOST_AT_ONCE, len(identities))) as pool:
            found = dict(zip(identities, pool.map(self._usage, identities), strict=True))
        return {identity: used for identity, used in found.items() if used is not None}

    def _usage(self, identity: str) -> Usage | None:
        try:
            return usage.of_answer(self._api.stats(identity, stream=False, one_shot=True))
        # A ValueError is the empty answer for a container that ends.
        except (docker.errors.DockerException, RequestException, ValueError, OSError):
            return None

    def remove(self, identity: str, *, at_once: bool) -> None:
        """End and remove a container; unless ``at_once`` it may save its state first. Returns when it is gone.

        Raises EngineError if the engine cannot be asked any more, or does not do it.
        """
        with _translated("remove the container"):
            with contextlib.suppress(docker.errors.APIError):
                if not at_once:
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
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise EngineError(
            f"The engine's answer makes no sense, trying to {doing}: {type(error).__name__}.", "Is it a Docker engine?"
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
