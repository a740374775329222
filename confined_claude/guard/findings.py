"""What changed in a project between two looks, and what the host would do with it. Pure."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Any

from . import gitfiles
from .rules import Matcher
from .scan import (
    GIT_FILE,
    GIT_LINK,
    GITLINK,
    LINK,
    PACKAGES,
    POINTER,
    REPOSITORY,
    SETID,
    SPECIAL,
    UNSEEN,
    Item,
    Snapshot,
    inside,
    key_of,
)

# What there was is kept for so many findings; each may be 64 KiB. None is left out.
_TASKS_PACKAGE = "tasks/__init__.py"
_ALL_COMMANDS = frozenset(("*", "Bash", "Bash(*)", "Bash(:*)"))
MOST_WHOLE = 500

_SYSTEM = ("/usr/", "/bin/", "/sbin/", "/lib/", "/lib64/", "/opt/", "/nix/store/")
_SCRIPTLESS = frozenset(
    """name version description keywords homepage bugs license author contributors funding repository private type
    dependencies devDependencies peerDependencies peerDependenciesMeta optionalDependencies bundledDependencies
    bundleDependencies engines os cpu files""".split()
)


@dataclass(frozen=True)
class Finding:
    """A change that the host could run, or be led astray by.

    ``red`` acts by itself or at a routine command; ``runs`` is what would act, ``why`` what there is.
    ``before`` and ``after`` are contents as far as they are kept, with the digests of all of it
    (empty: there was nothing). ``session`` and ``since`` (epoch seconds) say whose it is.
    """

    path: str
    kind: str
    red: bool
    runs: str
    why: str
    before: bytes | None
    after: bytes | None
    digest_before: str
    digest_after: str
    session: str = ""
    since: float = 0.0

    @property
    def key(self) -> str:
        """What it is called in a snapshot."""
        return key_of(self.path, self.kind)


@dataclass(frozen=True)
class Context:
    """What a judgement needs beside the two looks.

    ``lost`` are kept paths that the host itself replaced meanwhile, which ends their protection;
    ``held`` are the others: no session has changed what is there, but for what is ``opened`` in it.
    ``git_folders`` what git takes settings from by rights, by path as in a snapshot. ``nowhere``
    are folders that containers have and this machine has not.
    """

    root: str
    matcher: Matcher
    lost: frozenset[str] = frozenset()
    held: tuple[str, ...] = ()
    opened: tuple[str, ...] = ()
    git_folders: frozenset[str] = frozenset()
    nowhere: tuple[str, ...] = ()
    session: str = ""
    since: float = 0.0
    looked_through: frozenset[str] = frozenset()
    submodules: frozenset[str] = frozenset()


# What a path in git's folders has in it, and what that means.
_GIT_PARTS = (
    ("/hooks/", "git, at the command it is named after", "{new} hook"),
    ("/.git/remotes/", "git, at a fetch or push", "{new}: a remote in an old form"),
    ("/.git/branches/", "git, at a fetch or push", "{new}: a remote in an old form"),
    ("/git-rebase-todo", "git rebase --continue", "runs commands"),
    ("/commondir", "git", "{new}: leads git to the settings and hooks of {text!r}"),
    ("/info/attributes", "git, with filters and drivers of your settings", "{new} attributes"),
)


def audit(before: Snapshot, after: Snapshot, context: Context) -> list[Finding]:
    """What is new or changed in ``after`` and matters, red first, by path."""
    everywhere = replace(context, looked_through=frozenset(after.git_folders))
    submodules = {
        path.removesuffix("/.git")
        for path, item in after.items.items()
        if item.kind == POINTER and _judge_pointer(path, item, everywhere) is None
    }
    everywhere = replace(everywhere, submodules=frozenset(submodules))
    held = tuple(f"{path}/" for path in context.held)
    opened = tuple(f"{path}/" for path in context.opened)
    found = []
    for key, item in after.items.items():
        path = key.partition("\0")[0]
        old = before.items.get(key)
        if old is not None and (old.kind, old.digest) == (item.kind, item.digest):
            continue
        is_held = f"{path}/".startswith(held) and not f"{path}/".startswith(opened)
        if is_held and not (old is not None and old.shared):
            continue
        if verdict := _judge(path, old, item, everywhere):
            red, runs, why = verdict
            if path in context.lost:
                why += "; it was replaced on this machine meanwhile, which ended its protection"
            found.append(
                Finding(
                    path,
                    item.kind,
                    red,
                    runs,
                    why,
                    old.content if old is not None and old.kind == item.kind else None,
                    item.content,
                    "" if old is None else old.digest,
                    item.digest,
                    context.session,
                    context.since,
                )
            )
    found.sort(key=lambda finding: (not finding.red, finding.path))
    found[MOST_WHOLE:] = [replace(finding, before=None, after=None) for finding in found[MOST_WHOLE:]]
    return found


_Verdict = tuple[bool, str, str]
_PLAIN: Mapping[str, _Verdict] = {
    UNSEEN: (True, "", "not looked through: {text}"),
    SETID: (True, "whoever starts it", "runs with your rights for everybody (setuid or setgid, {text})"),
    SPECIAL: (False, "a program that reads it", "a FIFO, socket or device"),
    PACKAGES: (False, "npm, Python or an editor that uses them", "packages changed"),
    GITLINK: (True, "git, at git status", "{new}: the index has it as a repository of its own"),
    GIT_LINK: (True, "git, which reads or writes through it", "{new} link to {text!r}"),
}


def _judge(path: str, old: Item | None, item: Item, context: Context) -> _Verdict | None:
    """(red, what runs it, what it is), None for what does not matter."""
    new = "new" if old is None else "changed"
    if item.kind in _PLAIN:
        red, runs, why = _PLAIN[item.kind]
        if item.kind == GITLINK:
            owner, _, inner = path.partition("/index: ")
            # In other repositories one stands on purpose; a submodule's settings lie with the repository's.
            red = owner in context.git_folders and inner not in context.submodules
        return red, runs, why.format(new=new, text=_text(item.content))
    if item.kind == REPOSITORY:
        return None if path in context.git_folders else (False, "git, run inside", f"{new}: a repository of its own")
    if item.kind == POINTER:
        return _judge_pointer(path, item, context)
    if item.kind == LINK:
        return _judge_link(path, item, new, context)
    if item.kind == GIT_FILE:
        return _judge_git(path, old, item, new, context)
    return _judge_rule(path, old, item, new, context)


def _judge_pointer(path: str, item: Item, context: Context) -> _Verdict | None:
    target = gitfiles.pointer(item.content or b"")
    if target is None:
        return True, "git", "a .git file that names no folder"
    place = _place(path, target, context)
    names = [name for name in target.split("/") if name not in ("", ".")]
    turns = ".." in names[sum(1 for _ in takewhile("..".__eq__, names)) :]
    relative = place.removeprefix(context.root + "/")
    looked = context.looked_through
    belongs = any(relative.startswith((f"{folder}/modules/", f"{folder}/worktrees/")) for folder in looked)
    own = belongs and relative in looked and not turns  # a name that is turned back from may be a link
    if own:
        return None
    return True, "git, run inside", f"leads git to {target!r}, whose settings and hooks it follows"


def _judge_link(path: str, item: Item, new: str, context: Context) -> _Verdict:
    target = _text(item.content).partition("\0")[0]
    prefix = path.rpartition("/")[0]
    *parents, last = path.lower().split("/")
    rule = context.matcher.of(path.split("/"), folder=False) or context.matcher.find_link(last, parents)
    leads_out = inside(Path(context.root), prefix, target) is None
    # The system's own files are no secret, and only root can write them.
    harmless = not leads_out or os.path.normpath(target).startswith((*_SYSTEM, *context.nowhere))
    if rule is not None:
        return rule.red or not harmless, rule.runs, f"{new} link to {target!r}"
    if not leads_out:
        return True, "git", f"{new} link to {target!r}"
    return not harmless, "what reads or writes there", f"{new} link out of the project, to {target!r}"


def _judge_git(path: str, old: Item | None, item: Item, new: str, context: Context) -> _Verdict | None:
    name = path.rpartition("/")[2]
    if name in ("config", "config.worktree") and "/hooks/" not in f"/{path}":
        return _judge_config(path, old, item, new, context)
    for part, runs, why in _GIT_PARTS:
        if part in f"/{path}":
            return True, runs, why.format(new=new, text=_text(item.content).strip())
    # An index that cannot be read and could not before is one that this tool does not know, a sparse one say.
    return old is None, "git, at git status", f"{new}, and cannot be read"


def _judge_config(path: str, old: Item | None, item: Item, new: str, context: Context) -> _Verdict | None:
    runs = "git, at its next command"
    try:
        settings = gitfiles.parse_config(_whole(item))
        before = gitfiles.parse_config(_whole(old)) if old is not None and old.kind == GIT_FILE else []
    except ValueError:
        return True, runs, f"{new} settings that cannot be read"
    known = set(before)
    harmful = [
        key
        for key, value in settings
        if (key, value) not in known
        and not gitfiles.is_harmless(key, value)
        and not _is_own_worktree(path, key, value, context)
    ]
    known_remotes = gitfiles.stray_remotes(before)
    harmful += [f"remote.{name}" for name in gitfiles.stray_remotes(settings) if name not in known_remotes]
    # A remote that no setting names is a path: git pushes to the repository there, and runs its hooks.
    stray = set(gitfiles.stray_remotes(settings)) - set(gitfiles.stray_remotes(before))
    harmful += [f"{name} for a remote, which is a folder" for name in sorted(stray)]
    if not harmful:
        return None
    return True, runs, f"sets {', '.join(dict.fromkeys(harmful))}"


def _is_own_worktree(path: str, key: str, value: str, context: Context) -> bool:
    """Whether a submodule's settings name a work tree in the project, as git writes it."""
    if key != "core.worktree" or "/modules/" not in path:
        return False
    place = _place(path, value, context)
    return place.startswith(context.root + "/") and ".git" not in place[len(context.root) :].split("/")


