"""What the host's Claude settings say of the sign-in: the user's and the managed ones, never those of a project.

What a session could have written is not used: its ``env`` would redirect a sign-in, its helper would run on the host.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from ..environment import cloud_in, is_of_connection
from ..errors import ConfinedError
from ..fs.directory import read_config
from ..fs.identity import ways
from ..host import CLAUDE_CONFIG_DIR, Host
from ..state import projects
from ..state.store import records_of, state_of
from ..system import CLAUDE_MANAGED
from ..text import as_dict, normal_path, parse_json
from .source import Failed

SETTINGS = "settings.json"
# The settings that are commands which print a credential.
KEY_HELPER, AWS_HELPER = "apiKeyHelper", "awsCredentialExport"
# Those that sign in to a cloud, with a browser most often: they are named, never run.
AWS_REFRESH, GCP_REFRESH = "awsAuthRefresh", "gcpAuthRefresh"
_COMMANDS = (KEY_HELPER, AWS_HELPER, AWS_REFRESH, GCP_REFRESH)
_HOME = r"^(~|\$HOME|\$\{HOME\})(?=/|$)"
_LIMIT_BYTES = 1 << 20


class HostSettings(NamedTuple):
    """What they say.

    ``env`` are their variables, ``helpers`` their commands around credentials by name of the setting. ``problems`` are
    lines on what is not used, and why.
    """

    env: Mapping[str, str] = MappingProxyType({})
    helpers: Mapping[str, str] = MappingProxyType({})
    problems: tuple[str, ...] = ()


def read(host: Host, written: Iterable[Path] = (), managed: Path = CLAUDE_MANAGED) -> HostSettings:
    """Return what the settings of ``host`` say for a session that writes to ``written``; managed ones win.

    Raises ConfinedError if CLAUDE_CONFIG_DIR is where a session can write.
    """
    problems: list[str] = []
    own = host.claude_config / SETTINGS
    places = cache(lambda: tuple(writable_by_sessions(host, written)))
    if host.environ.get(CLAUDE_CONFIG_DIR) and (place := within(host.claude_config, places())):
        raise ConfinedError(
            f"CLAUDE_CONFIG_DIR is in {place}, where sessions can write: nothing of it can be trusted.",
            "Move that directory elsewhere, or unset the variable.",
        )
    env: dict[str, str] = {}
    helpers: dict[str, str] = {}
    files: list[tuple[Path, dict[str, str], dict[str, str]]] = []
    for path in (own, managed / "managed-settings.json", *sorted(_listed(managed / "managed-settings.d"))):
        found = _parsed(path, problems)
        commands = {name: text for name, text in _strings(found).items() if name in _COMMANDS}
        files.append((path, _strings(found.get("env")), commands))
    # A program that signs in gets all variables, and any may lead it elsewhere. Otherwise nobody asks for them.
    if cloud_in(host.environ) is None and not any(
        commands or any(map(is_of_connection, variables)) for _, variables, commands in files
    ):
        return HostSettings(problems=tuple(problems))
    for path, variables, commands in files:
        if (variables or commands) and (place := within(path, places())):
            problems.append(f"{path} is in {place}, where sessions can write: its sign-in is not used.")
        else:
            env |= variables
            helpers |= commands
    for name, command in list(helpers.items()):
        if place := leads_into(command, host, places()):
            problems.append(f"{name} runs what is in {place}, where sessions can write: it is not run.")
            del helpers[name]
    return HostSettings(env, {name: text for name, text in helpers.items() if text.strip()}, tuple(problems))


def variables_in(settings: Mapping[str, Any]) -> frozenset[str]:
    """Return the names of the variables that ``settings`` set, whatever their values: Claude Code converts those."""
    return frozenset(as_dict(settings.get("env")))


def writable_by_sessions(host: Host, written: Iterable[Path]) -> Iterator[Path]:
    """Yield the real paths of the directories that sessions can write.

    These are all projects, what is mounted beside them, and what they share; ``written`` are those of the session at
    hand. Raises ConfinedError if they cannot be listed.
    """
    from ..guard import beside  # few hosts need any of this

    known = projects.projects(state_of(host))
    mounted = [path for each in known for path in beside.roots(records_of(host, each.id))]
    for path in (*written, host.data, *(each.root for each in known), *mounted):
        if path is not None:
            yield Path(os.path.realpath(path))


def within(path: Path, places: tuple[Path, ...]) -> Path | None:
    """Return the first of ``places`` that ``path``, or what is looked up on its way, is in; None if it is in none."""
    for each in (normal_path(path), *ways(path)):
        for place in places:
            if f"{each}/".startswith(f"{place}/"):
                return place
    return None


def search_path(host: Host, places: tuple[Path, ...]) -> str:
    """Return the caller's PATH without relative entries and those where sessions can write."""
    return os.pathsep.join(
        entry
        for entry in host.path or tuple(os.defpath.split(os.pathsep))
        if entry.startswith("/") and not within(Path(entry), places)
    )


def path_for(command: str | tuple[str, ...], host: Host, written: Iterable[Path]) -> str:
    """Return the PATH on which ``command`` may run now; raise Failed if sessions can write where it leads.

    Raises ConfinedError if nobody can tell where they can write, which other sessions change at any time.
    """
    places = tuple(writable_by_sessions(host, written))
    if place := leads_into(command if isinstance(command, str) else shlex.join(command), host, places):
        raise Failed(f"runs what is in {place}, where sessions can write, so it is not run")
    return search_path(host, places)


def leads_into(command: str, host: Host, places: tuple[Path, ...]) -> Path | None:
    """Return the first of ``places`` that a word of a shell command is a path into; None if there is none.

    What a script runs in turn is not known.
    """
    import shutil  # few hosts have such a command
    from string import Template

    try:
        words = shlex.split(command)
    except ValueError:
        words = command.split()
    for word in words:
        # A word may be a script itself, and a path may have blanks.
        for part in (*re.split(r"[=:;|&<>()`]", word), *re.split(r"[\s=:;|&<>()`'\"]", word)):
            text = Template(re.sub(_HOME, lambda _: str(host.home), part)).safe_substitute(host.environ)
            found = text if "/" in text else shutil.which(text, path=search_path(host, places)) or ""
            if found.startswith("/") and (place := within(Path(found), places)):
                return place
    return None


def _parsed(path: Path, problems: list[str]) -> Mapping[str, Any]:
    """Return the settings in a file; none, and a line in ``problems``, for one that cannot be read."""
    try:
        text = read_config(path, _LIMIT_BYTES)
    except ConfinedError as error:
        problems.append(f"{error.message} Its sign-in is not used.")
        return {}
    if text is None or not text.strip():
        return {}
    parsed = parse_json(text)
    if not isinstance(parsed, dict):
        problems.append(f"{path} is no JSON object: its sign-in is not used.")
        return {}
    return parsed


def _strings(value: Any) -> dict[str, str]:
    """Return the entries of a JSON object that are text, or numbers and switches as Claude Code takes them."""
    texts = {name: str(each).lower() if isinstance(each, bool) else each for name, each in as_dict(value).items()}
    return {name: str(each) for name, each in texts.items() if isinstance(each, (str, int)) and "\0" not in str(each)}


def _listed(directory: Path) -> list[Path]:
    try:
        return [path for path in directory.iterdir() if path.suffix == ".json" and not path.name.startswith(".")]
    except OSError:
        return []
