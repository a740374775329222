"""What git in a session is told of the host: who commits, harmless settings, and what holds in place of others.

Computed from the host's configuration and the repository's, in the order in which git on the host reads them.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from ..fs.directory import Location
from ..guard import repository
from ..guard.gitaddresses import Variables
from ..guard.gitconfig import is_harmless
from ..guard.gitincludes import Place, resolved
from ..guard.gitsettings import expanded, read_variables
from ..host import SAFE_GIT_KEYS, GitVariable, Host
from ..settings import Settings
from ..settings.specs import NEVER
from ..text import escape
from . import git_programs

# The project's hooks are made for the host: they name its paths and programs. The image has its own, for Git LFS.
_NO_HOOKS = ("core.hooksPath", f"{git_programs.OWN}/hooks")
_IDENTITY = ("user.name", "user.email", "author.name", "author.email", "committer.name", "committer.email")
_IDENTITY_VARIABLES = ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL", "EMAIL")
_REMOTE_URL = r"remote\.(.*)\.(url|pushurl)"
_HELPER = "confined-claude"  # the image's git-remote-confined-claude
_BARE = (
    "The repository here is bare: git works in its worktrees. Do not use git at its root; git outside refuses there."
)
_ELSEWHERE = (
    "The work tree of this repository is {}, by core.worktree; git in this session takes {} for it. "
    "Do not commit here: start in a worktree, which `git worktree add` makes."
)
_MAX_BYTES = 1 << 20
_MAX_OVERRIDES = 200  # an environment has bounds, a repository's settings have none


class SessionGit(NamedTuple):
    """What git in a session has of the host.

    ``settings`` and ``attributes`` are for the container's own files, before the repository's. ``overrides`` come last.
    ``environment`` are the caller's variables that say who commits. ``pushes`` are the addresses of remotes to which
    the session may ask for pushes.
    """

    settings: tuple[tuple[str, str], ...] = ()
    overrides: tuple[tuple[str, str], ...] = (_NO_HOOKS,)
    attributes: str = ""
    environment: Mapping[str, str] = MappingProxyType({})
    remarks: tuple[str, ...] = ()
    pushes: tuple[str, ...] = ()

    @property
    def variables(self) -> dict[str, str]:
        """The variables of a session for git, without its ``secrets``."""
        return {**self.environment, **_numbered(self._sorted[0])}

    @property
    def secrets(self) -> dict[str, str]:
        """Those that come after the others, if there are any: the address in them may have a password."""
        public, secret = self._sorted
        return _numbered((*public, *secret), len(public)) if secret else {}

    @property
    def _sorted(self) -> tuple[Variables, Variables]:
        """The overrides without a password, and the others. None of them has to come after another."""
        both: tuple[list[tuple[str, str]], list[tuple[str, str]]] = ([], [])
        for key, value in self.overrides[:_MAX_OVERRIDES]:
            both[value in self.pushes and _has_password(value)].append((key, value))
        return both


def _has_password(address: str) -> bool:
    from ..guard.push_request import masked  # not for most starts: it compiles patterns

    return masked(address) != address


def _numbered(pairs: Variables, first: int = 0) -> dict[str, str]:
    """Return the variables by which git takes (key, value) ``pairs``, without those before the ``first``."""
    keys = {f"GIT_CONFIG_KEY_{number}": key for number, (key, _) in enumerate(pairs) if number >= first}
    values = {f"GIT_CONFIG_VALUE_{number}": value for number, (_, value) in enumerate(pairs) if number >= first}
    return {"GIT_CONFIG_COUNT": str(len(pairs)), **keys, **values} if pairs else {}


def plan_git(host: Host, root: Path, settings: Settings) -> SessionGit:
    """Return what git is told in a session of the project at ``root``. Of its repository files are only read."""
    place = Place(host.home)
    local: list[GitVariable] = []
    is_bare, elsewhere = False, None
    inside = [root]
    if os.path.lexists(root / ".git"):
        common, own = repository.directories_of(root)
        local = read_variables(common / "config") + read_variables(own / "config.worktree")
        urls = (value for key, value, _ in (*host.git_config, *local) if re.fullmatch(r"remote\..*\.url", key))
        place = Place(host.home, own, _branch(own), tuple(urls))
        inside.append(common)
        if own == common:  # the guard's `commondir` has git pass over both
            is_bare = {key: value for key, value, _ in local}.get("core.bare") == "true"
            elsewhere = repository.work_tree(common) if settings.git == "guarded" else None
    theirs = tuple(resolved(host.git_config, place, plain=False))
    its = tuple(resolved(local, place))
    named = tuple(resolved(host.git_environment, place))  # after all files
    pushes = () if settings.push == NEVER else tuple(dict.fromkeys(_pushes(its)))
    of_user = _lines_with_filters(theirs, host)
    attributes = (of_user, _read(root, ".gitattributes"), *(_read(path / "info", "attributes") for path in inside[1:]))
    programs = git_programs.plan_programs(theirs, its, "\n".join(attributes), root, settings)
    return SessionGit(
        (
            *_found_out_by_git(host, {variable.key for variable in (*theirs, *its, *named)}),
            *((key, value) for key, value, _ in theirs if key in SAFE_GIT_KEYS),
            *programs.settings,
        ),
        (
            *([_NO_HOOKS] if settings.git != "open" else []),
            *_said_outside(theirs, its, named, inside),
            *((f"url.{_HELPER}::{url}.{key}", url) for url, key in pushes),
            *programs.overrides,
        ),
        of_user,
        {name: value for name in _IDENTITY_VARIABLES if (value := host.environ.get(name))},
        (
            *([_BARE] if is_bare else []),
            *([] if elsewhere in (None, root) else [_ELSEWHERE.format(escape(str(elsewhere)), escape(str(root)))]),
            *programs.remarks,
        ),
        tuple(url for url, _ in pushes),
    )


def _pushes(variables: Iterable[GitVariable]) -> Iterator[tuple[str, str]]:
    """Yield each address that git pushes to on another machine, and the setting by which a session asks for that."""
    found = [(match, value) for key, value, _ in variables if (match := re.fullmatch(_REMOTE_URL, key))]
    named = [(match, value) for match, value in found if is_harmless(match[0], value)]
    fetched = {value for match, value in named if match[2] == "url"}
    with_own = {match[1] for match, _ in named if match[2] == "pushurl"}
    for match, value in named:
        if match[2] == "url" and match[1] not in with_own:
            yield value, "pushInsteadOf"
        elif match[2] == "pushurl" and value not in fetched:  # git applies no other setting to these
            yield value, "insteadOf"


def _branch(git_directory: Path) -> str:
    head = _read(git_directory, "HEAD")
    return head.strip().removeprefix("ref: refs/heads/") if head.startswith("ref: refs/heads/") else ""


def _found_out_by_git(host: Host, keys: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield the name and the address that git on the host finds out where nothing says them, see ident.c."""
    if "user.useconfigonly" in keys:
        return
    import pwd  # no other start needs it

    with contextlib.suppress(KeyError):
        user = pwd.getpwuid(host.uid)
        if not {"user.name", "author.name"}.intersection(keys):
            name = user.pw_gecos.partition(",")[0].replace("&", user.pw_name.capitalize())
            yield from [("user.name", name)] if name else []
        if not {"user.email", "author.email"}.intersection(keys) and not host.environ.get("EMAIL"):
            machine = _read(Path("/etc"), "mailname").strip() or socket.gethostname()
            yield from [("user.email", f"{user.pw_name}@{machine}")] if "." in machine else []


