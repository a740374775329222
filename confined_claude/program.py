"""The console command as an Invoke program: own help, own exit code for wrong usage, none of Invoke's config files.

Invoke's own loader is never used, so nothing in the current directory is imported.
"""

from __future__ import annotations

import contextlib
import inspect
import re
import shlex
import sys
import textwrap
from collections.abc import Iterator, Sequence

from invoke import Argument, Config, Exit, ParseError, Program
from invoke.terminals import pty_size

from . import __version__, tasks
from .command_line import OLD_FLAGS, OWN_FLAGS, rewrite, setting_without_flag
from .commands import catalogue, completion, groups
from .console import wrapped
from .errors import USAGE
from .text import nearest

_SEE_HELP = "See confined-claude --help."
_USAGE = """\
Usage: confined-claude [OPTIONS] [ARGUMENTS of claude]
       confined-claude TASK [OPTIONS] [-- ARGUMENTS]
"""
_COMPLETED_FLAGS = ("--help", "--list", "--version", *OLD_FLAGS)
_WHAT = """\
Runs Claude Code in a container, in the current project. Options that are not listed in `confined-claude --help run`,
and sentences in quotes, go to claude with everything after them. After -- everything does."""
_EXAMPLES = (
    ("confined-claude", "start Claude Code here"),
    ('confined-claude "fix the failing test"', "start it with a first prompt"),
    ("confined-claude --continue", "continue the last conversation here"),
    ("confined-claude --resume", "choose a conversation to resume"),
    ('confined-claude -p "what is this?"', "print one answer"),
    ("confined-claude --yolo", "let Claude act without asking"),
    ("confined-claude --network allowlist", "reach only allowed hosts"),
    ("confined-claude shell -- make test", "run a command where Claude would"),
)
_MORE_HELP = "`confined-claude --help TASK` explains a task, its options and their values."
# Invoke's words.
_UNKNOWN = re.compile("No idea what '(.*)' is!", re.DOTALL)


def run() -> int:
    """Run the command line in ``sys.argv``, and return its exit code."""
    sys.argv[1:] = rewrite(sys.argv[1:])
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
    """Invoke's program with the few options that mean something here, and help of its own."""

    def core_args(self) -> list[Argument]:
        return [
            Argument(names=("complete",), kind=bool, default=False),
            Argument(names=("help", "h"), optional=True, help="show this help, or that of a task"),
            Argument(names=("list", "l"), kind=bool, default=False, help="list the tasks"),
            Argument(names=("print-completion-script",), help="print the completion script for bash, fish or zsh"),
            Argument(names=("version", "V"), kind=bool, default=False, help="show the version"),
        ]

    def update_config(self, merge: bool = True) -> None:
        """Do nothing: there is no option, variable or file that changes how tasks run."""

    def print_help(self) -> None:
        print(_USAGE)
        print(textwrap.fill(_WHAT, pty_size()[0]), end="\n\n")
        print("Examples:")
        self.print_columns(_EXAMPLES)
        self.list_tasks()
        print("Options:")
        self.print_columns([self.initial_context.help_for(flag) for flag in OWN_FLAGS])
        print(textwrap.fill(_MORE_HELP, pty_size()[0]))

    def list_tasks(self) -> None:
        for title, names in groups.GROUPS.items():
            print(f"{title}:")
            self.print_columns([(name, completion.summary(self.collection[name])) for name in names])

    def print_columns(self, tuples: Sequence[tuple[str, str | None]]) -> None:
        super().print_columns([(name.replace("STRING", "VALUE"), text) for name, text in tuples])

    def print_task_help(self, name: str) -> None:
        flags = self.parser.contexts[name].help_tuples()
        usage = groups.ARGUMENTS.get(name, "")
        print(f"Usage: confined-claude {name}{' [OPTIONS]' * bool(flags)}{f' {usage}' * bool(usage)}\n")
        for line in (inspect.getdoc(self.collection[name]) or "").splitlines():
            print(textwrap.fill(line, pty_size()[0], initial_indent="  ", subsequent_indent="  "))
        print()
        if flags:
            print("Options:")
            self.print_columns(flags)

    def parse_core(self, argv: list[str] | None) -> None:
        with _usage_errors():
            self.normalize_argv(argv)
            self.parse_core_args()
            if self.args["version"].value:
                self.print_version()
            elif self.args["complete"].value:
                _complete(catalogue.passthrough(sys.argv)[1:])
            elif shell := self.args["print-completion-script"].value:
                if shell not in completion.SHELLS:
                    raise ParseError(f"--print-completion-script is one of {', '.join(completion.SHELLS)}.")
                print(completion.script(shell), end="")
            else:
                return
            raise Exit

    def parse_tasks(self) -> None:
        with _usage_errors():
            super().parse_tasks()

    def parse_cleanup(self) -> None:
        with _usage_errors():
            task = self.args["help"].value
            if task is True:
                self.print_help()
            elif task:
                if task not in self.parser.contexts:
                    raise ParseError(f"No idea what '{task}' is!")
                self.print_task_help(task)
            elif self.args["list"].value:
                self.list_tasks()
            elif self.tasks:
                return
            else:
                self.print_help()
            raise Exit


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
        if unknown := _UNKNOWN.fullmatch(str(error)):
            raise Exit(wrapped(f"confined-claude: {_explain_unknown(unknown[1])}", sys.stderr), USAGE) from None
        message = tasks.in_own_words(str(error))
        raise Exit(wrapped(f"confined-claude: {message}\n{_SEE_HELP}", sys.stderr), USAGE) from None


def _explain_unknown(word: str) -> str:
    """Return what to do about a word of the command line that is no task and no option of one."""
    task, *rest = sys.argv[1:]
    if fault := setting_without_flag(word):
        return "\n".join(fault)
    if word.startswith("-"):
        return f"{task} has no option {word}.\nSee confined-claude --help {task}."
    near = nearest(word, [*tasks.ns.task_names, "--help", "--version"])
    guess = f" Did you mean confined-claude {near}?" if near else ""
    if task in catalogue.COMMANDS and task != "run" and word in rest:
        message = f"{word!r} is neither an argument of {task} nor a task."
        if "COMMAND" in groups.ARGUMENTS.get(task, ""):
            return (
                f"{message}\nA command comes after --: confined-claude {task} -- {shlex.join(rest[rest.index(word) :])}"
            )
        return f"{message}{guess}\nSee confined-claude --help {task}."
    message = f"There is no task {word!r}.{'' if task == 'run' else guess}"
    if task not in (word, "run") or word not in (task, *rest):
        return f"{message}\n{_SEE_HELP}"
    words = sys.argv[sys.argv.index(word, 1) :]
    return f"{message}\nFor claude: confined-claude -- {shlex.join(words)}    For all tasks: confined-claude --help"


def _complete(words: list[str]) -> None:
    """Print what the last of ``words`` may become, each with its help after a tab; the words before it are typed."""
    *typed, word = words or [""]
    for name, text in completion.answers(tasks.ns, rewrite(typed) if typed else [], word, _COMPLETED_FLAGS):
        print(f"{name}\t{text}" if text else name)
