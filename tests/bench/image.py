"""How long the image takes to build, and how much of it an update of Claude Code builds again. Needs the registries."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import tarfile
from collections.abc import Iterator

from confined_claude.image.recipe import LATEST, image_chain
from confined_claude.settings import Settings

from .figures import Figure, Item, attempt, ratio
from .place import Place, own
from .starts import in_turn

_BUILDS = 2  # each way, and one more of each before; a build takes a minute


def builds(place: Place) -> Iterator[Item]:
    """Measure a build from scratch beside a plain ``docker build`` of the same steps, then an update of Claude Code."""
    with _unchanged(place):
        yield from attempt("a build from scratch", lambda: _from_scratch(place))
        yield from attempt("an update of Claude Code", lambda: _update(place))


@contextlib.contextmanager
def _unchanged(place: Place) -> Iterator[None]:
    """Give the image back its names after the block, and remove what the block has built."""
    before, kept = _identity(place), f"confined-claude-bench:{place.mark}-before"
    place.run(["docker", "tag", before, kept])
    try:
        yield
    finally:
        after = _identity(place)  # what was built before that is gone with its name, as nothing uses it
        for name in (place.image, LATEST):
            place.run(["docker", "tag", before, name])
        for name in (kept, *([after] if after != before else [])):
            subprocess.run(["docker", "rmi", name], capture_output=True, check=False)


def _identity(place: Place) -> str:
    return place.run(["docker", "image", "inspect", place.image, "--format", "{{.Id}}"]).decode().strip()


def _from_scratch(place: Place) -> Iterator[Item]:
    """Build each way in turn; the first round has what the registries' mirrors and the disk remember afterwards."""
    context = place.home / "context"
    recipe = image_chain(Settings(), {}).recipes[0]
    with tarfile.open(fileobj=io.BytesIO(recipe.context())) as archive:
        for entry in archive:
            path = context / entry.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(archive.extractfile(entry).read())  # type: ignore[union-attr]
    place.give()
    tag = f"confined-claude-bench:{place.mark}"
    arguments = {"BASE": recipe.base, **recipe.arguments}
    words = [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]

    def build_plainly() -> float:
        try:
            return place.seconds(["docker", "build", "--no-cache", "--tag", tag, *words, "."], context)
        finally:
            subprocess.run(["docker", "rmi", tag], capture_output=True, check=False)

    times = in_turn(_BUILDS, {"own": lambda: place.seconds(own("rebuild")), "plain": build_plainly})
    yield ratio("rebuild / docker build --no-cache", times["own"], times["plain"], 1.1, 1.0)
    yield Figure("docker build --no-cache", tuple(times["plain"]), "s")


def _update(place: Place) -> Iterator[Item]:
    """Count the layers that are new after ``rebuild --claude``, and measure how long that takes."""
    before = _layers(place)
    taken = place.seconds(own("rebuild", "--claude", "latest"))
    now = _layers(place)
    yield Figure("layers rebuilt by rebuild --claude", (float(len(set(now) - set(before))),), "", limit=1, goal=1)
    yield Figure("rebuild --claude", (taken,), "s")


def _layers(place: Place) -> list[str]:
    asked = ["docker", "image", "inspect", place.image, "--format", "{{json .RootFS.Layers}}"]
    found: list[str] = json.loads(place.run(asked))
    return found
