"""A project's own Dockerfile: the last layer of the image of its sessions."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import ConfinedError

NAME = "Dockerfile"
WIDENS = (
    "its commands run as root, with the network, while the image of its sessions is built; "
    "they can change what starts a session, and confines it from within"
)

_START = r"(?i:ARG) BASE(=\S*)?\n(?i:FROM) \$(BASE|\{BASE\})"


def checked(text: str, source: Path) -> str:
    """Return ``text``; nothing if it holds no instruction.

    Raises ConfinedError if it does not build on the image that sessions need, and if it would swallow what is
    appended to it.
    """
    found = _instructions(text)
    if not found:
        return ""
    names = [line.split()[0].upper() for line in found]
    if not re.fullmatch(_START, "\n".join(found[:2])) or names.count("FROM") > 1:
        raise ConfinedError(
            f"{source} is not based on the session image.",
            "Start it with the lines `ARG BASE` and `FROM ${BASE}`, and have no other FROM in it.",
        )
    if found[-1].endswith("\\"):
        raise ConfinedError(f"{source} ends in the middle of an instruction.", "Remove the last backslash.")
    return text


def _instructions(text: str) -> list[str]:
    """Return the instructions of a Dockerfile, each on one line with single spaces, without comments."""
    lines = [" ".join(line.split()) for line in text.splitlines()]
    return re.sub(r"\\\n", "", "\n".join(line for line in lines if line and not line.startswith("#"))).splitlines()
