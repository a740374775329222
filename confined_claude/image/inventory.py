"""The images this user has built: what they take, what is in them, and which of them nothing needs any more."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..errors import ConfinedError, EngineError
from ..fs import safefs
from ..host import Host
from ..state import store as state

if TYPE_CHECKING:
    from ..engine.sdk import Engine

_VERSIONS = "versions.json"
_BUILT = "images.json"
# There is one while a container uses an image that is to go.
_WAITING = "images-to-go"
_PACKAGE = "/usr/local/lib/node_modules/@anthropic-ai/claude-code/package.json"


@dataclass(frozen=True)
class Image:
    """An image in the engine. ``created`` is in epoch seconds.

    ``layers`` are its layers from the bottom on, each as (the digests of all up to it, its size in bytes): the
    same in two images if they share it.
    """

    id: str
    names: tuple[str, ...]
    labels: dict[str, str]
    created: float
    layers: tuple[tuple[str, int], ...]
    is_used: bool

    @property
    def size(self) -> int:
        """In bytes, with what it shares with others."""
        return sum(size for _, size in self.layers)


@dataclass(frozen=True)
class Stored:
    """Our images, those of them that can go, and what that frees in bytes; and the ``others`` that serve sessions."""

    images: tuple[Image, ...] = ()
    removable: tuple[Image, ...] = ()
    freed: int = 0
    others: tuple[Image, ...] = ()


def footprint(images: Iterable[Image]) -> int:
    """What images take on the engine's disk, in bytes; what several share is counted once."""
    return sum(dict(layer for image in images for layer in image.layers).values())


def freed_by(removed: Iterable[Image], everything: Iterable[Image], beside: Iterable[str] = ()) -> int:
    """What it frees, in bytes, if some of all our images are removed; layers ``beside`` are other images', and stay."""
    gone = {image.id for image in removed}
    everything = list(everything)
    stay = {*beside} | {chain for image in everything if image.id not in gone for chain, _ in image.layers}
    layers = dict(layer for image in everything if image.id in gone for layer in image.layers)
    return sum(size for chain, size in layers.items() if chain not in stay)


def unused(images: Iterable[Image], *, wanted: Sequence[str] = ()) -> list[Image]:
    """Those that no container uses and whose name is not among the ``wanted``."""
    return [image for image in images if not image.is_used and not set(image.names) & set(wanted)]


def obsolete(images: Iterable[Image], *, label: str, value: str) -> list[Image]:
    """Those that no container uses and no start asks for: without a name, or with another ``value`` of ``label``."""
    return [image for image in unused(images) if not image.names or image.labels.get(label, value) != value]


def remove(engine: Engine, images: Iterable[Image]) -> None:
    """Remove images by all their names. One that a container has begun to use stays."""
    # What is on top of another goes first.
    for image in sorted(images, key=lambda image: -len(image.layers)):
        for name in image.names or (image.id,):
            engine.remove_image(name)


def claude_version(engine: Engine, identity: str, host: Host, *, keep: bool = True) -> str:
    """The version of Claude Code in an image; empty if it has none. Looked at once, if it is to be kept."""
    known = _versions(host)
    if identity not in known:
        content = engine.file_in_image(identity, _PACKAGE)
        version = ""
        with contextlib.suppress(ValueError, TypeError, LookupError, RecursionError):
            version = str(json.loads(content or b"")["version"])
        known[identity] = version
        if not keep:
            return version
        with contextlib.suppress(OSError, ConfinedError), state.made(host) as folder:
            safefs.write(folder, _VERSIONS, json.dumps(known).encode())
    return known[identity]


def _versions(host: Host) -> dict[str, str]:
    """What is known already; it is only kept to be quick."""
    with contextlib.suppress(OSError, ValueError, RecursionError), state.opened(host) as folder:
        known = json.loads(safefs.read(folder, _VERSIONS, 1 << 20) or b"{}")
        if isinstance(known, dict) and all(isinstance(value, str) for value in known.values()):
            return known
    return {}


def layers_of(digests: Sequence[str], history: Sequence[tuple[int, bool]]) -> tuple[tuple[str, int], ...]:
    """The layers of an image from their ``digests``, the lowest first, and from its ``history``, the latest first.

    Of each step of the history (its size in bytes, whether it surely made no layer) is known. Where the two cannot
    be matched, the size stands at the last layer alone: what only a part of it shares is then not counted as shared.
    """
    steps = list(reversed(history))
    sizes = [size for size, made_none in steps if size or not made_none]
    if len(sizes) != len(digests):
        sizes = [size for size, _ in steps if size]
    if len(sizes) != len(digests):
        sizes = [0] * (len(digests) - 1) + [sum(size for size, _ in steps)] * bool(digests)
    return tuple(zip(chains_of(digests), sizes, strict=True))


def chains_of(digests: Sequence[str]) -> list[str]:
    """The name of each layer: what it is on top of counts, so it has the digests of all up to it."""
    return ["\n".join(digests[: count + 1]) for count in range(len(digests))]


def note_built(host: Host, identity: str) -> None:
    """Remember that an image was built here. What others make from it has its labels, and is theirs all the same.

    Raises ConfinedError if nothing can be written.
    """
    with _locked(host) as folder:
        try:
            safefs.write(folder, _BUILT, json.dumps([*_built(folder), identity]).encode())
        except OSError as error:
            raise safefs.cannot("write to", host.state, error) from None


def own(engine: Engine, host: Host) -> list[Image]:
    """The images that were built here and are still there. Raises EngineError."""
    return own_and_others(engine, host)[0]


def own_and_others(engine: Engine, host: Host) -> tuple[list[Image], list[Image]]:
    """The images that were built here and are still there, and all others of the tool's. Raises EngineError."""
    built: list[str] = []
    with contextlib.suppress(OSError), state.opened(host) as folder:
        built = _built(folder)
    images = engine.tool_images()
    return [image for image in images if image.id in built], [image for image in images if image.id not in built]


def prune(engine: Engine, host: Host, label: str, value: str) -> None:
    """Remove what ``obsolete`` finds of this user's images; it stays where the engine refuses."""
    with contextlib.suppress(EngineError):
        remove(engine, obsolete(own(engine, host), label=label, value=value))
        with _locked(host) as folder, contextlib.suppress(OSError):
            built = _built(folder)
            left = [image for image in engine.tool_images() if image.id in built]
            safefs.write(folder, _BUILT, json.dumps([image.id for image in left]).encode())
            in_use = [replace(image, is_used=False) for image in left if image.is_used]
            if obsolete(in_use, label=label, value=value):
                safefs.write(folder, _WAITING, b"")
            elif safefs.exists(folder, _WAITING):
                os.unlink(_WAITING, dir_fd=folder)


def is_waiting(host: Host) -> bool:
    """Whether an image is to go as soon as no container uses it any more."""
    with contextlib.suppress(OSError), state.opened(host) as folder:
        return safefs.exists(folder, _WAITING)
    return False


@contextlib.contextmanager
def _locked(host: Host) -> Iterator[int]:
    with state.made(host) as folder, state.made(host, "locks") as locks:
        lock = os.open("images", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=locks)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield folder
        finally:
            os.close(lock)


def _built(folder: int) -> list[str]:
    with contextlib.suppress(ValueError, RecursionError):
        ids = json.loads(safefs.read(folder, _BUILT, 1 << 20) or b"[]")
        if isinstance(ids, list) and all(isinstance(identity, str) for identity in ids):
            return ids
    return []
