"""The images of sessions: what goes into them, whether they are there, and building them.

One image is shared by all sessions. Debian packages that the settings name are a layer on top of
it, and a project's own Dockerfile another.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import json
import os
import re
import secrets
import tarfile
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING

from .. import environment
from ..console import BuildProgress, plain, say
from ..engine import labels
from ..errors import ConfinedError, EngineError
from ..host import Host
from ..settings import Settings
from ..state import store as state
from . import inventory as kept_images
from .certificates import extra_certificates
from .inventory import Stored

if TYPE_CHECKING:
    from ..engine.sdk import Engine

REPOSITORY = "confined-claude"
BASE = "debian:bookworm-slim"

CONTEXT = Path(__file__).parents[1] / "container"
_CA = "image/ca/"
_ENTRYPOINT = "/opt/confined-claude/entrypoint"
# On a layer, with the name of the shared image below it.
ON = f"{labels.KIND}.on"
# As the shared image's own Dockerfile does after its packages.
_CLEAN_UP = "apt-get clean && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/* /usr/share/info/*"
# On the shared image: which files of the tool's, and what else, it was built from.
_FILES = f"{labels.KIND}.files"
_PARTS = f"{labels.KIND}.parts"
_NO_BASE = (
    "Check the network, or name an image within reach in the setting `base`; where there is no registry, "
    "./install.sh makes Debian's from packages."
)
_STEP_IMAGE = re.compile(r"^ ---> ([0-9a-f]{12})$", re.MULTILINE)
_STEP = re.compile(r"Step (\d+)/(\d+) : (.*)")
# The builder's words about its own containers, which would hide what the step says.
_CHATTER = (" --->", "Removing intermediate container")
_TAIL = 20
# What the fingerprint is made of beside files, by the setting that decides it.
_SETTINGS = {"BASE": "base", "CLAUDE_VERSION": "claude_version"}
_MOST_NAMED = 5
_LOGS_KEPT = 10


@dataclass(frozen=True)
class Recipe:
    """Everything that goes into an image, but for the packages' own versions.

    ``files`` is the build context, by path, and ``base`` the name of the image it is made on. ``title`` says what is
    built, ``cure`` what to look at where that fails.
    """

    title: str
    files: Mapping[str, bytes]
    arguments: Mapping[str, str] = field(default_factory=dict)
    base: str = BASE
    cure: str = ""

    @cached_property
    def fingerprint(self) -> str:
        """12 hex digits that change when anything that is built does."""
        digest = hashlib.sha256(self.base.encode())
        arguments = ((name, value.encode()) for name, value in sorted(self.arguments.items()))
        for name, content in (*arguments, *sorted(self.files.items())):
            digest.update(f"\0{name}\0{len(content)}\0".encode() + content)
        return digest.hexdigest()[:12]

    @cached_property
    def files_hash(self) -> str:
        """Of the files that come with the tool: another one is another version of the tool's."""
        return _short(
            "".join(f"{name} {digest}\n" for name, digest in self.parts.items() if name in self._own).encode()
        )

    @property
    def _own(self) -> set[str]:
        return {name for name in self.files if not name.startswith(_CA)}

    @cached_property
    def parts(self) -> dict[str, str]:
        """What the fingerprint is made of, by name, each as a short hash."""
        arguments = {name: _short(value.encode()) for name, value in {"BASE": self.base, **self.arguments}.items()}
        return dict(sorted(({name: _short(content) for name, content in self.files.items()} | arguments).items()))

    @property
    def name(self) -> str:
        return f"{REPOSITORY}:{self.fingerprint}"

    def context(self) -> IO[bytes]:
        """The build context as a tar archive; the same recipe always gives the same bytes."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for name, content in sorted(self.files.items()):
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                entry.mode = 0o755 if content.startswith(b"#!") else 0o644
                archive.addfile(entry, io.BytesIO(content))
        buffer.seek(0)
        return buffer


def _short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:8]


@dataclass(frozen=True)
class Stack:
    """The images that a session's is made of, each on top of the one before; the first is the shared one."""

    recipes: tuple[Recipe, ...]

    @property
    def name(self) -> str:
        """The name of the session's image."""
        return self.recipes[-1].name

    @property
    def shared(self) -> str:
        """The name of the image below all layers, in which no project had a say."""
        return self.recipes[0].name


def stack(chosen: Settings, host: Host, dockerfile: str = "") -> Stack:
    """What a session with these settings, and its project's Dockerfile, runs on."""
    recipes = [shared(chosen.claude_version, extra_certificates(host.environ), chosen.base)]
    if packages := {*chosen.packages, *(["sudo"] if chosen.sudo == "full" else [])}:
        recipes.append(_with_packages(recipes[-1].name, packages))
    if dockerfile:
        recipes.append(_with_dockerfile(recipes[-1].name, dockerfile))
    return Stack(tuple(recipes))