def _said_outside(
    theirs: Iterable[GitVariable], its: Iterable[GitVariable], named: Iterable[GitVariable], inside: Iterable[Path]
) -> Iterator[tuple[str, str]]:
    """Yield who commits by settings that a session does not see.

    These are in files elsewhere that ``its`` own settings include, and in what the caller's environment has ``named``.
    """
    seen = (variable for variable in its if any(variable.directory.is_relative_to(path) for path in inside))
    there = {key: value for key, value, _ in (*theirs, *seen)}
    everything = {key: value for key, value, _ in (*theirs, *its, *named)}
    for key in _IDENTITY:
        if key in everything and everything[key] != there.get(key):
            yield key, everything[key]


def _lines_with_filters(theirs: Iterable[GitVariable], host: Host) -> str:
    """Return the lines of the user's own attributes that name filters."""
    default = Path(host.environ.get("XDG_CONFIG_HOME") or host.home / ".config") / "git/attributes"
    named = [expanded(value, host.home) for key, value, _ in theirs if key == "core.attributesfile"]
    path = (named or [default])[-1]
    lines = _read(path.parent, path.name).splitlines()
    return "".join(f"{line}\n" for line in lines if "filter" in line and not line.lstrip().startswith("#"))


def _read(directory: Path, name: str) -> str:
    """Return the text of a file, if it can be read without following a link to it."""
    return (Location(directory).read(name, _MAX_BYTES) or b"").decode("utf-8", "surrogateescape")
