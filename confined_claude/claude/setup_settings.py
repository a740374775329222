"""The user's ``settings.json`` as a container's config gets it, once. Pure, except for a look at paths."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from ..environment import is_of_connection
from .host_commands import HostPaths, in_session
from .host_settings import AWS_HELPER, AWS_REFRESH, GCP_REFRESH, KEY_HELPER

# Commands that Claude Code runs for its screen: as the host's, with paths as they are inside.
_COMMANDS = ("statusLine", "subagentStatusLine", "fileSuggestion")
_NOT_INSIDE = {
    "sandbox": "the container is the sandbox",
    "companyAnnouncements": "Claude shows one at random, and what there is to say of a session has its place",
    **dict.fromkeys(
        (KEY_HELPER, AWS_REFRESH, AWS_HELPER, GCP_REFRESH, "otelHeadersHelper", "proxyAuthHelper"),
        "it is for your machine: each session is signed in anew",
    ),
}
_CONFIDENTIAL = r"(?i).*(token(?!s)|secret|passw|credential|api_?key|_key\b|auth|cookie|headers)"
_OF_THE_SESSION = r"HOME|PATH|SHELL|TMPDIR|USER|LOGNAME|CLAUDE_CONFIG_DIR|CONFINED_CLAUDE_.*"


class SettingsCopy:
    """What of the settings is copied, the scripts that this needs, and what is left out, with the reason."""

    def __init__(self, content: dict[str, Any]) -> None:
        self.content = content
        self.scripts: list[str] = []
        self.left_out: dict[str, str] = {}


def copy_of(settings: Mapping[str, Any], paths: HostPaths) -> SettingsCopy:
    """Return what a container's config gets of the user's settings; hooks are each allowed, and given to a session."""
    copy = SettingsCopy({name: value for name, value in settings.items() if name != "hooks"})
    for name, reason in _NOT_INSIDE.items():
        if copy.content.pop(name, None) is not None:
            copy.left_out[name] = reason
    for name in _COMMANDS:
        value = copy.content.get(name)
        if isinstance(value, dict) and isinstance(value.get("command"), str):
            inside = in_session(value["command"], paths)
            if inside.problem:
                del copy.content[name]
                copy.left_out[name] = inside.problem
            else:
                copy.content[name] = {**value, "command": inside.text}
                copy.scripts += inside.scripts
    variables = copy.content.get("env")
    if isinstance(variables, dict):
        kept = {}
        for name, value in variables.items():
            if reason := _reason(name, value):
                copy.left_out[f"env.{name}"] = reason
            else:
                kept[name] = value
        copy.content["env"] = kept
    return copy


def without_hooks_of_0_1(inside: Any, theirs: Mapping[str, Any]) -> bytes | None:
    """Return a config's settings ``inside`` without the hooks that version 0.1 copied; None if they have none.

    It left their scripts on the host, so that every call of a tool was refused. They wait for the user's decision, as
    all hooks do.
    """
    if not isinstance(inside, dict) or not inside.get("hooks") or inside["hooks"] != theirs.get("hooks"):
        return None
    return text_of({name: value for name, value in inside.items() if name != "hooks"})


def text_of(settings: Mapping[str, Any]) -> bytes:
    """Return the text of a file with ``settings``."""
    return (json.dumps(settings, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "replace")


def _reason(name: str, value: object) -> str:
    """Return why a variable of the settings is left out; empty if it is not."""
    if is_of_connection(name):
        return "each session has your machine's, as it is then"
    if re.match(_CONFIDENTIAL, name):
        return "it looks like a secret, and the config is shared by sessions"
    if re.fullmatch(_OF_THE_SESSION, name):
        return "the session has its own"
    if name.endswith("_URL") or (isinstance(value, str) and value.startswith(("/", "~/"))):
        return "it names a place that is your machine's"
    return ""
