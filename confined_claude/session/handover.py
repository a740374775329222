"""What reaches a session unseen: files that are put into its container before it starts. Pure.

Nothing else may show what is in them: no argument, label, variable of the container, image or log. The entrypoint,
which is root, reads the first. The second is set by container/init/variables.c, after privileges are dropped, for the
session's command and for `exec`. Others are secrets that the session has as files.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from .. import environment
from ..claude.sign_in import Chosen
from ..engine.mount import FileInside
from ..errors import ConfinedError
from ..project import CONTAINER_HOME

SECRETS_FILE, VARIABLES_FILE = "run/confined-claude/secrets", "run/confined-claude/variables"


def files(
    secrets: Mapping[str, str], variables: Mapping[str, str], own: Mapping[str, bytes], user: str
) -> tuple[FileInside, ...]:
    """Return the files of a session whose processes are ``user`` (uid:gid); its ``own`` are by their path there."""
    uid, gid = map(int, user.split(":"))
    script = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in secrets.items())
    entries = "".join(f"{name}={value}\0" for name, value in variables.items())
    return (
        *([FileInside(SECRETS_FILE, os.fsencode(script), 0o600)] if script else []),
        *([FileInside(VARIABLES_FILE, os.fsencode(entries), 0o440, gid=gid)] if entries else []),
        *(FileInside(path, b"", 0o755, uid, gid) for path in _directories(own)),
        *(FileInside(path.lstrip("/"), content, 0o400, uid, gid) for path, content in own.items()),
    )


def _directories(paths: Iterable[str]) -> list[str]:
    """Return the directories below the home directory that lead to ``paths``, the outer ones first."""
    home = CONTAINER_HOME
    below = {above for path in paths for above in Path(path).parents if home in above.parents}
    return [f"{str(path).lstrip('/')}/" for path in sorted(below)]


def names_in(file: FileInside) -> Iterator[str]:
    """Yield what a dry run shows of a file: each line or entry without its value."""
    if file.path == SECRETS_FILE:
        yield from re.findall(r"^export \w+=", os.fsdecode(file.content), re.MULTILINE)
    elif file.path == VARIABLES_FILE:
        yield from (f"{entry.partition('=')[0]}=" for entry in os.fsdecode(file.content).split("\0")[:-1])


def is_of_cloud(name: str, sign_in: Chosen) -> bool:
    """Return whether a variable belongs to the cloud that signs in: its own sign-in has to be the only one there."""
    cloud = environment.cloud_in(sign_in.environ)
    return cloud is not None and (cloud.has(name) or name.startswith(environment.PREFIXES[cloud.family]))


def refuse_overlap(path: str, others: Iterable[str], what: str) -> None:
    """Raise ConfinedError for a secret's path that is one of ``others``, or in one, or the other way round."""
    for other in others:
        if f"{path}/".startswith(f"{other}/") or f"{other}/".startswith(f"{path}/"):
            raise ConfinedError(
                f"A secret cannot be the file {path} in the session: {what}{'' if other == path else f', at {other}'}.",
                "Give it another place with as_file, ~/.netrc for instance.",
            )
