"""What git reads of an operation in progress: `--continue`, `--skip` and `--abort` obey these files. Pure.

A session may make them up. Each row names the function of git's sources that reads the file.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from . import gitconfig
from .gitpaths import is_invalid

_EXEC = re.compile(rb"(?:\A|[\r\n\0])[ \t\v\f]*(?:exec|x)(?:[\s\0]|\Z)")
# Git runs any other name as the program git-merge-NAME: see try_merge_command in merge.c.
_STRATEGIES = frozenset(("", "ort", "recursive", "resolve", "octopus", "ours", "subtree"))
# No pattern here may be one that takes more than linear time: a session chooses the text.
# What sq_quote_argv in quote.c writes.
_QUOTED = rb"'(?:[^']|'\\['!]')*'"
_AUTHOR = re.compile(rb"(?:GIT_AUTHOR_(?:NAME|EMAIL|DATE)=%b\s*)*" % _QUOTED)
_QUOTED_WORDS = re.compile(rb"(?:%b\s*)*" % _QUOTED)
# The options that git am passes on, see the table in cmd_am: others of git apply write files.
_APPLY_OPTION = re.compile(
    rb"--(?:whitespace|exclude|include)=(?s:.*)|--directory=(?!.*\.\.)[^/](?s:.*)|--directory=|--ignore-(?:space-change"
    rb"|whitespace)|-C[0-9]+|-p[0-9]+|--reject"
)
_SIGNING = re.compile(rb"(?:-S(?s:.*)|--gpg-sign(?:=(?s:.*))?|--no-gpg-sign)?")
_OBJECT = re.compile(rb"(?:[0-9a-f]{40}|[0-9a-f]{64})?")
_REVISION = re.compile(rb"(?!-)[^\x00-\x20\x7f]*")
_SHOWN = re.compile(rb"[^$`\x00-\x1f\x7f]*")
_TERMS = re.compile(rb"(?:[A-Za-z0-9_][\w./-]*\s+)*(?:[A-Za-z0-9_][\w./-]*)?")


def runs_commands(todo: bytes) -> bool:
    """Return whether the to-do list of a rebase has a line that runs a command, as git's sequencer.c reads it."""
    return _EXEC.search(todo) is not None


def _is_own_strategy(content: bytes) -> bool:
    return content.decode("latin-1").strip() in _STRATEGIES


def _has_own_strategy(content: bytes) -> bool:
    """Return whether the options of a cherry-pick or revert name a strategy of git's own, or none."""
    try:
        options = gitconfig.parse_config(content)
    except ValueError:
        return False
    return all(value in _STRATEGIES for key, value in options if key == "options.strategy")


def _has_known_options(content: bytes) -> bool:
    if not _QUOTED_WORDS.fullmatch(content.strip()):
        return False
    words = (re.sub(rb"'\\(.)'", rb"\1", word[1:-1]) for word in re.findall(_QUOTED, content))
    return all(_APPLY_OPTION.fullmatch(word) for word in words)


def _has_valid_paths(content: bytes) -> bool:
    """Return whether the conflicts of rerere, as ``object name, tab, path`` with a NUL behind each, are in the tree."""
    return not any(is_invalid(entry.partition(b"\t")[2]) for entry in content.split(b"\0") if entry)


class State(NamedTuple):
    """A file of an operation in progress: the command that obeys it, what is harmless in it, what is not."""

    command: str
    is_harmless: Callable[[bytes], bool]
    why: str


def _matches(pattern: re.Pattern[bytes]) -> Callable[[bytes], bool]:
    return lambda content: pattern.fullmatch(content.strip()) is not None


_REBASE = "git rebase --continue"
_STRATEGY = "runs a program as its merge strategy"
_TODO = State(_REBASE, lambda content: not runs_commands(content), "runs commands")
_AUTOSTASH = _matches(_OBJECT)
_UNUSUAL = "not as git writes it"
# By the path in a git directory, in small letters: some file systems do not distinguish these.
_STATES = {
    "rebase-merge/git-rebase-todo": _TODO,  # read_populate_todo, sequencer.c
    "rebase-merge/git-rebase-todo.backup": _TODO,  # edit_todo_list, rebase-interactive.c
    # prompts of shells show it
    "rebase-merge/head-name": State("your shell's prompt", _matches(_SHOWN), _UNUSUAL),  # write_basic_state
    "rebase-apply/head-name": State("your shell's prompt", _matches(_SHOWN), _UNUSUAL),
    "rebase-merge/strategy": State(_REBASE, _is_own_strategy, _STRATEGY),  # read_strategy_opts, sequencer.c
    "rebase-merge/gpg_sign_opt": State(_REBASE, _matches(_SIGNING), _UNUSUAL),  # read_basic_state, builtin/rebase.c
    "rebase-merge/author-script": State(_REBASE, _matches(_AUTHOR), _UNUSUAL),  # read_author_script, sequencer.c
    "rebase-merge/autostash": State(_REBASE, _AUTOSTASH, _UNUSUAL),  # apply_save_autostash, sequencer.c
    "rebase-apply/strategy": State(_REBASE, _is_own_strategy, _STRATEGY),  # git-rebase.sh, before 2.20
    "rebase-apply/gpg_sign_opt": State(_REBASE, _matches(_SIGNING), _UNUSUAL),  # run_am, builtin/rebase.c
    "rebase-apply/author-script": State("git am --continue", _matches(_AUTHOR), _UNUSUAL),  # read_am_author_script
    "rebase-apply/autostash": State(_REBASE, _AUTOSTASH, _UNUSUAL),  # apply_save_autostash, sequencer.c
    # am_load, builtin/am.c: an option of git apply may name a file to write
    "rebase-apply/apply-opt": State("git am --continue", _has_known_options, "has options that git am does not write"),
    "sequencer/todo": _TODO._replace(command="git cherry-pick --continue"),  # read_populate_todo, sequencer.c
    # populate_opts_cb, sequencer.c
    "sequencer/opts": State("git cherry-pick --continue", _has_own_strategy, _STRATEGY),
    "merge_autostash": State("git merge --continue", _AUTOSTASH, _UNUSUAL),  # apply_save_autostash, sequencer.c
    # read_rr, rerere.c: it copies the file into rr-cache, and writes to it
    "merge_rr": State("git commit or git rerere", _has_valid_paths, "names a file outside the work tree"),
    "bisect_start": State("git bisect reset", _matches(_REVISION), _UNUSUAL),  # bisect_reset, builtin/bisect.c
    "bisect_names": State("git bisect", _matches(_QUOTED_WORDS), _UNUSUAL),  # read_bisect_paths, bisect.c
    "bisect_terms": State("git bisect", _matches(_TERMS), _UNUSUAL),  # read_bisect_terms, bisect.c
}
DIRECTORIES = frozenset(("rebase-merge", "rebase-apply", "sequencer"))


def state_of(path: str) -> State | None:
    """Return what a file of an operation in progress is, by its path; None for any other."""
    *parents, name = path.lower().split("/")
    if parents and parents[-1] in DIRECTORIES:
        name = f"{parents[-1]}/{name}"
    return _STATES.get(name)
