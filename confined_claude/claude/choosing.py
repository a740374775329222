"""What signs in on this host: everything that the decision in ``sign_in`` depends on, found out."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from .. import environment
from ..errors import ConfinedError
from ..fs.directory import Location, read_config
from ..host import Host
from . import host_settings, tokens
from .cloud import AWS_REGIONS
from .sign_in import API_KEY, Chosen, choose
from .source import AWS, Renewal

_PROJECTS_SETTINGS = ("settings.json", "settings.local.json")


def find(host: Host, root: Path | None, config: Location) -> Chosen:
    """Return what signs in for sessions of the project at ``root`` with the Claude config at ``config``.

    No command is run. Raises ConfinedError if CLAUDE_CONFIG_DIR is where sessions can write, and for a record of a
    newer version.
    """
    settings = host_settings.read(host, root)
    has_key = API_KEY in host.environ or API_KEY in settings.env
    refused = tokens.refused_keys(host) if has_key else frozenset()
    chosen = choose(host.environ, settings, refused, tokens.stored(host, config.path))
    if chosen.source is None or chosen.source.form != AWS or any(chosen.environ.get(name) for name in AWS_REGIONS):
        return chosen
    region = _aws_region(host, chosen.source.environ)
    return replace(chosen, environ={**chosen.environ, **({AWS_REGIONS[0]: region} if region else {})})


def renewal(chosen: Chosen, host: Host, root: Path) -> Renewal | None:
    """Run the command that prints the credential, if there is one, in the background."""
    if chosen.source is None:
        return None
    places = tuple(host_settings.writable_by_sessions(host, root))
    return Renewal(chosen.source, host_settings.search_path(host, places))


def set_inside(root: Path, config: Location) -> dict[str, Path]:
    """Return the variables of sign-ins that files which a session can write set, with the file of each.

    These are the settings of the project at ``root`` and of the Claude config at ``config``.
    """
    texts: dict[Path, str | bytes | None] = {}
    with contextlib.suppress(OSError), config.open() as directory:
        texts[config.path / host_settings.SETTINGS] = directory.read(host_settings.SETTINGS)
    for path in (root / ".claude" / name for name in _PROJECTS_SETTINGS):
        with contextlib.suppress(ConfinedError):
            texts[path] = read_config(path)
    return {
        name: path
        for path, text in texts.items()
        for name in host_settings.variables_in(text)
        if environment.is_of_connection(name)
    }


def _aws_region(host: Host, environ: Mapping[str, str]) -> str:
    """Return the region of the AWS profile in use; empty if its configuration names none."""
    import configparser  # only for this

    parser = configparser.RawConfigParser(strict=False)
    profile = environ.get("AWS_PROFILE") or "default"
    with contextlib.suppress(ConfinedError, configparser.Error):
        parser.read_string(read_config(Path(environ.get("AWS_CONFIG_FILE") or host.home / ".aws/config")) or "")
    section = "default" if profile == "default" else f"profile {profile}"
    return parser.get(section, "region", fallback="")
