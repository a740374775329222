"""The paths that git refuses in an index, as verify_path of its read-cache.c decides. Pure.

Only some commands of git ask it, so an index of a session's making may have such paths: `git restore` writes there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

# Empty components, "." and "..", then `.git` and what NTFS takes for that: see is_ntfs_dotgit in path.c.
_INVALID = rb"(?:\A|/)\.{0,2}(?:/|\Z)|(?:\A|/|(?<=[^/])\\)(?i:\.git|git~1)[. ]*(?:[/\\:]|\Z)"
# What a link may not be named: `.gitmodules`, and what NTFS takes for that, its short names included.
_SHORT = b"|".join(b"gi7eba"[:length] + b"~[1-9][0-9]{%d}" % (6 - length) for length in range(7))
_INVALID_LINK = (
    rb"(?i)(?:\A|/)\.gitmodules(?:/|\Z)|(?:\A|/|(?<=[^/])\\)(?:\.gitmodules|gitmod~[1-4]|%b)[. ]*(?::|\Z)" % _SHORT
)
# HFS+ ignores these characters: see next_hfs_char in utf8.c.
_HFS_IGNORED = rb"\xe2\x80[\x8c-\x8f\xaa-\xae]|\xe2\x81[\xaa-\xaf]|\xef\xbb\xbf"
_HFS_INVALID = rb"(?i)(?:\A|/)\.git(?:/|\Z)"
_HFS_INVALID_LINK = rb"(?i)(?:\A|/)\.git(?:modules)?(?:/|\Z)"
# One of these is in many paths, in small letters and between NULs, if any of them is invalid. As one pattern with
# alternatives they would take ten times as long.
_SUSPICIOUS = (
    *(rb"/[/\0]", rb"\0[/\0]", rb"\.[/\0]", rb"\.git[. ]*[\0/\\:]", rb"git~1", rb"\xe2[\x80\x81]", rb"\xef\xbb\xbf"),
)


def is_invalid(path: bytes, *, is_link: bool = False, is_directory: bool = False) -> bool:
    """Return whether git refuses a path of an index, with core.protectHFS and core.protectNTFS.

    That of a directory, which only a sparse index has, may end with a slash.
    """
    if is_directory and path.endswith(b"/"):
        path = path[:-1]
    if re.search(_INVALID, path) or (is_link and re.search(_INVALID_LINK, path)):
        return True
    visible = re.sub(_HFS_IGNORED, b"", path)
    return visible != path and re.search(_HFS_INVALID_LINK if is_link else _HFS_INVALID, visible) is not None


def invalid_files(paths: Sequence[bytes]) -> list[bytes]:
    """Return the invalid ones among the paths of files. Fast where there are none: all are searched at once."""
    joined = b"\0%b\0" % b"\0".join(paths).lower()
    if any(re.search(pattern, joined) for pattern in _SUSPICIOUS):
        return [path for path in paths if is_invalid(path)]
    return []
