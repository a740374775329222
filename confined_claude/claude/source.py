"""Commands of the host that print a secret: run with a time-out, and again while a session runs."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..background import Background, Unfinished
from ..errors import ConfinedError
from ..host import missing
from ..text import escape, parse_json, repr_without

if TYPE_CHECKING:
    import subprocess

# What a command prints: one key, AWS credentials as JSON, or a secret of the user's, whose errors are never shown.
KEY, AWS, SECRET = "key", "AWS credentials", "secret"
BEFORE = "The session had the one from before."
SECONDS = 30.0
# How long Claude Code (2.1.332) uses a helper's key if CLAUDE_CODE_API_KEY_HELPER_TTL_MS does not say.
_TTL_SECONDS = 300.0
_SECRET_SECONDS = 900.0
_LEAST_SECONDS = 1.0
# How long before the end that a token names there has to be another one.
_BEFORE_END_SECONDS = 60.0
_NEVER = 10**11
_LIMIT_BYTES = 1 << 16
_PIECE = 1 << 16
_ERRORS_KEPT = 1 << 14  # of which the last line is shown
# As Claude Code checks it.
_KEY = r"[!-~]{1,16384}"
_REASON_LENGTH = 200
# What may be a secret in the words of a failed command, which are shown; a path is not one.
_LONG_WORD = r"(?<![/\w])[A-Za-z0-9+_=.-]{20,}(?![/\w])"
# After a failure it is tried again earlier: the user may be signing in somewhere.
_AGAIN_SECONDS = 30.0


class Failed(Exception):
    """A command has printed no value, for a ``reason``; ``said`` is the last line of its errors."""

    def __init__(self, reason: str, said: str = "") -> None:
        super().__init__(reason)
        self.reason, self.said = reason, said


class Command:
    """A command of the user's that prints a secret: runs in ``/``, which no session can write, without a terminal."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, words: Sequence[str], environ: Mapping[str, str], most: int) -> bytes:
        """Return what it prints, ``most`` bytes at the most. Raises Failed, which has nothing of that."""
        import subprocess  # few hosts have such a command

        pipe = subprocess.PIPE
        try:
            with subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, cwd="/", env=environ, start_new_session=True
            ) as process:
                self._process = process
                try:
                    printed, errors = _outputs(process, most)
                except BaseException:
                    self.close()
                    raise
        except OSError as error:
            raise Failed(f"cannot run: {error.strerror or error}") from None
        finally:
            self._process = None
        if process.returncode:
            last = escape(errors.decode("utf-8", "replace").strip().split("\n")[-1])
            raise Failed(f"ended with {process.returncode}", last)
        return printed

    def close(self) -> None:
        """End it with all that it has started, which may outlive it and hold its output open."""
        if self._process is not None:
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)


