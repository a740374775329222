"""The record of what the allowlist's proxy refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone

from .networks import SELF_TEST

_MOST_ENTRIES = 1000
_LONGEST_TEXT = 255


def _now() -> datetime:
    return datetime.now(timezone.utc)


@dataclass
class _Times:
    first: str
    last: str
    count: int


@dataclass
class Blocked:
    """What was refused, how often, and when.

    The agent decides what is recorded, so the record is bounded, and in printable ASCII only. ``changed`` says
    whether it is to be written.
    """

    clock: Callable[[], datetime] = _now
    changed: bool = False
    _seen: dict[tuple[str, int, str], _Times] = field(default_factory=dict)
    _others: int = 0

    def record(self, host: str, port: int, reason: str) -> None:
        """Count a refusal of ``host`` and ``port`` for ``reason``."""
        if host == SELF_TEST:
            return
        self.changed = True
        key = (_printable(host), port, reason)
        now = self.clock().isoformat(timespec="seconds")
        if times := self._seen.get(key):
            times.last, times.count = now, times.count + 1
        elif len(self._seen) < _MOST_ENTRIES:
            self._seen[key] = _Times(now, now, 1)
        else:
            self._others += 1

    def as_json(self) -> str:
        """Return the record as the host reads it."""
        entries = [
            {"host": host, "port": port, "reason": reason, **vars(times)}
            for (host, port, reason), times in self._seen.items()
        ]
        return json.dumps({"version": 1, "blocked": entries, "others": self._others})


def _printable(text: str) -> str:
    return "".join(character if " " <= character <= "~" else "?" for character in text[:_LONGEST_TEXT])
