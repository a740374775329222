"""What goes into the images of sessions, described before anything is built.

All sessions share one image. Debian packages that the settings name are a layer on top of it, and a project's own
Dockerfile another.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from ..engine import labels
from ..settings import Settings
from ..settings.specs import BASE
from ..system import APP
from ..text import sha256
from .certificates import extra_certificates

REPOSITORY = APP
LATEST = f"{REPOSITORY}:latest"
CONTEXT = Path(__file__).parents[1] / "container"

# On a layer: the name of the shared image below it.
SHARED_IMAGE_LABEL = f"{labels.KIND}.on"
# On the shared image: which files of the tool, and what else, it was built from.
FILES_LABEL = f"{labels.KIND}.files"
PARTS_LABEL = f"{labels.KIND}.parts"

_CA = "image/ca/"
_ENTRYPOINT = "/opt/confined-claude/init/entrypoint"
# As the shared image's own Dockerfile does after its packages.
_CLEAN_UP = "apt-get clean && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/* /usr/share/info/*"
# What the fingerprint is made of beside files, by the setting that decides it.
_SETTINGS = {"BASE": "base", "CLAUDE_VERSION": "claude_version"}
_MOST_NAMED = 5


class _Parts(NamedTuple):
    title: str
    files: Mapping[str, bytes]
    arguments: Mapping[str, str] = MappingProxyType({})
    base: str = BASE
    hint: str = ""


class Recipe(_Parts):
    """Everything that goes into an image, except the packages' own versions.

    ``files`` is the build context, by path, and ``base`` the name of the image that it is built on. ``title`` says
    what is built, ``hint`` what to check if that fails.
    """

    @cached_property
    def fingerprint(self) -> str:
        """12 hex digits that change when anything that is built does."""
        parts = [self.base.encode()]
        arguments = ((name, value.encode()) for name, value in sorted(self.arguments.items()))
        for name, content in (*arguments, *sorted(self.files.items())):
            parts += [f"\0{name}\0{len(content)}\0".encode(), content]
        return sha256(b"".join(parts))[:12]

    @property
    def name(self) -> str:
        return f"{REPOSITORY}:{self.fingerprint}"

    @cached_property
    def parts(self) -> dict[str, str]:
        """What the fingerprint is made of, by name, each as a short hash."""
        arguments = {name: _short(value.encode()) for name, value in {"BASE": self.base, **self.arguments}.items()}
        return dict(sorted(({name: _short(content) for name, content in self.files.items()} | arguments).items()))

    @cached_property
    def files_hash(self) -> str:
        """A short hash of the tool's own files: another one is that of another version of the tool."""
        own = (f"{name} {digest}\n" for name, digest in self.parts.items() if name in self.files and not _is_ca(name))
        return _short("".join(own).encode())

    def changes(self, before: Mapping[str, str]) -> str:
        """Return what has changed since an image with the parts ``before`` was built, in words."""
        if not before:
            return ""
        changed = sorted(name for name in {*before, *self.parts} if before.get(name) != self.parts.get(name))
        named = [name for name in changed if not _is_ca(name) and name not in _SETTINGS]
        which = ", ".join(named) if len(named) <= _MOST_NAMED else f"{len(named)} of its files"
        words = [f"{which} {'has' if len(named) == 1 else 'have'} changed"] if named else []
        words += ["your machine's certificate authorities have changed"] * any(map(_is_ca, changed))
        settings = (setting for part, setting in _SETTINGS.items() if part in changed and part in before)
        words += [f"the setting {setting} has changed" for setting in settings]
        return " and ".join(words)

    def context(self) -> bytes:
        """Return the build context as a tar archive; it is the same to the byte for the same recipe."""
        import tarfile  # only for a build

        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for name, content in sorted(self.files.items()):
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                entry.mode = 0o755 if content.startswith(b"#!") else 0o644
                archive.addfile(entry, io.BytesIO(content))
        return buffer.getvalue()


def _short(content: bytes) -> str:
    return sha256(content)[:8]


def _is_ca(name: str) -> bool:
    return name.startswith(_CA)


class ImageChain(NamedTuple):
    """The images that a session's is made of, each on top of the one before; the first is the shared one.

    Unless ``is_custom``, all that is in them is Debian's and the tool's own.
    """

    recipes: tuple[Recipe, ...]
    is_custom: bool = False

    @property
    def name(self) -> str:
        """The name of the session's image."""
        return self.recipes[-1].name

    @property
    def shared(self) -> str:
        """The name of the image below all layers, in which no project has a say."""
        return self.recipes[0].name


def image_chain(settings: Settings, environ: Mapping[str, str], dockerfile: str = "") -> ImageChain:
    """Return the images for these settings, the host's environment and a project's Dockerfile."""
    recipes = [shared(settings.claude_version, extra_certificates(environ), settings.base)]
    if packages := {*settings.packages, *(["sudo"] if settings.sudo == "full" else [])}:
        recipes.append(_with_packages(recipes[-1].name, packages))
    if dockerfile:
        title, hint = "Building the image with this project's Dockerfile.", "Correct the project's Dockerfile."
        recipes.append(_layer(recipes[-1].name, dockerfile, title, hint))
    return ImageChain(tuple(recipes), is_custom=bool(dockerfile) or settings.base != BASE)


def shared(claude_version: str = "", certificates: Iterable[str] = (), base: str = BASE) -> Recipe:
    """Return the recipe of the image below every session's."""
    files = {path.relative_to(CONTEXT).as_posix(): path.read_bytes() for path in _context()}
    files |= {f"{_CA}host-{number}.crt": text.encode() for number, text in enumerate(certificates)}
    hint = "If the network is at fault, start again once it works."
    return Recipe("Building the image.", files, {"CLAUDE_VERSION": claude_version}, base, hint)


def _context() -> Iterator[Path]:
    """Yield the files of the build context, without those that only make it a Python package."""
    for directory, inner, names in os.walk(CONTEXT):
        inner[:] = [name for name in inner if name != "__pycache__"]
        files = (Path(directory, name) for name in names if not name.endswith(".pyc"))
        yield from (path for path in files if path != CONTEXT / "__init__.py")


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
    title = f"Building the image with these packages: {', '.join(names)}."
    return _layer(base, text, title, "If Debian 12 has no such package, correct the setting `packages`.")


def _layer(base: str, dockerfile: str, title: str, hint: str) -> Recipe:
    """Return a layer on top of ``base`` that keeps what sessions need of it, whatever ``dockerfile`` does."""
    ending = f'USER claude\nENTRYPOINT ["{_ENTRYPOINT}"]\n'
    return Recipe(title, {"Dockerfile": f"{dockerfile}\n{ending}".encode()}, base=base, hint=hint)
