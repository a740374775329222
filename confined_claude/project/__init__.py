"""Which project the tool works on, its name and id, and which directories cannot be a project."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ..engine.context import address_in_use
from ..errors import ConfinedError, EngineError, system_error
from ..fs.directory import Location, link_error
from ..fs.mounted import elsewhere
from ..host import Host
from ..text import normal_path, sha256
from . import places
from .boundaries import SCAFFOLD, mark_of

# The scaffold's .gitignore. It ignores itself, so git shows nothing of the tool in a project without a scaffold;
# the template has none, so copier never conflicts with it.
IGNORED = b"""# What sessions make here belongs to this machine.
/.gitignore
/.removed-*/
/local-bin/
/venvs/
"""
IGNORED_BEFORE = b"*\n"  # the content in earlier versions
CONTAINER_HOME = Path("/home/claude")
_SLUG_LENGTH = 40
_HOME = "it is your home directory, or contains it"

# Mounted at their own path these would hide the container's system, or expose the host's.
_SYSTEM = frozenset(
    map(
        Path,
        """/ /bin /boot /home /lib /lib32 /lib64 /media /mnt /opt /root /sbin /srv /tmp /usr /usr/local
        /var /var/lib /var/tmp /Users /Volumes /private /private/tmp /private/var""".split(),
    )
)
_SYSTEM_TREES = tuple(
    map(
        Path,
        """/bin /boot /dev /etc /lib /lib32 /lib64 /libx32 /opt/confined-claude /proc /run /sbin /sys
        /usr/bin /usr/games /usr/include /usr/lib /usr/lib32 /usr/lib64 /usr/libexec /usr/libx32 /usr/sbin /usr/share
        /usr/local/bin /usr/local/etc /usr/local/games /usr/local/include /usr/local/lib /usr/local/sbin
        /usr/local/share
        /snap /var/cache /var/lib/apt /var/lib/buildkit /var/lib/containerd /var/lib/containers /var/lib/dbus
        /var/lib/docker /var/lib/dpkg /var/lib/flatpak /var/lib/incus /var/lib/kubelet /var/lib/libvirt /var/lib/lxc
        /var/lib/lxd /var/lib/machines /var/lib/nerdctl /var/lib/pam /var/lib/private /var/lib/rancher /var/lib/snapd
        /var/lib/systemd /var/lib/ucf /var/mail /var/run /var/snap /var/spool /Library /System /private/etc
        /private/var/db /private/var/root /private/var/run""".split(),
    )
)
# Where root in the container looks, apt and dpkg above all; below the others it does not, and users have things there.
_ROOTS_TREES = tuple(map(Path, ("/root", "/usr", "/var")))
_NOT_ROOTS = tuple(map(Path, ("/usr/local/src", "/usr/src", "/var/www")))
_ROOTS_HOME = Path("/root")
# Where some systems mount a user's USB disks.
_REMOVABLE = Path("/run/media")
# Agents, terminals, editors and buses that do what they are told: a path, maybe with something before and behind it.
_SOCKETS = "SSH_AUTH_SOCK GPG_AGENT_INFO DBUS_SESSION_BUS_ADDRESS TMUX NVIM KITTY_LISTEN_ON VSCODE_IPC_HOOK_CLI".split()
# Links of the image into the downloads, which are a directory of this machine: nothing is mounted or put below one.
CONTAINER_LINKS = tuple(
    f"{CONTAINER_HOME}/{name}"
    for name in """.cache/pip .cache/npm/_cacache .cargo/registry/cache go/pkg/mod/cache/download
    .gradle/caches/modules-2/files-2.1""".split()
)
# What the container mounts below its HOME, see session/mounts.py, and the trees with these links.
_CONTAINER_TREES = tuple(
    CONTAINER_HOME / name for name in (".claude", ".cache", ".config", ".local", "venvs", ".cargo", ".gradle", "go/pkg")
)


class Project(NamedTuple):
    """A project, by the real path of its root."""

    root: Path

    @property
    def slug(self) -> str:
        """The directory's name in lower-case letters, digits and single hyphens."""
        slug = re.sub(r"[^a-z0-9]+", "-", self.root.name.lower()).strip("-")
        return slug[:_SLUG_LENGTH].strip("-") or "project"

    @property
    def id(self) -> str:
        """Slug and 8 hex digits of the real path's SHA-256: another path is another project."""
        return f"{self.slug}-{sha256(bytes(self.root))[:8]}"

    @property
    def scaffold(self) -> Path:
        return self.root / SCAFFOLD

    def check_links(self) -> None:
        """Raise ConfinedError if a path that the tool reads or mounts is a link."""
        Location(self.root, (SCAFFOLD,)).refuse_links()
        if (lib := self.scaffold / "local-bin" / ".lib").is_symlink():
            raise link_error(lib)


