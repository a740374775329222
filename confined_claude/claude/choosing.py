"""What signs in on this host: everything that the decision in ``sign_in`` depends on, found out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

from .. import environment
from ..errors import ConfinedError
from ..fs.directory import Location, read_config
from ..host import Host
from ..text import parse_json
from . import host_settings, tokens
from .cloud import AWS_REGIONS
from .onboarding import GLOBAL_STATE, LEGACY_STATE
from .sign_in import API_KEY, Chosen, choose
from .source import AWS, Renewal, Source

_CLAUDES, _PROJECTS_SETTINGS = ".claude", (host_settings.SETTINGS, "settings.local.json")
_NAME_LENGTH, _MOST_OTHERS = 64, 100


def find(host: Host, written: Iterable[Path], config: Location, *, is_lent: bool = False) -> Chosen:
    """Return what signs in for sessions that write to ``written`` and have the Claude config at ``config``.

    ``is_lent`` says whether they are lent it. No command is run. Raises ConfinedError if CLAUDE_CONFIG_DIR is where
    sessions can write, and for a record of a newer version.
    """
    settings = host_settings.read(host, written)
    has_key = API_KEY in host.environ or API_KEY in settings.env
    refused = tokens.refused_keys(host) if has_key else frozenset()
    chosen = choose(host.environ, settings, refused, tokens.stored(host, config.path))._replace(is_lent=is_lent)
    if chosen.source is None or chosen.source.form != AWS or any(chosen.environ.get(name) for name in AWS_REGIONS):
        return chosen
    region = _aws_region(host, chosen.source.environ)
    return chosen._replace(environ={**chosen.environ, **({AWS_REGIONS[0]: region} if region else {})})


def renewal(source: Source, host: Host, written: Iterable[Path], value: str = "") -> Renewal:
    """Return what runs the command of ``source``, at once unless it has printed ``value``; no session can change it."""
    return Renewal(source, partial(host_settings.path_for, source.command, host, tuple(written)), value)


def set_inside(root: Path, workdir: Path, config: Location, environ: Mapping[str, str]) -> dict[str, Path]:
    """Return the variables that could lead a sign-in elsewhere and are set in files that a session can write.

    These are the settings of the project at ``root``, of the directory in it that the session begins in, ``workdir``,
    and the Claude config at ``config``; ``environ`` has the session's sign-in. Each comes with its file. What this
    process may read in another way than Claude Code (2.1.332), which follows links inside, repairs text and has numbers
    of any length, counts as setting all of them.
    """
    cloud = environment.cloud_in(environ)
    known = environment.known_to_lead(cloud)
    places = [(config, name) for name in (host_settings.SETTINGS, GLOBAL_STATE, LEGACY_STATE)]
    for inner in dict.fromkeys(((), workdir.relative_to(root).parts)):
        places += [(Location(root, (*inner, _CLAUDES)), name) for name in _PROJECTS_SETTINGS]
    found: dict[str, Path] = {}
    for location, name in places:
        names = _variables_in(location, name)
        leading = known if names is None else {each for each in names if environment.leads_sign_in(each, cloud)}
        # Others that match a pattern are of later versions, or of none: only so many of them are listed.
        others = sorted(each for each in leading - known if len(each) <= _NAME_LENGTH)[:_MOST_OTHERS]
        found |= dict.fromkeys((*(leading & known), *others), location.path / name)
    return found


def _variables_in(location: Location, name: str) -> frozenset[str] | None:
    """Return the names of the variables that a file with settings sets; None if that cannot be told for certain."""
    try:
        with location.open() as directory:
            if not directory.exists(name):
                return frozenset()
            parsed = parse_json(directory.read(name))
    except FileNotFoundError:
        return frozenset()
    except OSError:
        return None
    return host_settings.variables_in(parsed) if isinstance(parsed, dict) else None


def _aws_region(host: Host, environ: Mapping[str, str]) -> str:
    """Return the region of the AWS profile in use; empty if its configuration names none."""
    import configparser  # only for this

    parser = configparser.RawConfigParser(strict=False)
    profile = environ.get("AWS_PROFILE") or "default"
    with contextlib.suppress(ConfinedError, configparser.Error):
        parser.read_string(read_config(Path(environ.get("AWS_CONFIG_FILE") or host.home / ".aws/config")) or "")
    section = "default" if profile == "default" else f"profile {profile}"
    return parser.get(section, "region", fallback="")
