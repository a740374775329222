"""Facts about the host: who runs the tool, with which environment, and where the tool's directories are."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from .errors import ConfinedError

APP = "confined-claude"
CLAUDE_CONFIG_DIR = "CLAUDE_CONFIG_DIR"

_ZONE = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*")

# Keys whose values hold no commands, paths or credentials. The rest of the host's git configuration stays there.
SAFE_GIT_KEYS = frozenset(
    """user.name user.email init.defaultbranch pull.rebase pull.ff push.default push.autosetupremote
    merge.ff merge.conflictstyle rebase.autosquash rebase.autostash rerere.enabled fetch.prune
    diff.algorithm diff.renames diff.colormoved commit.verbose core.autocrlf core.eol core.abbrev
    branch.sort tag.sort column.ui color.ui log.date help.autocorrect""".split()
)


@dataclass(frozen=True)
class Host:
    """The host, as far as a session depends on it. ``environ`` is a copy taken at the start."""

    uid: int
    gid: int
    home: Path
    environ: Mapping[str, str]
    data: Path
    state: Path
    config: Path

    @classmethod
    def current(cls) -> Host:
        """Return the host of the calling user, with directories as platformdirs and the XDG variables name them.

        Raises ConfinedError if HOME is not an absolute path.
        """
        import platformdirs

        try:
            home = Path.home()
            directories = (
                platformdirs.user_data_dir(APP),
                platformdirs.user_state_dir(APP),
                platformdirs.user_config_dir(APP),
            )
        except RuntimeError:
            raise ConfinedError("There is no home directory: HOME is not set.", "Set HOME and start again.") from None
        if not home.is_absolute():
            raise ConfinedError(f"HOME is not an absolute path: {home}.", "Set HOME and start again.")
        data, state, config = map(Path, directories)
        return cls(os.getuid(), os.getgid(), home, dict(os.environ), data, state, config)

    @property
    def claude_config(self) -> Path:
        """Claude's own config on the host: ``CLAUDE_CONFIG_DIR`` or ``~/.claude``. It is only copied from."""
        return Path(self.environ.get(CLAUDE_CONFIG_DIR) or self.home / ".claude")

    @property
    def claude_state(self) -> Path:
        """The global state of Claude on the host, beside its config or in it. It is only read."""
        return (self.claude_config if self.environ.get(CLAUDE_CONFIG_DIR) else self.home) / ".claude.json"

    @property
    def path(self) -> tuple[str, ...]:
        """The entries of the caller's PATH as they are; an empty one is the current directory."""
        path = self.environ.get("PATH")
        return tuple(path.split(os.pathsep)) if path else ()

    @property
    def owner(self) -> str:
        """12 hex digits of the user and ``<state>``, which label everything of this user's in an engine.

        Other users may share the engine, and so may this user with another ``<state>``.
        """
        return hashlib.sha256(b"%d\0%b" % (self.uid, os.path.realpath(bytes(self.state)))).hexdigest()[:12]

    @property
    def user_config_file(self) -> Path:
        return self.config / "config.toml"

    def git_settings(self) -> tuple[tuple[str, str], ...]:
        """Return the safe part of the user's global git configuration, as (key, value) in its order."""
        return tuple((key, value) for key, value in self.git_config if key in SAFE_GIT_KEYS)

    @cached_property
    def git_config(self) -> tuple[tuple[str, str], ...]:
        """The user's global git configuration, as (key, value) in its order; empty without git or such a file."""
        return self._git_config("--global")

    @cached_property
    def system_git_config(self) -> tuple[tuple[str, str], ...]:
        """The machine's git configuration, as (key, value) in its order; empty without git or such a file."""
        return self._git_config("--system")

    @property
    def git_files(self) -> tuple[Path, ...]:
        """The files with the settings of the user and the machine, and the user's attributes; they may be missing."""
        user = Path(self.environ.get("XDG_CONFIG_HOME") or self.home / ".config") / "git"
        named = (self.environ.get("GIT_CONFIG_GLOBAL"), self.environ.get("GIT_CONFIG_SYSTEM"))
        return (
            *(self.home / ".gitconfig", user / "config", user / "attributes", Path("/etc/gitconfig")),
            *(Path(name) for name in named if name and name.startswith("/")),
        )

    def _git_config(self, scope: str) -> tuple[tuple[str, str], ...]:
        """Return what git reads in one of the files that no repository has a say in, from ``/``."""
        command = ["git", "config", scope, "--includes", "--null", "--list"]
        environ = {**self.environ, "HOME": str(self.home)}
        if self.path:
            environ["PATH"] = os.pathsep.join(entry for entry in self.path if entry in os.get_exec_path())
        try:
            answer = subprocess.run(
                command,
                cwd="/",
                env=environ,
                capture_output=True,
                check=False,
                timeout=10,
            )
        except (OSError, subprocess.TimeoutExpired):
            return ()
        if answer.returncode:
            return ()
        records = answer.stdout.decode("utf-8", "replace").split("\0")
        settings = (record.partition("\n") for record in records if "\n" in record)
        return tuple((key, value) for key, _, value in settings)


def time_zone(environ: Mapping[str, str], etc: Path = Path("/etc")) -> str:
    """Return the host's time zone as a value of TZ: the variable's, or else that of its files in ``etc``.

    It is empty if that is unknown. A variable that names a file is no value for a container.
    """
    named = environ.get("TZ", "")
    if named and not named.startswith((":", "/")):
        return named
    with contextlib.suppress(OSError):
        _, found, zone = str((etc / "localtime").readlink()).partition("zoneinfo/")
        if found and _ZONE.fullmatch(zone):
            return zone
    with contextlib.suppress(OSError, UnicodeDecodeError):
        zone = (etc / "timezone").read_text().strip()
        return zone if _ZONE.fullmatch(zone) else ""
    return ""


def leave_out_of_path(root: Path) -> None:
    """Take ``root``, all in it and relative entries out of this process's PATH: a session can put programs there."""
    entries = os.environ.get("PATH", os.defpath).split(os.pathsep)
    kept = [
        entry for entry in entries if entry.startswith("/") and not f"{os.path.realpath(entry)}/".startswith(f"{root}/")
    ]
    os.environ["PATH"] = os.pathsep.join(kept)


def gitconfig_text(settings: tuple[tuple[str, str], ...]) -> str:
    """Return the text of a git config file with these (key, value) pairs.

    Every directory is safe: the project may belong to another uid in the container (macOS file sharing, root on the
    host), which is no danger there.
    """
    lines = ["[safe]", "\tdirectory = *"]
    for key, value in settings:
        section, _, name = key.partition(".")
        quoted = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
        lines += [f"[{section}]", f'\t{name} = "{quoted}"']
    return "\n".join(lines) + "\n"
