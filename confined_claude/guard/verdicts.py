"""What the host would do with something that a session has left, and how dangerous that is. Pure."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from itertools import takewhile
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from ..text import folded, normal_path
from . import contents, gitaddresses, gitalternates, gitconfig, gitindex, gitrefs, gitstate
from .repository import is_seen, parse_pointer
from .rules import Matcher
from .snapshot import LIMITS, LINKED_DIRECTORY, Item, Kind, Reached, Snapshot, resolve_inside

_HIDDEN = (
    "git status and git add ignore changes to it; "
    "`git update-index --no-assume-unchanged --no-skip-worktree FILE` ends that"
)
_EXCLUDE = "/info/exclude"
_TASKS_PACKAGE = "tasks/__init__.py"
_SYSTEM = ("/usr/", "/bin/", "/sbin/", "/lib/", "/lib64/", "/opt/", "/nix/store/")


class Verdict(NamedTuple):
    """A colour (red or yellow), what would run the thing, and what it is."""

    red: bool
    runs: str
    why: str


class Context(NamedTuple):
    """What a verdict depends on beside the item itself. Paths are those of a snapshot.

    ``replaced`` are pinned paths that the host itself replaced meanwhile, which ended their protection, ``writable``
    those that the user has opened within pinned ones. ``git_directories`` are those from which git took settings
    before the session, ``scanned`` those that the scan after it found, ``submodules`` the work trees that belong to
    one of these. ``reached`` says how the items of that kind are. ``container_only`` are directories that exist in
    containers and not on this machine, ``seen`` and ``hidden`` real paths that the session saw and did not see.
    """

    root: str
    matcher: Matcher
    replaced: frozenset[str] = frozenset()
    writable: tuple[str, ...] = ()
    git_directories: frozenset[str] = frozenset()
    container_only: tuple[str, ...] = ()
    scanned: frozenset[str] = frozenset()
    submodules: frozenset[str] = frozenset()
    reached: Mapping[str, Reached] = MappingProxyType({})
    seen: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()


# The variables that git refuses, checks or converts something for.
_PROTECTIVE = re.compile(
    r"core\.(?:hookspath|attributesfile|excludesfile|protect\w+|safecrlf)|(?:commit|tag|push)\.gpgsign|gpg\..*|protocol\..*"
    r"|(?:.*\.)?fsckobjects|http\..*ssl\w*|(?:receive|transfer|credential|filter)\..*|merge\.verifysignatures|safe\..*"
)
# What a path in a git directory contains, and what that means.
_GIT_PARTS = (
    ("/hooks/", "git, at the command it is named after", "{new} hook"),
    ("/.git/remotes/", "git, at a fetch or push", "{new}: a remote in git's old format"),
    ("/.git/branches/", "git, at a fetch or push", "{new}: a remote in git's old format"),
    ("/commondir", "git", "{new}: leads git to the settings and hooks of {text!r}"),
    ("/lazygit.yml", "lazygit, with commands of its own", "{new} settings"),
    ("/info/attributes", "git, through filters and drivers in your settings", "{new} attributes"),
)
_BY_KIND: Mapping[Kind, Verdict] = {
    Kind.UNSEEN: Verdict(True, "", "not scanned: {text}"),
    Kind.SETID: Verdict(True, "whoever starts it", "runs with your rights for everybody (setuid or setgid, {text})"),
    Kind.SPECIAL: Verdict(False, "a program that reads it", "a FIFO, socket or device"),
    Kind.OPTION: Verdict(
        False, "tar, rsync, rm and others that are given `*`", "{new} name that begins with -: an option"
    ),
    Kind.PACKAGES: Verdict(False, "npm, Python or an editor that uses them", "packages changed"),
    Kind.PROGRAM: Verdict(True, "whoever or whatever starts a program of this name", "{new} program on your PATH"),
    Kind.GIT_LINK: Verdict(True, "git, which reads or writes through it", "{new} link to {text!r}"),
}


def is_limit(item: Item) -> bool:
    """Return whether something was not scanned for a bound of the scan, and not for being out of reach."""
    return item.kind == Kind.UNSEEN and item.content in LIMITS


def submodules(after: Snapshot, context: Context) -> frozenset[str]:
    """Return the work trees whose ``.git`` file names a git directory of the project's repository."""
    return frozenset(path.removesuffix("/.git") for path, _ in pointers(after, context))