def find(
    directory: Path, host: Host, *, alone: bool = False, is_a_sessions: Callable[[Path], bool] = lambda _mark: False
) -> Project:
    """Return the project that ``directory`` belongs to.

    That is the nearest directory, from there upwards, with a repository or a scaffold of someone's; if there is none,
    or it cannot be a project (a repository of dotfiles, say), the outermost below it in which a session was started;
    else ``directory`` itself. It is ``directory`` in any case if that is to be ``alone``. ``is_a_sessions`` tells of
    the path of a repository or scaffold whether it is to be passed over, as a session has made it.
    Raises ConfinedError if that directory cannot be a project.
    """
    try:
        here = directory.resolve(strict=True)
    except OSError as error:
        raise system_error("use", directory, error) from None
    _check_name(here)
    project = Project(here if alone else _root_of(here, host, is_a_sessions))
    check_place(project.root, host)
    project.check_links()
    return project


def _root_of(here: Path, host: Host, is_a_sessions: Callable[[Path], bool]) -> Path:
    root = here
    for place in (here, *here.parents):
        if (mark := mark_of(place)) and not is_a_sessions(place / mark):
            return place if place == here or not refusal(place, host) else root
        if os.path.lexists(place / SCAFFOLD) and not refusal(place, host):
            root = place
    return root


def check_new(directory: Path, host: Host) -> None:
    """Raise ConfinedError if ``directory``, an absolute path, cannot become a project. It may be missing."""
    import tempfile  # too slow to import for a start

    real = _real(directory)
    if clone := next((place for place in (real, *real.parents) if all(map(os.path.lexists, _clone(place)))), None):
        raise ConfinedError(
            f"{directory} is inside {clone}, the clone of Confined Claude.",
            "Choose a directory elsewhere, for instance one beside it.",
        )
    there = next(place for place in (directory, *directory.parents) if os.path.lexists(place))
    # A Path's own methods raise until Python 3.14 where a link leads to a directory that one may not enter.
    if os.path.exists(there) and not os.path.isdir(there):  # noqa: PTH110, PTH112
        raise ConfinedError(f"{there} is a file, not a directory.", "Choose a directory, and start again.")
    if there == directory:
        find(directory, host, alone=True)
    else:
        _check_name(directory)
        check_place(_real(directory), host)
    for place in (_real(there), directory / SCAFFOLD):
        try:
            with tempfile.TemporaryFile(dir=place):
                pass
        except FileNotFoundError:
            continue
        except OSError as error:
            raise system_error("write to", place, error) from None


def _clone(place: Path) -> tuple[Path, ...]:
    """Return what a clone of the tool has, if one is at ``place``."""
    return place / "copier.yml", place / "template" / SCAFFOLD, place / "confined_claude/template.bundle"


def refuse_python_path(environ: Mapping[str, str]) -> None:
    """Raise ConfinedError if PYTHONPATH leads into the current project: a session can put modules there.

    An isolated interpreter ignores the variable; see install.sh.
    """
    here = Path.cwd()
    try:
        nearest = find(here, Host.current()).root
    except ConfinedError:
        nearest = here
    # A session in a project around it may have put modules there as well.
    scaffolds = [place for place in (here, *here.parents) if os.path.lexists(place / SCAFFOLD)]
    roots = (nearest, *scaffolds[-1:])
    for entry in environ["PYTHONPATH"].split(os.pathsep) if environ.get("PYTHONPATH") else ():
        if any(_real(Path(entry)).is_relative_to(root) for root in roots):
            raise ConfinedError(
                f"PYTHONPATH leads Python into this project: {entry!r}.",
                "Look for modules that a session has put there, and start again with `env -u PYTHONPATH`.",
            )


def _check_name(directory: Path) -> None:
    try:
        str(directory).encode()
    except UnicodeEncodeError:
        raise ConfinedError(
            f"The name of this directory is not valid UTF-8: {str(directory)!r}.", "Rename it and start again."
        ) from None


