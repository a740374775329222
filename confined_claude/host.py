"""Facts about the host: who runs the tool, with which environment, and where the tool's directories are."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .errors import ConfinedError
from .system import APP, directories
from .text import escape, rooted, sha256

if TYPE_CHECKING:
    from .background import Background

CLAUDE_CONFIG_DIR = "CLAUDE_CONFIG_DIR"

USUAL_UMASK, _PRIVATE_UMASK = 0o022, 0o077
_ZONE = r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*"

# Keys whose values hold no commands, paths or credentials. The rest of the host's git configuration stays there.
SAFE_GIT_KEYS = frozenset(
    """user.name user.email user.useconfigonly author.name author.email committer.name committer.email
    init.defaultbranch pull.rebase pull.ff push.default push.autosetupremote
    merge.ff merge.conflictstyle rebase.autosquash rebase.autostash rerere.enabled fetch.prune
    diff.algorithm diff.renames diff.colormoved commit.verbose core.autocrlf core.eol core.abbrev
    branch.sort tag.sort column.ui color.ui log.date help.autocorrect""".split()
)


# The variables with which git's own settings are overridden, and what it falls back to.
_GIT_VARIABLES = {
    "GIT_SSH_COMMAND": "core.sshcommand",
    "GIT_SSH": "core.sshcommand",
    "GIT_PROXY_COMMAND": "core.gitproxy",
    "GIT_EXTERNAL_DIFF": "diff.external",
    "GIT_EDITOR": "core.editor",
    "GIT_SEQUENCE_EDITOR": "sequence.editor",
    "VISUAL": "core.editor",
    "EDITOR": "core.editor",
    "GIT_PAGER": "core.pager",
    "PAGER": "core.pager",
    "GIT_ASKPASS": "core.askpass",
    "SSH_ASKPASS": "core.askpass",
    "GIT_TEMPLATE_DIR": "init.templatedir",
    "GIT_EXEC_PATH": "init.templatedir",  # a directory of programs
}
_MAX_GIT_VARIABLES = 1000
# What this tool starts by names that PATH is searched for.
PROGRAMS = ("git", "ssh", "ssh-add", "ssh-agent", "ssh-keygen", "docker", "podman", "security")
_NO_REPOSITORY = "/dev/no-repository"


class GitVariable(NamedTuple):
    """A variable of a git configuration, and the directory of its file, which an included path is relative to."""

    key: str
    value: str
    directory: Path


class _Facts(NamedTuple):
    uid: int
    gid: int
    home: Path
    environ: Mapping[str, str]
    data: Path
    state: Path
    config: Path
    here: bool = False
    groups: tuple[int, ...] = ()
    umask: int = USUAL_UMASK


class Host(_Facts):
    """The host, as far as a session depends on it. ``environ`` is a copy taken at the start.

    With ``here`` its user wants the current directory alone as the project, whatever that is a part of. ``groups`` are
    the caller's beside ``gid``, ``umask`` has the bits that new files of the caller lack.
    """

    @classmethod
    def current(cls) -> Host:
        """Return the host of the calling user, with directories as the XDG variables name them.

        Raises ConfinedError if HOME is not an absolute path.
        """
        try:
            home = Path.home()
        except RuntimeError:
            raise ConfinedError("There is no home directory: HOME is not set.", "Set HOME and start again.") from None
        if not home.is_absolute():
            raise ConfinedError(f"HOME is not an absolute path: {home}.", "Set HOME and start again.")
        home = _rooted(home)
        os.umask(umask := os.umask(_PRIVATE_UMASK))  # there is no other way to ask
        groups = tuple(os.getgroups())
        environ = dict(os.environ)
        data, state, config = map(_rooted, directories(home, environ))
        return cls(os.getuid(), os.getgid(), home, environ, data, state, config, groups=groups, umask=umask)

    @property
    def claude_config(self) -> Path:
        """Claude's own config on the host: ``CLAUDE_CONFIG_DIR`` or ``~/.claude``. It is only copied from."""
        named = self.environ.get(CLAUDE_CONFIG_DIR)
        return Path(rooted(named)) if named else self.home / ".claude"

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
        return sha256(b"%d\0%b" % (self.uid, os.path.realpath(bytes(self.state))))[:12]

    @property
    def template(self) -> Path:
        """The template that comes with the tool, where the answers of all projects name it, whatever XDG says."""
        return self.home / f".local/share/{APP}/template.bundle"

    @property
    def user_config_file(self) -> Path:
        return self.config / "config.toml"

    @cached_property
    def git_config(self) -> tuple[GitVariable, ...]:
        """The machine's and the user's git configuration in git's order; empty without git or such files."""
        return self.ask_git().result()

    def ask_git(self) -> Background[tuple[GitVariable, ...]]:
        """Ask git for its configuration, in the background, unless that is done: a start imports meanwhile."""
        return self._asked_git

    @cached_property
    def _asked_git(self) -> Background[tuple[GitVariable, ...]]:
        from .background import Background  # few commands ask

        return Background(self._git_config)

    @property
    def git_environment(self) -> tuple[GitVariable, ...]:
        """What the caller's environment has in place of git's settings, see git(1)."""
        get = self.environ.get
        found = [(key, value) for name, key in _GIT_VARIABLES.items() if (value := get(name))]
        with contextlib.suppress(ValueError):
            for number in range(min(int(get("GIT_CONFIG_COUNT", "0")), _MAX_GIT_VARIABLES)):
                key = get(f"GIT_CONFIG_KEY_{number}", "")
                found.append((_lower(key), get(f"GIT_CONFIG_VALUE_{number}", "")))
        if parameters := get("GIT_CONFIG_PARAMETERS"):
            import shlex  # git itself sets the variable, for what it starts

            with contextlib.suppress(ValueError):
                words = shlex.split(parameters)
                found += [(_lower(key), value) for key, _, value in (word.partition("=") for word in words)]
        return tuple(GitVariable(key, value, self.home) for key, value in found)

    @property
    def git_files(self) -> tuple[Path, ...]:
        """The files with the settings of the user and the machine, and the user's attributes; they may be missing."""
        user = _rooted(Path(self.environ.get("XDG_CONFIG_HOME") or self.home / ".config")) / "git"
        named = (self.environ.get("GIT_CONFIG_GLOBAL"), self.environ.get("GIT_CONFIG_SYSTEM"))
        return (
            *(self.home / ".gitconfig", user / "config", user / "attributes", Path("/etc/gitconfig")),
            *(_rooted(Path(name).absolute()) for name in named if name),
        )

    def _git_config(self) -> tuple[GitVariable, ...]:
        """Return what git reads in the files that no repository has a say in: from ``/``, with none."""
        import subprocess  # not for commands that do not ask git

        # Not with --global: it leaves out one of the user's two files if there are both.
        command = ["git", "config", "--includes", "--show-origin", "--null", "--list"]
        environ = {**self.environ, "HOME": str(self.home), "GIT_DIR": _NO_REPOSITORY}
        environ.pop("GIT_CONFIG", None)  # a file in place of all
        if self.path:
            environ["PATH"] = os.pathsep.join(entry for entry in self.path if entry in os.get_exec_path()) or os.defpath
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
        found = zip(records[::2], records[1::2], strict=False)
        settings = ((origin, *record.partition("\n")) for origin, record in found)
        return tuple(
            GitVariable(key, value, Path(origin.removeprefix("file:")).parent)
            for origin, key, gap, value in settings
            if gap and origin.startswith("file:")  # the others are those of git_environment
        )


