"""The sign-in in a container's config follows the host's: when a session starts, and while sessions run."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from ..errors import ConfinedError, system_error
from ..fs.directory import Directory, Location
from ..fs.lock import Lock, locked
from ..host import Host
from ..state.store import state_of
from ..text import as_dict, parse_json, repr_without
from . import account, copied, credentials, expiry
from .copied import Action, Copied, Decision, token_hash
from .credentials import CREDENTIALS, OAUTH, HostSignIn, claudes_lock
from .keychain import Keychain
from .onboarding import GLOBAL_STATE

_LOCK = "sign-ins.lock"
_START_SECONDS = 3.0
# A client that signs in anew is signed out for a moment.
_SIGNED_OUT_SECONDS = 5.0
# A client that signs in names its account a moment after it has written its credentials.
_SETTLING_SECONDS = 10.0
_SIGNED_OUT = "Claude was signed out on your machine, and so was this session."
_RENEWED = "Your machine's sign-in was renewed, and this session uses the new one."
_OTHER_ACCOUNT = "Claude was signed in to another account on your machine, and so was this session: {} instead of {}."
_FAILED = "What changed in the sign-in of your machine's Claude did not reach the session: {}"
_LOCKED = "another session writes to its credentials."

_Decide = Callable[[HostSignIn, Mapping[str, Any] | None, Copied | None], Decision]


class Followed(NamedTuple):
    """How things stand: the host's sign-in, that in the container's config, and what is, or was, done about it.

    ``address`` is that of the account that the config names, empty if it names none, or if nobody needs to know.
    """

    theirs: HostSignIn
    mine: Mapping[str, Any] | None
    decision: Decision
    address: str = ""

    def __repr__(self) -> str:
        return repr_without(self, "mine")


class Follower:
    """Brings the sign-in in the Claude config at ``location`` in line with that of ``host``."""

    def __init__(self, location: Location, host: Host) -> None:
        self._location = location
        self._state = state_of(host)
        self._host = host
        self._source = host.claude_config / CREDENTIALS
        self._keychain = Keychain(host)

    def look(self) -> Followed:
        """Return how things stand, and what a start would do; nothing is changed.

        Raises ConfinedError for a record of a newer version.
        """
        inside: dict[str, Any] = {}
        record, address = None, ""
        with contextlib.suppress(OSError), self._location.open() as config:
            inside = _read(config)
            address = _address(config, credentials.usable(inside))
        with self._state.open_if_exists() as state:
            if state is not None:
                record = copied.read_record(state, self._location.path)
        theirs, mine = self._host_sign_in(), credentials.usable(inside)
        return Followed(theirs, mine, copied.decide(theirs, mine, record, address))

    def follow(self, config: Directory, *, from_host: bool = False) -> Followed:
        """Bring ``config`` in line with the host when a session starts; return how things stand then.

        With ``from_host`` an own sign-in gives way as well. Raises ConfinedError where something cannot be written,
        and for a record of a newer version.
        """

        def decide(theirs: HostSignIn, mine: Mapping[str, Any] | None, record: Copied | None) -> Decision:
            return copied.decide(theirs, None if from_host else mine, record, _address(config, mine))

        with locked(self._state, _LOCK) as state:
            record = copied.read_record(state, self._location.path)
            followed = self._judge(config, record, decide)
            if followed.decision.action is not Action.KEEP:
                # A session that never gives the lock away does not keep the host's sign-in out.
                with claudes_lock(config, _START_SECONDS):
                    followed = self._carry_out(config, self._judge(config, record, decide))
                self._name_account(config, followed)
            self._record(state, record, followed)
        return followed

    def follow_on(self, *, removes: bool) -> Followed | None:
        """Bring the config in line while sessions run; return how things stand then, None if that must wait.

        A copy goes with the host's sign-in only if ``removes``. One of all sessions with this config does it. Raises
        OSError and ConfinedError where it cannot be done.
        """
        with self._state.make() as state, Lock.make(state, _LOCK) as lock, self._location.open() as config:
            if not lock.try_acquire():
                return None
            record = copied.read_record(state, self._location.path)
            decide = partial(copied.decide_during, removes=removes)
            followed = self._judge(config, record, decide)
            if followed.decision.action is not Action.KEEP:
                with claudes_lock(config, 0.0) as is_held:
                    if not is_held:
                        return None
                    followed = self._carry_out(config, self._judge(config, record, decide))
            self._record(state, record, followed)
            self._name_account(config, followed)
            return followed._replace(address=account.address_in(parse_json(config.read(GLOBAL_STATE))))

    def identity(self) -> tuple[int, ...]:
        """Return what changes when the host's credentials are written; empty if there are none."""
        in_keychain = self._keychain.identity()
        try:
            status = self._source.stat()
        except OSError:
            return in_keychain
        return (*in_keychain, status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)

    def _host_sign_in(self) -> HostSignIn:
        return self._keychain.read() or credentials.read_host(self._source)

    def _judge(self, config: Directory, record: Copied | None, decide: _Decide) -> Followed:
        theirs, mine = self._host_sign_in(), credentials.usable(_read(config))
        return Followed(theirs, mine, decide(theirs, mine, record))

    def _carry_out(self, config: Directory, followed: Followed) -> Followed:
        """Replace the sign-in in ``config`` by a copy of the host's, or by none, or keep it."""
        if followed.decision.action is Action.KEEP:
            return followed
        # What else is there was signed in to inside, MCP servers for instance.
        content = {key: value for key, value in _read(config).items() if key != OAUTH}
        mine = copied.copy_of(followed.theirs.oauth) if followed.theirs.oauth else None
        if mine is not None:
            content[OAUTH] = mine
        try:
            if content:
                config.write(CREDENTIALS, json.dumps(content).encode())
            else:
                config.unlink(CREDENTIALS)
        except OSError as error:
            raise system_error("write to", config.path, error) from None
        return followed._replace(mine=mine)

    def _name_account(self, config: Directory, followed: Followed) -> None:
        """Have ``config`` name the host's account, if it has the host's sign-in."""
        if followed.theirs.oauth is None or token_hash(followed.mine) != token_hash(followed.theirs.oauth):
            return
        try:
            account.follow(config, self._host)
        except OSError as error:
            raise system_error("write to", config.path, error) from None

    def _record(self, state: Directory, before: Copied | None, followed: Followed) -> None:
        if followed.decision.record != before:
            copied.write_record(state, self._location.path, followed.decision.record)


