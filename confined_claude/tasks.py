"""The tasks for ``inv`` in a project: the commands, each made an Invoke task that calls it and exits with its code."""

from __future__ import annotations

import contextlib
import functools
import gc
import inspect
import os
import re
import sys
from collections.abc import Iterator
from typing import Any

from invoke import Collection, Context, Exit, ParseError, Task, task

from . import signals
from .commands.catalogue import COMMANDS, Command
from .console import discard_output, open_streams, wrapped
from .errors import INTERRUPTED, READER_GONE, USAGE, ConfinedError, explain_os_error

__all__ = ["ns"]

_NO_VALUE = re.compile("Flag <Argument: ([a-z_-]+).*> needed value.*")  # Invoke's words


@contextlib.contextmanager
def _reported() -> Iterator[None]:
    """End with a message and an exit code instead of a traceback."""
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


def _task(item: Command) -> Task[Any]:
    """Return the Invoke task of a command."""

    @functools.wraps(item.body)
    def run_task(_context: Context, **flags: Any) -> None:
        from .host import Host

        # Collecting garbage while importing, and looking for it once more at the end, takes a tenth of a short start.
        gc.disable()
        try:
            with _reported():
                code = item.body(Host.current(), **flags)
        finally:
            gc.freeze()
            gc.enable()
        if code is not None:
            raise Exit(code=code)

    parameters = [inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    parameters += [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=value) for name, value in item.flags.items()
    ]
    run_task.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    made: Task[Any] = task(name=item.name, auto_shortflags=False, help=item.help, optional=["accept"])(run_task)
    # Invoke asks the body for it, and copies every task with all that it has.
    del made.__signature__  # type: ignore[attr-defined]
    return made


def in_own_words(message: str) -> str:
    """Return what Invoke says about a flag that lacks its value in words for people; other messages as they are."""
    return _NO_VALUE.sub(lambda found: f"--{found[1].replace('_', '-')} needs a value.", message)


def _with_advice(error: BaseException) -> str:
    """Return what Invoke says of a command line that it cannot parse, and what to do about it."""
    import shlex

    from .command_line import rewrite

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

ns = Collection(*map(_task, COMMANDS.values()))
