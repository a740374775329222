"""Git's configuration, read without git: git runs programs that a stranger's repository names. Pure.

Whoever wrote the files is hostile: git must never read more in them than these functions report, so whatever is in
doubt is a ValueError.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

# The syntax, as git's config.c reads it. Blanks and letters are those of git's own ctype.c.
_BOM = b"\xef\xbb\xbf"
_GAP = re.compile(rb"(?:[ \t\r\n]|[#;][^\n]*)*")
_SECTION = re.compile(rb'\[([A-Za-z0-9.-]*)(?:\]|[ \t\r]+"((?:[^"\\\n]|\\[^\n])*)"\])')
_NAME = re.compile(rb"([A-Za-z][A-Za-z0-9-]*)[ \t]*(?:(=)|\n|\Z)")
_ESCAPES = {b"n": b"\n", b"t": b"\t", b"b": b"\b", b"\\": b"\\", b'"': b'"', b"\n": b"", b"": b""}


def parse_config(content: bytes) -> list[tuple[str, str]]:
    """Return every variable of a git config file as (key, value), in the order of the file.

    The key has section and name in lower case and the subsection as it is; a variable without "=" is "true".
    Raises ValueError for what git refuses, and for a variable outside of any section.
    """
    if b"\0" in content:
        raise ValueError("a NUL byte in a git configuration")
    text = content.removeprefix(_BOM).replace(b"\r\n", b"\n")
    variables = []
    prefix = b""
    at = _end_of_gap(text, 0)
    while at < len(text):
        if section := _SECTION.match(text, at):
            prefix = _prefix(section)
            at = section.end()
        elif prefix and (name := _NAME.match(text, at)):
            value, at = _value(text, name.end()) if name[2] else (b"true", name.end())
            variables.append((decode(prefix + name[1].lower()), decode(value)))
        else:
            line = text.count(b"\n", 0, at) + 1
            raise ValueError(f"line {line} of a git configuration makes no sense")
        at = _end_of_gap(text, at)
    return variables


def _end_of_gap(text: bytes, at: int) -> int:
    gap = _GAP.match(text, at)
    return gap.end() if gap else at


def _prefix(section: re.Match[bytes]) -> bytes:
    """Return the start of the section's keys: "section." or "section.subsection."."""
    name, subsection = section[1].lower(), section[2]
    if subsection is not None:
        return name + b"." + re.sub(rb"(?s)\\(.)", rb"\1", subsection) + b"."
    if not name:
        raise ValueError("a section without a name in a git configuration")
    return name + b"."


def _value(text: bytes, at: int) -> tuple[bytes, int]:
    """Return the value that begins at ``at``, right after the "=", and where the next line begins.

    Blanks inside are preserved, as git does since 2.45; an older git makes each a space.
    """
    value = bytearray()
    trimmed = 0  # the length without blanks at the end
    quoted = False
    while (char := text[at : at + 1]) not in (b"", b"\n"):
        at += 1
        if not quoted and char in b" \t\r":
            if value:
                value += char
            continue
        if not quoted and char in b"#;":
            at = _end_of_line(text, at)
            continue
        if char == b"\\":
            escaped = text[at : at + 1]
            if escaped not in _ESCAPES:
                raise ValueError("an unknown escape in a git configuration")
            value += _ESCAPES[escaped]
            at += len(escaped)
        elif char == b'"':
            quoted = not quoted
        else:
            value += char
        trimmed = len(value)
    if quoted:
        raise ValueError("an open quote in a git configuration")
    return bytes(value[:trimmed]), at + 1


def _end_of_line(text: bytes, at: int) -> int:
    end = text.find(b"\n", at)
    return len(text) if end < 0 else end


def decode(raw: bytes) -> str:
    """Return a file's bytes as text; those that are not UTF-8 become surrogates."""
    return raw.decode("utf-8", "surrogateescape")


# The harmless settings: none of them can run a program, include a file or lead git elsewhere. All others are harmful.

# Git reads the name of a remote without a URL as a path: hence no slash in it, and no colon of a remote helper.
_REMOTE = r"(?!.*\.\.)\w[\w.+-]*"
_LABEL = r"(?!.*\.\.)[^\x00-\x1f\x7f:]+"
_HOST = r"(?:[A-Za-z0-9_][\w.+~%:-]*@)?(?:[A-Za-z0-9][\w.-]*|\[[0-9A-Fa-f:.]+\])"
# Only to other machines: a push to a local directory runs its hooks, and "x::y" runs the program git-remote-x.
_URL = (
    rf"(?:(?:https?|git|ssh|git\+ssh|ssh\+git)://{_HOST}(?::[0-9]*)?(?:/[^\x00-\x20\x7f]*)?"
    r"|(?:[A-Za-z0-9_][\w.+-]*@)?[A-Za-z0-9][\w.-]*:(?![:-]|//)[^\x00-\x1f\x7f]+)"
)
# Absolute, as a clone writes it: where a relative one leads depends on the work tree. Git decodes %xx in a file:// URL.
_DIRECTORY = r"/[^\x00-\x1f\x7f:]*|file:///[^\x00-\x1f\x7f:%]*"
_ANY = r"(?s:.*)"

