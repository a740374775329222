"""What sessions have committed in copies of a repository, brought into it: see ``isolation.py``.

git follows links, and reads what the files of a repository say of other places on this machine. A session makes these
in its copy, and in the project's submodules, as it likes, also meanwhile. So the host's git reads a repository of our
own with nothing but the copy's references and objects, enters no submodule and runs no program of the repository's.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator

from ..errors import ConfinedError, system_error
from ..fs.copying import link_files
from ..fs.directory import Directory
from ..fs.lock import locked
from ..fs.removal import empty_trash, remove_tree, trash_name
from ..host import gitconfig_text
from .gitrefs import is_id, names_object
from .isolation import References, Unfetched, references
from .repository import Repository, find

_DIRECTORY = "fetching"  # in a project's data
_LOCK = "lock"
_EMPTY = "empty"  # git's work tree
_BRANCHES = "+refs/heads/*:refs/remotes/confined/*"
_DETACHED = "+HEAD:refs/remotes/confined/HEAD"
_OFFERED = (b"refs/heads/", b"refs/tags/")
# What settings of the repository could have git do in addition.
_QUIET = ("core.fsmonitor=false", "core.hooksPath=/dev/null", "gc.auto=0", "maintenance.auto=false")
# FETCH_HEAD could be a link, and what submodules name is a session's. The branches of other copies stay.
_OPTIONS = ("--no-recurse-submodules", "--no-write-fetch-head", "--no-prune")
_LENGTH_OF_SHA256 = 64
_PACKS, _FAN_OUT = "pack", re.compile(r"[0-9a-f]{2}")
# Other files of these directories name packs elsewhere (multi-pack-index), or only help to find objects.
_PACK = re.compile(r"pack-[0-9a-f]{40}(?:[0-9a-f]{24})?\.(?:pack|idx)")
_LOOSE = re.compile(r"[0-9a-f]{38}(?:[0-9a-f]{24})?")


def git_words(repository: Repository) -> tuple[str, ...]:
    """Return the first words of a command of git's on the references and objects of a ``repository``."""
    return ("git", f"--git-dir={repository.own}", *(word for setting in _QUIET for word in ("-c", setting)))


@contextlib.contextmanager
def fetching(waiting: Unfetched) -> Iterator[tuple[str, ...]]:
    """Yield the git command that fetches what is ``waiting``, which works in the block. Raises ConfinedError."""
    original = find(waiting.root)
    if original is None:
        raise ConfinedError(
            f"There is no git repository at {waiting.root} any more.",
            f"Put it back, and fetch again. The commits stay in {waiting.copy.path}.",
        )
    name = trash_name()
    with locked(waiting.copy.parent.parent.at(_DIRECTORY), _LOCK) as directory:
        try:
            empty_trash(directory)  # what a killed fetch has left
            directory.mkdir(name)
            with directory.child(name) as staged, waiting.copy.open() as copy:
                staged.mkdir(_EMPTY)
                _stage(staged, copy, references(waiting.copy), original)
        except OSError as error:
            with contextlib.suppress(OSError):
                remove_tree(directory, name)
            raise system_error("read", waiting.copy.path, error) from None
        try:
            place = directory.path / name
            specs = (_BRANCHES, *([_DETACHED] if "HEAD" in waiting.branches else []))
            yield (*git_words(original), f"--work-tree={place / _EMPTY}", "fetch", *_OPTIONS, str(place), *specs)
        finally:
            remove_tree(directory, name)


def _stage(staged: Directory, copy: Directory, found: References, original: Repository) -> None:
    """Make a repository in ``staged`` with the references ``found`` in a ``copy`` of ``original``, and its objects."""
    head = (copy.read("HEAD", 4096) or b"").strip()
    pairs = [(os.fsencode(name), os.fsencode(value)) for name, value in found.items()]
    offered = {name: value for name, value in pairs if name.startswith(_OFFERED) and names_object(name, value)}
    ids = [*offered.values(), *([head] if is_id(head) else [])]
    kind = [("extensions.objectFormat", "sha256")] if any(len(each) == _LENGTH_OF_SHA256 for each in ids) else []
    settings = (("core.repositoryformatversion", "1"), ("core.bare", "true"), *kind)
    staged.write("config", gitconfig_text(settings).encode())
    staged.write("HEAD", b"%s\n" % (head if is_id(head) else b"ref: refs/heads/main"))
    staged.write("packed-refs", b"".join(b"%s %s\n" % (offered[name], name) for name in sorted(offered)))
    shallow = (copy.read("shallow") or b"").split()
    if shallow and all(map(is_id, shallow)):
        staged.write("shallow", b"\n".join((*shallow, b"")))
    staged.mkdir("refs")
    staged.mkdir("objects")
    with copy.child("objects") as source, staged.child("objects") as target:
        for name in source.names():  # not `info`, in any spelling: it names other places
            wanted = _PACK if name == _PACKS else _LOOSE if _FAN_OUT.fullmatch(name) else None
            if wanted is not None:
                _link(source, target, name, wanted)
        objects = original.common / "objects"
        if (objects / "info/alternates").exists():
            with target.make("info") as info:
                info.write("alternates", os.fsencode(f"{objects}\n"))


def _link(source: Directory, target: Directory, name: str, wanted: re.Pattern[str]) -> None:
    with source.child_or_none(name) as inner:
        if inner is not None:
            target.mkdir(name)
            with target.child(name) as place:
                link_files(inner, place, wanted)
