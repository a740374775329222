"""The template that comes with the tool, and copier, which applies it to projects."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shlex
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import ConfinedError, system_error
from ..fs.directory import Location, read_config
from ..host import Host, missing
from ..project import SCAFFOLD
from ..settings.files import ProjectFiles
from ..text import escape

# As answers name the template that comes with the tool: the same for everyone who works on a project.
SOURCE = "~/.local/share/confined-claude/template.bundle"
# The first is for projects in which another template owns copier's usual file; see copier.yml.
_ANSWERS = (f"{SCAFFOLD}/answers.yml", ".copier-answers.yml")
OWN_FILES = tuple(f"{SCAFFOLD}/{name}" for name in ("config.toml", "config.schema.json", "Dockerfile"))
# All that copier may make in a project.
FILES = ("tasks.py", *_ANSWERS, *OWN_FILES)
SHIM = "confined_claude_shim"  # a question that no other template asks
_BUNDLE = Path(__file__).parents[1] / "template.bundle"
# Copier runs git in the project, and needs none of its hooks and monitors. What git says is read, so not translated.
_QUIET_GIT = (("core.hooksPath", os.devnull), ("core.fsmonitor", "false"))
_UNTRANSLATED = ("LANGUAGE", "C")
_TRY = "Check the network, your proxy and the address: git ls-remote -- {source}"
# How copier spells addresses.
_ALIASES = {"gh:": "https://github.com/", "gl:": "https://gitlab.com/", "git+": ""}
_NOT_WRITTEN = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)
# Lines that git adds to every failure of a connection.
_ADVICE = ("fatal: Could not read from remote", "Please make sure you have", "and the repository exists")
# Of an address, what is before its host may be a password. The user name of ssh is not.
_SIGN_IN = re.compile(r"(\w+)://([^\s/?#:@]*)[^\s/?#]*@")
_MOVED = "Put its new path or URL into the line `_src_path` of the answers file, commit that, and start again."
# What copier, git and ssh say, what it means here, and what to do about it. The first that fits counts.
_EXPLAINED = (
    (
        "repository is dirty",
        "The project has changes that are not committed, and an update would mix with them.",
        "Commit the scaffold first, with all else: git add --all && git commit    (or: git stash)",
    ),
    (
        "git-tracked subprojects",
        "The project is not a git repository, and an update needs the scaffold's earlier version from one.",
        "Commit the scaffold first: git init && git add --all && git commit",
    ),
    (
        "You are downgrading",
        "The project's scaffold is newer than its template.",
        "Bring the template up to date, with `git pull` if it is a clone.",
    ),
    (
        "Unknown revision",
        "The template no longer has the version from which this scaffold was made.",
        "Copy it again: copier copy --defaults PATH-OR-URL .",
    ),
    (
        "dubious ownership",
        "The template at {source} belongs to another user, so git does not read it.",
        "Take a clone of your own, or tell git that you trust this one: git config --global --add safe.directory PATH",
    ),
    (
        "cannot run ssh|ssh: not found|ssh: command not found",
        "git needs ssh for the template at {source}, and ssh is missing.",
        "Install it (Debian, Ubuntu: apt-get install openssh-client), and start again.",
    ),
    (
        "Host key verification failed",
        "ssh does not know the host of the template at {source}, or the host has another key now.",
        "Connect to it once, compare the key with its operator's, and start again: git ls-remote -- {source}",
    ),
    (
        r"Permission denied \((publickey|password|keyboard|gssapi|hostbased)",
        "The host of the template at {source} does not let you in.",
        "Load your key (ssh-add), or add it to your account there, and try it: git ls-remote -- {source}",
    ),
    (
        "could not read (Username|Password)|Authentication failed|terminal prompts disabled|Access denied"
        "|error: 40[13]",
        "The template at {source} is private or gone: its server asks for a sign-in that git does not have.",
        "Sign in with git's credential helper, or correct the address, and try it: git ls-remote -- {source}",
    ),
    (
        "Could not resolve (host|proxy)|Name or service not known|Temporary failure in name resolution|nodename nor",
        "The name of the template's host, or of the proxy to it, is not found: {source}",
        _TRY,
    ),
    (
        "Connection (refused|timed out|reset|closed)|Operation timed out|Network is unreachable|No route to host"
        "|Failed to connect|unable to connect|early EOF|unexpected disconnect|Empty reply|error: 5[0-9][0-9]",
        "The host of the template at {source} does not answer.",
        _TRY,
    ),
    (
        "certificate|SSL_|gnutls_|TLS connect",
        "git does not trust the certificate of the template's host: {source}",
        "If it is your company's, name its certificate authority to git: git config --global http.sslCAInfo FILE",
    ),
    (
        "must be a directory|does not exist|not found|not appear to be a git repository|is this a git repository"
        "|invalid reference|error: 4",
        "The template is no longer where the scaffold came from: {source}",
        _MOVED,
    ),
)


class Versions:
    """The versions in the template that comes with the tool, and the newest of them, by their tags."""

    def __init__(self) -> None:
        head, *lines = _BUNDLE.read_bytes().partition(b"\n\n")[0].decode().splitlines()[1:]
        of_tag = {tag: commit for commit, _, tag in (line.partition(" refs/tags/") for line in lines) if tag}
        self.tags = frozenset(of_tag)
        self.newest = next(tag for tag, commit in of_tag.items() if commit == head.split()[0])


def place(host: Host) -> None:
    """Put the template that comes with the tool where ``SOURCE`` is. Raises ConfinedError."""
    content = _BUNDLE.read_bytes()
    with Location(host.template.parent.parent, (host.template.parent.name,)).make() as directory:
        try:
            if directory.read(host.template.name) != content:
                directory.write(host.template.name, content)
        except OSError as error:
            raise system_error("write to", directory.path, error) from None


def answers_of(root: Path) -> str | None:
    """Return the name of the file in ``root`` with copier's answers for our scaffold; None if there is none."""
    return next((name for name in _ANSWERS if SHIM in text_of(root / name)), None)


