"""The files that have git read objects from elsewhere, as parse_alternates of its odb.c reads them."""

from __future__ import annotations

import os
from pathlib import Path

NAMES = ("alternates", "http-alternates")


def leads_out(content: bytes, objects: Path, root: Path) -> bool:
    """Return whether a file in the directory ``objects/info`` names a place that is not in the directory ``root``.

    A quoted path counts as one: git writes none there.
    """
    return any(
        line.startswith(b'"') or not Path(os.path.realpath(objects / os.fsdecode(line))).is_relative_to(root)
        for line in lines(content)
    )


def lines(content: bytes) -> list[bytes]:
    """Return the lines of such a file that name a place."""
    return [line for line in content.split(b"\n") if line and not line.startswith(b"#")]