_HARMLESS = (
    (
        r"core\.(?:abbrev|autocrlf|bare|checkstat|eol|filemode|ignorecase|logallrefupdates|precomposeunicode"
        r"|preloadindex|quotepath|repositoryformatversion|safecrlf|sparsecheckout|sparsecheckoutcone|splitindex"
        r"|symlinks|trustctime|whitespace)",
        _ANY,
    ),
    (r"extensions\.(?:objectformat|compatobjectformat)", r"(?i:sha1|sha256)"),
    (r"extensions\.refstorage", r"files|reftable"),  # it may also be a URI, which leads elsewhere
    (r"extensions\.partialclone", _REMOTE),
    (r"extensions\.(?:worktreeconfig|relativeworktrees)", _ANY),
    (rf"remote\.{_REMOTE}\.(?:url|pushurl)", _URL),
    (rf"remote\.{_REMOTE}\.(?:fetch|mirror|partialclonefilter|promisor|prune)", _ANY),
    (rf"remote\.{_REMOTE}\.tagopt", r"--tags|--no-tags"),
    (rf"branch\.{_LABEL}\.(?:remote|pushremote)", rf"\.|{_REMOTE}|{_URL}"),
    (rf"branch\.{_LABEL}\.(?:description|merge|rebase)", _ANY),
    (r"user\.(?:email|name)", _ANY),
    (r"submodule\.active", _ANY),
    (rf"submodule\.{_LABEL}\.(?:active|branch)", _ANY),
    (rf"submodule\.{_LABEL}\.url", _URL),
    (rf"submodule\.{_LABEL}\.update", r"checkout|rebase|merge|none"),  # "!program" runs one
    (r"init\.defaultbranch", _ANY),
    (r"pull\.(?:ff|rebase)", _ANY),
    (r"push\.(?:autosetupremote|default|followtags)", _ANY),
    (r"merge\.(?:conflictstyle|ff)", _ANY),
    (r"fetch\.(?:prune|prunetags)", _ANY),
    (r"rebase\.(?:autosquash|autostash)", _ANY),
    (r"color\.[a-z]+(?:\.[a-z-]+)?", r"[\w #,-]*"),
    (r"column\.[a-z]+(?:\.[a-z-]+)?", r"[\w #,-]*"),
    (r"index\.(?:recordendofindexentries|recordoffsettable|skiphash|sparse|threads|version)", _ANY),
    (r"gc\.(?:auto|autopacklimit)", r"[0-9]+[kmgKMG]?"),
    (r"rerere\.enabled", _ANY),
    # not submodulesummary, which runs git in submodules
    (
        r"status\.(?:aheadbehind|branch|displaycommentprefix|relativepaths|renamelimit|renames|short"
        r"|showstash|showuntrackedfiles)",
        _ANY,
    ),
    (r"lfs\.repositoryformatversion", r"[0-9]+"),
)


def is_harmless(key: str, value: str) -> bool:
    """Return whether a variable from ``parse_config`` is known to be harmless.

    It then runs no program, includes no file, and leads git to no other place on this machine. For remotes see
    ``stray_remotes`` too.
    """
    patterns = _patterns_of(key.partition(".")[0])
    return any(name.fullmatch(key) and content.fullmatch(value) for name, content in patterns)


@lru_cache(maxsize=100)
def _patterns_of(section: str) -> list[tuple[re.Pattern[str], re.Pattern[str]]]:
    """Return the harmless variables of a section; a session may write tens of thousands, so only these are tried."""
    return [(re.compile(name), re.compile(content)) for name, content in _HARMLESS if name.startswith(f"{section}\\.")]


def is_local_origin(key: str, value: str) -> bool:
    """Return whether a variable says that a repository, or a submodule of it, was cloned from a directory.

    A push to it runs its hooks: those in the project are reported by themselves, and others are not the session's. A
    fetch copies what is there: whether the session saw it is for the caller to find out.
    """
    is_origin = re.fullmatch(rf"remote\.{_REMOTE}\.url|submodule\.{_LABEL}\.url", key) is not None
    return is_origin and re.fullmatch(_DIRECTORY, value) is not None


def stray_remotes(variables: Iterable[tuple[str, str]]) -> list[str]:
    """Return the remotes that harmless variables use although none gives their URL.

    Git reads such a name as a path: a push to the remote "evil" runs the hooks of the repository in the directory
    "evil". ``variables`` are those of all config files of a repository.
    """
    named, known = set(), set()
    for key, value in variables:
        section, _, rest = key.partition(".")
        owner, _, name = rest.rpartition(".")
        if section == "remote" and owner:
            named.add(owner)
            if name == "url":
                known.add(owner)
        elif (section == "branch" and name in ("remote", "pushremote")) or key == "extensions.partialclone":
            named.add(value)
    return sorted(name for name in named - known - {"."} if re.fullmatch(_REMOTE, name))


def hash_size(config: bytes) -> int:
    """Return the size in bytes of the object names in a repository with this config file: 32 for SHA-256, else 20."""
    try:
        return 32 if dict(parse_config(config)).get("extensions.objectformat") == "sha256" else 20
    except ValueError:  # git refuses it as well
        return 20
