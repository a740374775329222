"""Profiles: one for each Claude account of the user, with a config, a sign-in and a history of its own.

A profile copies from one Claude config of the host. ``<state>`` remembers which, from the first use of the profile on.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ..errors import ConfinedError
from ..fs.directory import Directory
from ..fs.lock import locked
from ..host import CLAUDE_CONFIG_DIR, Host
from ..settings.specs import PROFILE_NAME
from ..text import normal_path, sha256
from . import store
from .store import state_of

# The one whose data are where versions without profiles kept them.
DEFAULT = "default"
# The setting's word for the profile of the Claude config that the host itself uses.
OF_HOST = "host"
_FILE = "profiles.json"
_LOCK = "profiles.lock"
_SLUG_LENGTH = 22


class Profile(NamedTuple):
    """A profile, and the host's Claude config that it copies from. ``is_new`` if it was never used."""

    name: str
    source: Path
    is_new: bool = False

    def bind(self, host: Host) -> Host:
        """Return ``host`` as this profile sees it: with its own Claude config."""
        if normal_path(host.claude_config.absolute()) == str(self.source):
            return host
        environ = {name: value for name, value in host.environ.items() if name != CLAUDE_CONFIG_DIR}
        # The client keeps some files elsewhere if the variable is set, so for its own default it is not.
        if self.source != host.home / ".claude":
            environ[CLAUDE_CONFIG_DIR] = str(self.source)
        return host._replace(environ=environ)


def find(host: Host, wanted: str) -> Profile:
    """Return the profile ``wanted``, or for ``OF_HOST`` the one of the Claude config that the host uses now.

    A profile that is new copies from the config that CLAUDE_CONFIG_DIR names; without that from ``~/.claude-NAME``, and
    ``DEFAULT`` from ``~/.claude``. Raises ConfinedError for a record of a newer version.
    """
    return _find(host, wanted, _recorded(host))


def known(host: Host) -> list[Profile]:
    """Return the profiles that were used, ``DEFAULT`` first. Raises ConfinedError for a record of a newer version."""
    recorded = _recorded(host)
    names = (DEFAULT, *sorted(name for name in recorded if name != DEFAULT))
    return [Profile(name, recorded.get(name) or _usual_source(host, name)) for name in names]


def remember(host: Host, profile: Profile) -> None:
    """Record what a new profile copies from. Raises ConfinedError if that fails.

    It raises that, too, if another start has given the name to another config at the same moment.
    """
    if not profile.is_new:
        return
    with locked(state_of(host), _LOCK) as state:
        recorded = _read(state)
        if recorded.setdefault(profile.name, profile.source) != profile.source:
            raise ConfinedError(
                f"The profile {profile.name} copies from {recorded[profile.name]}, not from {profile.source}.",
                "Choose another name with --profile.",
            )
        sources = {name: str(source) for name, source in sorted(recorded.items())}
        store.write_json(state, _FILE, {"version": store.VERSION, "profiles": sources})


def forget(host: Host) -> None:
    """Remove the record of all profiles. Raises ConfinedError if that fails."""
    with state_of(host).open_if_exists() as state:
        if state is not None:
            store.write_json(state, _FILE, None)


def _find(host: Host, wanted: str, recorded: Mapping[str, Path]) -> Profile:
    named = host.environ.get(CLAUDE_CONFIG_DIR)
    its_own = Path(normal_path(host.claude_config.absolute()))
    # Where there is no ~/.claude, the only account of many a host is in the directory that the variable names.
    default = recorded.get(DEFAULT)
    is_new_default = default is None and bool(named) and not (host.home / ".claude").is_dir()
    default = default or (its_own if is_new_default else _usual_source(host, DEFAULT))
    if wanted == DEFAULT:
        return Profile(DEFAULT, default, is_new_default)
    if wanted != OF_HOST:
        if wanted in recorded:
            return Profile(wanted, recorded[wanted])
        return Profile(wanted, its_own if named else _usual_source(host, wanted), is_new=True)
    if _is_same(its_own, default):
        return Profile(DEFAULT, default, is_new_default)
    for name, source in sorted(recorded.items()):
        if _is_same(its_own, source):
            return Profile(name, source)
    return Profile(_name_for(its_own, host, recorded), its_own, is_new=True)


def _usual_source(host: Host, name: str) -> Path:
    return host.home / (".claude" if name == DEFAULT else f".claude-{name}")


def _name_for(source: Path, host: Host, recorded: Mapping[str, Path]) -> str:
    """Return the name of the profile of a Claude config that nobody has named: ``work`` for ``~/.claude-work``."""
    name = source.name.removeprefix(".claude-")
    is_free = name not in recorded and name not in (DEFAULT, OF_HOST)
    if is_free and re.fullmatch(PROFILE_NAME, name) and source == _usual_source(host, name):
        return name
    slug = re.sub(r"[^a-z0-9]+", "-", source.name.lower()).strip("-")[:_SLUG_LENGTH].strip("-")
    return f"{slug or 'claude'}-{sha256(os.fsencode(source))[:8]}"


def _is_same(one: Path, other: Path) -> bool:
    return one == other or os.path.realpath(one) == os.path.realpath(other)


def _recorded(host: Host) -> dict[str, Path]:
    with state_of(host).open_if_exists() as state:
        return {} if state is None else _read(state)


def _read(state: Directory) -> dict[str, Path]:
    """Return what each profile on record copies from. Raises ConfinedError for a record of a newer version."""
    return {
        name: Path(source)
        for name, source in store.read_entries(state, _FILE, "profiles").items()
        if re.fullmatch(PROFILE_NAME, name)
        and isinstance(source, str)
        and source.startswith("/")
        and "\0" not in source
    }
