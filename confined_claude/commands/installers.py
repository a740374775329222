"""The programs that install the tool in an environment of its own."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Installer(NamedTuple):
    """A program that installs each tool in an environment of its own, which has the file ``mark``.

    ``path_command`` puts the tools' commands on PATH. With ``option`` it exposes those of dependencies, such as inv.
    ``uninstall`` removes a tool.
    """

    mark: str
    path_command: str
    option: str
    uninstall: str


_INSTALLERS = (
    Installer("pipx_metadata.json", "pipx ensurepath", "pipx install --include-deps", "pipx uninstall"),
    Installer(
        "uv-receipt.toml",
        "uv tool update-shell",
        "uv tool install --with-executables-from invoke,copier",
        "uv tool uninstall",
    ),
)


def installer_of(prefix: Path) -> Installer | None:
    """Return the program that has made the environment ``prefix``; None if none of these has."""
    return next((each for each in _INSTALLERS if (prefix / each.mark).exists()), None)
