"""The docker SDK: images, and the statistics of containers. Imported only where these are needed."""

from __future__ import annotations

import contextlib
import io
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from typing import Any

import docker
import docker.errors
import docker.types
from requests.exceptions import RequestException, Timeout

from ..errors import EngineError
from . import builder, containers, failures, labels, usage
from .context import engine_address
from .image import Image, chains_of, layers_of
from .usage import Usage

_MOST_BYTES = 16 << 20
_MOST_AT_ONCE = 32


class Engine:
    """One connected engine. Its methods raise EngineError if the engine cannot be asked, or refuses."""

    def __init__(self, api: Any) -> None:
        self._api = api

    @classmethod
    def connect(cls, environ: Mapping[str, str]) -> Engine:
        """Return the engine of the current docker context.

        Raises EngineError if there is none, it may not be used, or it runs on another machine.
        """
        address = engine_address(environ)
        try:
            if address and not environ.get("DOCKER_HOST"):
                return cls(docker.APIClient(base_url=address, version="auto", timeout=failures.SECONDS))
            return cls(docker.DockerClient.from_env(environment=dict(environ), timeout=failures.SECONDS).api)
        except Exception as error:  # the SDK lets errors of every layer through
            raise failures.unreachable(str(error)) from None

    # Images

    def image(self, name: str) -> Image | None:
        """Return an image by name or id; None if there is none."""
        return next(iter(self._images([name])), None)

    def tool_images(self) -> list[Image]:
        """Return the images that this tool has built, by their labels: anyone's, and what others made from them."""
        with _translated("list its images"):
            found = self._api.images(filters={"label": f"{labels.KIND}={labels.IMAGE}"})
            return self._images(entry["Id"] for entry in found)

    def _images(self, names: Iterable[str]) -> list[Image]:
        """Return those of the images that there are."""
        images = []
        with _translated("look for images"):
            used = {container["ImageID"] for container in self._api.containers(all=True)}
            for name in names:
                with contextlib.suppress(docker.errors.ImageNotFound):
                    found, history = self._api.inspect_image(name), self._api.history(name)
                    images.append(_image(found, history, is_used=found["Id"] in used))
        return images

    def layers_beside(self, images: Sequence[Image]) -> set[str]:
        """Return the layers, each as in ``Image.layers``, that other images of any owner have."""
        own = {image.id for image in images}
        chains: set[str] = set()
        with _translated("list its images"):
            for entry in self._api.images():
                with contextlib.suppress(docker.errors.ImageNotFound):
                    if entry["Id"] not in own:
                        chains.update(chains_of(self._api.inspect_image(entry["Id"])["RootFS"].get("Layers") or ()))
        return chains

    def file_in_image(self, identity: str, path: str) -> bytes | None:
        """Return the content of a file in an image; None if there is none. Nothing of the image runs for it."""
        with _translated("look into an image"):
            made = self._api.create_container(identity, ["true"], entrypoint=["true"], use_config_proxy=False)["Id"]
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

    def pull(self, name: str) -> None:
        """Fetch an image from its registry."""
        with _translated(f"pull {name}"):
            for record in self._api.pull(name, stream=True, decode=True):
                if "error" in record:
                    raise EngineError(f"Cannot pull {name}: {record['error']}")

    def build(self, context: bytes, name: str, arguments: Mapping[str, str], **how: Any) -> int:
        """Build an image, see ``builder.build``: by the engine's command, as the SDK knows the classic builder only."""
        with _translated("tell its version"):
            podman = containers.is_podman(self._api.version())
        return builder.build(context, name, arguments, podman=podman, **how)

    def tag(self, name: str, new: str) -> None:
        """Give an image another name as well."""
        with _translated("tag the image"):
            self._api.tag(name, *new.split(":"))

    def remove_image(self, name: str, *, force: bool = False) -> None:
        """Remove a name of an image, and the image itself if that was its last and no container uses it.

        With ``force`` the last name of an image that a container uses is removed as well.
        """
        with _translated("remove an image"), contextlib.suppress(docker.errors.APIError):
            self._api.remove_image(name, force=force)

    # Containers

    def usage(self, identities: Sequence[str]) -> dict[str, Usage]:
        """Return what running containers take, asked all at once: an engine may take a second for each.

        Those that have ended, or that it says nothing of, are left out.
        """
        if not identities:
            return {}
        with _translated("tell what containers take"):
            if not _counts(self._api.info()):
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


def _counts(info: Mapping[str, Any]) -> bool:
    """Return whether an engine has cgroups, so that its figures are its containers' and not all of the machine's."""
    is_rootless = info.get("Rootless") is True or "name=rootless" in (info.get("SecurityOptions") or ())
    return info.get("CgroupDriver") != "none" and not (is_rootless and str(info.get("CgroupVersion")) == "1")


def _image(found: Mapping[str, Any], history: Sequence[Mapping[str, Any]], *, is_used: bool) -> Image:
    """Return the image that the engine describes as ``found``."""
    # Podman has what was built here under the name of a registry that is none.
    names = (name.removeprefix("localhost/") for name in found["RepoTags"] or () if name != "<none>:<none>")
    layers = layers_of(found["RootFS"].get("Layers") or (), history)
    return Image(
        id=found["Id"],
        names=tuple(sorted(names, key=lambda name: (name.endswith(":latest"), name))),
        labels=dict(found["Config"].get("Labels") or {}),
        created=_epoch(str(found.get("Created"))),
        layers=layers,
        is_used=is_used,
    )


def _epoch(text: str) -> float:
    """Return a time as the engine writes it in seconds since 1970; 0 for one that is none, or before that."""
    try:
        then = datetime.strptime(text[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc).timestamp()
    except ValueError:
        return 0.0
    return max(0.0, then)


@contextlib.contextmanager
def _translated(doing: str) -> Iterator[None]:
    """Turn the SDK's exceptions into EngineError."""
    try:
        yield
    except docker.errors.APIError as error:
        raise failures.refused(doing, str(error.explanation or error)) from None
    except Timeout:
        raise failures.no_answer(failures.SECONDS) from None
    except (docker.errors.DockerException, RequestException, OSError) as error:
        raise failures.refused(doing, f"the connection broke: {error}") from None
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise failures.refused(doing, f"its answer makes no sense ({type(error).__name__})") from None
