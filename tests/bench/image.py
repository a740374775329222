"""How much of the image an update of Claude Code builds again. Needs the registry, and leaves the newest version."""

from __future__ import annotations

import json
from collections.abc import Iterator

from .figures import Figure
from .place import Place, own


def updates(place: Place) -> Iterator[Figure]:
    """Count the layers that are new after ``rebuild --claude``, and measure how long that takes."""
    before = _layers(place)
    taken = place.seconds(own("rebuild", "--claude", "latest"))
    now = _layers(place)
    yield Figure("layers rebuilt by rebuild --claude", (float(len(set(now) - set(before))),), "", limit=1, goal=1)
    yield Figure("rebuild --claude", (taken,), "s")


def _layers(place: Place) -> list[str]:
    found: list[str] = json.loads(
        place.run(["docker", "image", "inspect", place.image, "--format", "{{json .RootFS.Layers}}"])
    )
    return found