def pointers(after: Snapshot, context: Context) -> Iterator[tuple[str, str]]:
    """Yield the path of each such ``.git`` file, and what it names, both as in a snapshot."""
    for path, item in after.items.items():
        if item.kind == Kind.POINTER and _judge_pointer(path, item, context) is None:
            named = _normalized(path, parse_pointer(item.content or b"") or "", context)
            yield path, named.removeprefix(context.root + "/")


def judge(path: str, old: Item | None, item: Item, context: Context) -> Verdict | None:
    """Return the verdict on ``item``, which was ``old`` before the session; None if it does not matter."""
    verdict = _judge(path, old, item, context)
    is_script = item.kind in (Kind.FILE, Kind.GIT_FILE) and (item.content or b"").startswith(b"#!")
    if verdict is not None and is_script and old is not None and old.content == item.content:  # see script_digest
        verdict = verdict._replace(why=f"{verdict.why}: its executable bit")
    if verdict is not None and path in context.replaced:
        return verdict._replace(
            why=f"{verdict.why}; it was replaced on your machine during the session, which ended its protection"
        )
    return verdict


def _judge(path: str, old: Item | None, item: Item, context: Context) -> Verdict | None:
    new = "new" if old is None else "changed"
    if item.kind in _BY_KIND:
        red, runs, why = _BY_KIND[item.kind]
        if item.kind == Kind.PROGRAM:  # one that was there is run on purpose
            red = old is None or (item.content or b"").startswith(LINKED_DIRECTORY)
        if is_limit(item) and old == item:  # it is none of this session's doing, but may have been of use to it
            red, why = False, "not scanned, as before the session: {text}"
        return Verdict(red, runs, why.format(new=new, text=_text(item.content)))
    match item.kind:
        case Kind.GITLINK:
            verdict = _judge_index_entry(path, item, new, context)
        case Kind.REACHED:
            verdict = _judge_reached(path, old, context)
        case Kind.REPOSITORY:
            verdict = None  # what it sets, its hooks and its index are items of their own
        case Kind.POINTER:
            verdict = _judge_pointer(path, item, context)
        case Kind.LINK:
            verdict = _judge_link(path, item, new, context)
        case Kind.GIT_FILE:
            if path.endswith(_EXCLUDE):
                return _judge_exclude(old, item, new, context)
            verdict = _judge_git_file(path, old, item, new, context)
        case _:
            verdict = _judge_file(path, old, item, new, context)
    return verdict


def _judge_index_entry(path: str, item: Item, new: str, context: Context) -> Verdict | None:
    content = item.content or b""
    if content.startswith(gitindex.INVALID):
        why = "a path that git refuses to add to an index; `rm .git/index && git reset` rebuilds the index"
        return Verdict(True, "git, which reads and writes there at git restore, git add or git commit", why)
    owner, _, inner = path.partition("/index: ")
    if content.startswith((gitindex.HIDDEN, gitindex.MARKED)):
        rule = context.matcher.rule_of(inner.split("/"))
        is_ours = content.startswith(gitindex.MARKED) and rule is not None and rule.red  # see marks
        return None if is_ours else Verdict(False, "", _HIDDEN)
    # The index lacks what is in such a directory. Git looks for repositories in it only if it exists.
    if content.startswith(gitindex.DIRECTORY) and not _has_repository(inner, context):
        return None
    # Other repositories have them on purpose; the settings of a submodule are in the repository's directory.
    red = owner in context.git_directories and inner not in context.submodules
    return Verdict(red, "git, at git status", f"{new}: the index lists it as a separate repository")


def _has_repository(directory: str, context: Context) -> bool:
    """Return whether there is a repository in a directory, which is named from the root of some work tree."""
    return any(f"/{directory}/" in f"/{path}" for path in context.scanned if not path.startswith(".git/"))


def _judge_reached(path: str, old: Item | None, context: Context) -> Verdict | None:
    reached = context.reached.get(path)
    if reached is None or (old is None and not reached.is_recent):
        return None  # what leads to it is news, and reported as such
    why = "changed" if old is not None else "new or changed"
    return Verdict(reached.is_red, f"{reached.runs}, through {reached.path}", why)


