"""A command of the host's Claude settings, as it runs in a session: with paths as they are there, if it can run there.

What is looked at is text, which a shell reads in the end. So a command that is not understood is one that runs as it
is, and what only the session can know (whether a program is there) the command finds out itself.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..project import CONTAINER_HOME
from ..text import normal_path

INSIDE = f"{CONTAINER_HOME}/.claude"
# Programs of the image that the host may have anywhere.
_IN_IMAGE = frozenset(("bash", "node", "npm", "npx", "python", "python3", "sh"))
# Directories that a session has of its own, with much the same in them.
_ITS_OWN = ("/bin/", "/dev/", "/etc/", "/lib/", "/proc/", "/sbin/", "/sys/", "/tmp/", "/usr/", "/var/tmp/")
_PATH = r"""(?x)(?<![\w.}/:@-])(?P<root>~|\$HOME\b|\$\{HOME\}|\$CLAUDE_CONFIG_DIR\b|\$\{CLAUDE_CONFIG_DIR\})?
    (?P<rest>(?:/[^\s"'`;|&<>()$\\*?\[\]{},=]+)+)"""
_WORD = r"""(?:"[^"]*"|'[^']*'|[^\s;|&<>()"'])+"""
_PROGRAM = rf"\s*(?:\w+=(?:{_WORD})?\s+)*(?:exec\s+)?({_WORD})"
_INTERPRETED = rf"(?:\S*/)?(?:python[\d.]*|node|bash|sh|ruby|perl)\s+((?!-){_WORD})"
_SHELL_WORDS = frozenset("! [ [[ { if for while until case function time : . source eval cd test true false".split())


class HostPaths(NamedTuple):
    """Where on the host Claude's config, the user's home, and the session's project are."""

    config: Path
    home: Path
    project: Path | None = None


class InSession(NamedTuple):
    """A command in a session: its ``text`` there, the ``scripts`` it names by their paths in the config, the
    ``program`` that it begins with (empty if that is the shell's own), and why it cannot run there, if it cannot.
    """

    text: str
    scripts: tuple[str, ...] = ()
    program: str = ""
    problem: str = ""

    @property
    def guarded(self) -> str:
        """The command, which does nothing where its program, or the script that an interpreter is to run, is missing.

        Claude Code treats the failure of some hooks as a refusal: every call of a tool would be denied.
        """
        if not self.program:
            return self.text
        tests = [f"command -v {self.program} >/dev/null 2>&1"]
        if script := re.match(_INTERPRETED, self.text[self.text.index(self.program) :]):
            tests.append(f"[ -e {script[1]} ]")
        return f"{' && '.join(tests)} || exit 0; {self.text}"


# Runs a program by its words, with the same conditions as ``InSession.guarded``.
_GUARD = (
    'command -v "$0" >/dev/null 2>&1 || exit 0; '
    'case ${0##*/} in python*|node|bash|sh|ruby|perl) case ${1-} in -*|"") ;; *) [ -e "$1" ] || exit 0;; esac;; esac; '
    'exec "$0" "$@"'
)


def guarded_words(words: Sequence[str]) -> dict[str, object]:
    """Return what a hook that is a program with its words has in a session: as ``InSession.guarded``, in that form."""
    return {"command": "/bin/sh", "args": ["-c", _GUARD, *words]}


def in_session(command: str, paths: HostPaths) -> InSession:
    """Return a shell command of the host as it runs in a session."""
    scripts: list[str] = []
    problems: list[str] = []

    def replaced(found: re.Match[str]) -> str:
        path = _full_path(found["root"] or "", found["rest"], paths)
        inner = _below(path, paths.config)
        if inner:
            scripts.append(inner)
            if not os.path.lexists(path):
                problems.append(f"{path} does not exist")
            return f"{INSIDE}/{inner}"
        program = Path(path)
        if program.name in _IN_IMAGE and program.parent.name == "bin":
            return program.name
        if paths.project and (path == str(paths.project) or _below(path, paths.project)):
            return path
        if (_below(path, paths.home) or not path.startswith(_ITS_OWN)) and os.path.lexists(path):
            problems.append(f"it names {path}, which is not in the session")
        return found[0]

    text = re.sub(_PATH, replaced, command)
    started = re.match(_PROGRAM, text)
    program = started[1] if started and started[1] not in _SHELL_WORDS else ""
    return InSession(text, tuple(scripts), program, problems[0] if problems else "")


def _full_path(root: str, rest: str, paths: HostPaths) -> str:
    start = "" if not root else str(paths.config if "CONFIG" in root else paths.home)
    return normal_path(start + rest)


def _below(path: str, directory: Path) -> str:
    """Return the part of ``path`` below ``directory``; empty if it is not in it."""
    for root in (str(directory), os.path.realpath(directory)):
        if path.startswith(f"{root}/"):
            return path[len(root) + 1 :]
    return ""
