"""What Mercurial, Sapling and Jujutsu obey in a repository, and which of it a clone has by itself. Pure.

Mercurial reads the settings of another repository where its ``requires`` says that it is a share (localrepo.py,
loadhgrc). Jujutsu works in the git repository that ``git_target`` names, and for the repository that a file ``repo``
names (workspace.rs).
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from ..text import normal_path

_SETTINGS = frozenset((".hg/hgrc", ".hg/hgrc-not-shared", ".sl/config"))
# The section in which a clone notes where it came from.
_HARMLESS = frozenset(("paths",))
_SECTION = re.compile(rb"\[([^\[]+)\]")
_GIT_TARGETS = frozenset((b"git", b"../../../.git"))


def is_plain(path: str, content: bytes, root: str) -> bool:
    """Return whether a new file of a repository has nothing run or led elsewhere; it is at ``path`` below ``root``."""
    directory, _, name = path.rpartition("/")
    owned = f"{directory.rpartition('/')[2]}/{name}"
    if owned in _SETTINGS:
        return _sets_paths_alone(content)
    if owned == ".hg/requires":
        return b"shared" not in content.split() and b"relshared" not in content.split()
    if owned == ".jj/repo":
        target = Path(root, directory) / os.fsdecode(content.rstrip(b"\n"))
        return normal_path(target) == f"{root}/.jj/repo"
    return path.endswith(".jj/repo/store/git_target") and content.strip() in _GIT_TARGETS


def _sets_paths_alone(content: bytes) -> bool:
    section = ""
    for line in content.splitlines():
        if not line.strip() or line.startswith((b"#", b";")):
            continue
        if found := _SECTION.match(line):
            section = os.fsdecode(found[1])
        elif line.startswith(b"%") or section not in _HARMLESS:  # it includes a file, or unsets something
            return False
    return True
