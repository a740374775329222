"""What can go wrong, in words for the user and with the exit code that belongs to it."""

from __future__ import annotations

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
    """The Docker engine is missing, out of reach, or refused what was asked of it."""

    exit_code = ENGINE
