"""Which project the tool works on, what it is called, and where its own data is."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from .errors import ConfinedError
from .fs import safefs
from .host import Host

SCAFFOLD = ".confined-claude"
# The .gitignore there. It ignores itself, so nothing of the tool's own shows in git where there is no scaffold;
# and the template has none, so copier finds none in its way.
IGNORED = b"""# What sessions make here belongs to this machine.
/.gitignore
/.removed-*/
/local-bin/
/venvs/
"""
IGNORED_BEFORE = b"*\n"  # as earlier versions had it
CONTAINER_HOME = Path("/home/claude")
_SLUG_LENGTH = 40

# Mounted at their own path these would hide or hand over the system, the container's or the host's.
_SYSTEM = frozenset(
    map(
        Path,
        """/ /bin /boot /home /lib /lib32 /lib64 /media /mnt /opt /root /sbin /srv /tmp /usr /usr/local
        /var /var/lib /var/tmp /Users /Volumes""".split(),
    )
)
_SYSTEM_TREES = tuple(
    map(
        Path,
        """/bin /boot /dev /etc /lib /lib64 /opt/confined-claude /proc /run /sbin /sys
        /usr/bin /usr/lib /usr/lib64 /usr/libexec /usr/local/bin /usr/local/lib /usr/sbin /usr/share
        /var/cache /var/lib/containerd /var/lib/docker /var/run /Library /System /private/etc""".split(),
    )
)
# Where some systems mount a user's USB disks.
_REMOVABLE = Path("/run/media")
# What the container keeps below its HOME, see mounts.py.
_CONTAINER_TREES = tuple(CONTAINER_HOME / name for name in (".claude", ".cache", ".config", ".local", "venvs"))


@dataclass(frozen=True)
class Project:
    """A project by its real path."""

    root: Path

    @property
    def slug(self) -> str:
        """The folder's name in lower-case letters, digits and single hyphens."""
        slug = re.sub(r"[^a-z0-9]+", "-", self.root.name.lower()).strip("-")
        return slug[:_SLUG_LENGTH].strip("-") or "project"

    @property
    def id(self) -> str:
        """Slug and 8 hex digits of the real path's SHA-256: another path is another project."""
        return f"{self.slug}-{hashlib.sha256(bytes(self.root)).hexdigest()[:8]}"

    @property
    def scaffold(self) -> Path:
        return self.root / SCAFFOLD

    def check_links(self) -> None:
        """Raise ConfinedError if a link stands where the tool reads, or mounts from."""
        safefs.refuse_links(self.scaffold)
        if (lib := self.scaffold / "local-bin" / ".lib").is_symlink():
            raise safefs.refuse_link(lib)


def find(directory: Path, host: Host) -> Project:
    """The project that ``directory`` belongs to: the outermost folder with a scaffold, or itself.

    The outermost, so that a scaffold planted deeper in a project cannot take its place. Folders
    that may not be a project (``/tmp``, the home folder, …) are passed over on the way up.
    Raises ConfinedError if ``directory`` itself would have to be such a project.
    """
    try:
        here = directory.resolve(strict=True)
    except OSError as error:
        raise safefs.cannot("use", directory, error) from None
    _check_name(here)
    scaffolds = [
        place for place in (here, *here.parents) if os.path.lexists(place / SCAFFOLD) and not refusal(place, host)
    ]
    project = Project(scaffolds[-1] if scaffolds else here)
    _check_place(project.root, host)
    project.check_links()
    return project


def check_new(folder: Path, host: Host) -> None:
    """Raise ConfinedError if ``folder``, an absolute path, can be no project. It may be missing; nothing is made."""
    import tempfile  # takes longer than a start has for it

    there = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
    if there == folder:
        find(folder, host)
    else:
        _check_name(folder)
        _check_place(_real(folder), host)
    for place in (_real(there), folder / SCAFFOLD):
        try:
            with tempfile.TemporaryFile(dir=place):
                pass
        except FileNotFoundError:
            continue
        except OSError as error:
            raise safefs.cannot("write to", place, error) from None


def _check_name(folder: Path) -> None:
    try:
        str(folder).encode()
    except UnicodeEncodeError:
        raise ConfinedError(
            f"The name of this folder is not valid UTF-8: {str(folder)!r}.", "Rename the folder and start again."
        ) from None


def _check_place(root: Path, host: Host) -> None:
    if reason := refusal(root, host):
        raise ConfinedError(
            f"{root} cannot be a project: {reason}.", "Go into a project's own folder, and start again."
        )


def refusal(root: Path, host: Host) -> str:
    """Why ``root``, a real path, may not be mounted into a session; empty if it may."""
    home = _real(host.home)
    own = [_real(folder) for folder in (host.data, host.state, host.config, host.claude_config, host.home / ".claude")]
    if root == home or root in home.parents:
        return "it is your home folder, or holds it"
    if any(root == folder or root in folder.parents or folder in root.parents for folder in own):
        return "it holds the sign-in and records of Claude or Confined Claude, or lies inside them"
    in_system = any(root == tree or tree in root.parents for tree in _SYSTEM_TREES)
    if root in _SYSTEM or (in_system and _REMOVABLE not in root.parents):
        return "it is part of the system"
    if any(root == tree or root in tree.parents or tree in root.parents for tree in _CONTAINER_TREES):
        return "the container keeps its own folders at that path"
    return ""


def _real(folder: Path) -> Path:
    """Path.resolve() without its error for a loop of links."""
    return Path(os.path.realpath(folder))
