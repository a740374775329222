"""A short look, at a project's first start, for what its sessions could read and should not."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from ..claude.offer import SECRET_NAME
from ..errors import ConfinedError
from ..fs.directory import Directory
from ..project import SCAFFOLD
from ..text import escape, named
from . import repository
from .hiding import names_held
from .pins import virtual_environments
from .tree_walk import TooMuch, walk

_MAX_ENTRIES = 50_000
_MAX_SECONDS = 0.3
_MAX_READ = 500  # files
_MAX_BYTES = 64 << 10
_MAX_NAMED = 3
_MAX_PATTERNS = 6
# By their names these may be public: a certificate, a registry's address.
_UNCERTAIN = (".pem", ".key", ".npmrc")
_SETTINGS = frozenset(
    ".json .yml .yaml .toml .ini .cfg .conf .config .properties .txt .xml .sh .tfvars .tfstate .npmrc .pem .key".split()
)
# Keys and tokens by what their makers put at the beginning, so that secret scanners find them.
_CONTENT = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36}|\bgithub_pat_\w{60}"
    rb"|\bglpat-[\w-]{20}|\bsk-ant-[\w-]{20}|\bxox[abprs]-[\w-]{10}|\bAIza[\w-]{35}|\bnpm_[A-Za-z0-9]{36}|_authToken\s*="
)


def remarks(root: Path) -> Iterator[str]:
    """Yield a line that counts what looks like a secret in the project at ``root``, if anything does.

    What git holds does not count. The look is bounded: what is beyond is not counted.
    """
    found: dict[str, str] = {}  # what hides each
    deadline, left = time.monotonic() + _MAX_SECONDS, _MAX_READ
    with contextlib.suppress(TooMuch, ConfinedError):  # the guard says what is wrong
        passed = (SCAFFOLD, *virtual_environments(root))
        for directory, prefix, entries in walk(root, passed, _MAX_ENTRIES, _MAX_SECONDS):
            for entry in entries:
                if time.monotonic() > deadline or not left:
                    raise TooMuch
                if entry.is_file(follow_symlinks=False):
                    name, path = entry.name, prefix + entry.name
                    suffix = os.path.splitext(name)[1].lower() or name.lower()  # noqa: PTH122 - for each file
                    is_named = re.fullmatch(SECRET_NAME, name) is not None
                    if is_named and suffix not in _UNCERTAIN:
                        found[path] = _pattern(name)
                    elif suffix in _SETTINGS:
                        left -= 1
                        if _holds_secret(directory, name):
                            found[path] = _pattern(name) if is_named else path
    with contextlib.suppress(ConfinedError):
        own = repository.find(root)
        for path in names_held(root, own, found)[0]:
            del found[path]
    if found:
        yield _line(found)


def _holds_secret(directory: Directory, name: str) -> bool:
    return any(map(_CONTENT.search, directory.head(name, _MAX_BYTES)))


def _pattern(name: str) -> str:
    """Return the entry of ``hide`` for a file that is known by its name."""
    if name.lower().startswith(".env"):
        return ".env*"
    suffix = os.path.splitext(name)[1]  # noqa: PTH122
    return f"*{suffix}" if suffix.lower() in (".env", ".pem", ".key", ".p12", ".pfx", ".jks", ".keystore") else name


def _line(found: dict[str, str]) -> str:
    entries = list(dict.fromkeys(found.values()))[:_MAX_PATTERNS]
    setting = ", ".join(f'"{entry}"' for entry in entries)
    what = "1 file looks like a secret" if len(found) == 1 else f"{len(found)} files look like secrets"
    where = named([*found], _MAX_NAMED)
    return escape(f"{what} that sessions can read: {where}. The setting hide = [{setting}] hides them.")
