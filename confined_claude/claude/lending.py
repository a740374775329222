"""The host's sign-in where sessions are lent it: their Claude config has none, and each newer token is passed on."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import ConfinedError
from ..fs.directory import Directory, Location
from ..host import Host
from . import account, copied
from .copied import Action, Decision
from .following import Followed, Follower


class LentFollower(Follower):
    """Follows the sign-in of ``host``, whose access token ``lend`` takes, and puts none into the config."""

    def __init__(self, location: Location, host: Host, lend: Callable[[str], object] = str) -> None:
        super().__init__(location, host)
        self._lend = lend

    def look(self) -> Followed:
        """Return how things stand; there is no record of what is lent."""
        theirs = self._host_sign_in()
        mine = copied.copy_of(theirs.oauth) if theirs.oauth else None
        notes = (theirs.problem,) if theirs.problem else ()
        return Followed(
            theirs, mine, Decision(Action.KEEP, None, notes), account.address_in(account.host_state(self._host))
        )

    def follow(self, config: Directory, **_: bool) -> Followed:
        """Have ``config`` name the host's account, if it names one; return how things stand."""
        account.follow(config, self._host)
        return self.look()

    def follow_on(self, *, removes: bool) -> Followed | None:
        """Lend the host's current access token, and none once the host is signed out, if that ``removes`` it.

        Raises ConfinedError for a sign-in that cannot be read.
        """
        found = self.look()
        if found.theirs.problem:
            raise ConfinedError(found.theirs.problem)
        if found.mine is not None or removes:
            self._lend(found.mine["accessToken"] if found.mine else "")
        return found
