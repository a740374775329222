"""The ``confined-claude`` command: the same tasks, with no code and no config of the project.

Invoke's own loader is never used, so nothing in the current directory is imported.
"""

from __future__ import annotations

import contextlib
import gc
import inspect
import os
import signal
import sys
import textwrap
from collections.abc import Iterator
from typing import NoReturn

from .console import open_streams
from .errors import INTERRUPTED, READER_GONE, USAGE

_SEE_HELP = "See confined-claude --help."
_LIST_FORMATS = ("flat", "nested", "json")
_OWN_FLAGS = ("--help", "--list", "--version")
_TOLD_FLAGS = ("--help", "--list", "--print-completion-script", "--version")
_USAGE = """\
Usage: confined-claude [--yolo] [-- ARGS of claude]
       confined-claude TASK [--flags] [-- ARGS]

Without a task it runs Claude Code, confined, in the current project. `--help TASK` explains a task.

Options:
"""
# The flags of the shell script this command took over from.
_OLD_FLAGS = {
    "--yolo": ["run", "--yolo"],
    "--shell": ["shell"],
    "--status": ["status"],
    "--clean": ["clean"],
    "--clean-global": ["clean-global"],
    "--rebuild": ["rebuild"],
}


def main() -> NoReturn:
    """Run the command with this process's arguments, and exit with its code."""
    open_streams()
    # Collecting garbage while importing, and taking modules apart at the end, costs more
    # than a tenth of a start; a process this short needs neither.
    gc.disable()
    # A KeyboardInterrupt raised while modules are imported may be lost; nothing is there yet to clean up.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.argv[1:] = _current(sys.argv[1:])
    try:
        code = _run()
        if not code:
            sys.stdout.flush()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:
        code = READER_GONE
    except OSError as error:
        print(f"confined-claude: {error.strerror or error}.\nLook where its output goes.", file=sys.stderr)
        code = USAGE
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _current(words: list[str]) -> list[str]:
    """The command line in today's words: without a task it means ``run``."""
    if words and words[0] in _OLD_FLAGS:
        return [*_OLD_FLAGS[words[0]], *words[1:]]
    if not words or words[0] == "--":
        return ["run", *words]
    return words


def _complete(words: list[str]) -> None:
    """Print what the last of ``words`` may become, each with its help behind a tab; the words before it are typed."""
    from . import tasks
    from .commands import completion

    *typed, word = words or [""]
    for name, text in completion.answers(tasks.ns, _current(typed) if typed else [], word, (*_OWN_FLAGS, *_OLD_FLAGS)):
        print(f"{name}\t{text}" if text else name)


def _run() -> int:
    from invoke import Config, Exit, ParseError, Program

    from . import __version__, tasks

    class OwnConfig(Config):
        """Invoke's settings under a name of our own, so that ``inv``'s config files do not apply."""

        prefix = "confined-claude-invoke"
        env_prefix = "CONFINED_CLAUDE_INVOKE"  # type: ignore[assignment]  # None in Invoke: as the prefix

    class OwnProgram(Program):
        """Invoke's program with the exit code for wrong usage that the tool's own errors have, and help of our own.

        Of Invoke's flags that tells those which mean something here.
        """

        def print_help(self) -> None:
            print(_USAGE)
            self.print_columns([self.initial_context.help_for(flag) for flag in _TOLD_FLAGS])
            self.list_tasks()

        def print_task_help(self, name: str) -> None:
            flags = self.parser.contexts[name].help_tuples()
            print(f"Usage: confined-claude {name}{' [--flags]' * bool(flags)}\n")
            print(textwrap.indent(inspect.getdoc(self.collection[name]) or "", "  ") + "\n")
            if flags:
                print("Flags:\n")
                self.print_columns(flags)

        def parse_core(self, argv: list[str] | None) -> None:
            with _usage_errors():
                super().parse_core(argv)

        def parse_core_args(self) -> None:
            super().parse_core_args()
            if self.args["complete"].value:
                _complete(tasks.passthrough(sys.argv)[1:])
                raise Exit
            if shell := self.args["print-completion-script"].value:
                from .commands import completion

                if shell not in completion.SHELLS:
                    raise ParseError(f"--print-completion-script is one of {', '.join(completion.SHELLS)}.")
                print(completion.script(shell), end="")
                raise Exit

        def parse_tasks(self) -> None:
            with _usage_errors():
                super().parse_tasks()

        def parse_cleanup(self) -> None:
            with _usage_errors():
                if self.args["list-format"].value not in (*_LIST_FORMATS, None):
                    raise ParseError(f"--list-format is one of {', '.join(_LIST_FORMATS)}.")
                super().parse_cleanup()

    @contextlib.contextmanager
    def _usage_errors() -> Iterator[None]:
        try:
            yield
        except Exit as error:
            if not error.message:  # what was asked for has been shown
                raise
            raise Exit(f"confined-claude: {error.message}\n{_SEE_HELP}", USAGE) from None
        except (ParseError, ValueError) as error:  # a ValueError is a word where a number belongs
            raise Exit(f"confined-claude: {error}\n{_SEE_HELP}", USAGE) from None

    program = OwnProgram(
        name="confined-claude",
        binary="confined-claude",
        version=__version__,
        namespace=tasks.ns,
        config_class=OwnConfig,
    )
    try:
        program.run()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    return 0
