"""What of this machine a session sees beside its project: the entries of ``mounts``, bound to what is there now."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ..errors import ConfinedError
from ..fs.identity import status_without_links
from ..fs.spelling import as_listed
from ..host import Host
from ..text import normal_path
from . import hides_the_containers, refusal

_MODES = ("ro", "rw")
_LISTENING = re.compile(r"^\S+ \S+ \S+ 00010000 \S+ \S+ +\S+ (/.*)$", re.MULTILINE)  # by its flags, see proc(5)


class HostMount(NamedTuple):
    """The file or directory ``source`` of this machine at ``target`` in the container, writable or not.

    ``identity`` has the device and inode that it had when it was bound, ``sockets`` the paths in it at which something
    on this machine listened.
    """

    source: Path
    target: Path
    writable: bool
    is_directory: bool
    identity: tuple[int, int]
    sockets: tuple[str, ...] = ()

    def __str__(self) -> str:
        inside = "" if self.target == self.source else f" at {self.target}"
        return f"{self.source}{inside} ({'writable' if self.writable else 'read-only'})"


def parse(entry: str, base: Path, host: Host) -> tuple[Path, Path, bool]:
    """Return source, target and whether it is writable, as ``SOURCE[:TARGET][:ro|rw]`` says.

    ``~`` is the home directory, and other relative paths count from ``base``. Nothing is looked up.
    """
    path, *rest = entry.split(":")
    writable = rest[-1:] == ["rw"]
    if rest[-1:] and rest[-1] in _MODES:
        rest.pop()
    if path.partition("/")[0] == "~":
        path = os.path.realpath(host.home) + path[1:]
    source = Path(normal_path(base / path))
    return source, Path(normal_path(rest[0])) if rest else source, writable


def place_of(entry: str, root: Path, host: Host) -> str:
    """Return in words what an entry of the project at ``root`` leads to. Raises ConfinedError as ``bind`` does."""
    source, _, _ = parse(entry, root, host)
    return str(bind((entry,), root, host)[0]) if os.path.lexists(source) else f"{source}, missing"


def bind(entries: Iterable[str], root: Path, host: Host) -> tuple[HostMount, ...]:
    """Return the mounts that ``entries`` ask for, in a session of the project at ``root``, a real path.

    Raises ConfinedError for what is missing, what no session may see, a link anywhere on the way, and for mounts that
    overlap with each other or with the project: one would hide the other, or lead around what the guard keeps.
    """
    found: dict[HostMount, None] = {}
    for entry in entries:
        named, target, writable = parse(entry, root, host)
        source = as_listed(named)
        mount = _bound(source, source if target == named else target, writable, host)
        if mount not in found:
            _refuse_overlap(mount, "the project", root, root)
            for other in found:
                _refuse_overlap(mount, str(other), other.source, other.target)
            found[mount] = None
    return tuple(found)


def _bound(source: Path, target: Path, writable: bool, host: Host) -> HostMount:
    try:
        status = status_without_links(source)
    except OSError as error:
        ways = (source, *source.parents)[::-1]
        link = next((way for way in ways if os.path.islink(way)), None)  # noqa: PTH114 - some may be closed
        if link is None:
            hint = "Make it, or take it out of `mounts`."
            raise ConfinedError(f"Cannot mount {source}: {error.strerror}.", hint) from None
        raise _linked(source, link) from None
    if stat.S_ISLNK(status.st_mode):
        raise _linked(source, source)
    if not (stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode)):
        raise ConfinedError(f"Cannot mount {source}: it is neither a directory nor a regular file.", "Name another.")
    if reason := refusal(source, host):
        raise ConfinedError(f"No session may see {source}: {reason}.", "Take it out of `mounts`, or name less of it.")
    if writable and not stat.S_ISDIR(status.st_mode):
        raise ConfinedError(
            f"Cannot mount {source} writable: it is a file, and what uses it on your machine is not known.",
            "Mount its directory, where changes are found and reported, or mount the file as :ro.",
        )
    if hides_the_containers(target, source):
        raise ConfinedError(
            f"Nothing can be mounted at {target}: the container has its own files there.",
            "Name another place, /data for instance.",
        )
    sockets = tuple(path for path in _listening() if path.startswith(f"{source}/"))
    return HostMount(source, target, writable, stat.S_ISDIR(status.st_mode), (status.st_dev, status.st_ino), sockets)


def _listening() -> list[str]:
    """Return the paths of sockets at which something listens, where the system has a table of them (Linux)."""
    try:
        return _LISTENING.findall(Path("/proc/net/unix").read_text("utf-8", "surrogateescape"))
    except OSError:
        return []


def _linked(source: Path, link: Path) -> ConfinedError:
    return ConfinedError(
        f"Cannot mount {source}: {link} is a link, to {os.path.realpath(link)}.",
        "Look at where it leads, and name that place itself if you want it.",
    )


def _refuse_overlap(mount: HostMount, other: str, source: Path, target: Path) -> None:
    if overlap(mount.source, source) or overlap(mount.target, target):
        raise ConfinedError(f"The mount of {mount} overlaps with {other}.", "Leave one of them out.")


def overlap(one: Path, other: Path) -> bool:
    """Return whether one of two paths is the other, or is in it."""
    return one == other or one in other.parents or other in one.parents
