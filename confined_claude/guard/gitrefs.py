"""What a symbolic reference of git leads to. Pure.

Git follows one to any path that its name makes: a new object name is written there, and a line with text of a commit
is appended to a file of that name below `logs`. It checks the names that users give it, not these.
"""

from __future__ import annotations

import re

# A file that begins so is a symbolic reference, and git takes white space off the end: see read_ref_internal in
# refs/files-backend.c.
_SYMBOLIC = re.compile(rb"ref:[ \t\n\r]*((?s:.*))")
# What check_refname_format in refs.c refuses.
_INVALID = re.compile(
    rb"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|(?:\A|/)\.|\.lock(?:/|\Z)|[./]\Z",
)
# What git itself writes into a HEAD that it does not use: of a repository whose references are a reftable.
_OF_A_REFTABLE = b"refs/heads/.invalid"
_ID = re.compile(rb"[0-9a-f]{40}(?:[0-9a-f]{24})?")
MAX_BYTES = 4096  # no path is longer


def leads_astray(content: bytes) -> bool:
    """Return whether the file of a reference leads to anything but a proper name below `refs/`, where git's own lead.

    ``content`` may be cut off behind MAX_BYTES.
    """
    symbolic = _SYMBOLIC.fullmatch(content)
    if symbolic is None:
        return False
    name = symbolic[1].rstrip(b" \t\n\r")
    return len(content) > MAX_BYTES or not (name == _OF_A_REFTABLE or is_proper(name))


def is_proper(name: bytes) -> bool:
    """Return whether git takes ``name`` for that of a reference below `refs/`."""
    return name.startswith(b"refs/") and _INVALID.search(name) is None


def is_id(value: bytes) -> bool:
    """Return whether ``value`` is the id of an object."""
    return _ID.fullmatch(value) is not None


def names_object(name: bytes, value: bytes) -> bool:
    """Return whether a reference with this name and ``value`` names an object itself, as one that git makes does."""
    return is_proper(name) and is_id(value)
