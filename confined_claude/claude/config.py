"""The container's own Claude config: brought up to date from the host's, never the other way round."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..errors import ConfinedError, system_error
from ..fs.directory import Location
from ..host import Host
from . import account, copied, credentials, expiry, onboarding, pasted, restoring, setup
from .copied import Action
from .following import Followed, Follower, Watch
from .host_settings import HostSettings
from .sign_in import (
    API_KEY,
    CREDENTIALS_KIND,
    HOW_TO_SIGN_IN,
    HOW_TO_SIGN_IN_LENT,
    NOT_SIGNED_IN,
    Chosen,
    SignIn,
    billing,
    choose,
)


class ClaudeConfig:
    """The container's own Claude config, at ``location``, beside that of the host which it is copied from.

    ``chosen`` is what signs in beside the credentials in it, by default what the variables of ``host`` do. If it is
    lent, the config never has credentials, and ``lend`` takes each access token of the host's, empty without one.
    """

    def __init__(
        self, location: Location, host: Host, chosen: Chosen | None = None, lend: Callable[[str], object] = str
    ) -> None:
        self._location = location
        self._host = host
        self._chosen = choose(host.environ, HostSettings(), (), "") if chosen is None else chosen
        self._follower = Follower(location, host)
        if self._chosen.is_lent:
            from .lending import LentFollower  # most sessions are given it

            self._follower = LentFollower(location, host, lend)
        self._followed: Followed | None = None

    def prepare(self) -> SignIn:
        """Bring it up to date before a session; return how that is signed in.

        It is made if it is missing. Its sign-in follows the host's, unless it has one of its own or something else
        signs in, and what would come before the prompt is answered. Raises ConfinedError where something cannot be
        written, and for a record of a newer version.
        """
        setup.make(self._location, self._host)
        with self._location.make() as config:
            restored = tuple(restoring.restore(config))
            if self._chosen.is_lent:
                from .signing_out import remove_sign_in

                restored += tuple(remove_sign_in(config))
            if self._chosen.kind:  # nothing is copied that is not used
                sign_in = self._beside(self._follower.look(), restored)
            else:
                self._followed = self._follower.follow(config)
                sign_in = self._sign_in(self._followed, (*restored, *self._followed.decision.notes))
            try:
                if sign_in.kind:
                    key = self._chosen.environ.get(API_KEY, "")
                    onboarding.skip(config, key, lambda: account.host_state(self._host))
            except OSError as error:
                raise system_error("write to", config.path, error) from None
        return sign_in

    def return_to_host(self) -> SignIn:
        """Replace its sign-in, also one of its own, by a copy of the host's; return how sessions are signed in.

        Raises ConfinedError as ``prepare`` does, and if the host has none.
        """
        theirs = self._follower.look().theirs
        if theirs.oauth is None:
            reason = theirs.problem or "Claude is not signed in on your machine."
            raise ConfinedError(reason, "Sign in with `claude` and /login on your machine, and try again.")
        setup.make(self._location, self._host)
        with self._location.make() as config:
            followed = self._follower.follow(config, from_host=True)
        return self._sign_in(followed, ())

    def look(self) -> tuple[SignIn, float | None]:
        """Return how a session would be signed in, and until when; nothing is changed.

        The end is in epoch seconds, 0 if it is not known, None where there is none. Raises ConfinedError for a record
        of a newer version.
        """
        found = self._follower.look()
        if self._chosen.kind:
            return self._beside(found, ()), None
        theirs, mine = found.theirs, found.mine
        if found.decision.action is not Action.KEEP:
            mine = copied.copy_of(theirs.oauth) if theirs.oauth else None
        sign_in = self._sign_in(found._replace(mine=mine), (theirs.problem,) if theirs.problem else ())
        if sign_in.kind != CREDENTIALS_KIND or mine is None or credentials.can_renew(mine):
            return sign_in, None
        return sign_in, credentials.expiry(mine) / 1000

    def watch(self, tell: Callable[[str], None]) -> Watch | None:
        """Return what has its sign-in follow the host's while a session runs; None if that signs nothing in."""
        if self._chosen.kind or (self._chosen.is_lent and not self._chosen.placeholder):
            return None
        return Watch(self._follower, self._followed or self._follower.look(), tell)

    def _beside(self, found: Followed, notes: tuple[str, ...]) -> SignIn:
        """Return how a session is signed in by what is chosen, beside the sign-ins ``found`` on the host and inside."""
        chosen, remarks = self._chosen, self._chosen.remarks
        if not remarks and (found.theirs.oauth is not None or found.mine is not None):
            remarks = billing((chosen.kind,), ("the sign-in to your Claude account",))
        problem = (found.theirs.problem,) if found.theirs.problem else ()
        return SignIn(chosen.kind, (*notes, *pasted.remarks(chosen.environ), *chosen.notes, *problem), remarks)

    def _sign_in(self, followed: Followed, notes: tuple[str, ...]) -> SignIn:
        """Return how a session is signed in by credentials in the config, with ``notes`` after those on what is chosen.

        Something else is chosen only where the caller returns to the host's sign-in.
        """
        notes = (*self._chosen.notes, *notes)
        if self._chosen.kind:
            return SignIn(self._chosen.kind, notes)
        if followed.mine is None:
            how = HOW_TO_SIGN_IN_LENT if self._chosen.is_lent else HOW_TO_SIGN_IN
            return SignIn("", (*notes, NOT_SIGNED_IN, how))
        end = expiry.remarks(followed.theirs, followed.mine, time.time())
        return SignIn(CREDENTIALS_KIND, (*notes, *end))
