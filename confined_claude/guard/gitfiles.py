"""What files of git say, read without git: running git on a repository of a stranger runs his programs.

Pure functions on bytes. Whoever wrote the files is hostile: what git would read in them must never
be more than what these functions report, so whatever is in doubt is a ValueError.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from typing import NamedTuple

# Configuration files, as git's config.c reads them. Blanks and letters are those of git's own ctype.c.

_BOM = b"\xef\xbb\xbf"
_GAP = re.compile(rb"(?:[ \t\r\n]|[#;][^\n]*)*")
_SECTION = re.compile(rb'\[([A-Za-z0-9.-]*)(?:\]|[ \t\r]+"((?:[^"\\\n]|\\[^\n])*)"\])')
_NAME = re.compile(rb"([A-Za-z][A-Za-z0-9-]*)[ \t]*(?:(=)|\n|\Z)")
_ESCAPES = {b"n": b"\n", b"t": b"\t", b"b": b"\b", b"\\": b"\\", b'"': b'"', b"\n": b"", b"": b""}


def parse_config(content: bytes) -> list[tuple[str, str]]:
    """Every variable of a git config file as (key, value), in the order of the file.

    The key has section and name in lower case and the subsection as it is; a variable without "="
    is "true". Raises ValueError for what git refuses, and for a variable outside of any section.
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
            variables.append((_text(prefix + name[1].lower()), _text(value)))
        else:
            line = text.count(b"\n", 0, at) + 1
            raise ValueError(f"line {line} of a git configuration makes no sense")
        at = _end_of_gap(text, at)
    return variables


def _end_of_gap(text: bytes, at: int) -> int:
    gap = _GAP.match(text, at)
    return gap.end() if gap else at


def _prefix(section: re.Match[bytes]) -> bytes:
    """What keys of the section begin with: "section." or "section.subsection."."""
    name, subsection = section[1].lower(), section[2]
    if subsection is not None:
        return name + b"." + re.sub(rb"(?s)\\(.)", rb"\1", subsection) + b"."
    if not name:
        raise ValueError("a section without a name in a git configuration")
    return name + b"."


def _value(text: bytes, at: int) -> tuple[bytes, int]:
    """The value that begins at ``at``, right after the "=", and where the next line begins.

    Blanks inside are kept as they are, as git does since 2.45; an older git makes each a space.
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


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


# Settings. What is not here is not harmless; each entry can neither run, nor include, nor lead elsewhere.

# A remote that has no URL is taken for a path: hence no slash in its name, and no colon of a helper.
_REMOTE = r"(?!.*\.\.)\w[\w.+-]*"
_LABEL = r"(?!.*\.\.)[^\x00-\x1f\x7f:]+"
_HOST = r"(?:[A-Za-z0-9_][\w.+~%:-]*@)?(?:[A-Za-z0-9][\w.-]*|\[[0-9A-Fa-f:.]+\])"
# Only to other machines: a push to a folder of this one runs the hooks in it, "x::y" the program git-remote-x.
_URL = (
    rf"(?:(?:https?|git|ssh|git\+ssh|ssh\+git)://{_HOST}(?::[0-9]*)?(?:/[^\x00-\x20\x7f]*)?"
    r"|(?:[A-Za-z0-9_][\w.+-]*@)?[A-Za-z0-9][\w.-]*:(?![:-]|//)[^\x00-\x1f\x7f]+)"
)
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
    (r"(?:color|column)\.[a-z]+(?:\.[a-z-]+)?", r"[\w #,-]*"),
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
    """Whether a variable as ``parse_config`` gives it can do nothing but what it says.

    That is: run no program, include no file, lead git to no other place on this machine. What is
    not known to be so is not harmless. For remotes see ``stray_remotes`` too.
    """
    # Compiled by the re module where it is needed: that takes as long as a small audit.
    return any(re.fullmatch(name, key) and re.fullmatch(content, value) for name, content in _HARMLESS)


def stray_remotes(variables: Iterable[tuple[str, str]]) -> list[str]:
    """The remotes that harmless variables speak of without any that gives their URL.

    Git takes such a name for a path: a push to the remote "evil" runs the hooks of the repository
    in the folder "evil". ``variables`` are those of all config files that count for a repository.
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


# The index, as git's read-cache.c reads it.

_HEADER = struct.Struct(">4sII")
_PAIR = struct.Struct(">II")
_VERSIONS = (2, 3, 4)
_COMPRESSED = 4  # the version whose names lack what they share with the name before
_FILE, _LINK, _FOLDER, _GITLINK = 0o10, 0o12, 0o04, 0o16  # of a mode git looks at these four bits only
_EXTENDED = 0x4000  # the flag for two more bytes of flags
_LONG = 0xFFF  # the length of a name that is too long for its field
_LONGEST = 1 << 14  # no path is as long; many that are would take for ever


class _Entries(NamedTuple):
    gitlinks: list[bytes]
    starts: list[int]  # where each entry can be read from without the one before; else -1
    end: int


def gitlinks(index: bytes, hash_size: int = 20) -> list[str]:
    """The paths of all submodules that an index of version 2, 3 or 4 lists, in its order.

    ``hash_size`` is 32 in a repository of SHA-256. Raises ValueError for what is no index or is
    damaged, and where a path cannot be known: a sparse index with folders that stand for all they
    hold, a split index that replaces an entry of the shared one by a submodule.
    """
    entries = _entries(index, hash_size)
    _extensions(index, entries, hash_size)
    return [_text(path) for path in entries.gitlinks]


