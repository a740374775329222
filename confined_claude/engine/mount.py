"""Directories and files of the host inside a container, with the option of the docker command; files put into one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from ..text import repr_without

_FIELD = r'"(?:[^"]|"")*"|[^",]+'


class FileInside(NamedTuple):
    """A file to be put into a container: its ``path`` from the root there, with a slash at the end of a directory's."""

    path: str
    content: bytes
    mode: int
    uid: int = 0
    gid: int = 0

    def __repr__(self) -> str:
        return repr_without(self, "content")


class Mount(NamedTuple):
    """The host directory ``base/parts...`` at ``target`` in the container.

    ``base`` is trusted; ``parts`` are directories made if missing, and none of them may be a link. A ``pin``
    is mounted as it is, a file or a directory, over itself for the most part: it cannot be renamed or removed then,
    nor changed if ``read_only``.
    """

    base: Path
    parts: tuple[str, ...]
    target: str
    read_only: bool = False
    pin: bool = False

    @property
    def source(self) -> Path:
        return self.base.joinpath(*self.parts)


def bind_value(source: Path, target: Path | str, *, read_only: bool = False) -> str:
    """Return the value of ``--mount``: a CSV record, so that a path may have commas, quotes and newlines."""
    return _record("type=bind", f"source={source}", f"target={target}", *["readonly"] * read_only)


def empty_value(target: str) -> str:
    """Return the value of ``--mount`` for a directory in which there is only what else is mounted there."""
    return _record("type=tmpfs", f"target={target}", "readonly")


def _record(*fields: str) -> str:
    return ",".join('"{}"'.format(field.replace('"', '""')) for field in fields)


def mount_fields(value: str) -> dict[str, str]:
    """Return the fields of a value of ``--mount`` by name; those without a value are empty."""
    fields = (field[1:-1].replace('""', '"') if field[0] == '"' else field for field in re.findall(_FIELD, value))
    return dict(field.partition("=")[::2] for field in fields)
