"""``blocked``: what an allowlist has refused to this project's sessions, and what would open it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..console import show
from ..egress import blocked as egress
from ..egress.blocked import Blocked
from ..host import Host
from ..state.current import current_project
from ..text import escape
from ..workspace import Workspace

_REASONS = {
    "name": "not in the allowlist",
    "port": "allowed, but not at this port",
    "dns": "its name was looked up, not in the allowlist",
    "address": "allowed, but it leads to your machine or a local network",
    "malformed": "not a request for a host by its name",
    "lent": "a secret is lent there, and this was not plainly one request for it in HTTP/1.1",
    "certificate": "a secret is lent there, and the host could not be verified",
    "trust": "a secret is lent there, and a program with certificates of its own did not trust the session's",
}


def blocked(host: Host) -> None:
    """Print what was refused to the current project's sessions, those that run included."""
    show("\n".join(lines(egress.blocked(Workspace(host, current_project(host))), host.user_config_file)))


def lines(found: Sequence[Blocked], config: Path) -> Iterator[str]:
    """Yield what was refused, and what to put into the file ``config`` to open it."""
    if not found:
        yield "Nothing was refused to this project's sessions."
        return
    width = max(len(_address(entry)) for entry in found)
    yield "Refused to this project's sessions (times in UTC):"
    for entry in found:
        times = "once" if entry.times == 1 else f"{entry.times} times"
        since = "" if entry.times == 1 else f", since {_minute(entry.first)}"
        reason = _REASONS.get(entry.reason, entry.reason)
        yield escape(f"  {_address(entry):<{width}}  {times}, last {_minute(entry.last)}{since}; {reason}")
    if entries := list(dict.fromkeys(entry.entry for entry in found if entry.entry)):
        yield f"To open what you know and want, in {config} (running sessions notice):"
        yield escape(f"  allow = {json.dumps(entries)}")


def _address(entry: Blocked) -> str:
    return f"{entry.host}:{entry.port}" if entry.port else entry.host


def _minute(moment: str) -> str:
    return moment[:16].replace("T", " ")
