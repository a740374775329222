"""The engine's images, and what its containers take, by its API; builds are its command's."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..errors import EngineError
from ..text import as_dict, parse_json
from . import api, containers, failures, labels, usage
from .api import MISSING
from .image import Image, chains_of, layers_of
from .usage import Usage

_MOST_BYTES = 16 << 20
_MOST_AT_ONCE = 32


class Images:
    """The images of the engine in use. Methods raise EngineError if the engine cannot be asked, or refuses."""

    def image(self, name: str) -> Image | None:
        """Return an image by name or id; None if there is none."""
        return next(iter(self._images([name])), None)

    def tool_images(self, is_wanted: Callable[[str, Sequence[str]], bool] = lambda _id, _names: True) -> list[Image]:
        """Return the images that this tool has built, by their labels: anyone's, and what others made from them.

        The engine is asked nothing more about an image that is not wanted, by its id and its names.
        """
        filters = json.dumps({"label": [f"{labels.KIND}={labels.IMAGE}"]})
        with _asking("list its images") as asked:
            found = asked("images/json", filters=filters)
            return self._images(entry["Id"] for entry in found if is_wanted(entry["Id"], _names_of(entry)))

    def _images(self, names: Iterable[str]) -> list[Image]:
        """Return those of the images that there are."""
        images = []
        with _asking("look for images") as asked:
            used = {container["ImageID"] for container in asked("containers/json", all="1")}
            for name in names:
                found = asked(f"images/{name}/json")
                history = found and asked(f"images/{name}/history")
                if history:
                    images.append(_image(found, history, is_used=found["Id"] in used))
        return images

    def layers_beside(self, images: Sequence[Image]) -> set[str]:
        """Return the layers, each as in ``Image.layers``, that other images of any owner have."""
        own = {image.id for image in images}
        chains: set[str] = set()
        with _asking("list its images") as asked:
            for entry in asked("images/json"):
                if entry["Id"] not in own and (found := asked(f"images/{entry['Id']}/json")):
                    chains.update(chains_of(found["RootFS"].get("Layers") or ()))
        return chains

    def file_in_image(self, identity: str, path: str) -> bytes | None:
        """Return the content of a file in an image; None if either is missing. Nothing of the image runs for it."""
        import tarfile  # once for each image

        doing = "look into an image"
        body = {"Image": identity, "Entrypoint": ["true"], "Cmd": ["true"]}
        with _asking(doing):
            created = api.ask("POST", "/containers/create", body=body)
            if created.status == MISSING:  # removed since it was listed
                return None
            made = str(created.checked(doing).json()["Id"])
        try:
            with api.begin("GET", f"/containers/{made}/archive", {"path": path}) as answer:
                if answer.status == MISSING:
                    return None
                received = answer.checked(doing).head(_MOST_BYTES + 1, failures.SECONDS)
        finally:
            containers.remove(made)
        if len(received) > _MOST_BYTES:
            return None
        with contextlib.suppress(tarfile.TarError, LookupError), tarfile.open(fileobj=io.BytesIO(received)) as opened:
            file = opened.extractfile(opened.getmembers()[0])
            return None if file is None else file.read()
        return None

    def pull(self, name: str) -> None:
        """Fetch an image from its registry, with the user's sign-in there."""
        from . import sdk

        query, headers = sdk.request_of(name)
        with api.begin("POST", "/images/create", query, headers=headers) as answer:
            for line in answer.checked(f"pull {name}").read_all().splitlines():
                if error := as_dict(parse_json(line)).get("error"):
                    raise EngineError(f"Cannot pull {name}: {error}")

    def build(self, context: bytes, name: str, arguments: Mapping[str, str], **how: Any) -> int:
        """Build an image, see ``builder.build``: by the engine's command, as the API has the classic builder only."""
        from . import builder

        podman = containers.is_podman(containers.version())
        return builder.build(context, name, arguments, podman=podman, **how)

    def tag(self, name: str, new: str) -> None:
        """Give an image another name as well."""
        repository, _, tag = new.rpartition(":")
        api.ask("POST", f"/images/{name}/tag", {"repo": repository, "tag": tag}).checked("tag the image")

    def remove_image(self, name: str, *, force: bool = False) -> None:
        """Remove a name of an image, and the image itself if that was its last and no container uses it.

        With ``force`` the last name of an image that a container uses is removed as well.
        """
        api.ask("DELETE", f"/images/{name}", {"force": "1"} if force else None)  # what it refuses stays

    def usage(self, identities: Sequence[str]) -> dict[str, Usage]:
        """Return what running containers take, asked all at once: an engine may take a second for each.

        Those that have ended, or that it says nothing of, are left out.
        """
        if not identities or not _counts(containers.info()):
            return {}
        from concurrent.futures import ThreadPoolExecutor  # where this machine's kernel does not say it

        with ThreadPoolExecutor(min(_MOST_AT_ONCE, len(identities))) as pool:
            found = dict(zip(identities, pool.map(_usage, identities), strict=True))
        return {identity: used for identity, used in found.items() if used is not None}


def _usage(identity: str) -> Usage | None:
    answer = api.ask("GET", f"/containers/{identity}/stats", {"stream": "0", "one-shot": "1"})
    return usage.of_answer(answer.json())


@contextlib.contextmanager
def _asking(doing: str) -> Iterator[Callable[..., Any]]:
    """Yield what asks the engine, and returns its answer; None if there is no such thing.

    Raises EngineError if the engine refuses to be ``doing`` that, and for an answer that is not as the API has it.
    """

    def ask(what: str, **query: str) -> Any:
        answer = api.ask("GET", f"/{what}", query)
        if answer.status == MISSING:
            return None
        if (value := answer.checked(doing).json()) is None:
            raise ValueError
        return value

    try:
        yield ask
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise failures.refused(doing, f"{failures.NOT_UNDERSTOOD} ({type(error).__name__})") from None


def _counts(info: Mapping[str, Any]) -> bool:
    """Return whether an engine has cgroups, so that its figures are its containers' and not all of the machine's."""
    is_rootless = info.get("Rootless") is True or "name=rootless" in (info.get("SecurityOptions") or ())
    return info.get("CgroupDriver") != "none" and not (is_rootless and str(info.get("CgroupVersion")) == "1")


def _names_of(found: Mapping[str, Any]) -> list[str]:
    # Podman puts localhost before the name of what was built here, as if that were a registry.
    return [name.removeprefix("localhost/") for name in found["RepoTags"] or () if name != "<none>:<none>"]


def _image(found: Mapping[str, Any], history: Sequence[Mapping[str, Any]], *, is_used: bool) -> Image:
    """Return the image that the engine describes as ``found``."""
    layers = layers_of(found["RootFS"].get("Layers") or (), history)
    return Image(
        id=found["Id"],
        names=tuple(sorted(_names_of(found), key=lambda name: (name.endswith(":latest"), name))),
        labels=dict(found["Config"].get("Labels") or {}),
        created=_epoch(str(found.get("Created"))),
        layers=layers,
        is_used=is_used,
    )


def _epoch(text: str) -> float:
    """Return a time that the engine writes, in seconds since 1970; 0 for anything else, or an earlier time."""
    from datetime import datetime, timezone

    try:
        return max(0.0, datetime.fromisoformat(text[:19]).replace(tzinfo=timezone.utc).timestamp())
    except ValueError:
        return 0.0