class Watch:
    """Has the sign-in of a running session follow the host's; ``look`` is called about once a second.

    ``before`` is how things stood at its start, ``tell`` takes the lines for its user.
    """

    def __init__(self, follower: Follower, before: Followed, tell: Callable[[str], None]) -> None:
        self._follower = follower
        self._before = before
        self._address = before.address
        self._tell = tell
        self._seen: tuple[int, ...] | None = None
        self._changed = float("-inf")
        self._signed_out_since: float | None = None
        self._is_end_told = bool(self._end())
        self._failure = ""

    def look(self) -> None:
        """Copy the host's sign-in if it is another by now, and tell what a person has to know of it."""
        identity = self._follower.identity()
        is_new = identity != self._seen
        if is_new or time.monotonic() - self._changed < _SETTLING_SECONDS:
            try:
                followed = self._follow_on()
            except (OSError, ConfinedError) as error:
                # Tried again at the next look. What has failed to the last is told at the end.
                self._failure = _FAILED.format(error.message if isinstance(error, ConfinedError) else error.strerror)
                return
            if followed is None:
                return
            self._failure = ""
            if is_new and self._seen is not None:
                self._changed = time.monotonic()
            self._seen = identity
            self._compare(followed)
        if not self._is_end_told and (lines := self._end()):
            self._is_end_told = True
            self._tell(" ".join(lines))

    def close(self) -> None:
        """Tell what could not be done to the last."""
        if self._failure:
            self._tell(self._failure)

    def _follow_on(self) -> Followed | None:
        """Return how things stand after they were settled; None if that is to be tried again."""
        since = self._signed_out_since
        is_out = since is not None and time.monotonic() - since >= _SIGNED_OUT_SECONDS
        followed = self._follower.follow_on(removes=is_out)
        if followed is None:
            self._failure = _FAILED.format(_LOCKED)
        elif not followed.theirs.is_signed_out:
            self._signed_out_since = None
        elif not is_out:
            self._signed_out_since = time.monotonic() if since is None else since
            return None
        return followed

    def _compare(self, followed: Followed) -> None:
        """Tell what has changed since the last look, whichever session has done it."""
        before, self._before = self._before, followed
        if followed.mine != before.mine:
            if followed.mine is None and followed.theirs.is_signed_out:
                self._tell(_SIGNED_OUT)
            elif self._is_end_told and not self._end():
                self._tell(_RENEWED)
            self._is_end_told = False
        if followed.address:
            # A state that the client writes, or has put aside, may name none for a moment.
            if self._address and self._address != followed.address:
                self._tell(_OTHER_ACCOUNT.format(followed.address, self._address))
            self._address = followed.address

    def _end(self) -> tuple[str, ...]:
        mine = self._before.mine
        return expiry.remarks(self._before.theirs, mine, time.time(), is_running=True) if mine else ()


def _read(config: Directory) -> dict[str, Any]:
    return as_dict(parse_json(config.read(CREDENTIALS, credentials.LIMIT_BYTES)))


def _address(config: Directory, mine: Mapping[str, Any] | None) -> str:
    """Return the address of the account that ``config`` names, if ``mine``, its sign-in, is its own."""
    return account.address_in(parse_json(config.read(GLOBAL_STATE))) if credentials.can_renew(mine) else ""
