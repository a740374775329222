"""The check of a project that belongs to another user: may sessions write in it, and what keeps them from that."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import stat

from ...engine.mount import Mount
from ...host import Host
from ...project import Project
from ...session.mounts import kept_groups
from .results import Result, ok, problem, warning


def others_project(here: Project, host: Host) -> Result:
    """Check that a session of ``host``'s user may write in the project ``here``, which another user owns."""
    root = here.root
    status = root.stat()
    gid, group = status.st_gid, _name(status.st_gid)
    what = f"the project belongs to uid {status.st_uid} and the group {group}"
    if os.path.lexists(here.scaffold) and not os.access(here.scaffold, os.R_OK | os.W_OK | os.X_OK):
        return problem(
            f"{what}, and {here.scaffold} to another user's sessions", "Work in your own clone of the repository."
        )
    if host.uid == 0:
        return warning(f"{what}; files that sessions make are root's", "Work in it as its owner, or make it yours.")
    if not status.st_mode & stat.S_IWGRP or gid not in (host.gid, *host.groups):
        return _without_group(here, host, what, group, is_groups=bool(status.st_mode & stat.S_IWGRP))
    return _by_group(here, host, what, status)


def _by_group(here: Project, host: Host, what: str, status: os.stat_result) -> Result:
    root, gid = here.root, status.st_gid
    if gid not in (host.gid, *kept_groups([Mount(root, (), str(root))], host)):
        hint = f"Give the project a group for those who work in it: chgrp -R GROUP {root}."
        return warning(f"{what}, a group with power over your machine, which sessions do not get", hint)
    if not status.st_mode & stat.S_ISGID:
        hint = f"Run `chmod g+s` on {root} and its directories, so that new files get the project's group."
        return warning(f"{what}; files of sessions have your own group, {host.gid}", hint)
    if host.umask & stat.S_IWGRP:
        hint = "Set `umask 002` before you start a session."
        return warning(f"{what}; your umask {host.umask:03o} keeps that group from changing files of sessions", hint)
    return ok(f"{what}, and sessions are members of it; their files are yours and the group's")


def _without_group(here: Project, host: Host, what: str, group: str, *, is_groups: bool) -> Result:
    if os.access(here.root, os.W_OK | os.X_OK):
        return ok(f"{what}, and you may write in it; files of sessions are yours")
    if is_groups and _is_listed(host.uid, here.root.stat().st_gid):
        return problem(f"{what}; you are in that group, but not yet in this login", "Log out and in again.")
    hint = "Ask its owner for write access, or work in your own copy."
    if is_groups:
        hint = (
            f"Have yourself added to that group: sudo usermod -aG {group} {_user(host.uid)}, then log out and in again."
        )
    return problem(f"{what}, and you may not write in it", hint)


def _name(gid: int) -> str:
    with contextlib.suppress(KeyError):
        return grp.getgrgid(gid).gr_name
    return str(gid)


def _user(uid: int) -> str:
    with contextlib.suppress(KeyError):
        return pwd.getpwuid(uid).pw_name
    return str(uid)


def _is_listed(uid: int, gid: int) -> bool:
    """Return whether the machine's list of groups has a user as a member of one."""
    with contextlib.suppress(KeyError):
        return _user(uid) in grp.getgrgid(gid).gr_mem
    return False
