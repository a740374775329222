"""What can go wrong, in words for the user and with the exit code that belongs to it."""

from __future__ import annotations

import errno
from pathlib import Path

USAGE = 2
ENGINE = 3
REVIEW = 4
INTERRUPTED = 130  # as a shell tells SIGINT
READER_GONE = 141  # as a shell tells SIGPIPE


class ConfinedError(Exception):
    """A failure the user can act on.

    ``message`` says in one line what happened, ``hint`` in one line what to do about it.
    """

    exit_code = USAGE

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class ReviewNeeded(ConfinedError):
    """Something waits for a person's review, or for a person's trust."""

    exit_code = REVIEW


class EngineError(ConfinedError):
    """The engine is missing, out of reach, or refused what was asked of it."""

    exit_code = ENGINE


# What to do about a reason of the system's, by its number.
HINTS = {
    errno.ENOSPC: "Free some disk space and start again; nothing was changed.",
    errno.EDQUOT: "Free some of your disk quota and start again; nothing was changed.",
    errno.EACCES: "Give yourself the permission, or choose another directory.",
    errno.EROFS: "Choose a directory on a file system that can be written.",
}


def system_error(verb: str, path: Path, error: OSError) -> ConfinedError:
    """Return the error "Cannot VERB PATH: REASON", with the hint that fits the system's reason."""
    hint = HINTS.get(error.errno or 0, "Check what is there and start again.")
    return ConfinedError(f"Cannot {verb} {path}: {error.strerror or error}.", hint)


def explain_os_error(error: OSError) -> str:
    """Return the message and the hint for an error of the system's that nothing else has explained."""
    where = f": {error.filename}" if error.filename else ""
    return f"{error.strerror or error}{where}.\nCheck what is there, and start again."
