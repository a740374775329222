"""What TAB offers for the ``confined-claude`` command, and the shells' scripts that ask for it.

It follows from the tasks and the settings alone; nothing in the current directory is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from invoke import Collection, ParserContext, Task

from ...settings import SPECS

SHELLS = ("bash", "fish", "zsh")
_ASKING_FOR_HELP = (["--help"], ["-h"])


def summary(task: Task[Any]) -> str:
    """Return what a task does, in one line."""
    return (task.__doc__ or "").strip().partition("\n")[0]


def script(shell: str) -> str:
    """Return the script that makes ``shell``, one of SHELLS, complete the command."""
    return (Path(__file__).parent / f"confined-claude.{shell}").read_text(encoding="utf-8")


def answers(tasks: Collection, typed: Sequence[str], word: str, flags: Iterable[str]) -> list[tuple[str, str]]:
    """Return what ``word`` may become, each with a line of help, which may be empty.

    ``typed`` are the words between the command's name and ``word``; ``flags`` are those of the command itself. The
    shell picks what begins with ``word``, and offers files if there is nothing.
    """
    if "--" in typed:
        return []
    if not typed or typed in _ASKING_FOR_HELP:
        if word.startswith("-"):
            return [(flag, "") for flag in flags]
        return [(name, summary(tasks[name])) for name in sorted(tasks.task_names)]
    context = next((context for context in tasks.to_contexts() if context.name == typed[0]), None)
    return _flags_and_values(context, typed, word) if context else []


def _flags_and_values(task: ParserContext, typed: Sequence[str], word: str) -> list[tuple[str, str]]:
    # bash splits --network=none into three words, the other shells do not split it.
    before = [part for part in typed if part != "="][-1]
    flag, sign, _ = word.partition("=")
    if before in task.flags and task.flags[before].takes_value:
        return _values(before)
    if sign and flag in task.flags:
        return [(f"{flag}={value}", text) for value, text in _values(flag)]
    settings = {spec.flag: spec.help for spec in SPECS.values()}
    unused = sorted(name for name in task.flags if name.startswith("--") and name not in typed)
    return [(name, settings.get(name) or task.flags[name].help or "") for name in unused]


def _values(flag: str) -> list[tuple[str, str]]:
    """Return the words that a setting's flag may be given, as far as there are some, each with its meaning."""
    return [
        (word, spec.meanings.get(word, ""))
        for spec in SPECS.values()
        if spec.flag == flag
        for word in sorted(spec.scale)
    ]
