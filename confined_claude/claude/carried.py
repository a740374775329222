"""The user's hooks and MCP servers, as a session has them: read from the host's Claude, translated, never stored.

Their definitions may hold secrets, so they are given as secrets (see ``Launch.secrets``), not through the config that
sessions share. Sign-ins to servers (``mcpOAuth``) stay on the host.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from .. import environment
from ..fs.directory import Location
from ..host import Host
from ..text import as_dict, parse_json
from . import approvals
from .approvals import Item, digest_of
from .host_commands import HostPaths, guarded_words, in_session
from .host_settings import SETTINGS
from .offer import HostConfig

_SETTINGS_BYTES, _STATE_BYTES = 1 << 20, 64 << 20
# It reaches the session in one variable, which may have 128 KiB.
_MOST_BYTES = 100_000
_TOO_LONG = "its definition is too long"
_MOST_SHOWN = 120  # characters
_VARIABLE = r"\$\{(\w+)(?::-([^}]*))?\}"
# Variables of which a session has its own.
_OF_THE_SESSION = frozenset(("HOME", "PATH", "PWD", "USER", "LOGNAME", "SHELL", "TMPDIR", "CLAUDE_PROJECT_DIR"))
_CONFIDENTIAL_OPTION = r"(?i)(-[^=]*(?:key|token|secret|password|auth)[\w-]*)(=?)"
_URL = r"https?://[^\s\"'/]+/[^\s\"']+"
_LOCAL_SERVER = "on your machine, which sessions reach if `host_ports` has its port"


class Carried(NamedTuple):
    """What of the user's hooks and servers a session gets: two JSON texts, empty without any.

    ``servers`` is a file for ``--mcp-config``, ``hooks`` one of managed settings, ``scripts`` are files of the config
    that they need. ``waiting`` counts what the user has not decided on yet.
    """

    servers: str = ""
    hooks: str = ""
    scripts: tuple[str, ...] = ()
    waiting: int = 0


class HostSetup:
    """The settings, hooks and servers of the Claude on ``host``, for sessions in the project at ``project``."""

    def __init__(self, host: Host, project: Path | None = None) -> None:
        self._host = host
        self.paths = HostPaths(host.claude_config, host.home, project)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The user's settings; empty if there are none that can be read."""
        try:
            with HostConfig(self.paths.config, self.paths.home) as config:
                return as_dict(parse_json(config.read(SETTINGS, _SETTINGS_BYTES)))
        except OSError:
            return {}

    @cached_property
    def items(self) -> tuple[Item, ...]:
        """The user's MCP servers and hooks."""
        return (*self._servers(), *self._hooks())

    def carried(self, state: Location) -> Carried:
        """Return what a session gets. Raises ConfinedError for a record of a newer version."""
        if not self.items:
            return Carried()
        decided = approvals.decisions(state)
        chosen = [item for item in self.items if not item.problem and decided.get(item.digest)]
        waiting = sum(not item.problem and item.digest not in decided for item in self.items)
        servers = {item.name: item.inside for item in chosen if not item.place}
        hooks: dict[str, list[Any]] = {}
        for item in chosen:
            if item.place:
                event, matcher = item.place
                hooks.setdefault(event, []).append({"matcher": matcher, "hooks": [item.inside]})
        scripts = tuple(script for item in chosen for script in item.scripts)
        return Carried(_text("mcpServers", servers), _text("hooks", hooks), scripts, waiting)

    # Servers

    def _servers(self) -> Iterator[Item]:
        """Yield the servers of the user's scope; those of a project's are in its files, or in the session's config."""
        state = self._host.claude_state
        found = as_dict(parse_json(Location(state.parent).read(state.name, _STATE_BYTES)))
        for name, definition in as_dict(found.get("mcpServers")).items():
            if isinstance(definition, dict):
                yield self._server(name, definition)

    def _server(self, name: str, definition: Mapping[str, Any]) -> Item:
        used: dict[str, None] = {}
        missing: list[str] = []
        inside = self._expanded(definition, used, missing)
        problems = [f"it needs {', '.join(missing)}, not set here"] if missing else []
        scripts: list[str] = []
        program, words = "", []
        if isinstance(inside.get("command"), str):
            arguments = inside.get("args")
            words = [inside["command"], *(arguments if isinstance(arguments, list) else [])]
            translated = [in_session(str(word), self.paths) for word in words]
            inside |= {"command": translated[0].text, "args": [word.text for word in translated[1:]]}
            program = translated[0].text
        elif isinstance(inside.get("headersHelper"), str):
            translated = [in_session(inside["headersHelper"], self.paths)]
            inside["headersHelper"] = translated[0].text
        else:
            translated = []
        for word in translated:
            scripts += word.scripts
            problems += [word.problem] if word.problem else []
        url = inside.get("url")
        if isinstance(url, str):
            inside["url"] = environment.reachable(url)
        elif not words:
            problems.append("it has neither a command nor a URL")
        if len(json.dumps(inside)) > _MOST_BYTES:
            problems.append(_TOO_LONG)
        digest = digest_of("server", name, definition)
        what = _what_server(definition, url if isinstance(url, str) else "", words, list(used))
        return Item(name, what, digest, inside, "; ".join(problems), tuple(scripts), program)

    def _expanded(self, value: Any, used: dict[str, None], missing: list[str]) -> Any:
        """Return a definition with the values of the host's variables that it names, as a session lacks them.

        The names are added to ``used``, or to ``missing`` if they are not set.
        """
        if isinstance(value, Mapping):
            return {key: self._expanded(inner, used, missing) for key, inner in value.items()}
        if isinstance(value, list):
            return [self._expanded(inner, used, missing) for inner in value]
        if not isinstance(value, str):
            return value

        def content(found: re.Match[str]) -> str:
            name, default = found[1], found[2]
            if name in _OF_THE_SESSION:
                return found[0]
            given = self._host.environ.get(name, default)
            if given is None:
                missing.append(name)
            elif name in self._host.environ:
                used[name] = None
            return given if given is not None else found[0]

        return re.sub(_VARIABLE, content, value)

    # Hooks

    def _hooks(self) -> Iterator[Item]:
        for event, groups in as_dict(self.settings.get("hooks")).items():
            for group in groups if isinstance(groups, list) else ():
                entries = as_dict(group).get("hooks")
                for hook in entries if isinstance(entries, list) else ():
                    if isinstance(hook, dict):
                        matcher = group.get("matcher")
                        yield self._hook(event, matcher if isinstance(matcher, str) else "", hook)

    def _hook(self, event: str, matcher: str, hook: Mapping[str, Any]) -> Item:
        inside = dict(hook)
        scripts: tuple[str, ...] = ()
        problem = program = ""
        does = f"asks a model: {_shortened(str(hook.get('prompt', '')))}"
        if isinstance(command := hook.get("command"), str):
            arguments = hook.get("args")
            words = [str(word) for word in arguments] if isinstance(arguments, list) else []
            translated = [in_session(word, self.paths) for word in (command, *words)]
            inside["command"] = translated[0].guarded
            if words:
                inside |= guarded_words([word.text for word in translated])
            scripts = tuple(script for word in translated for script in word.scripts)
            problem = next((word.problem for word in translated if word.problem), "")
            program = translated[0].program
            does = f"runs `{_shown(command, *words)}`"
        elif isinstance(url := hook.get("url"), str):
            inside["url"] = environment.reachable(url)
            does = f"sends what happens to {_site(url)}"
        if len(json.dumps(inside)) > _MOST_BYTES:
            problem = _TOO_LONG
        digest = digest_of("hook", event, matcher, hook)
        what = f"{event}{f' of {matcher}' if matcher else ''}: {does}"
        return Item(f"hook-{digest[:8]}", what, digest, inside, problem, scripts, program, (event, matcher))


