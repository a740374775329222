"""What the content of a file says that matters for a verdict: settings in JSON, and lines that protect. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from . import othervcs
from .rule_table import Rule
from .snapshot import Item

_ALL_COMMANDS = frozenset(("*", "Bash", "Bash(*)", "Bash(:*)"))
# Claude Code writes these when the user allows a command for good.
_PERMISSION_LISTS = frozenset(("allow", "deny", "ask"))
# The fields of a package.json that run nothing.
_SCRIPTLESS = frozenset(
    """name version description keywords homepage bugs license author contributors funding repository private type
    dependencies devDependencies peerDependencies peerDependenciesMeta optionalDependencies bundledDependencies
    bundleDependencies engines os cpu files""".split()
)
_MAX_LINE = 60
_MAX_LINES = 3
# The digests of lock files: only whether they have hashes counts.
HASHED = hashlib.sha256(b"hashed").hexdigest()
UNHASHED = hashlib.sha256(b"unhashed").hexdigest()


def whole(item: Item) -> bytes:
    """Return the content of a file. Raises ValueError if it is too large for a snapshot."""
    if item.content is None:
        raise ValueError("too large")
    return item.content


def is_harmless(path: str, old: Item | None, item: Item, root: str) -> bool:
    """Return whether a file of the project at ``root`` runs and leads to nothing, by what it says."""
    if path.rpartition("/")[2].lower() == "package.json":
        return not runs_others(old, item)
    return old is None and item.content is not None and othervcs.is_plain(path, item.content, root)


# JSON


def runs_others(old: Item | None, item: Item) -> bool:
    """Return whether two files package.json differ in what they run."""
    return _differ(old, item, _SCRIPTLESS)


def allows_more(old: Item | None, item: Item) -> bool:
    """Return whether settings of Claude Code allow what is not in a list of commands, or deny less."""
    if _differ(old, item, frozenset(("permissions",))):
        return True
    others = _without(_PERMISSION_LISTS, _permissions(old)) != _without(_PERMISSION_LISTS, _permissions(item))
    return others or _allows_all(item) > _allows_all(old) or bool(_denied(old) - _denied(item))


def _differ(old: Item | None, item: Item, harmless: frozenset[str]) -> bool:
    """Return whether two JSON objects differ in more than the ``harmless`` keys, or either is no JSON object."""
    one, other = _json_object(old), _json_object(item)
    return one is None or other is None or _without(harmless, one) != _without(harmless, other)


def _without(keys: frozenset[str], value: Mapping[str, Any]) -> dict[str, Any]:
    return {key: inner for key, inner in value.items() if key not in keys}


def _permissions(item: Item | None) -> Mapping[str, Any]:
    permissions = (_json_object(item) or {}).get("permissions", {})
    return permissions if isinstance(permissions, dict) else {"": permissions}


def _allows_all(item: Item | None) -> bool:
    """Return whether any command is allowed without a question."""
    return not _ALL_COMMANDS.isdisjoint(_listed(item, "allow"))


def _denied(item: Item | None) -> set[tuple[str, str]]:
    return {(kind, one) for kind in ("deny", "ask") for one in _listed(item, kind)}


def _listed(item: Item | None, kind: str) -> list[str]:
    value = _permissions(item).get(kind)
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _json_object(item: Item | None) -> Mapping[str, Any] | None:
    """Return the JSON object in a file, an empty one if there is no file; None if it is no JSON object."""
    if item is None:
        return {}
    try:
        value = json.loads(whole(item))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


# Lines that protect


def lock_digest(rule: Rule, content: bytes) -> str:
    """Return the digest of a lock file."""
    return HASHED if re.search(rule.lines.encode(), content.lower()) else UNHASHED


def keeps(rule: Rule, old: Item) -> bool:
    """Return whether a file keeps anything up that ends if it is removed."""
    return rule.is_lock or not rule.lines or old.content is None or bool(_lines(rule, old.content))


def lost(rule: Rule, old: Item | None, item: Item) -> str:
    """Return in words what a changed file keeps up no longer; nothing if that is all the same, or was not there."""
    if old is None:
        return ""
    if rule.is_lock:
        return "no hashes any more" if (old.digest, item.digest) == (HASHED, UNHASHED) else ""
    if not rule.lines or old.content is None:
        return "empty" if old.content != b"" and item.content == b"" else ""
    if item.content is None:
        return "too large to be compared"
    known = _lines(rule, item.content)
    gone = [line for line in _lines(rule, old.content) if line not in known]
    # In a list of what to ignore, such a line takes something out again.
    gone += [line for line in known if line.startswith("!") and line not in _lines(rule, old.content)]
    if not gone:
        return ""
    names = [line if len(line) <= _MAX_LINE else f"{line[:_MAX_LINE]}…" for line in gone[:_MAX_LINES]]
    return f"without {', '.join(map(repr, names))}" + (" and more" if len(gone) > _MAX_LINES else "")


def _lines(rule: Rule, content: bytes) -> dict[str, None]:
    """Return the lines of a file that keep something up, without blanks and comments, in their order."""
    lines = (line.strip() for line in content.decode("utf-8", "surrogateescape").splitlines())
    return dict.fromkeys(line for line in lines if line and line[0] not in "#;" and re.search(rule.lines, line.lower()))