def _judge_pointer(path: str, item: Item, context: Context) -> Verdict | None:
    target = parse_pointer(item.content or b"")
    if target is None:
        return Verdict(True, "git", "a .git file that names no directory")
    names = [name for name in target.split("/") if name not in ("", ".")]
    turns_back = ".." in names[sum(1 for _ in takewhile("..".__eq__, names)) :]  # from a name that may be a link
    relative = _normalized(path, target, context).removeprefix(context.root + "/")
    belongs = relative.startswith(
        tuple(f"{owner}/{kind}/" for owner in context.scanned for kind in ("modules", "worktrees"))
    )
    if belongs and relative in context.scanned and not turns_back:
        return None
    return Verdict(True, "git, run inside", f"leads git to {target!r}, whose settings and hooks it follows")


def _judge_link(path: str, item: Item, new: str, context: Context) -> Verdict:
    target = _text(item.content).partition("\0")[0]
    prefix = path.rpartition("/")[0]
    *parents, last = map(folded, path.split("/"))
    rule = context.matcher.rule_of(path.split("/")) or context.matcher.find_link(last, parents)
    leads_out = resolve_inside(Path(context.root), prefix, target) is None
    # The system's own files are no secret, and only root can write them.
    is_harmless = not leads_out or normal_path(target).startswith((*_SYSTEM, *context.container_only))
    if rule is not None:
        return Verdict(rule.red or not is_harmless, rule.runs, f"{new} link to {target!r}")
    if not leads_out:
        return Verdict(True, "git", f"{new} link to {target!r}")
    return Verdict(not is_harmless, "what reads or writes there", f"{new} link out of the project, to {target!r}")


def _judge_git_file(path: str, old: Item | None, item: Item, new: str, context: Context) -> Verdict | None:
    name = path.rpartition("/")[2]
    if name in ("config", "config.worktree") and "/hooks/" not in f"/{path}":
        return _judge_config(path, old, item, new, context)
    if gitrefs.leads_astray(item.content or b""):
        return Verdict(True, "git, at a commit or stash", f"{new}: has git write to {_text(item.content).strip()!r}")
    if (verdict := _judge_objects(path, item, new, context)) is not None:
        return verdict
    for part, runs, why in _GIT_PARTS:
        if part in f"/{path}":
            return Verdict(True, runs, why.format(new=new, text=_text(item.content).strip()))
    if (state := gitstate.state_of(path)) is not None:
        return Verdict(True, state.command, f"{new}: {state.why}")
    is_index = name == "index" or name.startswith("sharedindex.")
    runs, why = ("at git status", f"{new}, and cannot be read") if is_index else ("whose settings name it", new)
    return Verdict(True, f"git, {runs}", why)


def _judge_exclude(old: Item | None, item: Item, new: str, context: Context) -> Verdict | None:
    """Return the verdict on a list of what to ignore that git has beside those in the tree."""
    rule = context.matcher.rule_of([".gitignore"])
    lost = contents.lost(rule, old, item) if rule is not None else ""
    return Verdict(False, "", f"{new}: {lost}; {rule.keeps}") if lost and rule is not None else None


def _judge_objects(path: str, item: Item, new: str, context: Context) -> Verdict | None:
    """Return the verdict on what decides which objects git reads; None for other files."""
    name = path.rpartition("/")[2]
    if name in gitalternates.NAMES:
        root, objects = Path(context.root), Path(context.root, path).parent.parent
        is_red = name != "alternates" or gitalternates.leads_out(item.content or b'"', objects, root, context.scanned)
        return Verdict(is_red, "git, which reads objects there", f"{new}: {_text(item.content).strip()!r}")
    if name in ("grafts", "packed-refs") or "/refs/replace/" in path:
        return Verdict(False, "git, which reads other objects in place of those named", f"{new}: replaces objects")
    if name == "HEAD" and "/hooks/" not in path:
        why = "git sees no repository here, and so obeys the settings of one above it, which are not protected"
        return Verdict(True, "git, at its next command", why)
    return None


