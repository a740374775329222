"""What a line of shell, a setting or a script may name: the words in it that can be files. Pure.

Nothing is parsed as its language has it. A word more does no harm: it counts only if there is such a file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

MAX_TEXT = 64 << 10  # characters of one text that are searched
_MAX_WORDS = 16_000  # of one text
_WORD = re.compile(r"[^\s'\"`;&|()<>$={},\[\]:!\\]+")
# No file that is named has this in its name.
_PATTERN = re.compile(r"[*?^]")
# A shell takes two slashes before a path for one.
_COMMENT = re.compile(r"(?m)^[ \t]*(?:#(?!!)|//(?!\S*/)|--[ \t]|;;).*$")
# After these, a word is a file whatever it is called.
_RUNS = re.compile(
    r"(?:ba|da|z|k|fi|a|c|tc)?sh|\.|source|exec|(?:python|pypy|perl|ruby|node|php|lua|tclsh)[0-9.]*|[gmn]?awk|bun|deno"
    r"|tsx|ts-node|pwsh|Rscript|julia|osascript|busybox|source_env|source_env_if_exists|load|require|run"
    r"|-[fFcreEs]|--(?:file|config|require|import|rcfile|init-file|eval-file|makefile|script)"
)
# No pattern here may be one that takes more than linear time: a session chooses the text.
_MODULES = (
    re.compile(r"(?<!\S)-m(?:[ \t]*['\",]+)?\s*['\"]?([A-Za-z_][\w.]*)"),
    re.compile(r"(?m)^[ \t]*import[ \t]+([\w., \t]+)"),
    re.compile(r"(?m)^[ \t]*from[ \t]+([\w.]*)[ \t]+import[ \t]+"),
    re.compile(r"(?m)^[ \t]*from[ \t]+\.+[ \t]*import[ \t]+([\w., \t]+)"),
    re.compile(r"(?:import_module|__import__|run_module|require_relative)[ \t(]*['\"]([\w./]+)['\"]"),
)
_FROM = re.compile(r"(?m)^[ \t]*from[ \t]+([\w.]+)[ \t]+import[ \t]+\(?([\w., \t]+)")
_ELSEWHERE = re.compile(r"\b(?:cd|pushd|chdir|cwd|workdir|root)\b|(?<!\S)-C|--(?:prefix|cwd|dir(?:ectory)?)\b")
# What stands where a command may begin.
_BEGIN = r"(?m)(?:^|[;&|(`{]|[:=\"'-][ \t]|[\"']|\b(?:then|do|else|exec|env|time|sudo|command|run|npx|use)[ \t]+)[ \t]*"
PACKAGE = "package.json"
# The files that a tool looks for by itself.
_IMPLIED = {
    "make": "Makefile makefile GNUmakefile",
    "just": "justfile .justfile Justfile",
    "task": "Taskfile.yml Taskfile.yaml taskfile.yml taskfile.yaml Taskfile.dist.yml",
    **dict.fromkeys(("npm", "npx", "yarn", "pnpm", "bun", "bunx", "lint-staged", "husky"), PACKAGE),
    **dict.fromkeys(("inv", "invoke"), "tasks.py"),
    "rake": "Rakefile",
    "bundle": "Gemfile",
    "tox": "tox.ini toxfile.py",
    "nox": "noxfile.py",
    "pytest": "conftest.py",
    "doit": "dodo.py",
    "mix": "mix.exs",
    "composer": "composer.json",
    "grunt": "Gruntfile.js",
    "gulp": "gulpfile.js",
    "flake": "flake.nix",
    **dict.fromkeys(("nix", "nix-shell"), "shell.nix default.nix"),
    "devenv": "devenv.nix devenv.yaml",
    **dict.fromkeys(("dotenv", "dotenv_if_exists"), ".env"),
    **dict.fromkeys(("eslint", "prettier", "stylelint", "commitlint", "jest", "vitest"), ""),
}
_VARIABLES = r"(?:[A-Za-z_]\w{0,30}=\S{0,60}[ \t]{1,4}){0,4}"
_TOOL = re.compile(_BEGIN + _VARIABLES + "(?=(" + "|".join(map(re.escape, _IMPLIED)) + r")(?![\w./-]))")
_HOOK_FIELDS = ("lint-staged", "husky", "simple-git-hooks", "pre-commit", "git-hooks", "gitHooks")
# In a file of pre-commit's, these are patterns of what is checked.
_CHECKED = re.compile(r"[ \t]*(?:-[ \t]+)?(?:files|exclude|types|types_or|exclude_types)[ \t]*:")


class Named(NamedTuple):
    """A path that a text names, relative to somewhere.

    ``runs`` if it follows an interpreter or an option, so that it is a file whatever it is called. ``is_module`` if the
    suffix is missing.
    """

    path: str
    runs: bool = False
    is_module: bool = False


def text_of(path: str, content: bytes) -> str:
    """Return what counts in a file: of JSON the strings, without permissions; else all lines that are no comments."""
    text = content[:MAX_TEXT].decode("utf-8", "replace")
    name = path.rpartition("/")[2].lower()
    if name.endswith((".json", ".jsonc", ".code-workspace", ".lintstagedrc")):
        try:
            return "\n".join(_strings(json.loads(text)))
        except (ValueError, RecursionError):
            return text
    if name.startswith((".pre-commit-config", "prek")):
        text = "\n".join(_without_checked(text))
    return _COMMENT.sub("", text)


def paths_in(text: str) -> Iterator[Named]:
    """Yield what a text may name, at most some thousands."""
    runs = False
    for number, match in enumerate(_WORD.finditer(text)):
        if number >= _MAX_WORDS:
            break
        word = match[0]
        is_option = word.startswith("-")
        if is_option and not word.startswith("--") and len(word) > len("-f"):
            yield Named(word[len("-f") :], runs=True)
        elif not (is_option or _PATTERN.search(word) or text.startswith("://", match.start() - 1)):
            yield Named(word, runs)
        runs = _RUNS.fullmatch(word if is_option else word.rpartition("/")[2] or word) is not None
    for pattern in _MODULES:
        for match in pattern.finditer(text):
            for module in match[1].split(","):
                yield Named(module.strip().partition(" ")[0].replace(".", "/").strip("/"), is_module=True)
    for match in _FROM.finditer(text):
        for module in re.findall(r"\w+", match[2]):
            yield Named(f"{match[1].lstrip('.').replace('.', '/')}/{module}", is_module=True)


def goes_elsewhere(text: str) -> bool:
    """Return whether a text may run something in another directory than its own."""
    return _ELSEWHERE.search(text) is not None


def tools(text: str) -> dict[str, tuple[str, ...]]:
    """Return the tools that a text starts, each with the files that it looks for by itself."""
    found = {match[1] for match in _TOOL.finditer(text)}
    return {tool: tuple(_IMPLIED[tool].split()) for tool in sorted(found)}


def used_scripts(content: bytes, text: str) -> str | None:
    """Return what is used of a package.json by a text that starts npm or the like; None if it cannot be read."""
    try:
        package = json.loads(content)
        scripts = package.get("scripts", {})
        parts = [f"{field} {json.dumps(package[field])}" for field in _HOOK_FIELDS if field in package]
        known: dict[str, str] = {}
        for _ in range(2):  # a script may start another one
            words = set(re.findall(r"[\w:.@/-]+", "\n".join((text, *known.values()))))
            known |= {
                name: str(command)
                for name, command in scripts.items()
                if not words.isdisjoint((name, name.removeprefix("pre"), name.removeprefix("post")))
            }
    except (ValueError, RecursionError, AttributeError, TypeError):
        return None
    return "\n".join((*parts, *(f"{name}: {known[name]}" for name in sorted(known))))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key != "permissions":
                yield from _strings(inner)
    elif isinstance(value, list):
        if all(isinstance(one, str) for one in value):  # the words of one command
            yield " ".join(value)
        else:
            for inner in value:
                yield from _strings(inner)


def _without_checked(text: str) -> Iterator[str]:
    """Yield the lines of a YAML file without the fields that say which files are checked."""
    indent = -1
    for line in text.splitlines():
        depth = len(line) - len(line.lstrip())
        if 0 <= indent < depth or (indent >= 0 and not line.strip()):
            continue
        indent = depth if _CHECKED.match(line) else -1
        if indent < 0:
            yield line