def shared(claude_version: str, certificates: Iterable[str], base: str = BASE) -> Recipe:
    """The image that every session's is made of."""
    files = {path.relative_to(CONTEXT).as_posix(): path.read_bytes() for path in CONTEXT.rglob("*") if _belongs(path)}
    files |= {f"{_CA}host-{number}.crt": text.encode() for number, text in enumerate(certificates)}
    return Recipe("Building the image.", files, {"CLAUDE_VERSION": claude_version}, base)


def _belongs(path: Path) -> bool:
    """Whether a path is part of the build context, and not what makes a package of it for Python."""
    is_bytecode = path.suffix == ".pyc" or path.parent.name == "__pycache__"
    return path.is_file() and path.name != "__init__.py" and not is_bytecode


def _with_packages(base: str, packages: Iterable[str]) -> Recipe:
    names = sorted(packages)
    text = f"""\
ARG BASE
FROM ${{BASE}}
USER root
ARG DEBIAN_FRONTEND=noninteractive
RUN apt-get update \\
 && apt-get install -y --no-install-recommends {" ".join(names)} \\
 && {_CLEAN_UP}
"""
    return _layer(
        f"Building the image with these packages: {', '.join(names)}.",
        text,
        base,
        "If Debian 12 has no such package, correct the setting `packages`.",
    )


def _with_dockerfile(base: str, text: str) -> Recipe:
    return _layer("Building the image with this project's Dockerfile.", text, base, "Correct the project's Dockerfile.")


def _layer(title: str, dockerfile: str, base: str, cure: str) -> Recipe:
    """A layer on top of ``base`` that keeps what sessions need of it, whatever ``dockerfile`` does."""
    ending = f'USER claude\nENTRYPOINT ["{_ENTRYPOINT}"]\n'
    return Recipe(title, {"Dockerfile": f"{dockerfile}\n{ending}".encode()}, base=base, cure=cure)


@dataclass(frozen=True)
class Again:
    """What is to be built although it is there: all of it, on a newer ``base`` if so, or the layer of ``claude`` alone.

    ``claude`` is a version of Claude Code, "latest" included; None for what the settings say.
    """

    everything: bool = False
    base: bool = False
    claude: str | None = None

    def __bool__(self) -> bool:
        return self.everything or self.base or self.claude is not None


def ensure(engine: Engine, wanted: Stack, host: Host, *, again: Again = Again()) -> None:
    """Build what is missing of ``wanted``, from the shared image on, and what is wanted ``again``.

    Of two that need an image at once, one builds and the other waits. What nothing uses any more goes. Raises
    EngineError when a build fails; the image that was there before stays.
    """
    if not again and all(engine.has_image(recipe.name) for recipe in wanted.recipes):
        return
    bottom, *layers = wanted.recipes
    with _build_lock(host, bottom):
        if again or not engine.has_image(bottom.name):
            _build_shared(engine, bottom, host, again)
    for layer in layers:
        with _build_lock(host, layer):
            if not engine.has_image(layer.name):
                _build(engine, layer, host, marks={labels.KIND: labels.IMAGE, ON: bottom.name})
    kept_images.prune(engine, host, _FILES, bottom.files_hash)


def prune(engine: Engine, host: Host) -> None:
    """Remove what nothing uses any more of the images that were replaced."""
    kept_images.prune(engine, host, _FILES, shared("", ()).files_hash)


def stored(engine: Engine, host: Host) -> Stored:
    """What was built here. The latest, and what is on top of it, can be wanted any time. Raises EngineError.

    One engine may serve others too: images of theirs that have the tool's names are used by whoever needs them.
    """
    found, others = kept_images.own_and_others(engine, host)
    current = {name for its in found if f"{REPOSITORY}:latest" in its.names for name in its.names}
    above = {name for its in found if its.labels.get(ON) in current for name in its.names}
    removable = kept_images.unused(found, wanted=[*current, *above])
    freed = kept_images.freed_by(removable, found, engine.layers_beside(found)) if removable else 0
    named = (its for its in others if any(name.startswith(f"{REPOSITORY}:") for name in its.names))
    return Stored(tuple(found), tuple(removable), freed, tuple(named))


@contextlib.contextmanager
def _build_lock(host: Host, wanted: Recipe) -> Iterator[None]:
    with state.made(host, "locks") as folder:
        lock = os.open(f"image-{wanted.fingerprint}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=folder)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another start is building the image; waiting for it.")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _build_shared(engine: Engine, wanted: Recipe, host: Host, again: Again) -> None:
    if not again and (reason := _changes(engine.image_labels(f"{REPOSITORY}:latest"), wanted)):
        say(f"The image is built again: {reason}.")
    _fetch_base(engine, wanted.base, newer=again.base)
    marks = {_FILES: wanted.files_hash, _PARTS: json.dumps(wanted.parts)}
    arguments = {"CLAUDE_VERSION": again.claude, "CLAUDE_ASKED": secrets.token_hex(4)} if again.claude else {}
    fresh = again.everything or again.base
    _build(engine, wanted, host, fresh=fresh, marks=marks, arguments=arguments)
    engine.tag(wanted.name, REPOSITORY, "latest")
    # They are made of the one that was replaced: whoever needs one builds it anew.
    engine.remove_names(REPOSITORY, f"{ON}={wanted.name}")