def _judge_config(path: str, old: Item | None, item: Item, new: str, context: Context) -> Verdict | None:
    runs = "git, at its next command"
    try:
        settings = _settings(item)
        before = _settings(old) if old is not None and old.kind == Kind.GIT_FILE else []
    except ValueError:
        return Verdict(True, runs, f"{new} settings that cannot be read")
    known = set(before)
    is_clone = old is None and path.rpartition("/")[0] not in context.git_directories
    harmful: list[str] = []
    unseen: list[str] = []
    for key, value in settings:
        if (key, value) in known or gitconfig.is_harmless(key, value) or _is_own_worktree(path, key, value, context):
            continue
        if not (is_clone and gitconfig.is_local_origin(key, value)):
            harmful.append(key)
        elif not is_seen(value, context.seen, context.hidden):
            unseen.append(
                f"{key} is {value!r}, where the session saw nothing of your machine: a fetch copies what is there"
            )
    known_strays = gitconfig.stray_remotes(before)
    strays = [name for name in gitconfig.stray_remotes(settings) if name not in known_strays]
    harmful += [f"remote.{name} without a URL, so that git takes the name for a path" for name in strays]
    # A new repository has remotes; one that was there has been led elsewhere.
    redirected, added = gitaddresses.changed(before, settings) if old is not None else ([], [])
    reasons = [f"sets {gitaddresses.named(harmful)}"] if harmful else []
    now = {key for key, _ in settings}
    if lost := [key for key, _ in before if key not in now and _PROTECTIVE.fullmatch(key)]:
        reasons.append(f"no longer sets {gitaddresses.named(lost)}")
    reasons += [*unseen, *redirected, *added][: gitaddresses.MAX_NAMED]
    return Verdict(bool(harmful or unseen or redirected), runs, "; ".join(reasons)) if reasons else None


def _settings(item: Item) -> list[tuple[str, str]]:
    """Return the variables of a config file, each once. Raises ValueError."""
    return list(dict.fromkeys(gitconfig.parse_config(contents.whole(item))))


def _is_own_worktree(path: str, key: str, value: str, context: Context) -> bool:
    """Return whether a submodule's settings name a work tree in the project, as git writes it."""
    if key != "core.worktree" or "/modules/" not in path:
        return False
    place = _normalized(path, value, context)
    return place.startswith(context.root + "/") and ".git" not in map(folded, place[len(context.root) :].split("/"))


def _judge_file(path: str, old: Item | None, item: Item, new: str, context: Context) -> Verdict | None:
    rule = context.matcher.rule_of(path.split("/"))
    if rule is None:
        return None
    name = path.rpartition("/")[2].lower()
    lost = contents.lost(rule, old, item) if rule.keeps else ""
    if rule.is_safeguard:
        return Verdict(False, "", f"changed: {lost}; {rule.keeps}") if lost else None
    if contents.is_harmless(path, old, item, context.root):
        return None
    red = rule.red
    if path == _TASKS_PACKAGE:
        red = b"invoke" in (item.content or b"invoke")
    if name == "settings.local.json":
        red = contents.allows_more(old, item)
    return Verdict(red, rule.runs, f"{new}: {lost}" if lost and not name.endswith(".json") else new)


def judge_removed(path: str, old: Item, context: Context) -> Verdict | None:
    """Return the verdict on the removal of ``old``, which was at ``path`` before the session; None if it is harmless.

    It has the colour that a change has.
    """
    if old.kind == Kind.GIT_FILE:
        owner, name = _split_git_path(path)
        if owner not in context.scanned:
            return None  # it went with the repository
        if f"/{name}" == _EXCLUDE:
            return _judge_exclude(old, Item(Kind.GIT_FILE, "", b""), "removed", context)
        if name.startswith("hooks/") or name == "info/attributes":
            return Verdict(True, "", "removed: it checks or converts what git handles")
        is_config = name in ("config", "config.worktree")
        return _judge_config(path, old, Item(Kind.GIT_FILE, "", b""), "changed", context) if is_config else None
    rule = context.matcher.rule_of(path.split("/")) if old.kind in (Kind.FILE, Kind.LINK) else None
    if rule is None or not rule.keeps or rule.is_user_writable or not contents.keeps(rule, old):
        return None
    return Verdict(rule.red, "", f"removed: {rule.keeps}")


def _split_git_path(path: str) -> tuple[str, str]:
    """Return the git directory that a file belongs to, and its path there."""
    for part in ("hooks", "info"):
        owner, found, name = path.rpartition(f"/{part}/")
        if found:
            return owner, f"{part}/{name}"
    owner, _, name = path.rpartition("/")
    return owner, name


def _normalized(path: str, target: str, context: Context) -> str:
    """Return where ``target``, named in the file at ``path``, is by the names alone."""
    return normal_path(Path(context.root, path).parent / target)


def _text(content: bytes | None) -> str:
    return os.fsdecode(content or b"")