def _rooted(path: Path) -> Path:
    return Path(rooted(str(path)))


def _lower(key: str) -> str:
    """Return the name of a git variable as git lists it: section and name in small letters."""
    section, _, rest = key.partition(".")
    subsection, dot, name = rest.rpartition(".")
    return f"{section.lower()}.{subsection}{dot}{name.lower()}"


def time_zone(environ: Mapping[str, str], etc: Path = Path("/etc")) -> str:
    """Return the host's time zone as a value of TZ: the variable's, or else that of its files in ``etc``.

    It is empty if that is unknown. A variable that names a file is no value for a container.
    """
    named = environ.get("TZ", "")
    if named and not named.startswith((":", "/")):
        return named
    with contextlib.suppress(OSError):
        _, found, zone = str((etc / "localtime").readlink()).partition("zoneinfo/")
        if found and re.fullmatch(_ZONE, zone):
            return zone
    with contextlib.suppress(OSError, UnicodeDecodeError):
        zone = (etc / "timezone").read_text().strip()
        return zone if re.fullmatch(_ZONE, zone) else ""
    return ""


# Returns what tells of an entry of PATH, an absolute path, whether sessions can put programs there by now.
_Look = Callable[[], Callable[[str], bool]]
_looks: list[_Look] = []
_written: list[str] = []  # the entries that are left out because of that


def clean_path(look: _Look | None = None) -> None:
    """Take what sessions can write, by ``look`` or the one given last, and relative entries out of this process's PATH.

    What runs programs long after the start calls this before: other projects may have become known, and new links made.
    """
    if look is not None:
        _looks[:] = [look]
    if not _looks:
        return
    is_written = _looks[0]()
    entries = os.environ.get("PATH", os.defpath).split(os.pathsep)
    absolute = [entry for entry in entries if entry.startswith("/")]
    written = [entry for entry in absolute if is_written(entry)]
    _written.extend(entry for entry in written if entry not in _written)
    kept = [entry for entry in absolute if entry not in written]
    os.environ["PATH"] = os.pathsep.join(kept) or os.defpath  # an empty one is the current directory


def left_out() -> tuple[str, ...]:
    """Return the entries of PATH that are not used, as sessions can write there, or what a link there leads to."""
    return tuple(_written)


def missing(what: str, program: str) -> str:
    """Return that ``what``, the command ``program``, is missing, and whether PATH has one that is not used."""
    found = next((entry for entry in _written if os.access(os.path.join(entry, program), os.X_OK)), None)  # noqa: PTH118
    reason = f": the one in {escape(found)}, on PATH, is not used, as sessions can write it" if found else ""
    return f"{what} is missing{reason}"


def gitconfig_text(settings: tuple[tuple[str, str], ...]) -> str:
    """Return the text of a git config file with these (key, value) pairs.

    Every directory is safe: the project may belong to another uid in the container (macOS file sharing, root on the
    host), which is no danger there.
    """
    lines = ["[safe]", "\tdirectory = *"]
    for key, value in settings:
        section, _, name = key.partition(".")
        subsection, dot, name = name.rpartition(".")
        quoted = _quoted(value).replace("\n", "\\n").replace("\t", "\\t")
        lines += [f'[{section} "{_quoted(subsection)}"]' if dot else f"[{section}]", f'\t{name} = "{quoted}"']
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