def _changes(marks: Mapping[str, str], wanted: Recipe) -> str:
    """What has changed since an image with these labels was built, in words; empty if that is not known."""
    try:
        before = dict(json.loads(marks.get(_PARTS, "{}")))
    except (ValueError, TypeError):
        return ""
    if not before:
        return ""
    now = wanted.parts
    changed = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
    named = [name for name in changed if not name.startswith(_CA) and name not in _SETTINGS]
    which = ", ".join(named) if len(named) <= _MOST_NAMED else f"{len(named)} of its files"
    words = [f"{which} {'has' if len(named) == 1 else 'have'} changed"] if named else []
    words += ["this machine's certificate authorities have changed"] * any(name.startswith(_CA) for name in changed)
    other = (setting for part, setting in _SETTINGS.items() if part in changed and part in before)
    words += [f"the setting {setting} is another" for setting in other]
    return " and ".join(words)


def _build(
    engine: Engine,
    wanted: Recipe,
    host: Host,
    *,
    marks: Mapping[str, str],
    fresh: bool = False,
    arguments: Mapping[str, str] | None = None,
) -> None:
    """Build ``wanted`` with progress on the terminal and everything in a log file."""
    log_path, log = _open_log(host)
    with log:
        proxies = environment.proxies(host.environ)
        lines = engine.build(
            wanted.context(),
            wanted.name,
            {"BASE": wanted.base, **wanted.arguments, **proxies, **(arguments or {})},
            marks={labels.OWNER: host.owner, **marks},
            fresh=fresh,
            # A proxy on this machine's loopback is out of reach from any other network.
            host_network=any(environment.is_loopback(url) for url in proxies.values()),
        )
        steps: list[str] = []
        try:
            hint = f"{wanted.cure} The whole log is in {log_path}.".lstrip()
            _follow(_noting(lines, steps), log, wanted.title, hint)
        except BaseException:
            _note_unfinished(engine, host, steps)
            raise
    if identity := engine.image_id(wanted.name):
        kept_images.note_built(host, identity)


def _noting(lines: Iterable[str], steps: list[str]) -> Iterator[str]:
    """``lines`` of a builder; the images that its steps came to are added to ``steps``."""
    for text in lines:
        steps += _STEP_IMAGE.findall(text)
        yield text


def _note_unfinished(engine: Engine, host: Host, steps: Iterable[str]) -> None:
    """Remember how far a build came that failed: the next one goes on there, and then it is nobody's any more."""
    with contextlib.suppress(EngineError, ConfinedError):
        for identity in reversed(list(steps)):
            found = engine.image(identity)
            if found is not None and not found["RepoTags"]:
                kept_images.note_built(host, str(found["Id"]))
                return


def _follow(lines: Iterator[str], log: IO[str], title: str, hint: str) -> None:
    """Show and log a build's output.

    Raises EngineError with the failing step and its last lines, and ``hint``.
    """
    step, tail = "the start", deque[str](maxlen=_TAIL)
    with BuildProgress(title) as progress:
        try:
            for text in map(plain, lines):
                log.write(text)
                for line in filter(None, map(str.rstrip, text.splitlines())):
                    if found := _STEP.match(line):
                        step = line
                        tail.clear()
                        progress.step(int(found[1]), int(found[2]), found[3])
                    elif not line.startswith(_CHATTER):
                        tail.append(line)
                        progress.line(line)
        except EngineError as error:
            log.write(f"\n{error}\n")
            output = "".join(f"\n  {line}" for line in tail)
            raise EngineError(f"Building the image failed at {step}\n{error.message}{output}", hint) from None


def _open_log(host: Host) -> tuple[Path, IO[str]]:
    """A new log file in the state folder; the oldest ones go."""
    name = time.strftime("build-%Y%m%d-%H%M%S") + f"-{secrets.token_hex(4)}.log"
    folder = host.state / "logs"
    with state.made(host, "logs") as handle:
        for old in sorted(entry for entry in os.listdir(handle) if entry.startswith("build-"))[: 1 - _LOGS_KEPT]:
            with contextlib.suppress(OSError):
                os.unlink(old, dir_fd=handle)
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=handle)
    return folder / name, open(file, "w", encoding="utf-8", errors="replace", buffering=1)


def _fetch_base(engine: Engine, name: str, *, newer: bool) -> None:
    """Pull the base image if the engine has none of that ``name``, or a ``newer`` one is wanted.

    Raises EngineError if that fails.
    """
    if not newer and engine.has_image(name):
        return
    say(f"Fetching the base image {name}.")
    try:
        engine.pull(name)
    except EngineError as error:
        raise EngineError(error.message, _NO_BASE) from None