def _outputs(process: subprocess.Popen[bytes], most: int) -> tuple[bytes, bytes]:
    """Return what a process prints until it ends, and the end of its errors. Raises Failed if that is too much.

    Neither takes more memory than that, however much comes.
    """
    import selectors  # few hosts have such a command
    import subprocess

    printed, errors = bytearray(), bytearray()
    until = time.monotonic() + SECONDS
    with selectors.DefaultSelector() as selector:
        for pipe, kept in ((process.stdout, printed), (process.stderr, errors)):
            if pipe is not None:
                selector.register(pipe, selectors.EVENT_READ, kept)
        while selector.get_map():
            ready = selector.select(max(0.0, until - time.monotonic()))
            if time.monotonic() > until:
                raise _too_slow()
            for key, _ in ready:
                if piece := os.read(key.fd, _PIECE):
                    key.data.extend(piece)
                else:
                    selector.unregister(key.fileobj)
            del errors[:-_ERRORS_KEPT]
            if len(printed) > most:
                raise Failed(f"printed more than {most} bytes")
    try:
        process.wait(max(0.0, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise _too_slow() from None
    return bytes(printed), bytes(errors)


def _too_slow() -> Failed:
    return Failed(f"has not ended after {SECONDS:.0f} s")


class Source(NamedTuple):
    """A command that prints a credential: a line for the shell, or a program's words.

    ``name`` is the setting it is from, or the program; ``form`` is what it prints; ``environ`` has its variables.
    ``refresh`` is the user's own command for what it needs first, a sign-in to the cloud; only they run it.
    """

    name: str
    command: str | tuple[str, ...]
    form: str
    environ: Mapping[str, str]
    refresh: str = ""

    def __repr__(self) -> str:
        return repr_without(self, "environ")

    @property
    def ttl(self) -> float:
        """How long its value is used, in seconds."""
        if self.form == SECRET:
            return _SECRET_SECONDS
        try:
            return max(int(self.environ.get("CLAUDE_CODE_API_KEY_HELPER_TTL_MS", "")) / 1000, _LEAST_SECONDS)
        except ValueError:
            return _TTL_SECONDS


class Renewal:
    """The value that ``source`` prints, from a command that is run in the background, again after each time-to-live.

    That is shorter for a token that says when it ends. ``path`` returns the PATH of its programs before each run, or
    raises Failed if it may not run. With a ``value`` that it has printed already, it is not run before that has had its
    time.
    """

    def __init__(self, source: Source, path: Callable[[], str], value: str = "") -> None:
        self.source = source
        self._path = path
        self._command = Command()
        self._work: Background[str] | None = None if value else Background(self._run)
        self._value = value
        self._due = self._next()
        self.failure = ""

    def first(self) -> str:
        """Wait for the command's first value and return it. Raises ConfinedError if there is none."""
        try:
            self._value = self._work.result(SECONDS + 1) if self._work is not None else self._value
        except Unfinished:
            raise _failure(self.source, f"it has not ended after {SECONDS:.0f} s") from None
        finally:
            self._work = None
            self._due = self._next()
        return self._value

    def poll(self) -> str | None:
        """Run the command again if it is time; return its value if that is a new one, else None.

        After a failure, which ``failure`` names, the next attempt is soon.
        """
        if self._work is None:
            if time.monotonic() >= self._due:
                self._work = Background(self._run)
            return None
        if not self._work.is_done:
            return None
        work, self._work = self._work, None
        try:
            before, self._value = self._value, work.result()
        except ConfinedError as error:
            self.failure = f"{error.message} {BEFORE}"
            self._due = time.monotonic() + min(self.source.ttl, _AGAIN_SECONDS)
            return None
        self.failure = ""
        self._due = self._next()
        return self._value if self._value != before else None

    def close(self) -> None:
        """End the command if it runs."""
        self._command.close()

    def _next(self) -> float:
        """Return when the command is to run again (monotonic clock)."""
        left = _end_of(self._value) - time.time() - _BEFORE_END_SECONDS
        return time.monotonic() + min(self.source.ttl, max(left, _AGAIN_SECONDS))

    def _run(self) -> str:
        import shutil  # few hosts have such a command

        source, command = self.source, self.source.command
        try:
            path = self._path()
            if isinstance(command, str):
                words = ["/bin/sh", "-c", command]
            elif (program := shutil.which(command[0], path=path)) is None:
                raise _failure(source, missing(f"the {command[0]} command", command[0]))
            else:
                words = [program, *command[1:]]
            printed = self._command.run(words, {**source.environ, "PATH": path}, _LIMIT_BYTES)
        except Failed as failed:
            said = "" if source.form == SECRET else re.sub(_LONG_WORD, "…", failed.said)[:_REASON_LENGTH].rstrip(".")
            raise _failure(source, said or f"it {failed.reason}") from None
        return checked(source, printed)


def checked(source: Source, printed: bytes) -> str:
    """Return the credential in what ``source`` printed. Raises ConfinedError, without the credential, if it is none."""
    text = printed.decode("ascii", "replace").strip()
    if source.form != AWS:
        if not re.fullmatch(_KEY, text):
            raise _failure(source, "it printed nothing" if not text else "it must print one key and nothing else")
        return text
    found: Any = parse_json(text)
    if isinstance(found, dict):
        found = found.get("Credentials", found)
    wanted = ("AccessKeyId", "SecretAccessKey", "SessionToken")
    if not isinstance(found, dict) or not all(isinstance(found.get(name), str) for name in wanted[:2]):
        raise _failure(source, "it must print AWS credentials as JSON")
    if not isinstance(found.get("SessionToken"), str) or not found["SessionToken"]:
        raise ConfinedError(
            f"{source.name} gave a long-lived AWS key, which no session gets.",
            "Use a profile with short-lived credentials (SSO, a role), or set AWS_ACCESS_KEY_ID and its like yourself.",
        )
    kept = {name: found[name] for name in (*wanted, "Expiration") if isinstance(found.get(name), str)}
    return json.dumps({"Version": 1, **kept})


def _end_of(token: str) -> float:
    """Return when a token ends, in epoch seconds, if it is one that says so (a JWT); else infinity."""
    import base64  # few hosts have such a command

    found: Any = None
    with contextlib.suppress(ValueError):
        _, claims, _ = token.split(".")
        found = parse_json(base64.urlsafe_b64decode(f"{claims}=="))
    end = found.get("exp") if isinstance(found, dict) else None
    return end if isinstance(end, (int, float)) and 0 < end < _NEVER else math.inf


def _failure(source: Source, reason: str) -> ConfinedError:
    message = f"No credential from {source.name}: {reason}."
    if source.refresh:
        shown = re.sub(_LONG_WORD, "…", escape(source.refresh))[:_REASON_LENGTH]
        return ConfinedError(message, f"Run `{shown}`, as your settings say, then start again.")
    return ConfinedError(message, "Try that command yourself, then start again.")