def _check_header(index: bytes, hash_size: int) -> tuple[int, int]:
    """The version and the number of entries of an index; raises ValueError for what is none."""
    if len(index) < _HEADER.size + hash_size:
        raise ValueError("too short for a git index")
    signature, version, count = _HEADER.unpack_from(index)
    if signature != b"DIRC" or version not in _VERSIONS:
        raise ValueError("no git index of a known version")
    return version, count


def _entries(index: bytes, hash_size: int) -> _Entries:
    """What the entries of an index say. One loop for all versions, quick for ordinary entries.

    There is no quicker way to be sure that there is no submodule: git looks at four bits of the
    mode, so it takes far more for one than the mode 160000, and such bits are everywhere.
    """
    version, count = _check_header(index, hash_size)
    compressed = version == _COMPRESSED
    fixed = 42 + hash_size
    fields = struct.Struct(f">26xB{fixed - 29}xH").unpack_from  # the third byte of the mode, the flags
    found = []
    starts = []
    at = _HEADER.size
    path = b""
    try:
        for _ in range(count):
            mode, flags = fields(index, at)
            begin = at + fixed if flags < _EXTENDED else at + fixed + (flags & _EXTENDED) // 0x2000
            size = flags & _LONG
            if compressed:
                strip, begin = _varint(index, begin) if index[begin] & 128 else (index[begin], begin + 1)
                kept = len(path) - strip
                if size == _LONG:
                    size = kept + index.index(b"\0", begin) - begin
                if not 0 <= kept <= size <= _LONGEST:
                    raise ValueError("a git index with a damaged path")
                starts.append(-1 if kept else at)
                end = begin + size - kept
                path = path[:kept] + index[begin:end]
                at = end + 1
            else:
                if size == _LONG:
                    size = index.index(b"\0", begin) - begin
                starts.append(at)
                end = begin + size
                at += (end - at + 8) & ~7
            if (kind := mode >> 4) != _FILE and kind != _LINK:
                if kind != _GITLINK:
                    raise ValueError("a git index with entries that are no files, as a sparse index has")
                path = path if compressed else index[begin:end]
                if not path or b"\0" in path or index[end] != 0:
                    raise ValueError("a git index with a damaged path")
                found.append(path)
    except (struct.error, IndexError):
        raise ValueError("a git index that ends early") from None
    if at > len(index) - hash_size:
        raise ValueError("a git index that ends early")
    return _Entries(found, starts, at)


def _varint(index: bytes, at: int) -> tuple[int, int]:
    """The number of variable length at ``at``, as git's varint.c has it, and where it ends."""
    byte = index[at]
    number = byte & 127
    while byte & 128:
        at += 1
        byte = index[at]
        number = ((number + 1) << 7) + (byte & 127)
        if number > len(index):
            raise ValueError("a git index with a damaged path")
    return number, at + 1


def _extensions(index: bytes, entries: _Entries, hash_size: int) -> list[tuple[bytes, bytes]]:
    """The extensions behind the entries, as (name, data).

    Raises ValueError if they are damaged, or say that entries or extensions are elsewhere: for a
    big index git believes them.
    """
    stop = len(index) - hash_size
    found = []
    at = entries.end
    while at < stop:
        end = at + 8 + int.from_bytes(index[at + 4 : at + 8], "big")
        if end > stop:
            raise ValueError("a git index with a damaged extension")
        found.append((index[at : at + 4], index[at + 8 : end]))
        at = end
    for size in (4 + 20, 4 + hash_size):  # git looks for it there, whatever is in front
        start = stop - 8 - size
        if index[start : start + 4] == b"EOIE" and _number(index, start + 8) != entries.end:
            raise ValueError("a git index whose extensions are not where it says")
    for name, data in found:
        if name == b"IEOT":
            _check_offsets(data, entries.starts)
    return found


def _number(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "big")


def _check_offsets(table: bytes, starts: list[int]) -> None:
    """Raise ValueError unless a table of offsets leads to the same entries as reading them in turn."""
    entry = 0
    for at in range(4, len(table) - 7, 8):
        offset, count = _PAIR.unpack_from(table, at)
        if count and (entry >= len(starts) or starts[entry] != offset):
            raise ValueError("a git index whose entries are not where it says")
        entry += count
    if entry != len(starts):
        raise ValueError("a git index whose entries are not where it says")


# Other files


def pointer(content: bytes) -> str | None:
    """The path in a ``.git`` that is a file, as git's setup.c reads it; None if it is none.

    It is relative to the folder of that file, unless absolute.
    """
    path = content.rstrip(b"\r\n")
    if not path.startswith(b"gitdir: ") or path == b"gitdir: ":
        return None
    # For git a NUL is the end, and nothing in front of it the folder itself.
    return _text(path[len(b"gitdir: ") :].partition(b"\0")[0] or b".")


_EXEC = re.compile(rb"(?:\A|[\r\n\0])\s*(?:exec|x)(?:[\s\0]|\Z)")


def runs_commands(todo: bytes) -> bool:
    """Whether the to-do list of a rebase has a line that runs a command, as git's sequencer.c reads it."""
    return _EXEC.search(todo) is not None
