"""Claude's global state in the container: the first-run questions are answered there."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

from ..fs.directory import Directory
from ..fs.lock import lock_directory
from ..text import as_dict, parse_json

GLOBAL_STATE = ".claude.json"
# Where there is one, the client (2.1.332) uses it in place of the other.
LEGACY_STATE = ".config.json"
# The lock that Claude Code takes for its global state, and the directory of the copies that it makes of it.
STATE_LOCK = f"{GLOBAL_STATE}.lock"
BACKUPS = "backups"
# Claude Code remembers an API key, approved or rejected, by its last characters.
KEY_SUFFIX, KEY_ANSWERS = 20, "customApiKeyResponses"
_MOST_KEYS = 200  # one that is lent has a placeholder for each session
# What begins so says that a notice was seen, hasSeenAutoDefaultNotice for instance.
_SEEN = "hasSeen"
_ANSWERED = "hasCompletedOnboarding"
# The client (2.1.332) has room for one notice in its first screen. What it says there of its permission mode is in its
# footer all the time; what there is to say of a session is not.
_FIRST_NOTICE = "hasSeenAutoDefaultNotice"


def skip(config: Directory, api_key: str, host_state: Callable[[], Any] = dict) -> None:
    """Mark the first-run questions as answered, under the lock that Claude Code itself takes.

    The first time, also mark the notices as seen that the user has seen on the host, by ``host_state``: they would take
    the place of what there is to say of a session. A file that is not a JSON object is left to Claude Code, which keeps
    a copy of it.
    """
    if not _onboarded(config, api_key, dict):
        return
    with lock_directory(config, STATE_LOCK) as is_held:
        state = _onboarded(config, api_key, host_state) if is_held else None
        if state:
            with contextlib.suppress(RecursionError):  # nested deeper than can be written
                config.write(GLOBAL_STATE, json.dumps(state, indent=2).encode())


def _onboarded(config: Directory, api_key: str, host_state: Callable[[], Any]) -> dict[str, Any] | None:
    """Return the state with the questions answered; None if nothing is to be changed."""
    content = config.read(GLOBAL_STATE)
    if content is None and config.exists(GLOBAL_STATE):
        return None
    state = parse_json(content) if content and content.strip() else {}
    if not isinstance(state, dict):
        return None
    responses = as_dict(state.get(KEY_ANSWERS))
    approved = responses.get("approved")
    approved = approved if isinstance(approved, list) else []
    suffix = api_key[-KEY_SUFFIX:]
    if state.get(_ANSWERED) is True and (not suffix or suffix in approved):
        return None
    if state.get(_ANSWERED) is not True:
        seen = as_dict(host_state()).items()
        state |= {name: True for name, value in seen if name.startswith(_SEEN) and value is True}
        state[_FIRST_NOTICE] = True
    state[_ANSWERED] = True
    if suffix and suffix not in approved:
        rejected = responses.get("rejected")
        rejected = [key for key in rejected if key != suffix] if isinstance(rejected, list) else []
        approved = [*approved, suffix][-_MOST_KEYS:]
        state[KEY_ANSWERS] = {**responses, "approved": approved, "rejected": rejected}
    return state