def check_answers(root: Path) -> None:
    """Raise ConfinedError for a file with answers, of whatever template, that is there and that copier cannot read."""
    import yaml  # type: ignore[import-untyped]  # copier brings it

    for file in (root / name for name in _ANSWERS):
        with contextlib.suppress(yaml.YAMLError):
            if (text := read_config(file)) is None or isinstance(yaml.safe_load(text), dict):
                continue
        raise ConfinedError(
            f"{file} is damaged: it has no answers to copier.",
            "Restore it (`git restore`), or remove it, and start again.",
        )


def answer(name: str, answers: str) -> str:
    """Return what copier noted under ``name``; empty if it noted nothing."""
    found = re.search(rf"^{name}: (.*)$", answers, re.MULTILINE)
    return found[1].strip("\"' ") if found else ""


def answered(root: Path) -> dict[str, Any]:
    """Return the answers to copier that the project's config shows, as nothing else keeps them."""
    try:
        found = ProjectFiles.read(root / SCAFFOLD).values()
    except ConfinedError:  # then someone has edited it
        return {}
    names = [str(name) for name in found.get("packages", ())]
    return {
        "confined_claude_yolo": found.get("yolo") == "on",
        "confined_claude_network": found["network"] if found.get("network") in ("allowlist", "none") else "internet",
        "confined_claude_packages": " ".join(names),
    }


def render(host: Host, version: str, directory: Path, answers: Mapping[str, Any]) -> None:
    """Fill ``directory`` with what a ``version`` of the tool's own template makes of ``answers``.

    Raises ConfinedError.
    """
    place(host)
    from copier import run_copy

    with explained():
        run_copy(SOURCE, directory, data=dict(answers), vcs_ref=version, defaults=True, quiet=True)


def text_of(file: Path) -> str:
    """Return the text of a file; empty if it is missing. Raises ConfinedError for a FIFO, a device, or no text."""
    return read_config(file) or ""


@contextlib.contextmanager
def explained(source: str = SOURCE) -> Iterator[None]:
    """Run copier in the block, with the template at ``source``: what it and git refuse is explained with the way out.

    git runs quietly for it. Raises ConfinedError, at once if git is missing or would take ``source`` for an option.
    """
    from copier.errors import CopierAnswersInterrupt, CopierError
    from plumbum import local

    if (address := _address(source)).startswith("-"):
        raise ConfinedError(f"The answers file names no address of a template: {escape(address)}", _MOVED)
    if shutil.which("git") is None:
        raise ConfinedError(f"{missing('git', 'git')}; copier works with it.", "Install git and start again.")
    try:
        # Copier starts git through plumbum, which has a copy of the environment from the time of its import.
        with local.env(**_for_git(os.environ.get("GIT_CONFIG_COUNT", ""))):
            yield
    except CopierAnswersInterrupt:
        raise KeyboardInterrupt from None
    except CopierError as error:
        raise _explanation(str(error), source) from None
    except (OSError, ValueError) as error:  # copier's git has failed, for one
        if (number := getattr(error, "errno", None)) in _NOT_WRITTEN:
            raise ConfinedError(
                f"Cannot write the scaffold: {os.strerror(number)}.",
                "Make room, or see to the permissions, and start again.",
            ) from None
        raise _explanation(str(getattr(error, "stderr", "") or error), source) from None


def _for_git(count: str) -> dict[str, str]:
    """Return the variables that make git quiet; the caller's own variables have ``count`` settings already.

    Raises ConfinedError if that is no number, as git does nothing then.
    """
    if not re.fullmatch(r"[0-9]*", count):
        raise ConfinedError(
            f"GIT_CONFIG_COUNT is {escape(count)}, which is not a number.", "Correct or unset the variable."
        )
    first = int(count or 0)
    variables = dict([_UNTRANSLATED])
    for number, (name, value) in enumerate(_QUIET_GIT, first):
        variables |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    return variables | {"GIT_CONFIG_COUNT": str(first + len(_QUIET_GIT))}


def _explanation(reason: str, source: str) -> ConfinedError:
    """Return what copier, or its git, does not do with the template at ``source``, in words that name the way out."""
    source = escape(_without_sign_in(_address(source)))
    said = re.sub(r"'\S*://\S*'", "", reason)  # an address may have any word in it
    for pattern, message, hint in _EXPLAINED:
        if re.search(pattern, said):
            return ConfinedError(message.format(source=source), hint.format(source=shlex.quote(source)))
    lines = [line for line in reason.splitlines() if line.strip() and not line.startswith(_ADVICE)]
    return ConfinedError(
        f"copier refuses: {escape(_without_sign_in(' '.join(' '.join(lines).split())))}",
        "Correct that, and start again.",
    )


def _address(source: str) -> str:
    """Return what git is given for ``source``, as copier spells it."""
    for alias, address in _ALIASES.items():
        source = re.sub(f"^{re.escape(alias)}/?", address, source)
    return source


def _without_sign_in(text: str) -> str:
    """Return ``text`` without the users and passwords of addresses in it."""
    return _SIGN_IN.sub(lambda found: f"{found[1]}://" + (f"{found[2]}@" if found[1] == "ssh" else ""), text)
