"""The sign-in of the host's client in the Keychain of macOS, which it uses in place of a file.

Read by the system's ``security`` command, which has its own question for the user where the Keychain wants one.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ..host import CLAUDE_CONFIG_DIR, Host, clean_path
from ..system import IS_MAC
from ..text import parse_json, sha256
from .credentials import HostSignIn, usable

if TYPE_CHECKING:
    import subprocess

_SERVICE = "Claude Code-credentials"
_SUFFIX_DIGITS = 8
_NOT_FOUND = 44
_SECONDS = 20.0
# Asking takes longer than looking at a file.
_AGAIN_SECONDS = 15.0


class Keychain:
    """The item of the host's client in the user's Keychain; there is none where there is no Keychain."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._asked = float("-inf")
        self._identity: tuple[int, ...] = ()

    @property
    def service(self) -> str:
        """Its name, as Claude Code (2.1.332) makes it: another config directory has another one."""
        directory = self._host.environ.get(CLAUDE_CONFIG_DIR)
        digest = sha256(directory.encode("utf-8", "surrogateescape")) if directory else ""
        return f"{_SERVICE}-{digest[:_SUFFIX_DIGITS]}" if digest else _SERVICE

    def read(self) -> HostSignIn | None:
        """Return the sign-in in it; None if it does not exist."""
        if not IS_MAC:
            return None
        source = f"Keychain: {self.service}"
        found = self._ask("-w")
        if found is None:
            return HostSignIn(source, problem=f"The Keychain did not give its item {self.service!r} in time.")
        if found.returncode == _NOT_FOUND:
            return None
        if found.returncode:
            return HostSignIn(source, problem=f"The Keychain did not give its item {self.service!r}: is it locked?")
        parsed = parse_json(found.stdout)
        problem = "" if parsed is not None else f"The item {self.service!r} of the Keychain is broken: it is not JSON."
        return HostSignIn(source, usable(parsed), problem)

    def identity(self) -> tuple[int, ...]:
        """Return what changes when it is written, asked for now and then; empty if it does not exist."""
        if IS_MAC and time.monotonic() - self._asked >= _AGAIN_SECONDS:
            self._asked = time.monotonic()
            found = self._ask()  # its attributes, with the time of its last change; nothing secret
            if found is not None:
                self._identity = () if found.returncode else (int(sha256(found.stdout)[:16], 16),)
        return self._identity

    def _ask(self, *options: str) -> subprocess.CompletedProcess[bytes] | None:
        """Return how the system's command ended; None if it cannot be run, or takes too long."""
        import subprocess  # not where there is no Keychain

        clean_path()
        user = self._host.environ.get("USER")
        account = ("-a", user) if user else ()
        try:
            return subprocess.run(
                ["security", "find-generic-password", *account, *options, "-s", self.service],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
                timeout=_SECONDS,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
