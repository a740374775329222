"""Building the images of sessions: what is missing, what has changed, and what is to be rebuilt."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from .. import environment
from ..console import BuildProgress, say
from ..engine import labels
from ..engine.builder import Step, Transcript
from ..engine.context import program_name, with_proxies
from ..engine.failures import DISK_HINT, is_disk_full
from ..errors import ConfinedError, EngineError
from ..fs.lock import Lock
from ..host import Host
from ..state.locks import locks_in
from ..state.store import LOGS, state_of
from ..text import as_dict, parse_json, strip_controls
from .inventory import Inventory
from .recipe import FILES_LABEL, LATEST, PARTS_LABEL, SHARED_IMAGE_LABEL, ImageChain, Recipe

if TYPE_CHECKING:
    from ..engine.images import Images

_LOGS_KEPT = 10
_NO_BASE = (
    "Check the network, or name an image within reach in the setting `base`; where there is no registry, "
    "./install.sh makes Debian's from packages."
)


class RebuildOptions(NamedTuple):
    """What to build again although it exists: everything, on a newer ``base`` if so, or the layer of ``claude`` alone.

    ``claude`` is a version of Claude Code, "latest" included; None for that of the settings.
    """

    everything: bool = False
    base: bool = False
    claude: str | None = None

    @property
    def is_wanted(self) -> bool:
        """Whether anything is to be built again."""
        return self.everything or self.base or self.claude is not None


_WHAT_IS_MISSING = RebuildOptions()


def ensure(engine: Images, chain: ImageChain, host: Host, rebuild: RebuildOptions = _WHAT_IS_MISSING) -> None:
    """Build the images of ``chain`` that are missing, from the shared one on, and what ``rebuild`` says.

    If two need an image at once, one builds it and the other waits. Images that nothing uses any more are removed.
    The shared one is the latest from then on. Raises EngineError if a build fails; the image that was there stays.
    """
    images = [engine.image(recipe.name) for recipe in chain.recipes]
    shared, *layers = chain.recipes
    if images[0] and LATEST not in images[0].names:
        engine.tag(shared.name, LATEST)
    if not rebuild.is_wanted and all(images):
        return
    inventory = Inventory(engine, host)
    with _build_lock(host, shared):
        if rebuild.is_wanted or not engine.image(shared.name):
            _build_shared(engine, inventory, shared, rebuild)
    for layer in layers:
        with _build_lock(host, layer):
            if not engine.image(layer.name):
                _build(engine, inventory, layer, {labels.KIND: labels.IMAGE, SHARED_IMAGE_LABEL: shared.name})
    inventory.prune()


@contextlib.contextmanager
def _build_lock(host: Host, recipe: Recipe) -> Iterator[None]:
    with locks_in(state_of(host)).make() as locks, Lock.make(locks, f"image-{recipe.fingerprint}") as lock:
        if not lock.try_acquire():
            say("Another start is building the image; waiting for it.")
            lock.acquire()
        yield


def _build_shared(engine: Images, inventory: Inventory, recipe: Recipe, rebuild: RebuildOptions) -> None:
    before = engine.image(LATEST)
    parts = as_dict(parse_json(before.labels.get(PARTS_LABEL))) if before else {}
    if before and not rebuild.is_wanted and (reason := recipe.changes(parts)):
        say(f"The image is built again: {reason}.")
    if rebuild.base or not engine.image(recipe.base):
        _fetch_base(engine, recipe.base)
    arguments = {"CLAUDE_VERSION": rebuild.claude, "CLAUDE_ASKED": secrets.token_hex(4)} if rebuild.claude else {}
    marks = {FILES_LABEL: recipe.files_hash, PARTS_LABEL: json.dumps(recipe.parts)}
    _build(engine, inventory, recipe, marks, arguments, fresh=rebuild.everything or rebuild.base)
    engine.tag(recipe.name, LATEST)
    # The layers on the image that was replaced: whoever needs one builds it anew.
    for layer in engine.tool_images():
        if layer.labels.get(SHARED_IMAGE_LABEL) == recipe.name:
            for name in layer.names:
                engine.remove_image(name, force=True)


def _fetch_base(engine: Images, name: str) -> None:
    say(f"Fetching the base image {name}.")
    try:
        engine.pull(name)
    except EngineError as error:
        raise EngineError(error.message, _NO_BASE) from None


def _build(
    engine: Images,
    inventory: Inventory,
    recipe: Recipe,
    marks: Mapping[str, str],
    arguments: Mapping[str, str] | None = None,
    *,
    fresh: bool = False,
) -> None:
    """Build an image with the labels ``marks``, with progress on the terminal and everything in a log file."""
    host = inventory.host
    proxies = environment.proxies(with_proxies(host.environ))
    transcript = Transcript()
    path, log = _open_log(host)
    with log, BuildProgress(recipe.title) as progress:

        def on_line(line: str) -> None:
            text = strip_controls(line).rstrip()
            log.write(f"{text}\n")
            part = transcript.add(text)
            if isinstance(part, Step):
                progress.step(part.number, part.total, part.what)
            elif part is not None:
                progress.line(part)

        try:
            code = engine.build(
                recipe.context(),
                recipe.name,
                {"BASE": recipe.base, **recipe.arguments, **proxies, **(arguments or {})},
                labels={labels.OWNER: host.owner, **marks},
                fresh=fresh,
                # A proxy on this machine's loopback is out of reach from any other network.
                host_network=any(map(environment.is_loopback, proxies.values())),
                on_line=on_line,
            )
            if code < 0:
                on_line(f"The {program_name(os.environ)} command was killed.")
            if code:
                failure = transcript.failure()
                cure = DISK_HINT if is_disk_full(failure) else recipe.hint
                raise EngineError(f"Building the image {failure}", f"{cure} The whole log is in {path}.".lstrip())
        except BaseException:
            _note_unfinished(inventory, transcript.images)
            raise
    if built := engine.image(recipe.name):
        inventory.note_built(built.id)


def _note_unfinished(inventory: Inventory, steps: Iterable[str]) -> None:
    """Record the image at which a build stopped: the next build continues from it, and then nobody owns it."""
    with contextlib.suppress(ConfinedError):
        for step in reversed(list(steps)):
            found = inventory.engine.image(step)
            if found is not None and not found.names:
                inventory.note_built(found.id)
                return


def _open_log(host: Host) -> tuple[Path, IO[str]]:
    """Return the path of a new log file, and the file; the oldest ones are removed."""
    name = time.strftime("build-%Y%m%d-%H%M%S") + f"-{secrets.token_hex(4)}.log"
    with state_of(host).at(LOGS).make() as logs:
        for old in sorted(entry for entry in logs.names() if entry.startswith("build-"))[: 1 - _LOGS_KEPT]:
            with contextlib.suppress(OSError):
                logs.unlink(old)
        return logs.path / name, logs.create(name)
