"""The words of a ``confined-claude`` command line: which task they mean, and what of them is meant for claude."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from .commands.catalogue import COMMANDS, Command
from .errors import ConfinedError
from .text import nearest

# The flags of the shell script that this command replaced.
OLD_FLAGS = {
    "--yolo": ["run", "--yolo"],
    **{f"--{task}": [task] for task in ("shell", "status", "clean", "clean-global", "rebuild")},
}
OWN_FLAGS = ("--help", "--list", "--print-completion-script", "--version")
_SHORT_FLAGS = ("-h", "-l", "-V")
# Tasks that take a word, and the flag that it is the value of.
_FLAG_OF_WORD = {"init": "--directory", "export": "--to"}
_COMPLETE = "--complete"  # what the shells' scripts call


def rewrite(words: list[str]) -> list[str]:
    """Return the command line with its task first, and ``--`` before whatever is meant for claude.

    Without a task it means ``run``. An option that ``run`` does not have, or an argument that is no single word, goes
    to claude with everything after it.
    """
    if words and words[0] in OLD_FLAGS:
        words = [*OLD_FLAGS[words[0]], *words[1:]]
    elif not words or (_is_claudes(words[0]) and not _is_own(words[0])):
        words = ["run", *words]
    if words[0] == "review":
        return _with_one_value_each(words)
    if words[0] in _FLAG_OF_WORD:
        return _with_flag(words, _FLAG_OF_WORD[words[0]])
    return _with_separator(words) if words[0] == "run" and len(words) > 1 else words


def _with_flag(words: list[str], flag: str) -> list[str]:
    """Return ``words`` with the first that is no flag, nor follows this one, after ``flag``."""
    for number, (before, word) in enumerate(itertools.pairwise(words), 1):
        if not word.startswith("-") and before != flag:
            return [*words[:number], flag, *words[number:]]
    return words


def _with_one_value_each(words: list[str]) -> list[str]:
    """Return the words of a ``review`` with the paths after each flag as one."""
    values: dict[str, list[str]] = {}
    for word in words[1:]:
        if word in ("--accept", "--restore"):
            values.setdefault(word, [])
            flag = word
        elif not values or word.startswith("-"):
            return words  # Invoke's words say what is wrong
        else:
            values[flag].append(word)
    from .settings import SEPARATOR

    return [words[0], *(word for flag, paths in values.items() for word in (flag, SEPARATOR.join(paths)) if word)]


def _with_separator(words: list[str]) -> list[str]:
    """Return the words of a ``run`` with ``--`` before the first that is claude's."""
    run, values = COMMANDS["run"], 0
    for number, word in enumerate(words[1:], 1):
        flag, sign, _ = word.partition("=")
        if values:
            values -= 1
        elif word == "--":
            break
        elif flag in run.options:
            values = 1 if run.flags[run.options[flag]] is None and not sign else 0
        elif _is_claudes(word) and not _is_own(word):
            return [*words[:number], "--", *words[number:]]
    return words


def refuse_misplaced(typed: Sequence[str], words: Sequence[str]) -> None:
    """Raise ConfinedError if ``words``, which ``rewrite`` has made of those ``typed``, would not do what was meant.

    They ask for what only an installer does, or give claude a setting, or an option of ``run`` that is misspelt or
    stands after claude's; or they have a task after options, where it would follow a ``run``.
    """
    if typed[:1] in (["uninstall"], ["--uninstall"]):
        from .commands.installers import how_to_uninstall

        raise ConfinedError("confined-claude does not uninstall itself.", how_to_uninstall())
    end = words.index("--") if "--" in words else len(words)
    if words[:1] == ["run"] and typed[:1] != ["run"]:
        _refuse_late_task(words[1:end])
    if words.count("--") > typed.count("--"):
        given = words[end + 1 :]
        if fault := setting_without_flag(given[0]):
            raise ConfinedError(*fault)
        _refuse_flags_of_run(given[: given.index("--")] if "--" in given else given)


def _refuse_late_task(own: Sequence[str]) -> None:
    """Raise ConfinedError if a task is among the words of a ``run`` that nobody typed."""
    flags, before = COMMANDS["run"].options, ""
    for number, word in enumerate(own):
        is_value = before in flags and COMMANDS["run"].flags[flags[before]] is None
        if word in COMMANDS and not is_value:
            first = _joined([word, *own[:number], *own[number + 1 :]])
            raise ConfinedError(f"The task {word} comes after options.", f"Put it first: confined-claude {first}")
        before = "" if is_value else word


def _refuse_flags_of_run(given: Sequence[str]) -> None:
    """Raise ConfinedError if there is an option of ``run`` among the words for claude, or the first is like one."""
    flags = COMMANDS["run"].options
    for flag in (word.partition("=")[0] for word in given):
        if flag in flags:
            raise ConfinedError(
                f"{flag} comes after {given[0]!r}, and so goes to claude.", f"Put it first. {_for_claude(given)}"
            )
    flag = given[0].partition("=")[0]
    # Claude's own options, such as --agent and --settings, are less like any of these.
    if flag.startswith("--") and (near := nearest(flag[2:], [name[2:] for name in flags], 0.8)):
        raise ConfinedError(f"There is no option {flag}. Did you mean --{near}?", _for_claude(given))


def _for_claude(words: Sequence[str]) -> str:
    """Return the hint on how ``words`` go to claude."""
    return f"For claude: confined-claude -- {_joined(words)}"


def _joined(words: Sequence[str]) -> str:
    """Return ``words`` as a shell takes them."""
    import shlex  # for an error alone

    return shlex.join(words)


def setting_without_flag(word: str) -> tuple[str, str] | None:
    """Return what to say of an option that is a setting's name, and what to do; None for any other ``word``."""
    from .settings import SPECS  # most command lines have only flags

    flag = word.partition("=")[0]
    spec = SPECS.get(flag[2:].replace("-", "_")) if flag.startswith("--") else None
    if spec is None or flag in COMMANDS["run"].options:
        return None
    return (
        f"The setting `{spec.name}` has no flag: {flag} is unknown.",
        f"Set it by {spec.variable}=VALUE, or in a config file (`confined-claude config` shows which).",
    )


def _is_claudes(word: str) -> bool:
    return word.startswith("-") or not word or any(char.isspace() for char in word)


def _is_own(word: str) -> bool:
    return word.partition("=")[0] in (*OWN_FLAGS, *_SHORT_FLAGS, _COMPLETE)


def parse(words: Sequence[str]) -> tuple[Command, dict[str, str | bool]] | None:
    """Return the command that ``words``, as ``rewrite`` returns them, stand for, and the values of its flags by name.

    None for whatever is not plain: help, completion, more than one task, and all that is wrong. Invoke parses that, and
    has the words for it.
    """
    if not words or (command := COMMANDS.get(words[0])) is None:
        return None
    values: dict[str, Any] = {}
    own = list(words[1 : words.index("--")] if "--" in words else words[1:])
    while own:
        flag, sign, value = own.pop(0).partition("=")
        name = command.options.get(flag)
        if name is None or (name in values and name not in command.repeated):
            return None
        if command.flags[name] is False:
            if sign:
                return None
            values[name] = True
            continue
        if not sign:
            value = own.pop(0) if own else ""
        if not value or value.startswith("-"):
            return None
        if name in values:
            from .settings import SEPARATOR  # most commands have no settings

            value = SEPARATOR.join((values[name], value))
        values[name] = value
    return command, values
