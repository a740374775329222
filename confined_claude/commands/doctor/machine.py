"""What is said of this machine: disks, commands on PATH, the sign-in and the image."""

from __future__ import annotations

import os
import shutil
import sysconfig
import time
from pathlib import Path

from ...engine.failures import INSTALL_HINT
from ...engine.image import Image
from ...host import Host
from ...image.recipe import ImageChain
from ...session import credentials
from .lines import OK, PROBLEM, WARNING, Line

_MIB, _GIB = 1 << 20, 1 << 30
_LEAST_BYTES = 16 * _MIB
# What a session may well need, and an image with what building it takes.
SOME_BYTES, STATE_BYTES, IMAGE_BYTES = _GIB, 64 * _MIB, 4 * _GIB
_OLD_DAYS = 30
_DAY = 24 * 3600


def docker_command(host: Host) -> Line:
    """Whether there is a docker command."""
    if program := shutil.which("docker", path=host.environ.get("PATH", os.defpath)):
        return Line("docker", OK, program)
    return Line("docker", PROBLEM, "the docker command is missing", INSTALL_HINT)


def git_command(host: Host) -> Line:
    if program := shutil.which("git", path=host.environ.get("PATH", os.defpath)):
        return Line("git", OK, program)
    what = "the git command is missing: sessions lack your name, and `update` does not work"
    return Line("git", WARNING, what, "Install git (Debian, Ubuntu: apt-get install git).")


def own_commands(host: Host) -> Line:
    """Whether the commands that a shell would find are this installation's."""
    faults, cures = [], []
    for name in ("confined-claude", "inv"):
        found = shutil.which(name, path=host.environ.get("PATH", os.defpath))
        own = installed(name)
        if found is None:
            faults.append(f"{name} is not found")
            cures.append(
                f'Add this line to your shell\'s start-up file: export PATH="{_linked(name, own, host)}:$PATH"'
            )
        elif os.path.realpath(found) not in map(os.path.realpath, own):
            faults.append(f"{name} is {found}, of another installation")
            cures.append(f"Put {host.home / '.local/bin'} first on PATH, or use {own[0] if own else name}")
    if faults:
        return Line("PATH", WARNING, "; ".join(faults), ". ".join(dict.fromkeys(cures)))
    return Line("PATH", OK, "confined-claude and inv are this installation's")


def _linked(name: str, own: list[Path], host: Host) -> str:
    """The folder to be put on PATH: where install.sh links its commands, or where this installation has them."""
    links = host.home / ".local/bin"
    if not own or os.path.realpath(links / name) in map(os.path.realpath, own):
        return "$HOME/.local/bin"
    return str(own[0].parent)


def installed(name: str) -> list[Path]:
    """Where this installation may have a command of that name."""
    folders = (sysconfig.get_path("scripts"), sysconfig.get_path("scripts", f"{os.name}_user"))
    return [path for path in (Path(folder, name) for folder in folders) if path.exists()]


def space(what: str, folder: Path, wanted: int = SOME_BYTES, *, is_ours: bool = True) -> Line:
    """Whether ``folder``, or where it will be, has room and may be written, if it is to be ours to write."""
    name = f"space for {what}"
    place = next(place for place in (folder, *folder.parents) if place.exists())
    disk = os.statvfs(place)
    if is_ours and not os.access(place, os.W_OK | os.X_OK):
        cure = "Give yourself the permission, or choose another folder."
        if disk.f_flag & os.ST_RDONLY:
            cure = "Choose a folder on a file system that can be written."
        return Line(name, PROBLEM, f"{place} cannot be written", cure)
    free = disk.f_bavail * disk.f_frsize
    if disk.f_files and not disk.f_favail:
        return Line(name, PROBLEM, f"no more files fit on the disk of {place}", "Delete some there.")
    if free < wanted:
        status = PROBLEM if free < _LEAST_BYTES else WARNING
        return Line(name, status, f"{_size(free)} free at {place}", f"Free some there, to {_size(wanted)} or more.")
    return Line(name, OK, f"{_size(free)} free at {place}")


def _size(count: int) -> str:
    return f"{count / _GIB:.1f} GiB" if count >= _GIB else f"{count // _MIB} MiB"


def sign_in(folder: Path, host: Host) -> Line:
    """How a session with the Claude config in ``folder`` would be signed in; nothing is sent.

    Raises ConfinedError for credentials that keep a session from starting.
    """
    found, expires = credentials.look(folder, host)
    if not found.kind:
        return Line("sign-in", WARNING, found.notes[0], credentials.HOW_TO_SIGN_IN)
    until = time.strftime("%Y-%m-%d %H:%M", time.localtime(expires or 0))
    if len(found.notes) > 1:
        return Line("sign-in", WARNING, f"{found.notes[0].rstrip('.')}, on {until}", found.notes[1])
    what = f"by {found.kind}"
    if found.kind == "credentials":
        copied = (
            f"by a copy of this machine's credentials, {f'until {until}' if expires else 'it is not said until when'}"
        )
        what = "by credentials of its own, which renew themselves" if expires is None else copied
    if found.notes:
        cure = "Sign in again with `claude` and /login on this machine."
        return Line("sign-in", WARNING, f"{what}; {found.notes[0]}", cure)
    return Line("sign-in", OK, what)


def its_image(found: Image | None, wanted: ImageChain, now: float) -> Line:
    """Return whether the image of sessions is there, and how old it is at ``now``, in epoch seconds."""
    if found is None:
        what = f"{wanted.name} is not there; the next start builds it, which takes minutes"
        return Line("image", WARNING, what, "`confined-claude build` builds it now.")
    days = max(0.0, now - found.created) / _DAY
    age = "of unknown age" if not found.created else "of today" if days < 1 else f"{days:.0f} days old"
    what = f"{wanted.name}, Claude Code {found.claude_version or 'of unknown version'}, {age}"
    if found.created and days > _OLD_DAYS:
        hint = "`confined-claude rebuild` brings Debian's updates and the newest Claude Code."
        return Line("image", WARNING, what, hint)
    return Line("image", OK, what)
