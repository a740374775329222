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


def _with_advice(error: BaseException) -> str:
    """Return what Invoke says of a command line that it cannot parse, and what to do about it."""
    import shlex

    from .command_line import rewrite
    from .console import wrapped

    message = in_own_words(BaseException.__str__(error))
    hint = "For all tasks: inv --list    For the options of one: inv --help TASK"
    words = rewrite(sys.argv[1:])
    unknown = next((number for number, word in enumerate(words) if number and repr(word) in message), None)
    if words[0] == "run" and unknown is not None:
        if "--" not in words:
            words.insert(unknown, "--")
        hint = f"For claude: inv {shlex.join(words)}    For all tasks: inv --list"
    return wrapped(f"confined-claude: {message}\n{hint}", sys.stderr)


# Invoke prints such an error itself, before it calls anything of ours, and has no words for what to do.
if sys.argv[0].rpartition("/")[2] in ("inv", "invoke"):
    ParseError.__str__ = _with_advice  # type: ignore[method-assign]

ns = Collection(*map(CommandTask, COMMANDS.values()))
