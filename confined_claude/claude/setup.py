"""The user's own setup of Claude: what the container's config begins with."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

from ..environment import is_of_connection
from ..text import parse_json
from .host_settings import SETTINGS

# What the first start copies.
_SETTINGS = ("settings.json", "CLAUDE.md", "agents", "commands", "output-styles", "rules", "skills")
_LIMIT_BYTES = 64 << 20
_HELPERS = ("apiKeyHelper", "awsAuthRefresh", "awsCredentialExport", "gcpAuthRefresh")


def copy(source: Path, target: Path) -> None:
    """Copy the setup in the Claude config ``source`` into the new directory ``target``. Raises OSError."""
    for name in _SETTINGS:
        _copy_readable(source / name, target / name)
    if (settings := target / SETTINGS).is_file():
        _leave_out_sign_in(settings)


def _leave_out_sign_in(settings: Path) -> None:
    """Take out of ``settings`` what signs in: each session gets that of the host, by itself."""
    content = parse_json(settings.read_bytes())
    if not isinstance(content, dict):
        return
    variables = content.get("env")
    if isinstance(variables, dict):
        content["env"] = {name: value for name, value in variables.items() if not is_of_connection(name)}
    kept = {name: value for name, value in content.items() if name not in _HELPERS}
    if kept != parse_json(settings.read_bytes()):
        settings.write_text(json.dumps(kept, indent=2))


def _copy_readable(source: Path, target: Path, above: frozenset[Path] = frozenset()) -> None:
    """Copy a file, or a directory's files, with links resolved; skip what cannot be read.

    ``above`` are the real directories on the way down: a link back to one of them ends there.
    """
    if _is_directory(source):
        real = Path(os.path.realpath(source))
        if real not in above:
            target.mkdir(mode=0o700)
            for entry in _listed(source):
                _copy_readable(entry, target / entry.name, above | {real})
        return
    try:
        status = source.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > _LIMIT_BYTES:
            return
        content = source.read_bytes()
    except OSError:
        return
    target.write_bytes(content)
    target.chmod(0o600 | (status.st_mode & 0o100))


def _is_directory(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # in a directory that may not be searched
        return False


def _listed(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except OSError:
        return []