def _text(key: str, value: Mapping[str, Any]) -> str:
    """Return the JSON text of {key: value}, with as many entries as fit into a variable; empty without any."""
    kept: dict[str, Any] = {}
    for name, entry in value.items():
        if len(json.dumps({key: {**kept, name: entry}})) <= _MOST_BYTES:
            kept[name] = entry
    return json.dumps({key: kept}) if kept else ""


def _what_server(definition: Mapping[str, Any], url: str, words: list[str], used: list[str]) -> str:
    """Return in plain words what a server is: names of what may be secret, never values."""
    if words:
        original = definition.get("args")
        shown = [str(definition["command"]), *map(str, original if isinstance(original, list) else ())]
        text = f"runs `{_shown(*shown)}`"
    else:
        text = f"talks to {_site(url)}" if url else "is not understood"
    given = [("with", "env"), ("with the headers", "headers")]
    parts = [f"{words} {', '.join(entries)}" for words, key in given if (entries := as_dict(definition.get(key)))]
    parts += [f"using your variables {', '.join(used)}"] if used else []
    parts += [_LOCAL_SERVER] if environment.is_loopback(url) else []
    return ", ".join((text, *parts))


def _site(url: str) -> str:
    """Return the scheme and host of a URL: the rest may be secret."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "an address that is not understood"
    return f"{parts.scheme}://{parts.hostname or ''}{port}"


def _shown(*words: str) -> str:
    """Return a command for people, without what may be secret: values of options that say so, and paths of URLs."""
    shown, hide = [], False
    for word in " ".join(words).split():
        found = re.match(_CONFIDENTIAL_OPTION, word)
        shown.append("***" if hide else f"{found[1]}=***" if found and found[2] else word)
        hide = bool(found and not found[2]) or word.lower() in ("bearer", "basic")
    return _shortened(re.sub(_URL, lambda found: f"{_site(found[0])}/…", " ".join(shown)))


def _shortened(text: str) -> str:
    return text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN - 1]}…"
