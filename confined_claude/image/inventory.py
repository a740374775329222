"""The images this user has built: what they take, what is in them, and which of them nothing needs any more."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..engine.image import Image
from ..errors import ConfinedError, system_error
from ..fs.directory import Directory, Location
from ..fs.lock import locked
from ..host import Host
from ..state.locks import locks_in
from ..state.store import refuse_newer, state_of
from ..text import as_dict, parse_json
from .recipe import FILES_LABEL, LATEST, REPOSITORY, SHARED_IMAGE_LABEL, shared

if TYPE_CHECKING:
    from ..engine.images import Images

_VERSIONS = "versions.json"
_BUILT = "images.json"
# Exists while a container uses an image that is to be removed.
_PENDING = "images-to-go"
_MOST_BYTES = 1 << 20
_PACKAGE = "/usr/local/lib/node_modules/@anthropic-ai/claude-code/package.json"


class ImageInventory(NamedTuple):
    """The images that were built here, and the ``others`` of the tool that serve sessions.

    ``removable`` are those of ``images`` that nothing needs, ``freed_bytes`` what removing them frees.
    """

    images: tuple[Image, ...] = ()
    removable: tuple[Image, ...] = ()
    freed_bytes: int = 0
    others: tuple[Image, ...] = ()

    @property
    def bytes(self) -> int:
        """What the images take together; what several share counts once."""
        return footprint(self.images)

    def is_needed(self, image: Image) -> bool:
        """Return whether a container uses an image, or a start may want it."""
        return image.is_used if image in self.others else image not in self.removable


class Inventory:
    """The images of one engine and this user's records of them. Methods raise EngineError where nothing else is said.

    One engine may serve others too: only what is recorded here counts as built here, whatever its labels say.
    """

    def __init__(self, engine: Images, host: Host) -> None:
        self.engine = engine
        self.host = host
        self._state = state_of(host)
        self._versions: dict[str, str] = {}

    def look(self, *, with_versions: bool = False, until: float = math.inf) -> ImageInventory:
        """Return what there is, the images that are needed first, with the version of Claude Code in them if asked.

        ``until`` is as in ``claude_version``.
        """
        built = self._built()
        images = self.engine.tool_images(
            lambda identity, names: identity in built or any(name.startswith(f"{REPOSITORY}:") for name in names)
        )
        if with_versions:
            images.sort(key=lambda image: not image.is_used)  # as the time may not be enough for all
            images = [image._replace(claude_version=self.claude_version(image.id, until=until)) for image in images]
        own = [image for image in images if image.id in built]
        others = [image for image in images if image.id not in built]
        # The latest image, and what is on top of it, may be wanted any time.
        current = {name for image in own if LATEST in image.names for name in image.names}
        above = {name for image in own if image.labels.get(SHARED_IMAGE_LABEL) in current for name in image.names}
        removable = unused(own, wanted=[*current, *above])
        freed = freed_by(removable, own, self.engine.layers_beside(own)) if removable else 0
        own.sort(key=lambda image: (image in removable, image.names))
        others.sort(key=lambda image: (not image.is_used, image.names))
        return ImageInventory(tuple(own), tuple(removable), freed, tuple(others))

    def own(self) -> list[Image]:
        """Return the images that were built here."""
        built = self._built()
        return self.engine.tool_images(lambda identity, _names: identity in built)

    def _built(self) -> list[str]:
        """Return the ids of what was built here, which may be gone by now."""
        ids = parse_json(self._state.read(_BUILT, _MOST_BYTES))
        return ids if isinstance(ids, list) and all(isinstance(identity, str) for identity in ids) else []

    def claude_version(self, identity: str, *, record: bool = True, until: float = math.inf) -> str:
        """Return the version of Claude Code in an image; empty if it has none. Looked up once, if ``record``.

        The engine makes a container for that. From ``until`` on (monotonic clock) it is not asked: empty.
        """
        if identity not in self._versions:
            self._versions |= self._recorded_versions()
        if identity not in self._versions:
            if time.monotonic() >= until:
                return ""
            package = as_dict(parse_json(self.engine.file_in_image(identity, _PACKAGE)))
            self._versions[identity] = str(package.get("version", ""))
            if record:
                with contextlib.suppress(OSError, ConfinedError), self._state.make() as directory:
                    directory.write(_VERSIONS, json.dumps(self._versions).encode())
        return self._versions[identity]

    def _recorded_versions(self) -> dict[str, str]:
        known = as_dict(parse_json(self._state.read(_VERSIONS, _MOST_BYTES)))
        return known if all(isinstance(value, str) for value in known.values()) else {}

    def note_built(self, identity: str) -> None:
        """Record that an image was built here. Raises ConfinedError if the record cannot be written, or is newer."""
        with self._records() as directory:
            try:
                directory.write(_BUILT, json.dumps([*self._built(), identity]).encode())
            except OSError as error:
                raise system_error("write to", self.host.state, error) from None

    def remove(self, images: Iterable[Image]) -> None:
        """Remove images by all their names. One that a container has begun to use stays."""
        # What is on top of another goes first.
        for image in sorted(images, key=lambda image: -len(image.layers)):
            for name in image.names or (image.id,):
                self.engine.remove_image(name)

    def prune(self) -> None:
        """Remove what was built here and is obsolete; what the engine refuses to remove stays. Raises nothing."""
        current = shared().files_hash
        with contextlib.suppress(ConfinedError):
            self.remove(obsolete(self.own(), current))
            with self._records() as directory, contextlib.suppress(OSError):
                remaining = self.own()
                directory.write(_BUILT, json.dumps([image.id for image in remaining]).encode())
                in_use = [image._replace(is_used=False) for image in remaining if image.is_used]
                if obsolete(in_use, current):
                    directory.write(_PENDING, b"")
                elif directory.exists(_PENDING):
                    directory.unlink(_PENDING)

    @contextlib.contextmanager
    def _records(self) -> Iterator[Directory]:
        """Open <state> for the block, in which this process alone changes the record of what was built.

        Raises ConfinedError if that is of a newer version.
        """
        with locked(locks_in(self._state), "images"), self._state.make() as directory:
            refuse_newer(parse_json(directory.read(_BUILT, _MOST_BYTES)), directory.path / _BUILT)
            yield directory


def is_prune_pending(state: Location) -> bool:
    """Return whether an image is to be removed as soon as no container uses it any more."""
    with contextlib.suppress(OSError), state.open() as directory:
        return directory.exists(_PENDING)
    return False


def footprint(images: Iterable[Image]) -> int:
    """Return what images take on the engine's disk, in bytes; what several share counts once."""
    return sum(dict(layer for image in images for layer in image.layers).values())


def freed_by(removed: Iterable[Image], everything: Iterable[Image], beside: Iterable[str] = ()) -> int:
    """Return what removing some of all our images frees, in bytes. Layers ``beside`` are other images', and stay."""
    gone = {image.id for image in removed}
    everything = list(everything)
    stay = {*beside} | {chain for image in everything if image.id not in gone for chain, _ in image.layers}
    layers = dict(layer for image in everything if image.id in gone for layer in image.layers)
    return sum(size for chain, size in layers.items() if chain not in stay)


def unused(images: Iterable[Image], *, wanted: Sequence[str] = ()) -> list[Image]:
    """Return the images that no container uses and whose names are not among the ``wanted``."""
    return [image for image in images if not image.is_used and not set(image.names) & set(wanted)]


def obsolete(images: Iterable[Image], files_hash: str) -> list[Image]:
    """Return the images that no container uses and no start asks for: without a name, or of another version's files."""
    return [
        image for image in unused(images) if not image.names or image.labels.get(FILES_LABEL, files_hash) != files_hash
    ]