def check_place(root: Path, host: Host) -> None:
    """Raise ConfinedError if ``root``, a real path, cannot be a project of this host."""
    if current := [entry for entry in host.path if normal_path(entry or ".") == "."]:
        raise ConfinedError(
            f"Your PATH names the current directory ({current[0]!r}): its programs would run in place of others.",
            "Take that entry out of PATH, and start again.",
        )
    if reason := refusal(root, host):
        raise ConfinedError(
            f"{root} cannot be a project: {reason}.", "Choose a project's own directory, and start again."
        )


def refusal(root: Path, host: Host) -> str:
    """Return why ``root``, a real path, must not be mounted into a session; empty if it may be."""
    home = _real(host.home)
    own = [_real(place) for place in (host.data, host.state, host.config, host.claude_config, host.home / ".claude")]
    if _is_or_holds((root,), (home,)):
        return _HOME  # without a look at all that is mounted below `/`
    paths = (root, *elsewhere(root))
    found = (places.private_place(str(path), str(home), host.environ) for path in paths)
    private = next(filter(None, found), "")
    reasons = {
        _HOME: _is_or_holds(paths, (home,)),
        "it contains the sign-in and records of Claude or Confined Claude, or is inside them": _is_or_holds(paths, own)
        or any(_is_within(path, own) for path in paths)
        or places.are_same(root.parents, own),
        f"keys of yours, or settings and programs that you use, are there: {private}": private != "",
        "it is on your PATH": places.are_same([root], (entry for entry in host.path if entry.startswith("/"))),
        "whoever reaches a socket there, of the engine, an agent or a terminal, acts as you": any(
            not {socket, *socket.parents}.isdisjoint(paths) for socket in _sockets(host.environ)
        ),
        "it is part of the system": _is_of_the_system(root),
        "the container has directories of its own at that path": _is_of_the_container(root),
    }
    return next((reason for reason, applies in reasons.items() if applies), "")


def _is_or_holds(paths: Sequence[Path], others: Iterable[Path]) -> bool:
    """Return whether one of ``paths``, which are all of one directory, is or contains one of ``others``."""
    others = {place for other in others for place in (other, *other.parents)}
    return not others.isdisjoint(paths) or places.are_same(paths[:1], others)


def hides_the_containers(target: Path, source: Path) -> bool:
    """Return whether ``source``, which a session may see, would be in the place of what the container needs.

    What is mounted at its own path could be a project as well, so only files of root's home are left to refuse.
    """
    if target == source:
        return _ROOTS_HOME in target.parents and target.relative_to(_ROOTS_HOME).parts[0].startswith(".")
    link = CONTAINER_HOME / "workspace"  # to the project
    is_roots = _is_within(target, _ROOTS_TREES) and not any(tree in target.parents for tree in _NOT_ROOTS)
    return is_roots or is_the_containers(target) or _is_within(target, (link,))


def is_the_containers(place: Path) -> bool:
    """Return whether a container has a directory of its own at ``place``, whatever is mounted there."""
    return _is_of_the_system(place) or _is_of_the_container(place)


def _is_of_the_system(root: Path) -> bool:
    return root in _SYSTEM or (_is_within(root, _SYSTEM_TREES) and _REMOVABLE not in root.parents)


def _is_of_the_container(root: Path) -> bool:
    return _is_within(root, _CONTAINER_TREES) or any(root in tree.parents for tree in _CONTAINER_TREES)


def _sockets(environ: Mapping[str, str]) -> Iterator[Path]:
    """Yield sockets with the rights of the user: the engine's, those that variables name, and where tmux has its."""
    with contextlib.suppress(EngineError):  # the start says what is wrong
        scheme, _, path = address_in_use(environ).partition("://")
        if scheme == "unix":
            yield _real(Path(path))
    named = (re.search(r"/[^,;]*", environ.get(name, "")) for name in _SOCKETS)
    yield from (_real(Path(found[0])) for found in named if found)
    tmux = Path(environ.get("TMUX_TMPDIR") or "/tmp", f"tmux-{os.getuid()}")
    if tmux.is_dir():
        yield _real(tmux)


def _is_within(root: Path, trees: Iterable[Path]) -> bool:
    return not {root, *root.parents}.isdisjoint(trees)


def _real(path: Path) -> Path:
    """Resolve links as Path.resolve() does, without its error for a loop of them."""
    return Path(os.path.realpath(path))
