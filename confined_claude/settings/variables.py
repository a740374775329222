"""Variables that a user or a project gives to sessions by name: how they are written, and which nobody can give. Pure.

What prepares a session does not see them (container/init/variables.c), and a session's sign-in wins over them. What is
refused all the same would run code in every program, the session's shells included, would have git pass over what is
to hold here, or would lead Claude Code elsewhere. Where that connects follows from the user's own environment alone,
where the network and the sign-in see it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from ..errors import ConfinedError
from ..text import normal_path

NAME = r"[A-Za-z_][A-Za-z0-9_]*"
# Of the env setting: NAME takes the value of the user's own environment.
ENTRY = rf"{NAME}(=(?s:[^\0])*)?"
MASK = "***"
# A variable with its name is one string of execve, which takes no more than MAX_ARG_STRLEN (32 pages of 4 KiB).
MOST_BYTES = (128 << 10) - 1
# A command with all its variables and arguments has two MiB (a quarter of the stack).
MOST_IN_ALL = 1 << 20

_OUR_PROGRAMS = (
    r"PATH|HOME|CONFINED_CLAUDE_\w+|IS_SANDBOX|DISABLE_AUTOUPDATER"
    # the dynamic linker and the C library, in every program
    r"|LD_\w+|GLIBC_TUNABLES|GCONV_PATH|LOCPATH|NLSPATH|MALLOC_\w+|HOSTALIASES|LOCALDOMAIN|RES_OPTIONS|RESOLV_\w+"
    # the library of ssh and others, which loads code that its settings name
    r"|OPENSSL_(CONF|ENGINES|MODULES)"
    # what shells run or change before a script's first line, and the shell of Claude Code's Bash tool
    r"|BASH_(?!MAX_|DEFAULT_)\w+|ENV|ZDOTDIR|SHELL|SHELLOPTS|BASHOPTS|PROMPT_COMMAND|PS4|IFS"
    # Claude Code's own interpreter, which would load code before its first line
    r"|NODE_OPTIONS|NODE_REPL_EXTERNAL_MODULE|BUN_\w+"
    # which repository and which paths git means, and whose programs it runs
    r"|GIT_(DIR|(IMPLICIT_)?WORK_TREE|COMMON_DIR|INDEX_FILE|OBJECT_DIRECTORY|ALTERNATE_OBJECT_DIRECTORIES|NAMESPACE"
    r"|GRAFT_FILE|SHALLOW_FILE|REPLACE_REF_BASE|\w+_PATHSPECS|EXEC_PATH|TEMPLATE_DIR"
    # the settings and attributes that keep its hooks from running here, and content from going around its filters
    r"|CONFIG\w*|ATTR_\w+)"
    # where git has its user's settings and attributes, and Claude Code one of its sign-ins
    r"|XDG_CONFIG_HOME"
)
_CLAUDES = (
    r"(?i)ANTHROPIC_\w+|_?CLAUDE_?\w+|(ANT_)?OTEL_\w+|ANT_CLAUDE_\w+|BETA_TRACING_\w+|\w*_proxy"
    # what it is told where it runs as a service, which of its own services it means, and which programs
    r"|(CCR|SELF_HOSTED_RUNNER|SESSION_INGRESS|AGENT_PROXY|VOICE_STREAM|BUGHUNTER)_\w+|USE_\w*OAUTH\w*"
    r"|LOCAL_BRIDGE|SDK_NATIVE_BIN|VITALS_EMITTER_BIN"
    # whom it takes for its own servers, and who can read what it sends them
    r"|SSL_CERT_(FILE|DIR)|NODE_(EXTRA_CA_CERTS|TLS_REJECT_UNAUTHORIZED|USE_SYSTEM_CA)|GRPC_DEFAULT_SSL_\w+"
    r"|SSLKEYLOGFILE"
)
# Lines in a file: empty ones and comments, NAME=VALUE in three forms, and others. They are parsed equally fast whatever
# they contain.
_LINE = rf"""(?xm)^(?:[ \t]*(?:\#.*)?|[ \t]*(?:export[ \t]+)?({NAME})[ \t]*=
    (?:[ \t]*'([^']*)'[ \t]*(?:\#.*)?|[ \t]*"((?:[^"\\]|\\[\s\S])*)"[ \t]*(?:\#.*)?|(.*))|(.+))$"""
_COMMENT = r"\s#.*"
_ESCAPE, _ESCAPED = r"""\\([nrt"\\$])""", {"n": "\n", "r": "\r", "t": "\t"}


def split(text: str) -> list[str]:
    """Return the entries in a flag or variable: names with commas between, the last maybe with a value to the end."""
    names, sign, value = text.partition("=")
    entries = names.split(",")
    entries[-1] += sign + value
    return entries


def problem(entry: str) -> str:
    """Return why no session gets the variable of an entry (``NAME``, ``NAME=VALUE``); empty if it does."""
    name, _, value = entry.partition("=")
    if re.fullmatch(_OUR_PROGRAMS, name):
        return "it changes what the session's own programs do"
    if name.startswith("MCP_") and _leads(name):
        return "it begins with MCP_ and is no switch or number: it may lead Claude Code elsewhere; choose another name"
    if re.fullmatch(_CLAUDES, name):
        return (
            "how Claude Code signs in and connects follows from your own environment by itself, and from nothing else"
        )
    return f"{MASK} stands for a value that is not shown" if value == MASK else ""


def _leads(name: str) -> bool:
    """Return whether a variable for Claude Code's MCP servers is more than a switch or a number."""
    from ..environment import is_behaviour  # not for listing and completing the tasks

    return not is_behaviour(name, "1")


def shown(entry: str) -> str:
    """Return an entry without its value."""
    name, sign, _ = entry.partition("=")
    return f"{name}={MASK}" if sign else name


def located(path: str, root: Path) -> Path:
    """Return where a path of a setting leads: ``~`` is the home directory, a relative one counts from ``root``."""
    return Path(normal_path(root / Path(path).expanduser()))


def resolve_file(path: str, root: Path) -> str:
    """Return the real path of a file that a project at ``root`` asks for.

    Raises ConfinedError unless it is in the project, without a link on the way.
    """
    here = Path(os.path.realpath(root))
    found = located(path, here)
    if not found.is_relative_to(here) or str(found) != os.path.realpath(found):
        raise ConfinedError(
            f"The project in {root} asks for variables from {path}, which is not in it, or behind a link.",
            "If you want that, set env_file in your own config file.",
        )
    return str(found)


def parse_file(text: str, name: str) -> dict[str, str]:
    """Return the variables in a file called ``name``: NAME=VALUE lines as docker compose and direnv take them.

    Quotes around a value go, which may then have several lines; nothing in it is expanded but the escapes between
    double quotes. Raises ConfinedError for another line, without its content.
    """
    found = {}
    text = text.replace("\r\n", "\n")
    for line in re.finditer(_LINE, text):
        variable, single, double, plain, other = line.groups()
        if other or "\0" in line[0]:
            number = text.count("\n", 0, line.start()) + 1
            raise ConfinedError(f"Line {number} of {name} is not NAME=VALUE.", "Correct that line, or put # before it.")
        if single is not None:
            found[variable] = single
        elif double is not None:
            found[variable] = re.sub(_ESCAPE, lambda found: _ESCAPED.get(found[1], found[1]), double)
        elif variable:
            found[variable] = re.sub(_COMMENT, "", plain).strip()
    return found
