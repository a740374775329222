"""Checks of this machine: disks, commands on PATH, the sign-in and the image."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import sysconfig
import time
from collections.abc import Iterable
from pathlib import Path

from ...claude import account, choosing
from ...claude.config import ClaudeConfig
from ...claude.expiry import EXPIRED
from ...claude.sign_in import CREDENTIALS_KIND
from ...engine.failures import INSTALL_HINT
from ...engine.image import Image
from ...errors import HINTS
from ...fs.directory import Location
from ...host import Host, left_out, missing
from ...image.recipe import ImageChain
from ..installers import installer_of
from .results import Result, ok, problem, warning

_MIB, _GIB = 1 << 20, 1 << 30
_LEAST_BYTES = 16 * _MIB
# What a session may need, what the records need, and what building an image takes.
SOME_BYTES, STATE_BYTES, IMAGE_BYTES = _GIB, 64 * _MIB, 4 * _GIB
_OLD_DAYS = 30
_DAY = 24 * 3600


def docker_command(host: Host) -> Result:
    if program := _used("docker", host) or _used("podman", host):
        return ok(program)
    return problem(missing("the docker command", "docker"), INSTALL_HINT)


def git_command(host: Host) -> Result:
    if program := _used("git", host):
        return ok(program)
    what = f"{missing('the git command', 'git')}; sessions lack your name, and `update` does not work"
    return warning(what, "Install git (Debian, Ubuntu: apt-get install git).")


def left_out_of_path() -> Iterable[Result]:
    """Yield which entries of PATH this tool does not use, if there are any; the user's shell does."""
    if entries := left_out():
        what = f"sessions can write there or what a link there leads to, so it is not used: {', '.join(entries)}"
        yield warning(what, "Your shell still runs what is there: look at it, or take it out of PATH.")


def own_commands(host: Host, prefix: Path = Path(sys.prefix)) -> Result:
    """Check that the commands which a shell finds are this installation's, in the environment ``prefix``."""
    installer = installer_of(prefix)
    faults: list[str] = []
    hints: list[str] = []
    for name in ("confined-claude", "inv"):
        found = _on_path(name, host)
        own = installed(name)
        is_own = found is not None and os.path.realpath(found) in map(os.path.realpath, own)
        if installer is not None and name == "inv" and not is_own:
            if not faults:  # it is not part of what was installed, and only scaffolds need it
                return ok(f"confined-claude is this installation's; for inv, install it with `{installer.option}`")
        elif found is None:
            faults.append(f"{name} is not found")
            line = f'export PATH="{_missing_on_path(name, own, host)}:$PATH"'
            hints.append(
                f"Run `{installer.path_command}` and open a new shell"
                if installer is not None
                else f"Add this line to your shell's start-up file: {line}"
            )
        elif not is_own:
            faults.append(f"{name} on PATH is {found}, from another installation")
            hints.append(f"Put {host.home / '.local/bin'} first on PATH, or use {own[0] if own else name}")
    if faults:
        return warning("; ".join(faults), ". ".join(dict.fromkeys(hints)))
    return ok("confined-claude and inv are this installation's")


def _on_path(name: str, host: Host) -> str | None:
    return shutil.which(name, path=host.environ.get("PATH", os.defpath))


def _used(name: str, host: Host) -> str | None:
    """Return the program by that name which this tool would start."""
    entries = host.path or os.defpath.split(os.pathsep)
    return shutil.which(name, path=os.pathsep.join(entry for entry in entries if entry not in left_out()))


def _missing_on_path(name: str, own: list[Path], host: Host) -> str:
    """Return the directory that PATH lacks: the one where install.sh links the commands, or this installation's."""
    links = host.home / ".local/bin"
    if not own or os.path.realpath(links / name) in map(os.path.realpath, own):
        return "$HOME/.local/bin"
    return str(own[0].parent)


def installed(name: str) -> list[Path]:
    """Return the paths at which this installation has a command of that name."""
    directories = (sysconfig.get_path("scripts"), sysconfig.get_path("scripts", f"{os.name}_user"))
    return [path for directory in directories if (path := Path(directory, name)).exists()]


def space(directory: Path, wanted: int = SOME_BYTES, must_be_writable: bool = True) -> Result:
    """Check that the disk of ``directory``, which may be missing, has ``wanted`` bytes free and can be written."""
    place = next(place for place in (directory, *directory.parents) if place.exists())
    disk = os.statvfs(place)
    if must_be_writable and not os.access(place, os.W_OK | os.X_OK):
        reason = errno.EROFS if disk.f_flag & os.ST_RDONLY else errno.EACCES
        return problem(f"{place} cannot be written", HINTS[reason])
    free = disk.f_bavail * disk.f_frsize
    if disk.f_files and not disk.f_favail:
        return problem(f"no more files fit on the disk of {place}", "Delete some there.")
    if free < wanted:
        judge = problem if free < _LEAST_BYTES else warning
        return judge(f"{_size(free)} free at {place}", f"Free up disk space there, to {_size(wanted)} or more.")
    return ok(f"{_size(free)} free at {place}")


def _size(count: int) -> str:
    return f"{count / _GIB:.1f} GiB" if count >= _GIB else f"{count // _MIB} MiB"


def sign_in(config: Location, host: Host, written: Iterable[Path] = (), *, is_lent: bool = False) -> Result:
    """Check how a session that writes to ``written``, with the Claude config at ``config``, would sign in.

    ``is_lent`` says whether it is lent the sign-in.
    Nothing is sent, and no command that prints a credential is run. Raises ConfinedError for records of a newer
    version, and if CLAUDE_CONFIG_DIR is where sessions can write.
    """
    chosen = choosing.find(host, written, config, is_lent=is_lent)
    found, expires = ClaudeConfig(config, host, chosen).look()
    if not found.kind:
        return warning(found.notes[0], found.notes[-1])
    until = time.strftime("%Y-%m-%d %H:%M", time.localtime(expires or 0))
    if EXPIRED in found.notes:
        return warning(f"{EXPIRED.rstrip('.')}, on {until}", found.notes[-1])
    what = f"by {found.kind}"
    if found.kind == CREDENTIALS_KIND:
        address = account.signed_in_as(config, host, is_lent=is_lent)
        limit = f"until {until}" if expires else "its end is not known"
        copied = f"by {'' if is_lent else 'a copy of '}your machine's credentials, {limit}"
        what = "by credentials of its own, which renew themselves" if expires is None else copied
        what = f"as {address}, {what}" if address else what
    elif chosen.source is not None:
        what += ", which prints the credential at each start; it is not run here"
    what += ", lent" if is_lent else ""
    if found.notes:
        again = "Sign in again with `claude` and /login on your machine."
        return warning(f"{what}; {found.notes[0]}", found.notes[1] if len(found.notes) > 1 else again)
    return ok("; ".join((what, *found.remarks)))


def its_image(found: Image | None, wanted: ImageChain, now: float) -> Result:
    """Check that the image of sessions exists, and is not old at ``now``, in epoch seconds."""
    if found is None:
        what = f"{wanted.name} is not there; the next start builds it, which takes minutes"
        return warning(what, "`confined-claude build` builds it now.")
    days = max(0.0, now - found.created) / _DAY
    age = "of unknown age" if not found.created else "of today" if days < 1 else f"{days:.0f} days old"
    what = f"{wanted.name}, Claude Code {found.claude_version or 'of unknown version'}, {age}"
    if found.created and days > _OLD_DAYS:
        return warning(what, "`confined-claude rebuild` brings Debian's updates and the newest Claude Code.")
    return ok(what)
