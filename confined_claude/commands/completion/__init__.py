"""What TAB offers for the ``confined-claude`` command, and the shells' scripts that ask for it.

The tasks and settings are all it looks at, and nothing in the current folder.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from invoke import Collection, ParserContext

from ...settings import SPECS

SHELLS = ("bash", "fish", "zsh")
_ASKING_FOR_HELP = (["--help"], ["-h"])


def script(shell: str) -> str:
    """The script that has ``shell``, one of SHELLS, complete the command."""
    return (Path(__file__).parent / f"confined-claude.{shell}").read_text(encoding="utf-8")


def answers(tasks: Collection, typed: Sequence[str], word: str, flags: Iterable[str]) -> list[tuple[str, str]]:
    """What ``word`` may become, each with a line of help or none.

    ``typed`` is what stands between the command's name and ``word``; ``flags`` are those of the command itself. The
    shell takes what begins with ``word``, and offers files where there is nothing.
    """
    if "--" in typed:
        return []
    if not typed or typed in _ASKING_FOR_HELP:
        if word.startswith("-"):
            return [(flag, "") for flag in flags]
        return [(name, _in_short(tasks[name].__doc__)) for name in sorted(tasks.task_names)]
    context = next((context for context in tasks.to_contexts() if context.name == typed[0]), None)
    return _flags_and_values(context, typed, word) if context else []


def _flags_and_values(task: ParserContext, typed: Sequence[str], word: str) -> list[tuple[str, str]]:
    # bash makes a word of the sign in --network=none, the other shells keep it together.
    before = [part for part in typed if part != "="][-1]
    flag, sign, _ = word.partition("=")
    if before in task.flags and task.flags[before].takes_value:
        return [(value, "") for value in _values(before)]
    if sign and flag in task.flags:
        return [(f"{flag}={value}", "") for value in _values(flag)]
    left = sorted(name for name in task.flags if name.startswith("--") and name not in typed)
    return [(name, _in_short(task.flags[name].help)) for name in left]


def _values(flag: str) -> list[str]:
    """The words that a flag may be given, where it is a setting's and these are known."""
    return [word for spec in SPECS.values() if spec.flag == flag for word in sorted(spec.scale)]


def _in_short(text: str | None) -> str:
    """The first line of ``text``, without the usage behind it."""
    return (text or "").strip().partition("\n")[0].partition(": ")[0]
