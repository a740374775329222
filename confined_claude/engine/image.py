"""An image as everything else knows it: the engine's answer, the inventory, and what is printed of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

# The instructions that make a layer, as BuildKit writes them into an image's history.
_LAYER_INSTRUCTIONS = ("RUN ", "COPY ", "ADD ", "WORKDIR ")


class Image(NamedTuple):
    """An image in the engine. ``created`` is in epoch seconds.

    ``names`` are its tags, ``latest`` at the end. ``layers`` are its layers from the bottom on, each as (the digests
    of all up to it, its size in bytes): the same in two images if they share it. ``is_used`` says whether a container
    uses it. ``claude_version`` is that of Claude Code in it, empty if that is not known.
    """

    id: str
    names: tuple[str, ...]
    labels: Mapping[str, str]
    created: float
    layers: tuple[tuple[str, int], ...]
    is_used: bool
    claude_version: str = ""

    @property
    def size(self) -> int:
        """In bytes, with what it shares with others."""
        return sum(size for _, size in self.layers)


def layers_of(digests: Sequence[str], history: Sequence[Mapping[str, object]]) -> tuple[tuple[str, int], ...]:
    """Return the layers of an image from their ``digests``, the lowest first, and its ``history``, the latest first.

    Each step of the history has a ``Size`` in bytes. Where steps and layers do not match, the whole size is that of
    the last layer: what is shared of it then does not count as shared.
    """
    steps = [(int(str(step["Size"])), _made_no_layer(step)) for step in reversed(history)]
    sizes = [size for size, made_none in steps if size or not made_none]
    if len(sizes) != len(digests):
        sizes = [size for size, _ in steps if size]
    if len(sizes) != len(digests):
        sizes = [0] * (len(digests) - 1) + [sum(size for size, _ in steps)] * bool(digests)
    return tuple(zip(chains_of(digests), sizes, strict=True))


def _made_no_layer(step: Mapping[str, object]) -> bool:
    """Return whether a step of an image's history surely made no layer."""
    instruction = str(step.get("CreatedBy"))
    if str(step.get("Comment")).startswith("buildkit"):
        return not instruction.startswith(_LAYER_INSTRUCTIONS)
    return "#(nop)" in instruction


def chains_of(digests: Sequence[str]) -> list[str]:
    """Return an id per layer: its digest and those of all layers below.

    The same layer on another base is a different one.
    """
    return ["\n".join(digests[: count + 1]) for count in range(len(digests))]
