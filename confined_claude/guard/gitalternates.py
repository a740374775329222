"""The files that have git read objects from elsewhere, as parse_alternates of its odb.c reads them."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

NAMES = ("alternates", "http-alternates")


def leads_out(content: bytes, objects: Path, root: Path, scanned: Collection[str]) -> bool:
    """Return whether a file in the directory ``objects/info`` may lead git out of the directory ``root``.

    It may unless all that it names are the objects of repositories there that were ``scanned``: git goes on to where
    the same file of such a place leads, and only theirs are judged themselves. A quoted path, and one with a NUL, at
    which git stops reading, count as ones that lead out: git writes none there.
    """
    own = {str(root / path / "objects") for path in scanned if not path.startswith("/")}
    return any(
        line.startswith(b'"') or b"\0" in line or os.path.realpath(objects / os.fsdecode(line)) not in own
        for line in lines(content)
    )


def lines(content: bytes) -> list[bytes]:
    """Return the lines of such a file that name a place."""
    return [line for line in content.split(b"\n") if line and not line.startswith(b"#")]
