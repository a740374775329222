"""The tasks for ``inv`` in a project: the commands, each made an Invoke task that calls it and exits with its code."""

from __future__ import annotations

import contextlib
import copy
import gc
import os
import re
import sys
from collections.abc import Iterator
from typing import Any

from invoke import Argument, Collection, Context, Exit, ParseError, Task

from .commands.catalogue import COMMANDS, Command

__all__ = ["ns"]

_UNKNOWN = re.compile("""No idea what ['"](.*)['"] is!""", re.DOTALL)
_NO_VALUE = "Flag <Argument: ([a-z_-]+).*> needed value.*"  # Invoke's words


@contextlib.contextmanager
def _reported() -> Iterator[None]:
    """End with a message and an exit code instead of a traceback."""
    from . import signals
    from .console import discard_output, open_streams, wrapped
    from .errors import INTERRUPTED, READER_GONE, USAGE, ConfinedError, explain_os_error

    open_streams()
    # The command starts with Ctrl-C ending it at once; from here on there is something to clean up.
    signals.raise_at_ctrl_c()
    try:
        if "PYTHONPATH" in os.environ and not sys.flags.ignore_environment:  # the shim of an older scaffold allows it
            from .project import refuse_python_path

            refuse_python_path(os.environ)
        yield
        sys.stdout.flush()
    except ConfinedError as error:
        raise Exit(wrapped(f"confined-claude: {error}", sys.stderr), error.exit_code) from None
    except KeyboardInterrupt:
        raise Exit(code=INTERRUPTED) from None
    except BrokenPipeError:
        discard_output()
        raise Exit(code=READER_GONE) from None
    except OSError as error:
        raise Exit(wrapped(f"confined-claude: {explain_os_error(error)}", sys.stderr), USAGE) from None


class CommandTask(Task[Any]):
    """The Invoke task of a command."""

    def __init__(self, item: Command) -> None:
        def run_task(_context: Context, **flags: Any) -> None:
            from .host import Host

            # Collecting garbage while importing, and looking for it once more at the end, takes a tenth of a short
            # start.
            gc.disable()
            try:
                with _reported():
                    code = item.body(Host.current(), **flags)
            finally:
                gc.freeze()
                gc.enable()
            if code is not None:
                raise Exit(code=code)

        run_task.__doc__ = item.body.__doc__
        super().__init__(run_task, name=item.name, positional=())

    def __deepcopy__(self, _memo: object) -> CommandTask:
        """Return a shallow copy: Invoke copies each task, and nothing in these is changed."""
        return copy.copy(self)

    def get_arguments(self, ignore_unknown_help: bool | None = None) -> list[Argument]:  # noqa: ARG002
        """Return the flags of the command; none where the command line has no flag at all.

        Invoke asks every task for them, and copies them all, for a list of the tasks as well: two thirds of what these
        tasks add to Invoke's own time.
        """
        if not _has_flags(sys.argv[1:]):
            return []
        item = COMMANDS[self.name]
        return [
            Argument(
                names=(flag[2:],),
                attr_name=name if "_" in name else None,
                kind=str if item.flags[name] is None else bool,
                default=item.flags[name],
                optional=name == "accept",
                help=item.help.get(name),
            )
            for flag, name in item.options.items()
        ]


def _has_flags(words: list[str]) -> bool:
    """Return whether a command line of Invoke's has a flag before ``--``, other than one that asks for a list."""
    own = words[: words.index("--")] if "--" in words else words
    return any(word.startswith("-") and word not in ("--list", "-l") for word in own)


def in_own_words(message: str) -> str:
    """Return what Invoke says about a flag that lacks its value in words for people; other messages as they are."""
    return re.sub(_NO_VALUE, lambda found: f"--{found[1].replace('_', '-')} needs a value.", message)


def _with_advice(error: ParseError) -> str:
    """Return what Invoke says of a command line that it cannot parse, and what to do about it.

    What it says of a task that is not one of these stays as it is.
    """
    import shlex

    from .command_line import refuse_misplaced, rewrite, setting_without_flag
    from .console import wrapped
    from .errors import ConfinedError

    message, typed = BaseException.__str__(error), sys.argv[1:]
    task = error.context.name if error.context else None
    if task is not None and task not in COMMANDS:
        return message
    hint = "For all tasks: inv --list    For the options of one: inv --help TASK"
    # Of --flag=value Invoke names the flag.
    unknown = next((word for word in typed if {word, word.partition("=")[0]} & {*_UNKNOWN.findall(message)}), "")
    words = rewrite(typed)
    is_first = typed[:1] == [unknown] and words[0] == "run"
    if task is None and not is_first:  # it may be meant for anyone's tasks
        return f"{message}\n{hint}"
    message = in_own_words(message)
    if fault := setting_without_flag(unknown):
        message, hint = fault
    elif unknown and (is_first or typed[0] == task == "run"):
        try:
            refuse_misplaced(typed, words)
        except ConfinedError as misplaced:
            return wrapped(f"confined-claude: {misplaced}", sys.stderr)
        if "--" not in words and not is_first:
            words.insert(words.index(unknown, 1), "--")
        hint = f"For claude: inv {shlex.join(words)}    For all tasks: inv --list"
    return wrapped(f"confined-claude: {message}\n{hint}", sys.stderr)


# Invoke prints such an error itself, before it calls anything of ours, and has no words for what to do.
if sys.argv[0].rpartition("/")[2] in ("inv", "invoke"):
    ParseError.__str__ = _with_advice  # type: ignore[assignment,method-assign]

ns = Collection(*map(CommandTask, COMMANDS.values()))
