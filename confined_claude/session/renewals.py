"""Newer values of what signs a session in and of what it is lent, while it runs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from .. import signals, timing
from ..claude import choosing
from ..claude.sign_in import Chosen
from ..claude.source import BEFORE, Renewal
from ..egress.sidecar import Sidecar
from ..errors import ConfinedError, EngineError
from ..workspace import Workspace
from .launch import Launch

if TYPE_CHECKING:
    from .given import Given


class Renewals:
    """Has the commands run again that print what ``sign_in`` and ``given`` have, until the end of the block.

    The one that signs in runs for the first time from here on. What is lent goes to the session's ``sidecar``.
    """

    def __init__(self, workspace: Workspace, sign_in: Chosen, given: Given | None, sidecar: Sidecar) -> None:
        self._sidecar = sidecar
        # What the sidecar has been told is what it was started with.
        self._lent = self._told = given.lent if given else ()
        self._refused: dict[str, str] = {}
        source = sign_in.source
        self._sign_in = choosing.renewal(source, workspace.host, workspace.written) if source is not None else None
        # By the placeholder that the session has; what has none is given.
        self._placeholder = sign_in.placeholder
        self._commands: list[tuple[str, Renewal]] = [*given.renewals(workspace)] if given else []
        if self._sign_in is not None:
            self._commands.append((self._placeholder, self._sign_in))
        self._undelivered: dict[Renewal, str] = {}

    def __enter__(self) -> Renewals:
        return self

    def __exit__(self, *_: object) -> None:
        for _placeholder, renewal in self._commands:
            renewal.close()

    def __bool__(self) -> bool:
        return bool(self._commands or self._lent)

    def with_credential(self, launch: Launch, notes: list[str]) -> Launch:
        """Return ``launch`` with the credential that a command prints, if one does; without it ``notes`` say why."""
        if self._sign_in is None:
            return launch
        try:
            with timing.phase("sign-in"), signals.interruptible():
                value = self._sign_in.first()
        except ConfinedError as error:
            notes += (error.message, error.hint)
            return launch.with_credential(self._placeholder)  # a later one has its place
        if self._placeholder:
            from .lent import NOT_LENDABLE, is_lendable

            if is_lendable(value):
                self.lend(self._placeholder, value)
            else:
                notes.append(f"What {self._sign_in.source.name} prints {NOT_LENDABLE}")
        launch = launch.with_credential(self._placeholder or value)
        if not self._lent:
            return launch
        from .lent import hide

        return launch.with_texts(partial(hide, lent=self._lent))

    def lend(self, placeholder: str, value: str) -> None:
        """Have the sidecar put ``value`` into the place of ``placeholder`` from now on; nothing if it is empty.

        One that cannot be lent changes nothing, and ``failures`` name it.
        """
        from .lent import NOT_LENDABLE, is_lendable  # nothing is lent to most sessions

        if value and not is_lendable(value):
            names = (one.name for one in self._lent if one.placeholder == placeholder)
            self._refused[placeholder] = f"A newer value of {next(names, 'what is lent')} {NOT_LENDABLE} {BEFORE}"
            return
        self._refused.pop(placeholder, None)
        self._lent = tuple(
            one._replace(value=value or placeholder) if one.placeholder == placeholder else one for one in self._lent
        )
        self._deliver()

    def _deliver(self) -> None:
        """Tell the sidecar what it lends, unless that has reached it."""
        if self._lent != self._told:
            from .lent import message

            if self._sidecar.lend(message(self._lent)):
                self._told = self._lent

    def look(self, give: Callable[[str], None]) -> None:
        """Hand on what is new, a credential that the session has itself to ``give``; called about once a second.

        If that raises EngineError, or something has not reached the sidecar, it is tried again.
        """
        self._deliver()
        for placeholder, renewal in self._commands:
            if (value := renewal.poll()) is not None:
                self._undelivered[renewal] = value
            if renewal in self._undelivered:
                with contextlib.suppress(EngineError):  # the session may be ending
                    value = self._undelivered[renewal]
                    self.lend(placeholder, value) if placeholder else give(value)
                    del self._undelivered[renewal]

    @property
    def failures(self) -> Iterator[str]:
        """What to say of commands that have failed to the last, and of what was not lent."""
        yield from (renewal.failure for _, renewal in self._commands if renewal.failure)
        yield from self._refused.values()
        if self._lent != self._told:
            yield f"What was renewed last has not reached the session's sidecar. {BEFORE}"
