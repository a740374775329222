"""The programs that install the tool in an environment of its own."""

from __future__ import annotations

import sys
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


def how_to_uninstall() -> str:
    """Return what a person does to uninstall this installation."""
    command, _ = uninstaller(Path(sys.prefix))
    if command.startswith("./"):
        return f"Run `{command}` in the clone of Confined Claude."
    return f"Images and data: `confined-claude clean-global --all`    The tool, after that: `{command}`"


def uninstaller(prefix: Path) -> tuple[str, str]:
    """Return the command that uninstalls what is in the environment ``prefix``, and what it does."""
    if (prefix / "installed").exists():
        return "./install.sh --uninstall", "in the clone: removes everything, images included, and asks about your data"
    installer = installer_of(prefix)
    command = installer.uninstall if installer is not None else "pip uninstall"
    return f"{command} confined-claude", "removes the tool; run it last"


def installer_of(prefix: Path) -> Installer | None:
    """Return the program that has made the environment ``prefix``; None if none of these has."""
    return next((each for each in _INSTALLERS if (prefix / each.mark).exists()), None)