def _judge_rule(path: str, old: Item | None, item: Item, new: str, context: Context) -> _Verdict | None:
    rule = context.matcher.of(path.split("/"), folder=False)
    if rule is None:
        return None
    name = path.rpartition("/")[2].lower()
    if name == "package.json" and not _differ(old, item, _SCRIPTLESS):
        return None
    red = rule.red
    if path == _TASKS_PACKAGE:
        red = b"invoke" in (item.content or b"invoke")
    if name == "settings.local.json" and not _differ(old, item, frozenset(("permissions",))):
        # What Claude Code writes when it is told to allow a command for good.
        others = {"allow", "deny", "ask"}
        red = _permissions(old, others) != _permissions(item, others) or _allows_all(item) > _allows_all(old)
    return red, rule.runs, new


def _differ(old: Item | None, item: Item, harmless: frozenset[str]) -> bool:
    """Whether two JSON objects differ in more than the ``harmless`` keys; so they do if one is none."""
    values = []
    for one in (old, item):
        value = _object(one)
        if value is None:
            return True
        values.append({key: inner for key, inner in value.items() if key not in harmless})
    return values[0] != values[1]


def _permissions(item: Item | None, harmless: set[str]) -> Any:
    permissions = (_object(item) or {}).get("permissions", {})
    if not isinstance(permissions, dict):
        return permissions
    return {key: value for key, value in permissions.items() if key not in harmless}


def _allows_all(item: Item | None) -> bool:
    """Whether any command is allowed without a question."""
    permissions = (_object(item) or {}).get("permissions")
    allowed = permissions.get("allow") if isinstance(permissions, dict) else None
    return isinstance(allowed, list) and any(isinstance(one, str) and one in _ALL_COMMANDS for one in allowed)


def _object(item: Item | None) -> Mapping[str, Any] | None:
    """The JSON object of a file, an empty one for no file; None for what is none."""
    if item is None:
        return {}
    try:
        value = json.loads(_whole(item))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _place(path: str, target: str, context: Context) -> str:
    """Where ``target``, named in the file at ``path``, is by its names."""
    return os.path.normpath(Path(context.root, path).parent / target)


def _whole(item: Item) -> bytes:
    """A file's content. Raises ValueError if it was too large to be kept."""
    if item.content is None:
        raise ValueError("too large")
    return item.content


def _text(content: bytes | None) -> str:
    return os.fsdecode(content or b"")
