"""The console command as an Invoke program: own help, own exit code for wrong usage, none of Invoke's config files.

Invoke's own loader is never used, so nothing in the current directory is imported.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
import textwrap
from collections.abc import Iterator

from invoke import Config, Exit, ParseError, Program

from . import __version__, tasks
from .commands import completion
from .errors import USAGE

# The flags of the shell script that this command replaced.
OLD_FLAGS = {
    "--yolo": ["run", "--yolo"],
    **{f"--{task}": [task] for task in ("shell", "status", "clean", "clean-global", "rebuild")},
}
OWN_FLAGS = ("--help", "--list", "--print-completion-script", "--version")
_COMPLETED_FLAGS = ("--help", "--list", "--version", *OLD_FLAGS)
_LIST_FORMATS = ("flat", "nested", "json")
_SEE_HELP = "See confined-claude --help."
_USAGE = """\
Usage: confined-claude [--yolo] [-- ARGS of claude]
       confined-claude TASK [--flags] [-- ARGS]

Without a task it runs Claude Code, confined, in the current project. `--help TASK` explains a task.

Options:
"""


def rewrite_old_flags(words: list[str]) -> list[str]:
    """Return the command line in today's words: without a task it means ``run``."""
    if words and words[0] in OLD_FLAGS:
        return [*OLD_FLAGS[words[0]], *words[1:]]
    if not words or words[0] == "--":
        return ["run", *words]
    return words


def run() -> int:
    """Run the command line in ``sys.argv``, and return its exit code."""
    sys.argv[1:] = rewrite_old_flags(sys.argv[1:])
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


class OwnConfig(Config):
    """Invoke's settings under a name of our own, so that ``inv``'s config files do not apply."""

    prefix = "confined-claude-invoke"
    env_prefix = "CONFINED_CLAUDE_INVOKE"  # type: ignore[assignment]  # None in Invoke: as the prefix


class OwnProgram(Program):
    """Invoke's program with help that names only the flags that mean something here."""

    def print_help(self) -> None:
        print(_USAGE)
        self.print_columns([self.initial_context.help_for(flag) for flag in OWN_FLAGS])
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
    """End wrong usage with the exit code that the tool's own errors have."""
    try:
        yield
    except Exit as error:
        if not error.message:  # the requested output has been printed
            raise
        raise Exit(f"confined-claude: {error.message}\n{_SEE_HELP}", USAGE) from None
    except (ParseError, ValueError) as error:  # a ValueError is a word in place of a number
        raise Exit(f"confined-claude: {error}\n{_SEE_HELP}", USAGE) from None


def _complete(words: list[str]) -> None:
    """Print what the last of ``words`` may become, each with its help after a tab; the words before it are typed."""
    *typed, word = words or [""]
    for name, text in completion.answers(tasks.ns, rewrite_old_flags(typed) if typed else [], word, _COMPLETED_FLAGS):
        print(f"{name}\t{text}" if text else name)
