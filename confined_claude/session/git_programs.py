"""What holds in a session in place of git's settings that name programs of the host: filters, drivers, signing."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ..host import GitVariable
from ..image.recipe import BASE
from ..settings import Settings
from ..text import escape

OWN = "/opt/confined-claude/git"
# What the image has for settings of git, beside what is built into the shell.
_PROGRAMS = frozenset(
    """awk bash cat cmp cut diff env expand false git git-lfs grep gunzip gzip head jq less nano node nl od patch perl
    python3 rg sed sh sort strings tail tee tr true uniq unzip wc xargs zcat""".split()
)
# What holds in place of a program that is not there: git's own ways.
_INSTEAD = (
    (r"diff\.external|diff\..*\.command", f"{OWN}/plain-diff"),
    (r"diff\..*\.textconv|interactive\.difffilter", "cat"),
    (r"merge\..*\.driver", "git merge-file --marker-size=%L %A %O %B"),
    (r"core\.editor|sequence\.editor", "nano"),
    (r"core\.pager|pager\..*", "less"),
    (r"core\.fsmonitor", "false"),
)
_NO_PROGRAM = r"(?i)true|false|yes|no|on|off|0|1|"
_SIGNING = ("commit.gpgsign", "tag.gpgsign", "tag.forcesignannotated", "push.gpgsign")
_FILTER = r"filter\.(.+)\.(?:clean|process)"
_LFS = "lfs"  # in the image's own settings
# What git 2.39 of Debian 12 reads, see its setup.c.
_EXTENSIONS = frozenset(("noop", "noop-v1", "objectformat", "partialclone", "preciousobjects", "worktreeconfig"))
# And what 2.47 of Debian 13 reads beside those.
_NEWER_EXTENSIONS = frozenset(("compatobjectformat", "refstorage"))
_TRUE = frozenset(("true", "yes", "on", "1"))

_UNSIGNED = "Commits of this session are not signed: your keys are not in it."


class Programs(NamedTuple):
    """What git is told in place of programs: ``settings`` come before the repository's, ``overrides`` after them."""

    settings: tuple[tuple[str, str], ...]
    overrides: tuple[tuple[str, str], ...]
    remarks: tuple[str, ...]


def plan_programs(
    theirs: Sequence[GitVariable], its: Sequence[GitVariable], attributes: str, root: Path, settings: Settings
) -> Programs:
    """Return what holds in a session of the project at ``root``.

    ``theirs`` are the settings of the host, which are not in a session, ``its`` those of the repository, which are.
    ``attributes`` say which filters are used.
    """
    said = {key: value for key, value, _ in its}
    absent = {key for key, value in said.items() if not _is_inside(key, value, root, settings)}
    elsewhere = {key: value for key, value, _ in theirs}
    of_host = {name for name in _filters(elsewhere) if name != _LFS} - _filters(said)
    missing = of_host | _filters(absent)
    # Where one fails that is not required, git stores the file unfiltered; required, it must not lack a smudge.
    of_it = {name for name in _filters(key for key, value in said.items() if value) if name != _LFS}
    plain = (
        name for name in sorted(of_it) if not (said.get(f"filter.{name}.smudge") or f"filter.{name}.process" in said)
    )
    return Programs(
        tuple(line for name in sorted(of_host) for line in _refused(name, elsewhere)),
        (
            *((f"filter.{name}.required", "true") for name in sorted(missing | of_it)),
            *(_smudge(name, elsewhere) for name in plain),
            *((key, instead) for key in said if key in absent for name, instead in _INSTEAD if re.fullmatch(name, key)),
            *((key, "false") for key in _SIGNING if key in said),
            *([("commit.template", "")] if _is_elsewhere(said.get("commit.template", ""), root) else []),
        ),
        tuple(_remarks({**elsewhere, **said}, missing & set(re.findall(r"\bfilter=(\S+)", attributes)), settings)),
    )


def _filters(keys: Iterable[str]) -> set[str]:
    return {found[1] for key in keys if (found := re.fullmatch(_FILTER, key))}


def _refused(name: str, elsewhere: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the settings with which git refuses what goes through a filter, and writes it only if that is no change."""
    yield f"filter.{name}.clean", _refusal(name)
    yield _smudge(name, elsewhere)


def _smudge(name: str, elsewhere: dict[str, str]) -> tuple[str, str]:
    key = f"filter.{name}.smudge"
    return key, "cat" if elsewhere.get(key, "") in ("", "cat") else _refusal(name)


def _refusal(name: str) -> str:
    return f"{OWN}/no-filter {shlex.quote(name)} %f"


def _is_inside(key: str, command: str, root: Path, settings: Settings) -> bool:
    """Return whether a session has the program that the command of a setting begins with, as far as that is known."""
    if re.fullmatch(_NO_PROGRAM, command):
        return True
    try:
        program = shlex.split(command.removeprefix("!"))[0]
    except (ValueError, IndexError):
        return True  # git's shell decides
    path = Path(program)
    if "/" in program:
        is_systems = path.parent in (Path("/bin"), Path("/usr/bin")) and path.name in _PROGRAMS
        return is_systems or not _is_elsewhere(program, root)
    if key.startswith("filter."):  # git refuses what goes through one that is not there after all
        has_more = bool(settings.packages) or settings.base != BASE
    else:
        has_more = any(program in package for package in settings.packages)  # such as delta in git-delta
    return has_more or program in _PROGRAMS


def _is_elsewhere(path: str, root: Path) -> bool:
    """Return whether a path is one of the host outside the project."""
    return path.startswith(("/", "~")) and not Path(path).is_relative_to(root)


def _remarks(said: dict[str, str], filters: Iterable[str], settings: Settings) -> Iterator[str]:
    if any(said.get(key, "").lower() in _TRUE for key in _SIGNING[:2]):
        yield _UNSIGNED
    if names := escape(", ".join(sorted(filters))):
        yield f"git refuses to add files that go through the filter {names}: it is not in this session."
    if said.get("core.repositoryformatversion", "0") != "0":
        keys = {key.removeprefix("extensions.") for key in said if key.startswith("extensions.")}
        unknown = keys - _EXTENSIONS - (set() if settings.base == BASE else _NEWER_EXTENSIONS)
        if unknown:
            newer = "a newer Debian" if unknown <= _NEWER_EXTENSIONS else "an image with a newer git than Debian 13's"
            yield (
                "git in this session is too old for the repository, whose extensions it does not know "
                f"({escape(', '.join(sorted(unknown)))}): no git command works. The setting `base` can name {newer}."
            )
