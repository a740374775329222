"""The commands that the package helper takes: exact words and Debian package names. Anything else is refused."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

MAX_WORDS = 200

WITH_PACKAGES = frozenset({"install", "reinstall", "remove", "purge"})
ALONE = frozenset({"update", "upgrade", "full-upgrade", "dist-upgrade", "autoremove", "clean"})
_FIX = frozenset({"-f", "--fix-broken"})
_SIMULATE = frozenset({"-s", "--simulate", "--dry-run"})
# None takes a value, and only these spellings are known: apt-get itself also takes abbreviations.
FLAGS = _FIX.union(
    _SIMULATE,
    "-y --yes --assume-yes -q -qq --quiet -yq -qy -yqq -qqy -V --verbose-versions".split(),
    "--no-install-recommends --install-recommends --no-install-suggests --only-upgrade".split(),
    "--reinstall --purge --autoremove --auto-remove --fix-missing".split(),
)
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+(:[a-z0-9][a-z0-9-]*)?(=[0-9][A-Za-z0-9.+:~-]*)?", re.ASCII)
# What could be a file, and `name-`, which apt-get removes although it is to install.
_NOT_A_PACKAGE = (".deb", ".ddeb", ".udeb", ".dsc", ".changes", "-")


class Refused(Exception):
    """Why a request is not carried out, in one line for its author."""


class Request(NamedTuple):
    """A command that is safe to pass to apt-get."""

    verb: str
    flags: tuple[str, ...]
    packages: tuple[str, ...]

    @property
    def words(self) -> list[str]:
        """The arguments for apt-get."""
        return [*self.flags, self.verb, *self.packages]

    @property
    def is_simulation(self) -> bool:
        """Whether apt-get changes nothing."""
        return not _SIMULATE.isdisjoint(self.flags)


def parse(payload: bytes) -> list[str]:
    """Return the words of a request's ``payload``. Raises Refused unless they are well formed."""
    if not payload.endswith(b"\0"):
        raise Refused("the request is malformed")
    if not payload.isascii():
        raise Refused("only ASCII is understood")
    words = payload[:-1].decode("ascii").split("\0")
    if len(words) > MAX_WORDS:
        raise Refused(f"at most {MAX_WORDS} words at once")
    return words


def check(words: Sequence[str]) -> Request:
    """Return the command that ``words`` ask for. Raises Refused for everything outside the grammar."""
    program, *rest = words
    if program not in ("apt-get", "apt"):
        raise Refused("only apt-get and apt are run")
    flags = tuple(word for word in rest if word in FLAGS)
    verb, *packages = [word for word in rest if word not in FLAGS] or [""]
    for word in (verb, *packages):
        if word.startswith("-"):
            raise Refused(f"the option {word!r:.60} is not allowed")
    if verb not in WITH_PACKAGES | ALONE:
        known = ", ".join(sorted(WITH_PACKAGES | ALONE))
        raise Refused(f"sudo {program} takes only {known}; commands that only read (list, search, show) need no sudo")
    for word in packages:
        if not _PACKAGE.fullmatch(word) or word.endswith(_NOT_A_PACKAGE):
            raise Refused(f"{word!r:.60} is not a package's name (name[:architecture][=version])")
    if verb in ALONE and packages:
        raise Refused(f"{verb} takes no packages")
    if verb in WITH_PACKAGES and not packages and not _FIX.intersection(flags):
        raise Refused(f"{verb} needs a package's name")
    return Request(verb, flags, tuple(packages))
